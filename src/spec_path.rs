//! A path in a spec. Whoever reads the spec's YAML knows which file it stands in and turns it into one that can be
//! opened from the working directory; every other reader takes the text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    ops::Deref,
    path::{Path, PathBuf},
};

/// A path. Relative ones start at the folder of the spec; `~` and `$VAR` are expanded. Weight files may be on the
/// hub: `hf://OWNER/REPO/FILE[@REVISION]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Path")]
pub struct SpecPath(PathBuf);

impl SpecPath {
    /// What serde calls the type: by this name a spec's reader knows which values to expand.
    pub const NAME: &str = "SpecPath";

    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Deref for SpecPath {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}
impl AsRef<Path> for SpecPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
impl<T: AsRef<OsStr> + ?Sized> From<&T> for SpecPath {
    fn from(path: &T) -> Self {
        Self(path.into())
    }
}
impl From<PathBuf> for SpecPath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}
impl From<SpecPath> for PathBuf {
    fn from(path: SpecPath) -> Self {
        path.0
    }
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
    }
}
