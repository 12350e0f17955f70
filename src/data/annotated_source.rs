//! The spec of an annotated data set, and how it is opened.
//!
//! ```yaml
//! data:
//!   source: { voc: { devkit: VOCdevkit, year: 2007, train: trainval, val: test } }
//!   limit: { train: 500 }
//! ```

pub use super::voc::lists::Lists;
use super::{
    annotated::Annotated,
    annotated_view::AnnotatedView,
    catalog,
    dataset::Split,
    error::DataError,
    scenes::composite::{self, Composite},
    source::{Limit, Locations},
    voc::{set::Voc, source::VocSource},
};
use crate::bounded::{BatchSize, Count, Fraction, SceneCount, SceneSize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path, sync::Arc};

/// Where annotated pictures come from. In YAML: `source: { catalog: voc2007 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnnotatedSource {
    /// An annotated entry of the catalog of known data sets, by name, as in `catalog: voc2007`.
    Catalog(String),
    /// A PASCAL VOC devkit.
    Voc(VocSource),
    /// Built-in scenes with several objects, their boxes and masks, drawn by the program.
    Composite {
        /// Number of training pictures.
        train: SceneCount,
        /// Number of validation pictures.
        val: SceneCount,
        /// Side of a picture in pixels.
        #[serde(default = "composite_size")]
        size: SceneSize,
        /// Seed of the scenes.
        #[serde(default)]
        seed: u64,
    },
}

impl AnnotatedSource {
    /// The folders it refers to.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Voc(voc) => voc.paths(),
            Self::Catalog(_) | Self::Composite { .. } => vec![],
        }
    }
}

/// Name in messages: the catalog name or the path. Tables have [`AnnotatedSource::label`].
impl fmt::Display for AnnotatedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(name) => f.write_str(name),
            Self::Voc(voc) => voc.fmt(f),
            Self::Composite { .. } => f.write_str("composite scenes"),
        }
    }
}

/// Annotated pictures (boxes, masks, classes), and how they are loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Annotated data")]
pub struct AnnotatedSpec {
    /// Where the pictures and annotations come from.
    pub source: AnnotatedSource,
    /// Name of the data set in tables, plots and published files; absent: that of its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Use the first N pictures of a split, in the order of its list, for short runs.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Tolerated share of faulty pictures, which are skipped.
    #[serde(default = "one_percent")]
    pub max_bad: Fraction,
    /// Decoding threads; absent: one per core.
    #[serde(default)]
    pub threads: Option<BatchSize>,
    /// Keep decoded pictures in memory, up to 1 GiB per split.
    #[serde(default = "yes")]
    pub cache: bool,
}

impl AnnotatedSpec {
    /// A source with every other field at its default.
    pub fn new(source: AnnotatedSource) -> Self {
        Self { source, label: None, limit: None, max_bad: one_percent(), threads: None, cache: yes() }
    }
}

fn yes() -> bool {
    true
}
fn one_percent() -> Fraction {
    Fraction::of(0.01)
}
fn composite_size() -> SceneSize {
    Count::of(composite::SIZE)
}

/// Opens one split of an annotated source (its `limit` applied).
///
/// # Errors
/// A missing source, a missing or empty list, more than `max_bad` faulty images.
pub fn open(
    spec: &AnnotatedSpec,
    split: Split,
    lists: Lists,
    at: &Locations,
) -> Result<Arc<dyn Annotated>, DataError> {
    let voc = |source: &VocSource| Voc::open(source, split, lists, spec.max_bad.get());
    let set: Arc<dyn Annotated> = match &spec.source {
        AnnotatedSource::Catalog(name) => Arc::new(voc(&catalog::annotated(name, at)?)?),
        AnnotatedSource::Voc(source) => Arc::new(voc(source)?),
        AnnotatedSource::Composite { train, val, size, seed } => {
            let images = if split == Split::Train { train } else { val };
            Arc::new(Composite::new(images.get(), size.get(), *seed, split)?)
        }
    };
    Ok(Arc::new(AnnotatedView::new(set, spec.limit.and_then(|limit| limit.of(split)), spec.cache)))
}
