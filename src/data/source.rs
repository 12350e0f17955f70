//! The data section of a spec.

use super::voc::source::VocSource;
pub use super::{
    dataset::{Dataset, RgbImage, Split},
    error::DataError,
};
use crate::{
    bounded::{BatchSize, Count, Fraction, Part, Pixels, SceneCount, SceneSize},
    spec_path::SpecPath,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where images come from. In YAML: `source: { folder: { train: photos/train, val: photos/val } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSpec {
    /// An entry of the catalog (configs/datasets.yaml, compiled in): `catalog: cifar10`
    Catalog(String),
    /// Class folders; a folder with images directly in it is unlabeled.
    Folder {
        train: SpecPath,
        #[serde(default)]
        val: Option<SpecPath>,
        /// Share of the images of each class that are held out of `train` for validation, in place of `val`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_out: Option<Part>,
        /// Decides which images are held out.
        #[serde(default, skip_serializing_if = "is_zero")]
        seed: u64,
    },
    /// Text files, one `path[ label]` per line, relative to `root` (default: the list's folder).
    List {
        train: SpecPath,
        #[serde(default)]
        val: Option<SpecPath>,
        #[serde(default)]
        root: Option<SpecPath>,
    },
    /// Local Hugging Face parquet files. Unlabeled if the default column `label` is missing; an explicit column must
    /// exist.
    Parquet {
        train: Vec<SpecPath>,
        #[serde(default)]
        val: Vec<SpecPath>,
        #[serde(default = "image_column")]
        image: String,
        #[serde(default = "label_column")]
        label: Option<String>,
    },
    /// Parquet files in a dataset repository of the Hugging Face hub (feature `hub`).
    Hub {
        repo: String,
        #[serde(default)]
        revision: Option<String>,
        train: Vec<String>,
        #[serde(default)]
        val: Vec<String>,
        #[serde(default = "image_column")]
        image: String,
        #[serde(default = "label_column")]
        label: Option<String>,
    },
    /// The original CIFAR-10 binary folder, through candle-datasets (feature `cifar`).
    CifarBinary { dir: SpecPath },
    /// The images of a PASCAL VOC devkit, without annotations.
    Voc(VocSource),
    /// The built-in procedural scenes.
    Scenes {
        train: SceneCount,
        val: SceneCount,
        #[serde(default = "scene_size")]
        size: SceneSize,
        #[serde(default)]
        seed: u64,
    },
}

impl SourceSpec {
    /// A folder of training images, and one of validation images if there is one.
    pub fn folder(train: impl Into<SpecPath>, val: Option<SpecPath>) -> Self {
        Self::Folder { train: train.into(), val, hold_out: None, seed: 0 }
    }

    /// The files and folders it refers to.
    pub fn paths(&self) -> Vec<&Path> {
        fn of<'a>(all: impl IntoIterator<Item = &'a SpecPath>) -> Vec<&'a Path> {
            all.into_iter().map(SpecPath::as_path).collect()
        }
        match self {
            Self::Folder { train, val, .. } => of([train].into_iter().chain(val)),
            Self::List { train, val, root } => of([train].into_iter().chain(val).chain(root)),
            Self::Parquet { train, val, .. } => of(train.iter().chain(val)),
            Self::CifarBinary { dir } => vec![dir],
            Self::Voc(voc) => voc.paths(),
            Self::Catalog(_) | Self::Hub { .. } | Self::Scenes { .. } => vec![],
        }
    }
}

/// Name in messages: the catalog name or the path. Tables have [`SourceSpec::label`].
impl std::fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = |files: &[SpecPath]| files.first().map(|p| p.display().to_string()).unwrap_or_default();
        match self {
            Self::Catalog(name) => f.write_str(name),
            Self::Folder { train, .. } | Self::List { train, .. } => write!(f, "{}", train.display()),
            Self::Parquet { train, .. } => f.write_str(&first(train)),
            Self::Hub { repo, .. } => f.write_str(repo),
            Self::CifarBinary { dir } => write!(f, "{}", dir.display()),
            Self::Voc(voc) => voc.fmt(f),
            Self::Scenes { .. } => f.write_str("scenes"),
        }
    }
}

/// What of a folder's images belongs to a split: those that are held out, or the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoldOut {
    pub share: Part,
    pub seed: u64,
}

fn is_zero(seed: &u64) -> bool {
    *seed == 0
}
fn image_column() -> String {
    "image".into()
}
/// Default label column.
pub(super) const LABEL_COLUMN: &str = "label";

fn label_column() -> Option<String> {
    Some(LABEL_COLUMN.into())
}
fn scene_size() -> SceneSize {
    Count::of(32)
}

/// A source with its loading and cropping options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    pub source: SourceSpec,
    /// Name of the data set in tables, plots and published files; absent: that of its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Short side after resizing; absent: as stored.
    #[serde(default)]
    pub resize: Option<Pixels>,
    /// Side of the square crop: random in training, center in validation.
    pub crop: Pixels,
    #[serde(default = "yes")]
    pub flip: bool,
    /// Use N images of a split, spread evenly over the source's order and always the same, for short runs.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Tolerated fraction of unreadable images.
    #[serde(default = "one_percent")]
    pub max_bad: Fraction,
    /// Decoding threads; absent: one per core.
    #[serde(default)]
    pub threads: Option<BatchSize>,
    /// Cache decoded images in memory, up to 1 GiB per split; does not change the batches.
    #[serde(default = "yes")]
    pub cache: bool,
}

impl DataSpec {
    /// A source with every other field at its default.
    pub fn new(source: SourceSpec, crop: Pixels) -> Self {
        Self {
            source,
            label: None,
            resize: None,
            crop,
            flip: yes(),
            limit: None,
            max_bad: one_percent(),
            threads: None,
            cache: yes(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    #[serde(default)]
    pub train: Option<Count>,
    #[serde(default)]
    pub val: Option<Count>,
}

impl Limit {
    /// Number of images of a split; None: all.
    pub(super) fn of(self, split: Split) -> Option<usize> {
        match split {
            Split::Train => self.train,
            Split::Val => self.val,
        }
        .map(Count::get)
    }
}

fn yes() -> bool {
    true
}
fn one_percent() -> Fraction {
    Fraction::of(0.01)
}

/// Folder of local copies: `--data DIR`, else `HUERISTIC_DATA`, else none. Set once by the command line.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    pub data: Option<PathBuf>,
}
