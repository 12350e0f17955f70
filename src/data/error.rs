//! Data errors. Every message names the file, the problem and the remedy.

use std::{io, path::PathBuf};

/// Most unreadable images that a message names.
const NAMED: usize = 3;

/// Errors of data sources and loaders.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A path of the spec does not exist.
    #[error("{}: not found; expected {expected}", path.display())]
    Missing { path: PathBuf, expected: String },
    /// A folder, list or table without a single image.
    #[error("{}: holds no images; expected {expected}", path.display())]
    Empty { path: PathBuf, expected: String },
    #[error("{}: cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: cannot be written to: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// One unusable image; the loader tolerates up to `max_bad` of them.
    #[error("{name}: {reason}")]
    Image { name: String, reason: String },
    /// A file of many images that is unusable as a whole; the reason continues the sentence. Its images count as
    /// unreadable.
    #[error("{name} {reason}")]
    Shard { name: String, reason: String },
    /// A line of a file list.
    #[error("{}:{line}: {reason}", path.display())]
    List { path: PathBuf, line: usize, reason: String },
    /// A malformed file of many images (parquet, CIFAR binary).
    #[error("{}: {reason}", path.display())]
    Table { path: PathBuf, reason: String },
    /// A stage needs labels, but the set is unlabeled.
    #[error("it needs labels, and the {split} images of {name} {reason}")]
    Unlabeled { name: String, split: &'static str, reason: String },
    /// The spec names no images for the requested split.
    #[error("the source names no {split} images; add `{split}:` to it, or `hold_out: 0.1` to a folder")]
    NoSplit { split: &'static str },
    /// Values that are valid individually but not together.
    #[error("{0}")]
    Spec(String),
    #[error("a batch of {batch} is larger than the data set of {len} images; use a batch of at most {len}")]
    BatchTooLarge { batch: usize, len: usize },
    #[error("{}", too_many_bad(*bad, *len, *allowed, first))]
    TooManyBad { bad: usize, len: usize, allowed: f64, first: Vec<(String, String)> },
    #[error("no data set `{name}` in the catalog{}; it has {}", hint(nearest.as_deref()), known.join(", "))]
    NotInCatalog { name: String, nearest: Option<String>, known: Vec<String> },
    /// A catalog entry that is neither on disk nor downloadable; `ways` lists every way to get it.
    #[error("data set `{name}` was not found.\n{ways}")]
    Unobtainable { name: String, ways: String },
    #[error("{what} needs the feature `{feature}`; build with `--features {feature}`, or {instead}")]
    NeedsFeature { what: &'static str, feature: &'static str, instead: String },
    /// A download from the hub.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    #[error("a decoding thread failed: {0}")]
    Worker(String),
    #[error("the batch could not be moved to the device: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}

fn too_many_bad(bad: usize, len: usize, allowed: f64, first: &[(String, String)]) -> String {
    let mut text = format!(
        "{bad} of {len} images cannot be read, more than the tolerated share of {allowed} (`max_bad`); \
         repair or remove them, or raise `max_bad`:"
    );
    for (name, reason) in first.iter().take(NAMED) {
        text += &format!("\n  {name}: {reason}");
    }
    if bad > NAMED {
        text += &format!("\n  and {} more", bad - NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_feature_says_how_to_build_and_what_else_helps() {
        let instead = "download the parquet files yourself and name them under `parquet:`".into();
        let error = DataError::NeedsFeature { what: "a source on the hub", feature: "hub", instead };
        assert_eq!(
            error.to_string(),
            "a source on the hub needs the feature `hub`; build with `--features hub`, or download the parquet files \
             yourself and name them under `parquet:`"
        );
    }

    #[test]
    fn too_many_bad_names_the_first_and_says_what_to_change() {
        let first = (0..5).map(|i| (format!("{i}.jpg"), "the file is empty".into())).collect();
        let text = DataError::TooManyBad { bad: 5, len: 100, allowed: 0.01, first }.to_string();
        insta::assert_snapshot!(text, @r"
        5 of 100 images cannot be read, more than the tolerated share of 0.01 (`max_bad`); repair or remove them, or raise `max_bad`:
          0.jpg: the file is empty
          1.jpg: the file is empty
          2.jpg: the file is empty
          and 2 more
        ");
    }
}
