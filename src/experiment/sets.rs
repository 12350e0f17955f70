//! What a fit is trained and measured on: plain pictures or annotated ones, opened from what the spec says.

use crate::data::{
    annotated::Annotated,
    annotated_source::{self, AnnotatedSpec, Lists},
    labels::require,
    source::{self, DataSpec, Dataset, Locations, Split},
};
use anyhow::{Context, Result};
use std::{collections::BTreeMap, sync::Arc};

/// Two splits and how they are read.
#[derive(Clone)]
pub enum Sets {
    Plain(Plain),
    Annotated(AnnotatedSets),
}

/// Pictures with one label or none.
#[derive(Clone)]
pub struct Plain {
    pub spec: DataSpec,
    pub train: Arc<dyn Dataset>,
    pub val: Arc<dyn Dataset>,
}

/// Pictures with objects and masks.
#[derive(Clone)]
pub struct AnnotatedSets {
    pub spec: AnnotatedSpec,
    pub train: Arc<dyn Annotated>,
    pub val: Arc<dyn Annotated>,
}

impl Plain {
    /// How many classes the labels of both splits have.
    ///
    /// # Errors
    /// A split without labels, or with fewer than two classes.
    pub fn classes(&self) -> Result<usize> {
        let name = self.spec.source.to_string();
        let classes = require(&*self.train, &name, Split::Train.name())?;
        require(&*self.val, &name, Split::Val.name())?;
        Ok(classes)
    }
}

impl Sets {
    /// Opens plain pictures.
    pub fn plain(spec: Option<&DataSpec>, at: &Locations) -> Result<Self> {
        let spec = spec.context("no data: give `data:` to the stage or to the experiment")?.clone();
        let train = source::open(&spec, Split::Train, at)?;
        let val = source::open(&spec, Split::Val, at)?;
        Ok(Self::Plain(Plain { spec, train, val }))
    }

    /// Opens annotated pictures, in one of a devkit's two kinds of lists.
    pub fn annotated(spec: Option<&AnnotatedSpec>, lists: Lists, at: &Locations) -> Result<Self> {
        let spec = spec.context("no data: give `annotated:` to the stage or to the experiment")?.clone();
        let train = annotated_source::open(&spec, Split::Train, lists, at)?;
        let val = annotated_source::open(&spec, Split::Val, lists, at)?;
        Ok(Self::Annotated(AnnotatedSets { spec, train, val }))
    }

    /// The plain pictures.
    pub fn plain_sets(&self) -> Result<&Plain> {
        match self {
            Self::Plain(sets) => Ok(sets),
            Self::Annotated(_) => anyhow::bail!("this stage needs plain pictures: give `data:`"),
        }
    }

    /// The annotated pictures.
    pub fn annotated_sets(&self) -> Result<&AnnotatedSets> {
        match self {
            Self::Annotated(sets) => Ok(sets),
            Self::Plain(_) => anyhow::bail!("this stage needs boxes or masks: give `annotated:`"),
        }
    }

    /// The name that tables and messages give the set.
    pub fn name(&self) -> String {
        match self {
            Self::Plain(sets) => sets.spec.source.to_string(),
            Self::Annotated(sets) => sets.spec.source.to_string(),
        }
    }

    /// What identifies the content of the two splits.
    pub fn fingerprints(&self) -> BTreeMap<&'static str, String> {
        match self {
            Self::Plain(s) => [("train", s.train.fingerprint()), ("val", s.val.fingerprint())].into(),
            Self::Annotated(s) => [("train", s.train.fingerprint()), ("val", s.val.fingerprint())].into(),
        }
    }
}
