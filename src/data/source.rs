//! The data section of a spec.

pub use super::{
    dataset::{Dataset, RgbImage, Split},
    error::DataError,
};
use super::{shards::source::ShardsSource, train_crop::TrainCrop, voc::source::VocSource};
use crate::{
    bounded::{BatchSize, Count, Fraction, Part, Pixels, SceneCount, SceneSize},
    spec_path::SpecPath,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::path::{Path, PathBuf};

/// Where images come from. In YAML: `source: { folder: { train: photos/train, val: photos/val } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSpec {
    /// An entry of the catalog of known data sets, by name, as in `catalog: cifar10`; `hueristic data verify NAME`
    /// says where its files belong.
    Catalog(String),
    /// A folder with one folder for each class; a folder with pictures directly in it is unlabeled.
    Folder {
        /// Folder of the training pictures.
        train: SpecPath,
        /// Folder of the validation pictures; absent: there are none.
        #[serde(default)]
        val: Option<SpecPath>,
        /// Share of the pictures of each class that is held out of `train` for validation, in place of `val`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_out: Option<Part>,
        /// Decides which pictures are held out.
        #[serde(default, skip_serializing_if = "is_zero")]
        #[schemars(!skip_serializing_if)]
        seed: u64,
    },
    /// Text files with one `path[ label]` per line.
    List {
        /// List of the training pictures.
        train: SpecPath,
        /// List of the validation pictures; absent: there are none.
        #[serde(default)]
        val: Option<SpecPath>,
        /// Folder that the paths in the lists start from; absent: that of the list.
        #[serde(default)]
        root: Option<SpecPath>,
    },
    /// Local parquet files as Hugging Face writes them.
    Parquet {
        /// Files of the training pictures.
        train: Vec<SpecPath>,
        /// Files of the validation pictures.
        #[serde(default)]
        val: Vec<SpecPath>,
        /// Column of the pictures.
        #[serde(default = "image_column")]
        image: String,
        /// Column of the labels. Unlabeled if it is `~`, or if the files lack the default column; a column named here
        /// must exist.
        #[serde(default = "label_column")]
        label: Option<String>,
    },
    /// Parquet files in a dataset repository of the Hugging Face hub (feature `hub`).
    Hub {
        /// Repository, `OWNER/NAME`.
        repo: String,
        /// Branch, tag or commit; absent: the main branch.
        #[serde(default)]
        revision: Option<String>,
        /// Files of the training pictures, by their paths in the repository.
        train: Vec<String>,
        /// Files of the validation pictures.
        #[serde(default)]
        val: Vec<String>,
        /// Column of the pictures.
        #[serde(default = "image_column")]
        image: String,
        /// Column of the labels, as in `parquet`.
        #[serde(default = "label_column")]
        label: Option<String>,
    },
    /// Tar files as WebDataset writes them, of this machine, a web server, or an S3 store.
    Shards(ShardsSource),
    /// The original CIFAR-10 binary folder, through candle-datasets (feature `cifar`).
    CifarBinary {
        /// Folder of the binary files (`data_batch_1.bin`).
        dir: SpecPath,
    },
    /// The pictures of a PASCAL VOC devkit, without annotations.
    Voc(VocSource),
    /// Built-in scenes that the program draws: one of ten kinds of things on a background, labeled.
    Scenes {
        /// Number of training pictures.
        train: SceneCount,
        /// Number of validation pictures.
        val: SceneCount,
        /// Side of a picture in pixels.
        #[serde(default = "scene_size")]
        size: SceneSize,
        /// Seed of the scenes.
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
            Self::Shards(shards) => shards.paths(),
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
            Self::Shards(shards) => write!(f, "{}", shards.train.display()),
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

/// Pictures, and how they are loaded and cropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Where the pictures come from.
    pub source: SourceSpec,
    /// Name of the data set in tables, plots and published files; absent: that of its source.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "label")]
    #[schemars(extend("pattern" = r"\S"))]
    pub label: Option<String>,
    /// Short side in pixels after resizing; absent: as stored.
    #[serde(default)]
    pub resize: Option<Pixels>,
    /// Side of the square crop in pixels: at random in training, the center in validation.
    pub crop: Pixels,
    /// How training pictures are cropped; absent: a window of `crop` pixels at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_crop: Option<TrainCrop>,
    /// Mirror half of the training pictures.
    #[serde(default = "yes")]
    pub flip: bool,
    /// Use N pictures of a split, spread evenly over the source's order and always the same, for short runs.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Tolerated share of unreadable pictures.
    #[serde(default = "one_percent")]
    pub max_bad: Fraction,
    /// Decoding threads; absent: one per core.
    #[serde(default)]
    pub threads: Option<BatchSize>,
    /// Keep decoded pictures in memory, up to 1 GiB per split; does not change the batches.
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
            train_crop: None,
            flip: yes(),
            limit: None,
            max_bad: one_percent(),
            threads: None,
            cache: yes(),
        }
    }
}

/// Largest number of pictures of each split. In YAML: `limit: { train: 500 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Training pictures; absent: all.
    #[serde(default)]
    pub train: Option<Count>,
    /// Validation pictures; absent: all.
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

/// A name that can be seen.
fn label<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let label = Option::<String>::deserialize(from)?;
    match label.as_deref().map(str::trim) {
        Some("") => Err(D::Error::custom("expected a name of the data set, got an empty text")),
        _ => Ok(label),
    }
}

fn yes() -> bool {
    true
}
fn one_percent() -> Fraction {
    Fraction::of(0.01)
}

/// Folders of this machine. Set once by the command line.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    /// Local copies: `--data DIR`, else `HUERISTIC_DATA`, else none.
    pub data: Option<PathBuf>,
    /// What is kept of shards; None: the cache of the program.
    pub cache: Option<PathBuf>,
}
