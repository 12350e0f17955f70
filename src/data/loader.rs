//! Worker threads decode, resize and crop rows ahead of the training step; columns are cropped and images flipped
//! when the batch is written (`destination`). Order and augmentation are functions of (seed, epoch, index).
//!
//! An epoch's order is a shuffle from `rng.split("shuffle")` at (epoch, 0), of the whole set or by its
//! [layout](Dataset::layout); an image's crop and flip come from
//! `rng.split("augment")` at (epoch, image index). So batches are identical for any number of threads, and the loader
//! can seek to any [`Position`] directly. At least three batches are prefetched.
//!
//! An unreadable image is reported and counted once. In training the next readable image in data set order replaces
//! it; in a single pass it is skipped, so a batch may be short and no image counts twice.

pub use super::pass::Pass;
use super::{
    Batch,
    crop_policy::CropPolicy,
    dataset::Dataset,
    destination::Destination,
    error::DataError,
    source::DataSpec,
    worker::{Fault, Shard, ShardId, ShardJob, ShardResult, WorkerContext, run_worker},
};
use crate::{bounded::part_of, progress::Progress, rng::Rng};
use candle_core::{Device, Tensor};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Minimum number of batches in flight.
const AHEAD: usize = 3;
/// Minimum number of shards in flight per thread.
const SHARDS_PER_THREAD: usize = 2;

/// Options of a loader, apart from the crop policy.
#[derive(Clone, Copy, Debug)]
pub struct LoaderOptions {
    pub batch: usize,
    pub pass: Pass,
    /// Flip half of the images horizontally, in passes that augment.
    pub flip: bool,
    /// Tolerated fraction of unreadable images.
    pub max_bad: f64,
    /// Decoding threads; None: one for each core.
    pub threads: Option<usize>,
}

/// Position of a loader: all the state needed to resume bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    pub batch: u64,
}

/// Which of a common order of batches are a loader's own.
#[derive(Clone, Copy, Debug)]
struct LoaderShare {
    first: usize,
    of: usize,
}

/// An iterator over the batches of one data set. Dropping it stops its threads.
pub struct Loader {
    context: Arc<WorkerContext>,
    max_bad: f64,
    batch: usize,
    to: Destination,
    shuffle: Rng,
    share: LoaderShare,
    /// the next batch to return
    position: Position,
    /// the next batch to hand to the workers
    ahead: Position,
    generation: u64,
    /// an epoch and its image order; empty before the first
    order: (u64, Vec<usize>),
    ready: HashMap<ShardId, Shard>,
    faults: BTreeMap<usize, String>,
    /// faults of whole files that were reported
    told: HashSet<String>,
    upscaled: HashSet<usize>,
    waited: Duration,
    watched: Option<Progress>,
    pool: WorkerPool,
}

