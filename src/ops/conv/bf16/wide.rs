//! Loops over whole blocks between bf16, as its bits, and f32, compiled for the vectors of the processor.

use super::super::lanes::Lanes;
use super::super::simd::{Element, Job};
use super::model::narrow;
use super::product::{COLUMNS, SUMS};
use half::bf16;
use std::{cell::Cell, mem::MaybeUninit};

fn run(job: &impl Job<f32>) {
    // SAFETY: the instructions are those of this processor, and these jobs ask for nothing else.
    unsafe { f32::dispatch(f32::simd(), job) }
}

/// Widens elements in their order.
pub(super) fn elements(from: &[u16], to: &mut [f32]) {
    run(&Elements { from, to: Cell::new(to) });
}

/// Widens lines of pairs, `[16 columns][2]`, to two lines each.
pub(super) fn pairs(from: &[u16], to: &mut [f32]) {
    run(&Pairs { from, to: Cell::new(to) });
}

/// Narrows, and pairs each element of two lines.
pub(super) fn narrow_pairs(low: &[f32], high: &[f32], to: &mut [u32]) {
    run(&NarrowPairs { low, high, to: Cell::new(to) });
}

/// Pairs each element of two lines.
pub(super) fn interleave(low: &[u16], high: &[u16], to: &mut [u32]) {
    run(&Interleave { low, high, to: Cell::new(to) });
}

/// Narrows a run whose neighbors are pairs.
pub(super) fn narrow_run(from: &[f32], to: &mut [u32]) {
    run(&NarrowRun { from, to: Cell::new(to) });
}

/// Sums to bf16, after bias and ReLU. The sums are in lines of 16, one every [`SUMS`].
pub(super) fn finish(sums: &[f32], bias: Option<&[f32]>, relu: bool, to: &mut [MaybeUninit<bf16>]) {
    run(&Finish { sums, bias, relu, to: Cell::new(to) });
}

struct Elements<'a> {
    from: &'a [u16],
    to: Cell<&'a mut [f32]>,
}

impl Job<f32> for Elements<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Scalar = f32>>(&self) {
        for (to, &from) in self.to.take().iter_mut().zip(self.from) {
            *to = f32::from_bits(u32::from(from) << 16);
        }
    }
}

struct Pairs<'a> {
    from: &'a [u16],
    to: Cell<&'a mut [f32]>,
}

impl Job<f32> for Pairs<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Scalar = f32>>(&self) {
        let lines = self.from.chunks_exact(2 * COLUMNS);
        for (to, from) in self.to.take().chunks_exact_mut(2 * COLUMNS).zip(lines) {
            let (low, high) = to.split_at_mut(COLUMNS);
            for n in 0..COLUMNS {
                low[n] = f32::from_bits(u32::from(from[2 * n]) << 16);
                high[n] = f32::from_bits(u32::from(from[2 * n + 1]) << 16);
            }
        }
    }
}

struct NarrowPairs<'a> {
    low: &'a [f32],
    high: &'a [f32],
    to: Cell<&'a mut [u32]>,
}

impl Job<f32> for NarrowPairs<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Scalar = f32>>(&self) {
        for ((to, &low), &high) in self.to.take().iter_mut().zip(self.low).zip(self.high) {
            *to = pair(narrow(low), narrow(high));
        }
    }
}

struct Interleave<'a> {
    low: &'a [u16],
    high: &'a [u16],
    to: Cell<&'a mut [u32]>,
}

impl Job<f32> for Interleave<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Scalar = f32>>(&self) {
        for ((to, &low), &high) in self.to.take().iter_mut().zip(self.low).zip(self.high) {
            *to = pair(low, high);
        }
    }
}

struct NarrowRun<'a> {
    from: &'a [f32],
    to: Cell<&'a mut [u32]>,
}

impl Job<f32> for NarrowRun<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Scalar = f32>>(&self) {
        for (to, from) in self.to.take().iter_mut().zip(self.from.chunks_exact(2)) {
            *to = pair(narrow(from[0]), narrow(from[1]));
        }
    }
}

struct Finish<'a> {
    sums: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
    to: Cell<&'a mut [MaybeUninit<bf16>]>,
}

impl Job<f32> for Finish<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes<Scalar = f32>>(&self) {
        // Adding +0 where there is no bias makes -0 to +0.
        let zeros = [0.0; COLUMNS];
        for (j, to) in self.to.take().chunks_mut(COLUMNS).enumerate() {
            let bias = self.bias.map_or(&zeros[..to.len()], |bias| &bias[j * COLUMNS..][..to.len()]);
            let sums = &self.sums[j * SUMS..][..to.len()];
            for ((to, sum), bias) in to.iter_mut().zip(sums).zip(bias) {
                let sum = sum + bias;
                let sum = if self.relu && sum <= 0.0 { 0.0 } else { sum };
                *to = MaybeUninit::new(bf16::from_bits(narrow(sum)));
            }
        }
    }
}

#[inline(always)]
fn pair(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}
