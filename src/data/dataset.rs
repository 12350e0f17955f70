//! The data set interface: an indexed set of images, one split at a time.

use super::{error::DataError, shard_layout::ShardLayout};
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
    /// Why the set is unlabeled, if labels were found but not usable: folders next to images, classes missing from
    /// the training split, a row without a label. Reported only by stages that need labels.
    fn why_unlabeled(&self) -> Option<&str> {
        None
    }
    /// Display name: a path, or file and row.
    fn name(&self, index: usize) -> String;
    fn image(&self, index: usize) -> Result<RgbImage, DataError>;
    /// The file of an image as it is stored, where the set stores one for each.
    ///
    /// # Errors
    /// It cannot be read.
    fn encoded(&self, _index: usize) -> Result<Option<Vec<u8>>, DataError> {
        Ok(None)
    }
    /// How training shuffles a set of which not every image is at hand at any time; None: as a whole.
    fn layout(&self) -> Option<ShardLayout> {
        None
    }
    /// Announces the images that will be read next, in this order.
    fn prefetch(&self, _upcoming: &[usize]) {}
    /// SHA-256 of the identifying content (names, sizes, labels, generator version).
    fn fingerprint(&self) -> String;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