impl Loader {
    /// A loader of `batch` images per step, cropped as `spec` says, on `device`. Threads start at once; decoding
    /// starts at the first [`next_batch`](Self::next_batch).
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
        let options = LoaderOptions { batch, pass, flip, max_bad, threads };
        Self::with_policy(set, CropPolicy::from_spec(spec)?, options, rng, device)
    }

    /// As [`new`](Self::new), with an explicit crop policy.
    ///
    /// Errors: empty set, batch larger than the set (training).
    pub fn with_policy(
        set: Arc<dyn Dataset>,
        policy: CropPolicy,
        options: LoaderOptions,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self, DataError> {
        let len = set.len();
        let LoaderOptions { batch, pass, flip, max_bad, threads } = options;
        check(len, pass, batch)?;
        let context = Arc::new(WorkerContext {
            set,
            pass,
            policy,
            flip,
            allowed: part_of(max_bad, len),
            augment: rng.split("augment"),
            stop: AtomicBool::new(false),
        });
        let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        Ok(Self {
            pool: WorkerPool::new(&context, threads)?,
            context,
            max_bad,
            batch,
            to: Destination::new(device)?,
            shuffle: rng.split("shuffle"),
            share: LoaderShare { first: 0, of: 1 },
            position: Position::default(),
            ahead: Position::default(),
            generation: 0,
            order: (0, Vec::new()),
            ready: HashMap::new(),
            faults: BTreeMap::new(),
            told: HashSet::new(),
            upscaled: HashSet::new(),
            waited: Duration::ZERO,
            watched: None,
        })
    }

    /// From here on, takes number `first` of every `of` batches: the share of one of several processes in a common order.
    pub fn take_share(&mut self, first: usize, of: usize) {
        self.share = LoaderShare { first, of };
        self.seek(self.position);
    }

    /// Images of a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the next batch; None at the end of a sequential pass (`rewind` restarts it).
    ///
    /// Errors: more unreadable images than the spec tolerates (and again at every call from then on).
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DataError> {
        loop {
            self.check_faults()?;
            if self.ended(self.position) {
                return Ok(None);
            }
            self.issue();
            let shard = self.collect()?;
            self.position = self.after(self.position);
            self.count(&shard);
            self.check_faults()?;
            self.watched.iter().for_each(|progress| progress.add(shard.indices.len()));
            if !shard.indices.is_empty() {
                return self.batch_of(shard).map(Some);
            }
        }
    }

    /// Counts the images of the following batches in `progress`.
    pub fn watch(&mut self, progress: Progress) {
        self.watched = Some(progress);
    }

    /// Ends the counting.
    pub fn unwatch(&mut self) {
        self.watched = None;
    }

    /// Seeks to the first batch.
    pub fn rewind(&mut self) {
        self.seek(Position::default());
    }

    /// The position of the next batch.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Seeks to `to`, as if every batch before it had been consumed.
    pub fn seek(&mut self, to: Position) {
        let per_epoch = self.batches_per_epoch() as u64;
        self.position = match self.context.pass {
            Pass::Train | Pass::Shuffled => {
                Position { epoch: to.epoch + to.batch / per_epoch, batch: to.batch % per_epoch }
            }
            Pass::Once => Position { epoch: 0, batch: to.batch.min(per_epoch) },
            Pass::Draw => Position { epoch: to.epoch, batch: to.batch.min(per_epoch) },
        };
        self.position = self.later(self.position, self.share.first);
        self.ahead = self.position;
        self.generation += 1;
        self.order.1.clear(); // what is read next is announced anew
        self.ready.clear();
        self.pool.forget();
    }

    /// Full batches in training; a `Once` pass also counts the last, short one.
    pub fn batches_per_epoch(&self) -> usize {
        let len = self.context.set.len();
        match self.context.pass {
            Pass::Train | Pass::Shuffled => len / self.batch,
            Pass::Once | Pass::Draw => len.div_ceil(self.batch),
        }
    }

    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.context.set
    }

    /// Time spent waiting for decoders since the last call of [`Self::take_wait`].
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Time spent waiting for decoders since the last call.
    pub fn take_wait(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Unreadable images so far, by name and reason (each counted once), in the set's order.
    pub fn faults(&self) -> Vec<(String, String)> {
        self.faults.iter().map(|(&index, reason)| (self.context.set.name(index), reason.clone())).collect()
    }

    /// How many images so far were smaller than the crop and were scaled up (each counted once).
    pub fn upscaled(&self) -> usize {
        self.upscaled.len()
    }

    fn ended(&self, at: Position) -> bool {
        self.context.pass.ends() && at.batch >= self.batches_per_epoch() as u64
    }

    fn after(&self, at: Position) -> Position {
        self.later(at, self.share.of)
    }

    fn later(&self, at: Position, batches: usize) -> Position {
        (0..batches).fold(at, |at, _| self.next(at))
    }

    fn next(&self, at: Position) -> Position {
        let next = Position { batch: at.batch + 1, ..at };
        if !self.context.pass.ends() && next.batch >= self.batches_per_epoch() as u64 {
            return Position { epoch: at.epoch + 1, batch: 0 };
        }
        next
    }

    /// Batches queued but not yet returned.
    fn in_flight(&self) -> usize {
        let per_epoch = self.batches_per_epoch() as u64;
        let index = |at: Position| at.epoch * per_epoch + at.batch;
        (index(self.ahead) - index(self.position)) as usize / self.share.of
    }

    /// Images per shard: a batch is split evenly over all threads.
    fn shard_len(&self) -> usize {
        self.batch.div_ceil(self.pool.threads.len())
    }

    /// Images in the batch at `at` (the last of a `Once` pass may be short).
    fn batch_len(&self, at: Position) -> usize {
        self.batch.min(self.context.set.len() - at.batch as usize * self.batch)
    }

    fn shards(&self, at: Position) -> usize {
        self.batch_len(at).div_ceil(self.shard_len())
    }

    /// Queues shards until enough batches are in flight.
    fn issue(&mut self) {
        let shard_len = self.shard_len();
        let shards = self.batch.div_ceil(shard_len);
        let enough = AHEAD.max((SHARDS_PER_THREAD * self.pool.threads.len()).div_ceil(shards));
        while self.in_flight() < enough && !self.ended(self.ahead) {
            let Position { epoch, batch } = self.ahead;
            let start = batch as usize * self.batch;
            self.draw_order(epoch, start);
            let indices = &self.order.1[start..start + self.batch_len(self.ahead)];
            for (shard, indices) in indices.chunks(shard_len).enumerate() {
                let id = ShardId { generation: self.generation, epoch, batch, shard };
                self.pool.send(ShardJob { id, indices: indices.to_vec() });
            }
            self.ahead = self.after(self.ahead);
        }
    }

    /// Sets `order` to the image order of `epoch`, of which the images from `start` on are read next.
    fn draw_order(&mut self, epoch: u64, start: usize) {
        if self.order.0 == epoch && !self.order.1.is_empty() {
            return;
        }
        let (set, mut rng) = (&self.context.set, self.shuffle.at(epoch, 0));
        let mut order: Vec<usize> = (0..set.len()).collect();
        match set.layout() {
            _ if self.context.pass.ends() => {}
            Some(layout) => order = layout.order(&mut rng),
            None => order.shuffle(&mut rng),
        }
        set.prefetch(&order[start..]);
        self.order = (epoch, order);
    }

    /// Waits for every shard of the batch at `position` and concatenates them.
    fn collect(&mut self) -> Result<Shard, DataError> {
        let Position { epoch, batch } = self.position;
        let id = |shard| ShardId { generation: self.generation, epoch, batch, shard };
        let ids: Vec<ShardId> = (0..self.shards(self.position)).map(id).collect();
        let start = Instant::now();
        let mut whole = Shard::default();
        for id in ids {
            whole.append(self.wait_for(id)?);
        }
        self.waited += start.elapsed();
        Ok(whole)
    }

    fn wait_for(&mut self, id: ShardId) -> Result<Shard, DataError> {
        loop {
            if let Some(shard) = self.ready.remove(&id) {
                return Ok(shard);
            }
            let (arrived, shard) = self.pool.done.recv().map_err(|e| DataError::Worker(e.to_string()))?;
            if arrived.generation == self.generation {
                self.ready.insert(arrived, shard.map_err(DataError::Worker)?);
            }
        }
    }

    /// Records unreadable and upscaled images; warns once about each unreadable one and once in the process about a split with
    /// upscaled ones.
    fn count(&mut self, shard: &Shard) {
        for (index, Fault { reason, is_of_file }) in &shard.faults {
            if self.faults.contains_key(index) {
                continue;
            }
            if !is_of_file {
                tracing::warn!("{}: {reason}; skipped", self.context.set.name(*index));
            } else if self.told.insert(reason.clone()) {
                tracing::warn!("{reason}; its images are skipped");
            }
            self.faults.insert(*index, reason.clone());
        }
        if let (true, Some(first)) = (self.upscaled.is_empty(), shard.upscaled.first()) {
            let (set, crop) = (&self.context.set, self.context.policy.side());
            // Every stage has loaders of its own.
            if is_first((set.name(0), crop)) {
                let name = set.name(*first);
                tracing::warn!(
                    "{name} is smaller than the crop of {crop} and is scaled up, as others may be"
                );
            }
        }
        self.upscaled.extend(&shard.upscaled);
    }

    fn check_faults(&self) -> Result<(), DataError> {
        let (bad, len) = (self.faults.len(), self.context.set.len());
        if bad <= self.context.allowed && bad < len {
            return Ok(());
        }
        Err(DataError::TooManyBad { bad, len, allowed: self.max_bad, first: self.faults() })
    }

    fn batch_of(&mut self, shard: Shard) -> Result<Batch, DataError> {
        let labels: Option<Vec<u32>> = shard.indices.iter().map(|&i| self.context.set.label(i)).collect();
        let labels = labels.map(|labels| Tensor::from_vec(labels, shard.indices.len(), self.to.device()));
        Ok(Batch {
            pixels: self.to.send(&shard.images)?,
            labels: labels.transpose()?,
            indices: shard.indices,
            frames: shard.images.iter().map(|image| image.frame).collect(),
        })
    }
}

