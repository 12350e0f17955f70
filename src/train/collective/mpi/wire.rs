//! Messages between ranks, and their signs of life.

use anyhow::{Context, Result, ensure};
use mpi::{
    Tag, Threading,
    datatype::Equivalence,
    environment::Universe,
    request::{LocalScope, Request, scope},
    topology::{Process, SimpleCommunicator},
    traits::*,
};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// Kinds of messages.
const PART: Tag = 1;
const SUM: Tag = 2;
const LENGTH: Tag = 3;
const BYTES: Tag = 4;
const LIFE: Tag = 5;

/// Time between signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Longest message, in bytes: MPI counts elements in 32 bits.
const LONGEST: usize = 1 << 28;
/// A wait is busy so long, then sleeps between looks: a waiting rank leaves its core to those that compute.
const BUSY: Duration = Duration::from_micros(200);
const NAP: Duration = Duration::from_micros(50);

/// The exit code with which all are to end; 0: none.
static ABORTING: AtomicI32 = AtomicI32::new(0);

/// Why the ranks cannot go on.
static FAILURE: OnceLock<String> = OnceLock::new();

/// Why the ranks cannot go on, if they cannot.
pub fn failure() -> Option<&'static str> {
    FAILURE.get().map(String::as_str)
}

/// Lets the thread of MPI end all processes.
pub fn abort(code: u8) {
    ABORTING.store(code.max(1).into(), SeqCst);
}

