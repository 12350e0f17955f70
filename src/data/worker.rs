//! The loader's threads. Each takes parts of batches from a queue, decodes, resizes and frames their images, and sends
//! the bytes back; what a part holds depends on the part alone, never on the thread or the moment.

use super::{
    dataset::Dataset,
    error::DataError,
    framing::{Framed, Framing},
    pass::Pass,
};
use crate::rng::Rng;
use crossbeam_channel::{Receiver, Sender};
use fast_image_resize::Resizer;
use rand_chacha::ChaCha8Rng;
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
    pub framing: Framing,
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
    /// one for each index
    pub images: Vec<Framed>,
    pub indices: Vec<usize>,
    /// unreadable images met on the way: index, reason
    pub faults: Vec<(usize, String)>,
    /// images smaller than the crop, scaled up
    pub enlarged: Vec<usize>,
}

impl Part {
    /// Joins the next part of the same batch.
    pub fn append(&mut self, mut next: Self) {
        self.images.append(&mut next.images);
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
        let tries = if self.pass.ends() { 1 } else { len.min(self.allowed + 1) };
        for step in 0..tries {
            let candidate = (index + step) % len;
            // The crop belongs to the place in the epoch (`index` as drawn), not to the substitute.
            let rng = self.pass.augments().then(|| self.augment.at(epoch, index as u64));
            match self.load(candidate, rng, resizer, &mut part.enlarged) {
                Ok(image) => {
                    part.images.push(image);
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
        rng: Option<ChaCha8Rng>,
        resizer: &mut Resizer,
        enlarged: &mut Vec<usize>,
    ) -> Result<Framed, DataError> {
        let image = self.set.image(index)?;
        if image.width.min(image.height) < self.framing.side() {
            enlarged.push(index);
        }
        let framed = self.framing.frame(image, self.flip, rng, resizer);
        framed.map_err(|reason| DataError::Image { name: self.set.name(index), reason })
    }
}

/// The reason alone: the loader keeps the name beside it.
fn reason(error: DataError) -> String {
    match error {
        DataError::Image { reason, .. } => reason,
        other => other.to_string(),
    }
}