/// Validates the arguments before any thread starts.
/// Whether no loader of the process has warned of upscaled images yet in the data set with this first image, for this crop.
fn is_first(set_and_crop: (String, usize)) -> bool {
    static TOLD: LazyLock<Mutex<HashSet<(String, usize)>>> = LazyLock::new(Mutex::default);
    TOLD.lock().is_ok_and(|mut told| told.insert(set_and_crop))
}

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

/// The worker threads and their job and result queues.
struct WorkerPool {
    context: Arc<WorkerContext>,
    threads: Vec<JoinHandle<()>>,
    jobs: Option<Sender<ShardJob>>,
    /// receiving end of `jobs`, for discarding queued jobs
    queue: Receiver<ShardJob>,
    done: Receiver<ShardResult>,
}

impl WorkerPool {
    fn new(context: &Arc<WorkerContext>, threads: usize) -> Result<Self, DataError> {
        let (jobs, queue) = unbounded();
        let (report, done) = unbounded();
        let mut pool = Self { context: context.clone(), threads: Vec::new(), jobs: Some(jobs), queue, done };
        for n in 0..threads {
            let (context, queue, report) = (context.clone(), pool.queue.clone(), report.clone());
            let thread = thread::Builder::new().name(format!("decode-{n}"));
            let thread = thread.spawn(move || run_worker(&context, &queue, &report));
            pool.threads.push(thread.map_err(|e| DataError::Worker(format!("cannot start: {e}")))?);
        }
        Ok(pool)
    }

    fn send(&self, job: ShardJob) {
        if let Some(jobs) = &self.jobs {
            // Fails only if every thread has exited, which `wait_for` then reports.
            let _ = jobs.send(job);
        }
    }

    /// Discards all queued jobs.
    fn forget(&self) {
        while self.queue.try_recv().is_ok() {}
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.context.stop.store(true, Relaxed);
        self.jobs = None;
        self.forget();
        for thread in self.threads.drain(..) {
            // a panic has already been reported as the result of its shard
            let _ = thread.join();
        }
    }
}
