//! Messages between ranks, and their signs of life.

use crate::train::collective::operations::{RankOptions, WireFormat, stuck};
use anyhow::{Context, Result, ensure};
use half::{
    bf16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
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
        Arc, OnceLock,
        atomic::{
            AtomicI32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
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
const TOLD: Tag = 6;

/// Time between signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Longest message, in bytes: MPI counts elements in 32 bits.
const LONGEST: usize = 1 << 28;
/// Values of a sum that are summed at once: they stay in a processor's cache until they are sent on.
const PIECE: usize = 1 << 18;
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
    patience: Duration,
    /// Of gradients between ranks.
    format: WireFormat,
    /// When each rank was last heard of.
    heard: Vec<Instant>,
    /// What each rank shows of its progress; it travels with the signs of life.
    progress: Arc<[AtomicU64]>,
    beat: Instant,
    /// Ends MPI when it is dropped: the last field.
    _universe: Universe,
}

impl Wire {
    /// Starts MPI.
    ///
    /// # Errors
    /// It was started before, or does not allow calls from a thread of their own.
    pub fn new(options: RankOptions) -> Result<Self> {
        let (universe, threading) =
            mpi::initialize_with_threading(Threading::Serialized).context("MPI was started before")?;
        ensure!(threading >= Threading::Funneled, "this MPI does not work in programs with threads");
        let world = universe.world();
        let now = Instant::now();
        Ok(Self {
            silence: options.silence,
            patience: options.patience(),
            format: options.wire,
            heard: vec![now; world.size() as usize],
            progress: (0..world.size()).map(|_| AtomicU64::new(0)).collect(),
            beat: now,
            world,
            _universe: universe,
        })
    }

    /// What each rank shows of its progress, by rank.
    pub fn progress(&self) -> Arc<[AtomicU64]> {
        self.progress.clone()
    }

    pub fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    pub fn size(&self) -> usize {
        self.world.size() as usize
    }

    /// See [`Collective::sum`]. Each rank sums one slice of every piece, and gives it to the others.
    pub fn sum(&mut self, values: &[f32], carry: Option<&[f32]>) -> Vec<f32> {
        let mut sum = Vec::with_capacity(values.len());
        let mut parts = vec![];
        for (number, piece) in values.chunks(PIECE).enumerate() {
            let carry = carry.map(|carry| &carry[number * PIECE..][..piece.len()]);
            let start = sum.len();
            sum.resize(start + piece.len(), 0.0);
            match self.format {
                WireFormat::F32 => self.sum_piece(piece, carry, &mut sum[start..], &mut parts),
                WireFormat::Bf16 => self.sum_rounded(piece, carry, &mut sum[start..]),
            }
        }
        sum
    }

    /// The sum of one piece; `parts` is memory that the next one uses again.
    fn sum_piece(&mut self, piece: &[f32], carry: Option<&[f32]>, sum: &mut [f32], parts: &mut Vec<f32>) {
        let (own, size) = (self.rank(), self.size());
        let slice = |rank: usize| piece.len() * rank / size..piece.len() * (rank + 1) / size;
        let length = slice(own).len();
        parts.resize(size * length, 0.0);
        let mut places: Vec<&mut [f32]> = parts.chunks_mut(length.max(1)).collect();
        if let Some(place) = places.get_mut(own) {
            place.copy_from_slice(&piece[slice(own)]);
        }
        self.exchange_into(PART, |rank| &piece[slice(rank)], &mut places);
        let carry = carry.map(|carry| &carry[slice(own)]);
        add_in_order(&mut sum[slice(own)], carry, parts.chunks(length.max(1)));
        let mut places = split_at(sum, (0..size).map(|rank| slice(rank).len()));
        let done = &*std::mem::take(&mut places[own]);
        self.exchange_into(SUM, |_| done, &mut places);
    }

    /// As [`Wire::sum_piece`], with every part and the sum rounded to bf16. Sums of earlier passes are not rounded again.
    fn sum_rounded(&mut self, piece: &[f32], carry: Option<&[f32]>, sum: &mut [f32]) {
        let (own, size) = (self.rank(), self.size());
        let slice = |rank: usize| piece.len() * rank / size..piece.len() * (rank + 1) / size;
        let (sent, length) = (rounded(piece), slice(own).len());
        let mut parts = vec![0u16; size * length];
        let mut places: Vec<&mut [u16]> = parts.chunks_mut(length.max(1)).collect();
        if let Some(place) = places.get_mut(own) {
            place.copy_from_slice(&sent[slice(own)]);
        }
        self.exchange_into(PART, |rank| &sent[slice(rank)], &mut places);
        let parts = widened(&parts);
        add_in_order(
            &mut sum[slice(own)],
            carry.map(|carry| &carry[slice(own)]),
            parts.chunks(length.max(1)),
        );
        let (done, mut all) = (rounded(&sum[slice(own)]), vec![0u16; piece.len()]);
        all[slice(own)].copy_from_slice(&done);
        self.exchange_into(SUM, |_| &done, &mut split_at(&mut all, (0..size).map(|rank| slice(rank).len())));
        sum.copy_from_slice(&widened(&all));
    }

    /// See [`Collective::gather`].
    pub fn gather(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let length = [bytes.len() as u64];
        let mut lengths = vec![length; self.size()];
        self.exchange_into(
            LENGTH,
            |_| &length[..],
            &mut lengths.iter_mut().map(|length| &mut length[..]).collect::<Vec<_>>(),
        );
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|[length]| vec![0; *length as usize]).collect();
        let longest = all.iter().map(Vec::len).max().unwrap_or_default();
        for start in (0..longest).step_by(LONGEST) {
            let piece = |length: usize| start.min(length)..(start + LONGEST).min(length);
            let mut places: Vec<&mut [u8]> = all
                .iter_mut()
                .map(|of| {
                    let piece = piece(of.len());
                    &mut of[piece]
                })
                .collect();
            self.exchange_into(BYTES, |_| &bytes[piece(bytes.len())], &mut places);
        }
        let own = self.rank();
        all[own] = bytes;
        all
    }

    /// See [`Collective::broadcast`].
    pub fn broadcast(&mut self, bytes: Option<Vec<u8>>) -> Vec<u8> {
        let Some(bytes) = bytes else {
            let mut length = [0u64];
            self.receive_into(0, TOLD, &mut length);
            let mut whole = vec![0u8; length[0] as usize];
            whole.chunks_mut(LONGEST).for_each(|piece| self.receive_into(0, BYTES, piece));
            return whole;
        };
        let length = [bytes.len() as u64];
        self.send_to_all(TOLD, &length);
        bytes.chunks(LONGEST).for_each(|piece| self.send_to_all(BYTES, piece));
        bytes
    }

    /// Shows that this rank lives, and notes which others do.
    pub fn live(&mut self) {
        self.obey();
        while let Some((message, status)) = self.world.any_process().immediate_matched_probe_with_tag(LIFE) {
            let mut sign = [0u64; 1];
            message.matched_receive_into(&mut sign[..]);
            let from = status.source_rank() as usize;
            self.progress[from].store(sign[0], Relaxed);
            self.heard[from] = Instant::now();
        }
        if self.beat.elapsed() >= BEAT {
            self.beat = Instant::now();
            let own = self.rank();
            let sign = [self.progress[own].load(Relaxed)];
            for other in (0..self.size()).filter(|rank| *rank != own) {
                // So short that it is buffered.
                self.process(other).send_with_tag(&sign[..], LIFE);
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

    /// Sends a slice to every other rank, and fills the places of theirs; the own place stays as it is.
    fn exchange_into<'a, T: Equivalence + 'a>(
        &mut self,
        tag: Tag,
        of: impl Fn(usize) -> &'a [T],
        places: &mut [&mut [T]],
    ) {
        let (own, size) = (self.rank(), self.size());
        let world = SimpleCommunicator::world();
        scope(|scope| {
            let mut sends = vec![];
            // Each begins with its neighbor, so that not all send to one.
            for other in (1..size).map(|away| (own + away) % size).filter(|other| !of(*other).is_empty()) {
                let process = world.process_at_rank(other as i32);
                sends.push((other, Some(process.immediate_send_with_tag(scope, of(other), tag))));
            }
            for other in (1..size).map(|away| (own + size - away) % size) {
                if let Some(place) = places.get_mut(other) {
                    self.receive_into(other, tag, place);
                }
            }
            self.complete(sends);
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
            self.wait(*other, None, || match send.take()?.test() {
                Ok(_) => Some(()),
                Err(pending) => {
                    *send = Some(pending);
                    None
                }
            });
        }
    }

    /// Waits for a message that fills `into`.
    fn receive_into<T: Equivalence>(&mut self, from: usize, tag: Tag, into: &mut [T]) {
        if into.is_empty() {
            return;
        }
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(from as i32);
        // Rank 0 may take its time between commands; what all do, all do at about the same time.
        let patience = [PART, LENGTH].contains(&tag).then_some(self.patience);
        let (message, status) = self.wait(from, patience, || process.immediate_matched_probe_with_tag(tag));
        let (found, wanted) = (status.count(T::equivalent_datatype()) as usize, into.len());
        if found != wanted {
            self.fail(format!(
                "rank {from} sent {found} values where {wanted} were expected: use one build and one spec on all nodes"
            ));
        }
        message.matched_receive_into(into);
        self.heard[from] = Instant::now();
    }

    /// Repeats `ready` until it has something, which depends on rank `on`.
    fn wait<T>(&mut self, on: usize, patience: Option<Duration>, mut ready: impl FnMut() -> Option<T>) -> T {
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
            if patience.is_some_and(|patience| began.elapsed() > patience) {
                self.fail(stuck(on, began.elapsed()));
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

/// The bits of the nearest bf16.
fn rounded(values: &[f32]) -> Vec<u16> {
    let mut bits = vec![0u16; values.len()];
    bits.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values);
    bits
}

/// The numbers of these bits of bf16.
fn widened(bits: &[u16]) -> Vec<f32> {
    bits.reinterpret_cast::<bf16>().to_f32_vec()
}

/// The consecutive slices of these lengths.
fn split_at<T>(mut rest: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let take = |length| {
        let (slice, after) = std::mem::take(&mut rest).split_at_mut(length);
        rest = after;
        slice
    };
    lengths.map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::{add_in_order, rounded, widened};

    #[test]
    fn rounding_keeps_eight_bits() {
        let values = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -3e38, f32::INFINITY];
        assert_eq!(
            widened(&rounded(&values)),
            [1.0, 1.0, 1.0 + 4.0 / 256.0, -226.0 * 2f32.powi(120), f32::INFINITY]
        );
        assert!(widened(&rounded(&[f32::NAN]))[0].is_nan());
    }

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
