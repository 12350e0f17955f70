//! The loader's worker threads. Each takes shards of batches from a queue, decodes, resizes and crops their images,
//! and sends the bytes back. The content of a shard depends only on its id, not on the thread or on timing.

use super::{
    crop_policy::{CropPolicy, CroppedImage},
    dataset::Dataset,
    error::DataError,
    pass::Pass,
};
use crate::rng::Rng;
use crossbeam_channel::{Receiver, Sender};
use fast_image_resize::Resizer;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Immutable state shared by the worker threads.
pub(super) struct WorkerContext {
    pub set: Arc<dyn Dataset>,
    pub pass: Pass,
    pub policy: CropPolicy,
    pub flip: bool,
    /// unreadable images that are tolerated in the whole set
    pub allowed: usize,
    pub augment: Rng,
    pub stop: AtomicBool,
}

/// Identifies one shard of one batch. `generation` increases with every seek, so that stale shards can be discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ShardId {
    pub generation: u64,
    pub epoch: u64,
    pub batch: u64,
    pub shard: usize,
}

pub(super) struct ShardJob {
    pub id: ShardId,
    pub indices: Vec<usize>,
}

/// A finished shard; `Err` if its thread panicked.
pub(super) type ShardResult = (ShardId, Result<Shard, String>);

/// Why an image cannot be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub reason: String,
    /// Whether the reason names a file of many images, for all of which it is the same.
    pub is_of_file: bool,
}

#[derive(Default)]
pub(super) struct Shard {
    /// one for each index
    pub images: Vec<CroppedImage>,
    pub indices: Vec<usize>,
    /// unreadable images encountered, by index
    pub faults: Vec<(usize, Fault)>,
    /// images smaller than the crop, scaled up
    pub upscaled: Vec<usize>,
}

impl Shard {
    /// Joins the next shard of the same batch.
    pub fn append(&mut self, mut next: Self) {
        self.images.append(&mut next.images);
        self.indices.append(&mut next.indices);
        self.faults.append(&mut next.faults);
        self.upscaled.append(&mut next.upscaled);
    }
}

/// Runs until the queue closes or `stop` is set.
pub(super) fn run_worker(context: &WorkerContext, jobs: &Receiver<ShardJob>, done: &Sender<ShardResult>) {
    let mut resizer = Resizer::new();
    for job in jobs {
        if context.stop.load(Relaxed) {
            return;
        }
        // A lost shard would block the loader forever, so a panic is reported as its result.
        let shard = catch_unwind(AssertUnwindSafe(|| context.shard(&job, &mut resizer)));
        let shard = shard.map_err(|panic| match panic.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => (*panic.downcast_ref::<&str>().unwrap_or(&"panic")).to_owned(),
        });
        if done.send((job.id, shard)).is_err() {
            return;
        }
    }
}

impl WorkerContext {
    fn shard(&self, job: &ShardJob, resizer: &mut Resizer) -> Shard {
        let mut shard = Shard::default();
        for &index in &job.indices {
            if self.stop.load(Relaxed) {
                break;
            }
            self.add(index, job.id.epoch, &mut shard, resizer);
        }
        shard
    }

    /// Appends image `index`. If it is unreadable, training substitutes the next readable one; other passes skip it.
    fn add(&self, index: usize, epoch: u64, shard: &mut Shard, resizer: &mut Resizer) {
        let len = self.set.len();
        let tries = if self.pass.ends() { 1 } else { len.min(self.allowed + 1) };
        for step in 0..tries {
            let candidate = (index + step) % len;
            // The crop is seeded by the drawn `index`, not by the substitute's.
            let rng = self.pass.augments().then(|| self.augment.at(epoch, index as u64));
            match self.load(candidate, rng, resizer, &mut shard.upscaled) {
                Ok(image) => {
                    shard.images.push(image);
                    shard.indices.push(candidate);
                    return;
                }
                Err(error) => shard.faults.push((candidate, error.into())),
            }
        }
    }

    fn load(
        &self,
        index: usize,
        rng: Option<ChaCha8Rng>,
        resizer: &mut Resizer,
        upscaled: &mut Vec<usize>,
    ) -> Result<CroppedImage, DataError> {
        let image = self.set.image(index)?;
        if image.width.min(image.height) < self.policy.side() {
            upscaled.push(index);
        }
        let cropped = self.policy.apply(image, self.flip, rng, resizer);
        cropped.map_err(|reason| DataError::Image { name: self.set.name(index), reason })
    }
}

/// The reason is without the name of the image, which the loader knows.
impl From<DataError> for Fault {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Image { reason, .. } => Self { reason, is_of_file: false },
            DataError::Shard { .. } => Self { reason: error.to_string(), is_of_file: true },
            other => Self { reason: other.to_string(), is_of_file: false },
        }
    }
}
