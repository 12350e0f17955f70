//! Threads decode, resize and frame ahead of the step; columns are cut and pictures mirrored where the batch is written
//! (`destination`). Order and augmentation are functions of (seed, epoch, index).
//!
//! An epoch's order is a shuffle drawn from `rng.split("shuffle")` at (epoch, 0); an image's crop and mirror are
//! drawn from `rng.split("augment")` at (epoch, its index). So the batches are the same for any number of threads,
//! and any [`Position`] can be taken up without running there. At least three batches are kept ready.
//!
//! An image that cannot be read is named and counted once. In training the next readable one in the set's own order
//! takes its place; in a single pass it is left out, so that a batch may come short and no image counts twice.

pub use super::pass::Pass;
use super::{
    Batch,
    dataset::Dataset,
    destination::Destination,
    error::DataError,
    framing::Framing,
    source::DataSpec,
    worker::{Done, Job, Part, Plan, Ticket, work},
};
use crate::rng::Rng;
use candle_core::{Device, Tensor};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Batches that are kept ready or in the making, at the least.
const AHEAD: usize = 3;
/// Parts of batches per thread that are kept ready or in the making, at the least.
const PARTS_PER_THREAD: usize = 2;

/// How pictures become batches, beside their framing.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    pub batch: usize,
    pub pass: Pass,
    /// Mirror half of the pictures, where the pass augments.
    pub flip: bool,
    /// Share of unreadable images that is tolerated.
    pub max_bad: f64,
    /// Decoding threads; None: one for each core.
    pub threads: Option<usize>,
}

/// Where a training loader is: everything needed to continue bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    pub batch: u64,
}

/// Batches of one data set. Dropping it ends its threads.
pub struct Loader {
    plan: Arc<Plan>,
    max_bad: f64,
    batch: usize,
    to: Destination,
    shuffle: Rng,
    /// the next batch that the caller gets
    position: Position,
    /// the next batch that the threads get
    ahead: Position,
    generation: u64,
    /// an epoch and its order; empty before the first
    order: (u64, Vec<usize>),
    ready: HashMap<Ticket, Part>,
    faults: BTreeMap<usize, String>,
    enlarged: HashSet<usize>,
    waited: Duration,
    crew: Crew,
}

