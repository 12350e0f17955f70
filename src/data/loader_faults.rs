//! What a loader finds wrong with its images: those that cannot be read, and those that are smaller than the crop.

use super::{
    dataset::Dataset,
    error::DataError,
    worker::{Fault, Shard},
};
use crate::bounded::part_of;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{LazyLock, Mutex},
};

/// The faults of a loader's images, each counted once.
pub(super) struct LoaderFaults {
    /// Tolerated fraction of unreadable images.
    max_bad: f64,
    allowed: usize,
    unreadable: BTreeMap<usize, String>,
    /// Those that no peer knows of yet.
    new: Vec<(usize, Fault)>,
    /// Faults of whole files that were reported.
    told: HashSet<String>,
    upscaled: HashSet<usize>,
}

impl LoaderFaults {
    /// None yet, in a data set of `len` images.
    pub fn new(max_bad: f64, len: usize) -> Self {
        Self {
            max_bad,
            allowed: part_of(max_bad, len),
            unreadable: BTreeMap::new(),
            new: vec![],
            told: HashSet::new(),
            upscaled: HashSet::new(),
        }
    }

    /// Records those of a shard of images cropped to `crop`.
    pub fn count(&mut self, shard: &mut Shard, set: &dyn Dataset, crop: usize) {
        let new = self.note(std::mem::take(&mut shard.faults), set);
        self.new.extend(new);
        if let (true, Some(first)) = (self.upscaled.is_empty(), shard.upscaled.first())
            && is_first((set.name(0), crop))
        {
            let name = set.name(*first);
            tracing::warn!("{name} is smaller than the crop of {crop} and is scaled up, as others may be");
        }
        self.upscaled.extend(&shard.upscaled);
    }

    /// Records unreadable images, and warns once about each; returns those that were not known.
    pub fn note(&mut self, mut faults: Vec<(usize, Fault)>, set: &dyn Dataset) -> Vec<(usize, Fault)> {
        faults.retain(|(index, Fault { reason, is_of_file })| {
            if self.unreadable.contains_key(index) {
                return false;
            }
            if !is_of_file {
                tracing::warn!("{}: {reason}; skipped", set.name(*index));
            } else if self.told.insert(reason.clone()) {
                tracing::warn!("{reason}; its images are skipped");
            }
            self.unreadable.insert(*index, reason.clone());
            true
        });
        faults
    }

    /// # Errors
    /// More unreadable images than are tolerated, or no readable one.
    pub fn check(&self, set: &dyn Dataset) -> Result<(), DataError> {
        let (bad, len) = (self.unreadable.len(), set.len());
        if bad <= self.allowed && bad < len {
            return Ok(());
        }
        Err(DataError::TooManyBad { bad, len, allowed: self.max_bad, first: self.named(set) })
    }

    /// Those that were found since the last call.
    pub fn take_new(&mut self) -> Vec<(usize, Fault)> {
        std::mem::take(&mut self.new)
    }

    /// Unreadable images by name and reason, in the set's order.
    pub fn named(&self, set: &dyn Dataset) -> Vec<(String, String)> {
        self.unreadable.iter().map(|(&index, reason)| (set.name(index), reason.clone())).collect()
    }

    /// How many images were smaller than the crop.
    pub fn upscaled(&self) -> usize {
        self.upscaled.len()
    }
}

/// Whether no loader of the process has warned of upscaled images yet in the data set with this first image, for this crop:
/// every stage has loaders of its own.
fn is_first(set_and_crop: (String, usize)) -> bool {
    static TOLD: LazyLock<Mutex<HashSet<(String, usize)>>> = LazyLock::new(Mutex::default);
    TOLD.lock().is_ok_and(|mut told| told.insert(set_and_crop))
}