/// A rank, and what is on its way there; None once it is taken.
type PendingSend<'s, 'a, T> = (usize, Option<Request<'a, [T], &'s LocalScope<'a>>>);

/// MPI, as one thread uses it.
pub struct Wire {
    world: SimpleCommunicator,
    silence: Duration,
    /// When each rank was last heard of.
    heard: Vec<Instant>,
    beat: Instant,
    /// Ends MPI when it is dropped: the last field.
    _universe: Universe,
}

impl Wire {
    /// Starts MPI.
    ///
    /// # Errors
    /// It was started before, or does not allow calls from a thread of their own.
    pub fn new(silence: Duration) -> Result<Self> {
        let (universe, threading) =
            mpi::initialize_with_threading(Threading::Serialized).context("MPI was started before")?;
        ensure!(threading >= Threading::Funneled, "this MPI does not work in programs with threads");
        let world = universe.world();
        let now = Instant::now();
        let heard = vec![now; world.size() as usize];
        Ok(Self { world, silence, heard, beat: now, _universe: universe })
    }

    pub fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    pub fn size(&self) -> usize {
        self.world.size() as usize
    }

    /// See [`Collective::sum`]. Each rank sums one slice of the values, and gives it to the others.
    pub fn sum(&mut self, values: &[f32], carry: Option<&[f32]>) -> Vec<f32> {
        let (own, size) = (self.rank(), self.size());
        let slice = |rank: usize| values.len() * rank / size..values.len() * (rank + 1) / size;
        let mut sum = vec![0f32; values.len()];
        let parts = self.exchange(PART, |rank| &values[slice(rank)], slice(own).len());
        let parts = parts.iter().map(|part| part.as_deref().unwrap_or(&values[slice(own)]));
        add_in_order(&mut sum[slice(own)], carry.map(|carry| &carry[slice(own)]), parts);
        let others = {
            let done = &sum[slice(own)];
            self.exchange_sized(SUM, |_| done, |rank| slice(rank).len())
        };
        for (rank, other) in others.into_iter().enumerate() {
            if let Some(other) = other {
                sum[slice(rank)].copy_from_slice(&other);
            }
        }
        sum
    }

    /// See [`Collective::gather`].
    pub fn gather(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let length = [bytes.len() as u64];
        let lengths = self.exchange(LENGTH, |_| &length[..], 1);
        let length = |rank: usize| lengths[rank].as_ref().map_or(0, |length| length[0] as usize);
        let mut all: Vec<Vec<u8>> = vec![vec![]; self.size()];
        let longest = (0..self.size()).map(length).max().unwrap_or_default().max(bytes.len());
        for start in (0..longest).step_by(LONGEST) {
            let piece = |length: usize| start.min(length)..(start + LONGEST).min(length);
            let pieces =
                self.exchange_sized(BYTES, |_| &bytes[piece(bytes.len())], |rank| piece(length(rank)).len());
            for (whole, piece) in all.iter_mut().zip(pieces) {
                whole.extend(piece.unwrap_or_default());
            }
        }
        let own = self.rank();
        all[own] = bytes;
        all
    }

    /// See [`Collective::broadcast`].
    pub fn broadcast(&mut self, bytes: Option<Vec<u8>>) -> Vec<u8> {
        let Some(bytes) = bytes else {
            let length = self.receive::<u64>(0, LENGTH, 1)[0] as usize;
            let mut whole = Vec::with_capacity(length);
            while whole.len() < length {
                let piece = LONGEST.min(length - whole.len());
                whole.extend(self.receive::<u8>(0, BYTES, piece));
            }
            return whole;
        };
        let length = [bytes.len() as u64];
        self.send_to_all(LENGTH, &length);
        bytes.chunks(LONGEST).for_each(|piece| self.send_to_all(BYTES, piece));
        bytes
    }

    /// Shows that this rank lives, and notes which others do.
    pub fn live(&mut self) {
        self.obey();
        while let Some((message, status)) = self.world.any_process().immediate_matched_probe_with_tag(LIFE) {
            let mut sign = [0u8; 1];
            message.matched_receive_into(&mut sign[..]);
            self.heard[status.source_rank() as usize] = Instant::now();
        }
        if self.beat.elapsed() >= BEAT {
            self.beat = Instant::now();
            let own = self.rank();
            for other in (0..self.size()).filter(|rank| *rank != own) {
                // So short that it is buffered.
                self.process(other).send_with_tag(&[1u8][..], LIFE);
            }
        }
    }

    /// Ends all processes if that is wanted.
    fn obey(&self) {
        let code = ABORTING.load(SeqCst);
        if code > 0 {
            self.world.abort(code);
        }
    }

    /// Tells why the ranks cannot go on, and waits for the end: messages that are on their way cannot be given up.
    fn fail(&self, why: String) -> ! {
        let _ = FAILURE.set(why);
        loop {
            self.obey();
            thread::sleep(BEAT / 20);
        }
    }

    fn process(&self, rank: usize) -> Process<'_> {
        self.world.process_at_rank(rank as i32)
    }

    /// Sends a slice to every other rank, and receives `values` from each; None in the own place.
    fn exchange<'a, T: Equivalence + Default + Clone + 'a>(
        &mut self,
        tag: Tag,
        of: impl Fn(usize) -> &'a [T],
        values: usize,
    ) -> Vec<Option<Vec<T>>> {
        self.exchange_sized(tag, of, |_| values)
    }

    /// As [`Wire::exchange`], with the number of values that each rank sends.
    fn exchange_sized<'a, T: Equivalence + Default + Clone + 'a>(
        &mut self,
        tag: Tag,
        of: impl Fn(usize) -> &'a [T],
        values: impl Fn(usize) -> usize,
    ) -> Vec<Option<Vec<T>>> {
        let (own, size) = (self.rank(), self.size());
        let world = SimpleCommunicator::world();
        scope(|scope| {
            let mut sends = vec![];
            // Each begins with its neighbor, so that not all send to one.
            for other in (1..size).map(|away| (own + away) % size).filter(|other| !of(*other).is_empty()) {
                let request =
                    world.process_at_rank(other as i32).immediate_send_with_tag(scope, of(other), tag);
                sends.push((other, Some(request)));
            }
            let mut received: Vec<Option<Vec<T>>> = vec![None; size];
            for other in (1..size).map(|away| (own + size - away) % size) {
                received[other] = Some(self.receive(other, tag, values(other)));
            }
            self.complete(sends);
            received
        })
    }

    /// Sends the same to every other rank.
    fn send_to_all<T: Equivalence>(&mut self, tag: Tag, values: &[T]) {
        let (own, size) = (self.rank(), self.size());
        let world = SimpleCommunicator::world();
        scope(|scope| {
            let others = (0..size).filter(|rank| *rank != own);
            let sends = others.map(|other| {
                let process = world.process_at_rank(other as i32);
                (other, Some(process.immediate_send_with_tag(scope, values, tag)))
            });
            let sends = sends.collect();
            self.complete(sends)
        })
    }

    /// Waits for sends to be taken.
    fn complete<'a, T: Equivalence>(&mut self, mut sends: Vec<PendingSend<'_, 'a, T>>) {
        for (other, send) in &mut sends {
            self.wait(*other, || match send.take()?.test() {
                Ok(_) => Some(()),
                Err(pending) => {
                    *send = Some(pending);
                    None
                }
            });
        }
    }

    /// Waits for a message of so many values.
    fn receive<T: Equivalence + Default + Clone>(&mut self, from: usize, tag: Tag, values: usize) -> Vec<T> {
        if values == 0 {
            return vec![];
        }
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(from as i32);
        let (message, status) = self.wait(from, || process.immediate_matched_probe_with_tag(tag));
        let found = status.count(T::equivalent_datatype()) as usize;
        let mut into = vec![T::default(); found];
        message.matched_receive_into(&mut into[..]);
        self.heard[from] = Instant::now();
        if found != values {
            self.fail(format!(
                "rank {from} sent {found} values where {values} were expected: use one build and one spec on all nodes"
            ));
        }
        into
    }

    /// Repeats `ready` until it has something, which depends on rank `on`.
    fn wait<T>(&mut self, on: usize, mut ready: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(done) = ready() {
                return done;
            }
            if began.elapsed() < BUSY {
                thread::yield_now();
                continue;
            }
            self.live();
            let silent = self.heard[on].elapsed();
            if silent > self.silence {
                self.fail(format!(
                    "rank {on} has not been heard of for {} s: it hangs, or its machine is gone; the last checkpoint \
                     resumes",
                    silent.as_secs()
                ));
            }
            thread::sleep(NAP);
        }
    }
}

/// The sum of `parts` in their order, after `carry`.
fn add_in_order<'a>(sum: &mut [f32], carry: Option<&[f32]>, mut parts: impl Iterator<Item = &'a [f32]>) {
    let Some(first) = carry.or_else(|| parts.next()) else { return };
    sum.copy_from_slice(first);
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
}

#[cfg(test)]
mod tests {
    use super::add_in_order;

    #[test]
    fn parts_are_added_in_their_order() {
        let parts: [&[f32]; 3] = [&[1e8, 1.0], &[1.0, 2.0], &[-1e8, 4.0]];
        let mut sum = [0.0; 2];
        add_in_order(&mut sum, None, parts.into_iter());
        assert_eq!(sum, [(1e8f32 + 1.0) - 1e8, 7.0]);
        add_in_order(&mut sum, Some(&[-1e8, 1.0]), parts.into_iter());
        assert_eq!(sum, [((-1e8f32 + 1e8) + 1.0) - 1e8, 8.0]);
    }
}