impl Loader {
    /// `batch` images a step, cropped as `spec` says, on `device`; threads start at once, decoding at the first
    /// [`next_batch`](Self::next_batch).
    ///
    /// Errors: empty set, batch larger than the set (training), a crop larger than the resized short side. An image
    /// smaller than the crop is scaled up and counted.
    pub fn new(
        set: Arc<dyn Dataset>,
        spec: &DataSpec,
        pass: Pass,
        batch: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self, DataError> {
        let (flip, max_bad, threads) = (spec.flip, spec.max_bad.get(), spec.threads.map(|n| n.get()));
        let feed = Feed { batch, pass, flip, max_bad, threads };
        Self::framed(set, Framing::of(spec)?, feed, rng, device)
    }

    /// The same for pictures that are framed in another way.
    ///
    /// Errors: empty set, batch larger than the set (training).
    pub fn framed(
        set: Arc<dyn Dataset>,
        framing: Framing,
        feed: Feed,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self, DataError> {
        let len = set.len();
        let Feed { batch, pass, flip, max_bad, threads } = feed;
        check(len, pass, batch)?;
        let plan = Arc::new(Plan {
            set,
            pass,
            framing,
            flip,
            allowed: (max_bad * len as f64) as usize,
            augment: rng.split("augment"),
            stop: AtomicBool::new(false),
        });
        let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        Ok(Self {
            crew: Crew::new(&plan, threads)?,
            plan,
            max_bad,
            batch,
            to: Destination::new(device)?,
            shuffle: rng.split("shuffle"),
            position: Position::default(),
            ahead: Position::default(),
            generation: 0,
            order: (0, Vec::new()),
            ready: HashMap::new(),
            faults: BTreeMap::new(),
            enlarged: HashSet::new(),
            waited: Duration::ZERO,
        })
    }

    /// The next batch; None at the end of a pass in order (`rewind` starts it again).
    ///
    /// Errors: more unreadable images than the spec tolerates (and again at every call from then on).
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DataError> {
        loop {
            self.check_faults()?;
            if self.ended(self.position) {
                return Ok(None);
            }
            self.issue();
            let part = self.collect()?;
            self.position = self.after(self.position);
            self.count(&part);
            self.check_faults()?;
            if !part.indices.is_empty() {
                return self.batch_of(part).map(Some);
            }
        }
    }

    /// Back to the first batch.
    pub fn rewind(&mut self) {
        self.seek(Position::default());
    }

    /// The position of the batch that comes next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Continues at `to` as if every batch before it had been taken.
    pub fn seek(&mut self, to: Position) {
        let per_epoch = self.batches_per_epoch() as u64;
        self.position = match self.plan.pass {
            Pass::Train | Pass::Shuffled => {
                Position { epoch: to.epoch + to.batch / per_epoch, batch: to.batch % per_epoch }
            }
            Pass::Once => Position { epoch: 0, batch: to.batch.min(per_epoch) },
            Pass::Draw => Position { epoch: to.epoch, batch: to.batch.min(per_epoch) },
        };
        self.ahead = self.position;
        self.generation += 1;
        self.ready.clear();
        self.crew.forget();
    }

    /// Whole batches in training; in a `Once` pass also the last, short one.
    pub fn batches_per_epoch(&self) -> usize {
        let len = self.plan.set.len();
        match self.plan.pass {
            Pass::Train | Pass::Shuffled => len / self.batch,
            Pass::Once | Pass::Draw => len.div_ceil(self.batch),
        }
    }

    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.plan.set
    }

    /// Time spent waiting for decoders since the last call.
    pub fn take_wait(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Unreadable images so far, by name and reason (each counted once), in the set's order.
    pub fn faults(&self) -> Vec<(String, String)> {
        self.faults.iter().map(|(&index, reason)| (self.plan.set.name(index), reason.clone())).collect()
    }

    /// How many images so far were smaller than the crop and were scaled up (each counted once).
    pub fn enlarged(&self) -> usize {
        self.enlarged.len()
    }

    fn ended(&self, at: Position) -> bool {
        self.plan.pass.ends() && at.batch >= self.batches_per_epoch() as u64
    }

    fn after(&self, at: Position) -> Position {
        let next = Position { batch: at.batch + 1, ..at };
        if !self.plan.pass.ends() && next.batch >= self.batches_per_epoch() as u64 {
            return Position { epoch: at.epoch + 1, batch: 0 };
        }
        next
    }

    /// Batches between the caller and the threads.
    fn in_flight(&self) -> usize {
        let per_epoch = self.batches_per_epoch() as u64;
        let index = |at: Position| at.epoch * per_epoch + at.batch;
        (index(self.ahead) - index(self.position)) as usize
    }

    /// Images in one part: a batch is spread over all threads.
    fn part_len(&self) -> usize {
        self.batch.div_ceil(self.crew.threads.len())
    }

    /// Images in the batch at `at` (the last of a `Once` pass may be short).
    fn batch_len(&self, at: Position) -> usize {
        self.batch.min(self.plan.set.len() - at.batch as usize * self.batch)
    }

    fn parts(&self, at: Position) -> usize {
        self.batch_len(at).div_ceil(self.part_len())
    }

    /// Hands the threads work until enough batches are under way.
    fn issue(&mut self) {
        let part_len = self.part_len();
        let parts = self.batch.div_ceil(part_len);
        let enough = AHEAD.max((PARTS_PER_THREAD * self.crew.threads.len()).div_ceil(parts));
        while self.in_flight() < enough && !self.ended(self.ahead) {
            let Position { epoch, batch } = self.ahead;
            self.draw_order(epoch);
            let start = batch as usize * self.batch;
            let indices = &self.order.1[start..start + self.batch_len(self.ahead)];
            for (part, indices) in indices.chunks(part_len).enumerate() {
                let ticket = Ticket { generation: self.generation, epoch, batch, part };
                self.crew.send(Job { ticket, indices: indices.to_vec() });
            }
            self.ahead = self.after(self.ahead);
        }
    }

    /// Makes `order` the order of `epoch`.
    fn draw_order(&mut self, epoch: u64) {
        if self.order.0 == epoch && !self.order.1.is_empty() {
            return;
        }
        let mut order: Vec<usize> = (0..self.plan.set.len()).collect();
        if !self.plan.pass.ends() {
            order.shuffle(&mut self.shuffle.at(epoch, 0));
        }
        self.order = (epoch, order);
    }

    /// Waits for every part of the batch at `position` and joins them.
    fn collect(&mut self) -> Result<Part, DataError> {
        let Position { epoch, batch } = self.position;
        let ticket = |part| Ticket { generation: self.generation, epoch, batch, part };
        let tickets: Vec<Ticket> = (0..self.parts(self.position)).map(ticket).collect();
        let start = Instant::now();
        let mut whole = Part::default();
        for ticket in tickets {
            whole.append(self.wait_for(ticket)?);
        }
        self.waited += start.elapsed();
        Ok(whole)
    }

    fn wait_for(&mut self, ticket: Ticket) -> Result<Part, DataError> {
        loop {
            if let Some(part) = self.ready.remove(&ticket) {
                return Ok(part);
            }
            let (arrived, part) = self.crew.done.recv().map_err(|e| DataError::Worker(e.to_string()))?;
            if arrived.generation == self.generation {
                self.ready.insert(arrived, part.map_err(DataError::Worker)?);
            }
        }
    }

    /// Takes note of unreadable and of small images; each is warned of once.
    fn count(&mut self, part: &Part) {
        for (index, reason) in &part.faults {
            if !self.faults.contains_key(index) {
                tracing::warn!("{}: {reason}; skipped", self.plan.set.name(*index));
                self.faults.insert(*index, reason.clone());
            }
        }
        if self.enlarged.is_empty() && !part.enlarged.is_empty() {
            let (name, crop) = (self.plan.set.name(part.enlarged[0]), self.plan.framing.side());
            tracing::warn!("{name} is smaller than the crop of {crop} and is scaled up, as others may be");
        }
        self.enlarged.extend(&part.enlarged);
    }

    fn check_faults(&self) -> Result<(), DataError> {
        let (bad, len) = (self.faults.len(), self.plan.set.len());
        if bad <= self.plan.allowed && bad < len {
            return Ok(());
        }
        Err(DataError::TooManyBad { bad, len, allowed: self.max_bad, first: self.faults() })
    }

    fn batch_of(&mut self, part: Part) -> Result<Batch, DataError> {
        let labels: Option<Vec<u32>> = part.indices.iter().map(|&i| self.plan.set.label(i)).collect();
        let labels = labels.map(|labels| Tensor::from_vec(labels, part.indices.len(), self.to.device()));
        Ok(Batch {
            pixels: self.to.send(&part.images)?,
            labels: labels.transpose()?,
            indices: part.indices,
            frames: part.images.iter().map(|image| image.frame).collect(),
        })
    }
}

/// What can be refused before a thread starts.
fn check(len: usize, pass: Pass, batch: usize) -> Result<(), DataError> {
    if len == 0 || batch == 0 {
        return Err(DataError::Spec(format!(
            "a batch of {batch} from a data set of {len} images; both must be at least 1"
        )));
    }
    if !pass.ends() && batch > len {
        return Err(DataError::BatchTooLarge { batch, len });
    }
    Ok(())
}

/// The threads, and the two queues between them and the loader.
struct Crew {
    plan: Arc<Plan>,
    threads: Vec<JoinHandle<()>>,
    jobs: Option<Sender<Job>>,
    /// the threads' end of `jobs`, to take back what no thread has begun
    queue: Receiver<Job>,
    done: Receiver<Done>,
}

impl Crew {
    fn new(plan: &Arc<Plan>, threads: usize) -> Result<Self, DataError> {
        let (jobs, queue) = unbounded();
        let (report, done) = unbounded();
        let mut crew = Self { plan: plan.clone(), threads: Vec::new(), jobs: Some(jobs), queue, done };
        for n in 0..threads {
            let (plan, queue, report) = (plan.clone(), crew.queue.clone(), report.clone());
            let thread = thread::Builder::new().name(format!("decode-{n}"));
            let thread = thread.spawn(move || work(&plan, &queue, &report));
            crew.threads.push(thread.map_err(|e| DataError::Worker(format!("cannot start: {e}")))?);
        }
        Ok(crew)
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It fails only when every thread is gone; waiting for the part then says so.
            let _ = jobs.send(job);
        }
    }

    /// Drops every job that no thread has begun.
    fn forget(&self) {
        while self.queue.try_recv().is_ok() {}
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.plan.stop.store(true, Relaxed);
        self.jobs = None;
        self.forget();
        for thread in self.threads.drain(..) {
            // a panic was already reported through its part
            let _ = thread.join();
        }
    }
}
