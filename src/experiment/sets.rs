//! Training and validation data of a fit, plain or annotated, opened as planned. Fits with the same data share the
//! opened sets.

use super::{
    faults::{all, both},
    plan::{DataSource, PicturePlan},
};
use crate::{
    bounded::Fraction,
    data::{
        annotated::{Annotated, Presence},
        annotated_source,
        dataset::Dataset,
        labels::require,
        open::open,
        source::{Locations, Split},
    },
};
use anyhow::{Result, bail, ensure};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Both splits, opened.
#[derive(Clone)]
pub enum DataSets {
    Plain(Splits<dyn Dataset>),
    Annotated(Splits<dyn Annotated>),
}

/// Training and validation set.
pub struct Splits<S: ?Sized> {
    pub train: Arc<S>,
    pub val: Arc<S>,
}

impl<S: ?Sized> Clone for Splits<S> {
    fn clone(&self) -> Self {
        Self { train: self.train.clone(), val: self.val.clone() }
    }
}

impl<S: ?Sized> Splits<S> {
    /// Opens both splits.
    fn open<E: Into<anyhow::Error>>(open: impl Fn(Split) -> Result<Arc<S>, E>) -> Result<Self> {
        let open = |split| open(split).map_err(Into::into);
        let (train, val) = both(open(Split::Train), open(Split::Val))?;
        Ok(Self { train, val })
    }

    /// Applies `check` to both splits and their names.
    ///
    /// # Errors
    /// Those of either split.
    pub fn check(&self, check: impl Fn(&Arc<S>, &str) -> Result<()>) -> Result<()> {
        let splits = [(&self.train, Split::Train), (&self.val, Split::Val)];
        all(splits.map(|(set, split)| check(set, split.name()))).map(drop)
    }
}

/// Cache of opened sets.
#[derive(Default)]
pub struct OpenedSets(Vec<(DataSource, DataSets)>);

impl OpenedSets {
    /// The sets of a plan.
    ///
    /// # Errors
    /// Data that cannot be opened; missing labels; labels that are not a class of the training split.
    pub fn sets(&mut self, pictures: &PicturePlan, at: &Locations) -> Result<DataSets> {
        let PicturePlan { source, labels, .. } = pictures;
        let known = self.0.iter().find(|(known, _)| known == source).map(|(_, sets)| sets.clone());
        let sets = match known {
            Some(sets) => sets,
            None => {
                let sets = DataSets::open(source, at)?;
                self.0.push((source.clone(), sets.clone()));
                sets
            }
        };
        if let (true, DataSets::Plain(pair)) = (*labels, &sets) {
            check_labels(pair, &source.to_string())?;
        }
        Ok(sets)
    }
}

/// Checks that both splits have valid labels.
fn check_labels(pair: &Splits<dyn Dataset>, name: &str) -> Result<()> {
    let (classes, _) = both(
        require(&*pair.train, name, Split::Train.name()).map_err(Into::into),
        require(&*pair.val, name, Split::Val.name()).map_err(Into::into),
    )?;
    pair.check(|set, split| {
        let strange = (0..set.len()).find(|i| set.label(*i).is_some_and(|label| label as usize >= classes));
        let Some(index) = strange else { return Ok(()) };
        bail!(
            "{}: label {} of the {split} images of {name} is not one of its {classes} classes, 0 to {}",
            set.name(index),
            set.label(index).unwrap_or_default(),
            classes - 1
        )
    })
}

impl DataSets {
    fn open(source: &DataSource, at: &Locations) -> Result<Self> {
        match source {
            DataSource::Plain(spec) => Ok(Self::Plain(Splits::open(|split| open(spec, split, at))?)),
            DataSource::Annotated(spec, lists) => {
                let open = |split| annotated_source::open(spec, split, *lists, at);
                Ok(Self::Annotated(Splits::open(open)?))
            }
        }
    }

    /// The plain pictures.
    pub fn plain(&self) -> Result<&Splits<dyn Dataset>> {
        match self {
            Self::Plain(pair) => Ok(pair),
            Self::Annotated(_) => bail!("this stage needs plain pictures: give `data:`"),
        }
    }

