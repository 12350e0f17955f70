//! What a data set is: an indexed set of pictures, one split of it at a time.

use super::error::DataError;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Val,
}

impl Split {
    /// As written in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// Decoded 8-bit RGB, `pixels.len() == 3·width·height`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// An indexed set of images, labeled or not.
pub trait Dataset: Send + Sync {
    fn len(&self) -> usize;
    /// Class names; empty for unlabeled data.
    fn classes(&self) -> &[String];
    fn label(&self, index: usize) -> Option<u32>;
    /// Why there are no labels, where something like labels is there or was looked for: folders beside pictures,
    /// classes that the training split lacks, a row without one. Only a stage that needs labels minds.
    fn why_unlabeled(&self) -> Option<&str> {
        None
    }
    /// What a person would look for: a path, or file and row.
    fn name(&self, index: usize) -> String;
    fn image(&self, index: usize) -> Result<RgbImage, DataError>;
    /// SHA-256 over what identifies the content (names, sizes, labels, generator version).
    fn fingerprint(&self) -> String;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
