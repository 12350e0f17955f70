//! Threads decode, resize, crop and flip ahead of the step. Order and augmentation are functions of (seed, epoch, index).
use super::{
    Batch,
    source::{DataError, DataSpec, Dataset},
};
use crate::rng::Rng;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// Shuffled random crops without end, or one pass of centre crops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// shuffled, augmented, epoch after epoch; the last short batch of an epoch is dropped
    Train,
    /// in order, centre crop, no flip, once; the last batch may be short
    Once,
}
/// Where a training loader is: everything needed to continue bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    pub batch: u64,
}

pub struct Loader {/* … */}
impl Loader {
    /// Errors: empty set, batch larger than the set (training), image smaller than the crop is resized up and counted.
    pub fn new(
        set: Arc<dyn Dataset>,
        spec: &DataSpec,
        pass: Pass,
        batch: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self, DataError> {
        let _ = (set, spec, pass, batch, rng, device);
        todo!()
    }
    /// The next batch; None at the end of a `Once` pass (`rewind` starts it again).
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DataError> {
        todo!()
    }
    pub fn rewind(&mut self) {
        todo!()
    }
    pub fn position(&self) -> Position {
        todo!()
    }
    pub fn seek(&mut self, to: Position) {
        let _ = to;
        todo!()
    }
    pub fn batches_per_epoch(&self) -> usize {
        todo!()
    }
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        todo!()
    }
    /// Time spent waiting for decoders since the last call.
    pub fn take_wait(&mut self) -> Duration {
        todo!()
    }
    /// Unreadable images so far, by name and reason (each counted once); a bad image is replaced by the next good one, deterministically.
    pub fn faults(&self) -> Vec<(String, String)> {
        todo!()
    }
}
