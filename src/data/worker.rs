//! The loader's threads. Each takes parts of batches from a queue, decodes, resizes, crops and mirrors their images,
//! and sends the bytes back; what a part holds depends on the part alone, never on the thread or the moment.

use super::{
    error::DataError,
    loader::Pass,
    source::{Dataset, RgbImage},
    transforms::{self, Window},
};
use crate::rng::Rng;
use crossbeam_channel::{Receiver, Sender};
use fast_image_resize::Resizer;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Everything the threads share and never change.
pub(super) struct Plan {
    pub set: Arc<dyn Dataset>,
    pub pass: Pass,
    pub resize: Option<usize>,
    pub crop: usize,
    pub flip: bool,
    /// unreadable images that are tolerated in the whole set
    pub allowed: usize,
    pub augment: Rng,
    pub stop: AtomicBool,
}

/// Names one part of one batch. `generation` grows with every seek, so that late parts are known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    pub generation: u64,
    pub epoch: u64,
    pub batch: u64,
    pub part: usize,
}

pub(super) struct Job {
    pub ticket: Ticket,
    pub indices: Vec<usize>,
}

/// A part of a batch. `Err` when a thread panicked.
pub(super) type Done = (Ticket, Result<Part, String>);

#[derive(Default)]
pub(super) struct Part {
    /// `(len(indices), crop, crop, 3)`
    pub pixels: Vec<u8>,
    pub indices: Vec<usize>,
    /// unreadable images met on the way: index, reason
    pub faults: Vec<(usize, String)>,
    /// images smaller than the crop, scaled up
    pub enlarged: Vec<usize>,
}

impl Part {
    /// Joins the next part of the same batch.
    pub fn append(&mut self, mut next: Self) {
        if self.pixels.is_empty() {
            self.pixels = next.pixels;
        } else {
            self.pixels.append(&mut next.pixels);
        }
        self.indices.append(&mut next.indices);
        self.faults.append(&mut next.faults);
        self.enlarged.append(&mut next.enlarged);
    }
}

/// Works until the queue closes or `stop` is set.
pub(super) fn work(plan: &Plan, jobs: &Receiver<Job>, done: &Sender<Done>) {
    let mut resizer = Resizer::new();
    for job in jobs {
        if plan.stop.load(Relaxed) {
            return;
        }
        // A part that never comes back would leave the loader waiting for ever.
        let part = catch_unwind(AssertUnwindSafe(|| plan.part(&job, &mut resizer)));
        let part = part.map_err(|panic| match panic.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => (*panic.downcast_ref::<&str>().unwrap_or(&"panic")).to_owned(),
        });
        if done.send((job.ticket, part)).is_err() {
            return;
        }
    }
}

impl Plan {
    fn part(&self, job: &Job, resizer: &mut Resizer) -> Part {
        let mut part = Part::default();
        part.pixels.reserve_exact(job.indices.len() * 3 * self.crop * self.crop);
        for &index in &job.indices {
            if self.stop.load(Relaxed) {
                break;
            }
            self.add(index, job.ticket.epoch, &mut part, resizer);
        }
        part
    }

    /// Adds image `index`; in training the next good one after a bad one, otherwise nothing for a bad one.
    fn add(&self, index: usize, epoch: u64, part: &mut Part, resizer: &mut Resizer) {
        let len = self.set.len();
        let tries = if self.pass != Pass::Once { len.min(self.allowed + 1) } else { 1 };
        for step in 0..tries {
            let candidate = (index + step) % len;
            match self.load(candidate, resizer, &mut part.enlarged) {
                Ok(image) => {
                    self.place(&image, epoch, index, &mut part.pixels);
                    part.indices.push(candidate);
                    return;
                }
                Err(error) => part.faults.push((candidate, reason(error))),
            }
        }
    }

    fn load(
        &self,
        index: usize,
        resizer: &mut Resizer,
        enlarged: &mut Vec<usize>,
    ) -> Result<RgbImage, DataError> {
        let unfit = |e: transforms::Unresizable| DataError::Image {
            name: self.set.name(index),
            reason: e.to_string(),
        };
        let mut image = self.set.image(index)?;
        if image.width.min(image.height) < self.crop {
            enlarged.push(index);
        }
        if let Some(short) = self.resize {
            image = transforms::resize(image, short, resizer).map_err(unfit)?;
        }
        if image.width.min(image.height) < self.crop {
            image = transforms::resize(image, self.crop, resizer).map_err(unfit)?;
        }
        Ok(image)
    }

    /// Crops into the part. The crop belongs to the place in the epoch (`index` as drawn), not to the substitute.
    fn place(&self, image: &RgbImage, epoch: u64, index: usize, pixels: &mut Vec<u8>) {
        let window = match self.pass {
            Pass::Once | Pass::Shuffled => Window::centre(image.width, image.height, self.crop),
            Pass::Train => {
                let mut rng = self.augment.at(epoch, index as u64);
                Window::random(image.width, image.height, self.crop, self.flip, &mut rng)
            }
        };
        let start = pixels.len();
        pixels.resize(start + 3 * self.crop * self.crop, 0);
        transforms::crop_into(image, window, self.crop, &mut pixels[start..]);
    }
}

/// The reason alone: the loader keeps the name beside it.
fn reason(error: DataError) -> String {
    match error {
        DataError::Image { reason, .. } => reason,
        other => other.to_string(),
    }
}
