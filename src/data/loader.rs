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
    loader_faults::LoaderFaults,
    peers::Peers,
    source::DataSpec,
    worker::{Fault, Shard, ShardId, ShardJob, WorkerContext},
    worker_pool::WorkerPool,
};
use crate::{bounded::part_of, progress::Progress, rng::Rng};
use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    thread,
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
    batch: usize,
    to: Destination,
    shuffle: Rng,
    share: LoaderShare,
    /// the processes that share its passes
    peers: Option<Arc<dyn Peers>>,
    /// the next batch to return
    position: Position,
    /// the next batch to hand to the workers
    ahead: Position,
    generation: u64,
    /// an epoch and its image order; empty before the first
    order: (u64, Vec<usize>),
    ready: HashMap<ShardId, Shard>,
    faults: LoaderFaults,
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
            batch,
            to: Destination::new(device)?,
            shuffle: rng.split("shuffle"),
            share: LoaderShare { first: 0, of: 1 },
            peers: None,
            position: Position::default(),
            ahead: Position::default(),
            generation: 0,
            order: (0, Vec::new()),
            ready: HashMap::new(),
            faults: LoaderFaults::new(max_bad, len),
            waited: Duration::ZERO,
            watched: None,
        })
    }

    /// From here on, takes number `first` of every `of` batches: the share of one of several processes in a common order.
    pub fn take_share(&mut self, first: usize, of: usize) {
        self.share = LoaderShare { first, of };
        self.seek(self.position);
    }

    /// Lets [`Self::fold`] share its passes with other processes, all of which have such a loader.
    pub fn share_with(&mut self, peers: Arc<dyn Peers>) {
        self.peers = Some(peers);
    }

    /// The processes that share its passes.
    pub fn peers(&self) -> Option<Arc<dyn Peers>> {
        self.peers.clone()
    }

    /// Images of a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the next batch; None at the end of a sequential pass (`rewind` restarts it).
    ///
    /// Errors: more unreadable images than the spec tolerates (and again at every call from then on).
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DataError> {
        Ok(self.next_numbered()?.map(|(_, batch)| batch))
    }

    /// The next batch, with its number in the epoch.
    pub(super) fn next_numbered(&mut self) -> Result<Option<(u64, Batch)>, DataError> {
        loop {
            self.faults.check(&*self.context.set)?;
            if self.ended(self.position) {
                return Ok(None);
            }
            self.issue();
            let mut shard = self.collect()?;
            let number = self.position.batch;
            self.position = self.after(self.position);
            self.faults.count(&mut shard, &*self.context.set, self.context.policy.side());
            self.faults.check(&*self.context.set)?;
            self.add_progress(shard.indices.len());
            if !shard.indices.is_empty() {
                return Ok(Some((number, self.batch_of(shard)?)));
            }
        }
    }

    /// Counts images in the progress that is watched.
    pub(super) fn add_progress(&self, images: usize) {
        self.watched.iter().for_each(|progress| progress.add(images));
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
        self.faults.named(&*self.context.set)
    }

    /// How many images so far were smaller than the crop and were scaled up (each counted once).
    pub fn upscaled(&self) -> usize {
        self.faults.upscaled()
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

    /// The unreadable images that were found since the last call, for peers that share the data set.
    pub fn take_new_faults(&mut self) -> Vec<(usize, Fault)> {
        self.faults.take_new()
    }

    /// Counts unreadable images that a peer has found.
    ///
    /// # Errors
    /// More of them than the spec tolerates.
    pub fn learn_faults(&mut self, faults: Vec<(usize, Fault)>) -> Result<(), DataError> {
        self.faults.note(faults, &*self.context.set);
        self.faults.check(&*self.context.set)
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