    /// The annotated pictures.
    pub fn annotated(&self) -> Result<&Splits<dyn Annotated>> {
        match self {
            Self::Annotated(pair) => Ok(pair),
            Self::Plain(_) => bail!("this stage needs boxes or masks: give `annotated:`"),
        }
    }

    /// One of the splits, as pictures.
    pub fn split(&self, split: Split) -> Arc<dyn Dataset> {
        match (self, split) {
            (Self::Plain(pair), Split::Train) => pair.train.clone(),
            (Self::Plain(pair), Split::Val) => pair.val.clone(),
            (Self::Annotated(pair), Split::Train) => pair.train.clone(),
            (Self::Annotated(pair), Split::Val) => pair.val.clone(),
        }
    }

    /// Number of classes in the training split.
    pub fn classes(&self) -> usize {
        self.split(Split::Train).classes().len()
    }

    /// Height and width of the first training picture, if known without decoding it.
    pub fn first_size(&self) -> Option<(usize, usize)> {
        match self {
            Self::Annotated(pair) if !pair.train.is_empty() => {
                let (width, height) = pair.train.size(0);
                Some((height, width))
            }
            _ => None,
        }
    }

    /// Fingerprints of the contents of both splits.
    pub fn fingerprints(&self) -> BTreeMap<String, String> {
        [Split::Train, Split::Val].map(|split| (split.name().into(), self.split(split).fingerprint())).into()
    }
}

/// Checks that both splits of annotated pictures contain objects.
///
/// # Errors
/// A split without objects.
pub fn check_objects(pair: &Splits<dyn Annotated>, name: &str) -> Result<()> {
    pair.check(|set, split| {
        let shown = (0..set.len()).any(|i| set.presence(i).contains(&Presence::Present));
        ensure!(
            shown,
            "the {split} pictures of {name} show no object that counts: look at its lists and annotations, or raise \
             `limit`"
        );
        Ok(())
    })
}

/// Checks that both splits of annotated pictures have masks that contain classes.
///
/// # Errors
/// A split without such masks; an unreadable mask.
pub fn check_masks(pair: &Splits<dyn Annotated>, name: &str) -> Result<()> {
    pair.check(|set, split| {
        let classes = 1..=set.classes().len();
        let named = |label: &u8| classes.contains(&usize::from(*label));
        let shown = (0..set.len())
            .any(|i| set.mask(i).ok().flatten().is_some_and(|mask| mask.labels.iter().any(named)));
        ensure!(
            shown,
            "no mask of the {split} pictures of {name} names a class: give a set with masks, or raise `limit`"
        );
        Ok(())
    })
}

/// Name of the data in messages.
impl std::fmt::Display for DataSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(spec) => spec.source.fmt(f),
            Self::Annotated(spec, _) => spec.source.fmt(f),
        }
    }
}

impl DataSource {
    /// Name of the data set in tables, plots and published files.
    pub fn label(&self) -> String {
        let (label, source) = match self {
            Self::Plain(spec) => (&spec.label, spec.source.label()),
            Self::Annotated(spec, _) => (&spec.label, spec.source.label()),
        };
        label.clone().unwrap_or(source)
    }

    /// Files and folders of the source.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Plain(spec) => spec.source.paths(),
            Self::Annotated(spec, _) => spec.source.paths(),
        }
    }

    /// Tolerated share of unreadable pictures.
    pub fn max_bad(&mut self) -> &mut Fraction {
        match self {
            Self::Plain(spec) => &mut spec.max_bad,
            Self::Annotated(spec, _) => &mut spec.max_bad,
        }
    }

    /// That share, and the number of decoding threads.
    pub fn reading_options(&self) -> (f64, Option<usize>) {
        let (max_bad, threads) = match self {
            Self::Plain(spec) => (spec.max_bad, spec.threads),
            Self::Annotated(spec, _) => (spec.max_bad, spec.threads),
        };
        (max_bad.get(), threads.map(|n| n.get()))
    }
}
