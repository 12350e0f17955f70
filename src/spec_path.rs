//! Paths in a spec. Whoever reads the spec's YAML knows which file they stand in and turns them into ones that can be
//! opened from the working directory; every other reader takes the text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    ops::Deref,
    path::{Path, PathBuf},
};

/// Defines a path with a name of its own, by which a spec's reader knows how to resolve it.
macro_rules! spec_path {
    ($(#[$about:meta])* $name:ident) => {
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        $(#[$about])*
        pub struct $name(PathBuf);

        impl $name {
            /// What serde calls the type.
            pub const NAME: &str = stringify!($name);

            pub fn as_path(&self) -> &Path {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = Path;
            fn deref(&self) -> &Path {
                &self.0
            }
        }
        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                &self.0
            }
        }
        impl<T: AsRef<OsStr> + ?Sized> From<&T> for $name {
            fn from(path: &T) -> Self {
                Self(path.into())
            }
        }
        impl From<PathBuf> for $name {
            fn from(path: PathBuf) -> Self {
                Self(path)
            }
        }
        impl From<$name> for PathBuf {
            fn from(path: $name) -> Self {
                path.0
            }
        }
    };
}

spec_path! {
    /// A path. Relative ones start at the folder of the spec; `~` and `$VAR` are expanded.
    #[schemars(title = "Path")]
    SpecPath
}

spec_path! {
    /// Shards: a tar file, several by braces (`train-{000000..000146}.tar`) or wildcards (`train-*.tar`), or a folder of them;
    /// from a server at `https://…` or an S3 store at `s3://BUCKET/…`, by braces. Relative paths start at the folder of the
    /// spec; `~` and `$VAR` are expanded.
    #[schemars(title = "Shards by name")]
    ShardPath
}

impl ShardPath {
    /// Whether the shards are on a server.
    pub fn is_remote(path: &Path) -> bool {
        let text = path.to_str().unwrap_or_default();
        let starts =
            |scheme: &&str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        ["http://", "https://", "s3://"].iter().any(starts)
    }
}

spec_path! {
    /// Trained weights: a file (`.safetensors`, `.pth`, `.caffemodel`), the directory of a run, a file on the hub
    /// (`hf://OWNER/REPO/FILE[@REVISION]`), or the name of released weights as `hueristic weights list` shows them
    /// (`eccv16`), which are downloaded once. `FILE#KEY` selects one of several networks. Relative paths start at the
    /// folder of the spec; `~` and `$VAR` are expanded.
    #[schemars(title = "Weight file")]
    WeightPath
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_and_read_as_text_under_its_name() {
        let path = SpecPath::from("a b/c.npy#key");
        let text = serde_yaml::to_string(&path).unwrap();
        assert_eq!(text.trim(), "a b/c.npy#key");
        assert_eq!(serde_yaml::from_str::<SpecPath>(&text).unwrap(), path);
        let wrong = serde_yaml::from_str::<SpecPath>("[a]").unwrap_err().to_string();
        assert!(wrong.contains("path string"), "{wrong}");
        assert_eq!(std::any::type_name::<SpecPath>().rsplit("::").next(), Some(SpecPath::NAME));
        assert_eq!(std::any::type_name::<WeightPath>().rsplit("::").next(), Some(WeightPath::NAME));
        assert_eq!(std::any::type_name::<ShardPath>().rsplit("::").next(), Some(ShardPath::NAME));
        let remote = |text: &str| ShardPath::is_remote(Path::new(text));
        assert!(remote("s3://b/a.tar") && remote("HTTPS://b") && !remote("s3/a.tar") && !remote("ü"));
    }
}
