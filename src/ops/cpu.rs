//! CPU building blocks of the ops: inputs as slices, outputs as vectors filled by parallel blocks. The partition into
//! blocks depends only on the shapes, so results are bit-reproducible for any number of threads.
//!
//! Maps are f32, f64 or bf16 ([`Stored`]). bf16 is stored only: each block is computed in f32 from widened elements and
//! rounded once, so no op has arithmetic of its own for it.

use crate::op::elements;
use candle_core::{FloatDType, Layout, Result, Storage, Tensor, WithDType, bail};
use half::bf16;
use rayon::prelude::*;
use std::{cell::RefCell, mem::MaybeUninit, ops::Neg};

/// Elements per block: 64 KiB of f32, which fits in the L2 cache.
pub(super) const BLOCK: usize = 1 << 14;

/// The types of arithmetic: f32, and f64 for the gradient checks.
pub(super) trait Float: FloatDType + Neg<Output = Self> + Stored<Wide = Self> {
    const ZERO: Self;
    const NEG_INFINITY: Self;
    fn exp(self) -> Self;
    fn tanh(self) -> Self;
    fn nan(self) -> bool;
}

impl Float for f32 {
    const ZERO: Self = 0.0;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;

    /// e^x within 2 ulp, without a function call, so that loops vectorize; 0 below the normal range. x = n·ln 2 + r
    /// with |r| ≤ ln 2 / 2, a Taylor polynomial in r, and n added to the exponent.
    #[inline(always)]
    fn exp(self) -> Self {
        // adding 1.5·2^23 rounds to an integer in the low bits
        const ROUND: f32 = 12_582_912.0;
        // ln 2 split in two parts, so that n times the first is exact
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        let x = if self > 89.0 { 89.0 } else { self };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let whole = shifted - ROUND;
        let r = x - whole * LN_2[0] - whole * LN_2[1];
        let p = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
        let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * p))));
        // 2^n as a product of two powers, since 2^128 is not an f32; far below 0, n wraps and is not used
        let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
        if x < -87.33 { 0.0 } else { p * power(n >> 1) * power(n - (n >> 1)) }
    }

    /// tanh within 3 ulp, without a function call: an odd polynomial near 0 (the coefficients of Moshier's Cephes library),
    /// beyond it 1 − 2 / (e^2|x| + 1).
    #[inline(always)]
    fn tanh(self) -> Self {
        let (size, square) = (self.abs(), self * self);
        let p = -5.704_988_7e-3;
        let p = ((p * square + 2.063_909e-2) * square - 5.373_971_6e-2) * square + 1.333_144_2e-1;
        let near = ((p * square - 3.333_328e-1) * square) * self + self;
        let far = (1.0 - 2.0 / (Float::exp(2.0 * size) + 1.0)).copysign(self);
        if size < 0.625 { near } else { far }
    }

    fn nan(self) -> bool {
        self.is_nan()
    }
}

impl Float for f64 {
    const ZERO: Self = 0.0;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;

    fn exp(self) -> Self {
        f64::exp(self)
    }

    fn tanh(self) -> Self {
        f64::tanh(self)
    }

    fn nan(self) -> bool {
        self.is_nan()
    }
}

/// The element types of maps: f32, f64, and bf16, which is computed with in f32.
pub(super) trait Stored: WithDType {
    type Wide: Float;

    fn wide(self) -> Self::Wide;

    /// The nearest number of this type, the even one of two.
    fn rounded(wide: Self::Wide) -> Self;

    /// max(x, 0) that propagates NaN.
    fn rectify(self) -> Self;

    /// `gradient` masked by `self`, the input or output of a ReLU: 0 at 0, and NaN propagates.
    fn gate(self, gradient: Self) -> Self;

    /// `value` where `self` is positive, else `slope` times it: leaky ReLU of `self` itself and its gradient from `self`, its
    /// input or output.
    #[inline(always)]
    fn leak(self, value: Self, slope: Self::Wide) -> Self {
        if self.wide() <= Self::Wide::ZERO { Self::rounded(slope * value.wide()) } else { value }
    }

    /// Writes a block with the results of `fill`, which are 0 before.
    fn fill(block: &mut [MaybeUninit<Self>], fill: impl FnOnce(&mut [Self::Wide]));
}

macro_rules! stored_as_computed {
    ($float:ty) => {
        impl Stored for $float {
            type Wide = Self;

            #[inline(always)]
            fn wide(self) -> Self {
                self
            }

            #[inline(always)]
            fn rounded(wide: Self) -> Self {
                wide
            }

            #[inline(always)]
            fn rectify(self) -> Self {
                if self <= Self::ZERO { Self::ZERO } else { self }
            }

            #[inline(always)]
            fn gate(self, gradient: Self) -> Self {
                if self <= Self::ZERO { Self::ZERO } else { gradient }
            }

            fn fill(block: &mut [MaybeUninit<Self>], fill: impl FnOnce(&mut [Self])) {
                block.fill(MaybeUninit::new(Self::ZERO));
                // SAFETY: every element was written by the line above, and MaybeUninit<T> has T's layout.
                fill(unsafe { &mut *(block as *mut [MaybeUninit<Self>] as *mut [Self]) });
            }
        }
    };
}

stored_as_computed!(f32);
stored_as_computed!(f64);

impl Stored for bf16 {
    type Wide = f32;

    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// As [`bf16::from_f32`], without a branch, so that loops vectorize.
    #[inline(always)]
    fn rounded(wide: f32) -> Self {
        let bits = wide.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        // quiet, since the bits that make it a NaN may all be among those dropped
        let upper = if wide.is_nan() { bits | 0x40_0000 } else { nearest };
        // as signed numbers, which every instruction set can narrow at once
        Self::from_bits((upper as i32 >> 16) as u16)
    }

    /// By its bits: 0 from −0 to −∞, which are the largest below the negative NaNs.
    #[inline(always)]
    fn rectify(self) -> Self {
        let bits = self.to_bits();
        Self::from_bits(if (0x8000..=0xff80).contains(&bits) { 0 } else { bits })
    }

    #[inline(always)]
    fn gate(self, gradient: Self) -> Self {
        let bits = self.to_bits();
        Self::from_bits(if bits == 0 || (0x8000..=0xff80).contains(&bits) { 0 } else { gradient.to_bits() })
    }

    fn fill(block: &mut [MaybeUninit<Self>], fill: impl FnOnce(&mut [f32])) {
        thread_local! {
            static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        // taken, not borrowed: `fill` may run other blocks on this thread
        let mut wide = WIDE.take();
        wide.clear();
        wide.resize(block.len(), 0.0);
        fill(&mut wide);
        for (element, wide) in block.iter_mut().zip(&wide) {
            element.write(Self::rounded(*wide));
        }
        WIDE.set(wide);
    }
}

/// Evaluates `$body` with `$t` bound to the input's element type, f32, f64 or bf16; others are an error that names the
/// op.
macro_rules! by_stored {
    ($input:expr, $t:ident => $body:expr) => {
        match $input.storage {
            candle_core::CpuStorage::F32(_) => {
                type $t = f32;
                $body
            }
            candle_core::CpuStorage::F64(_) => {
                type $t = f64;
                $body
            }
            candle_core::CpuStorage::BF16(_) => {
                type $t = half::bf16;
                $body
            }
            _ => candle_core::bail!("{}: f32, f64 or bf16 wanted, got {:?}", $input.op, $input.dtype()),
        }
    };
}
pub(super) use by_stored;

/// As [`by_stored`] without bf16, for losses.
macro_rules! by_dtype {
    ($input:expr, $t:ident => $body:expr) => {
        match $input.storage {
            candle_core::CpuStorage::F32(_) => {
                type $t = f32;
                $body
            }
            candle_core::CpuStorage::F64(_) => {
                type $t = f64;
                $body
            }
            _ => candle_core::bail!("{}: f32 or f64 wanted, got {:?}", $input.op, $input.dtype()),
        }
    };
}
pub(super) use by_dtype;

/// The elements of a tensor that an op stores besides its inputs.
pub(super) fn stored_elements<'a, T: WithDType>(
    op: &str,
    (storage, layout): (&'a Storage, &Layout),
) -> Result<&'a [T]> {
    match storage {
        Storage::Cpu(storage) => elements(op, storage, layout),
        _ => bail!("{op}: a kept tensor of shape {:?} is not on the CPU", layout.shape()),
    }
}

/// A vector of `outer` runs of `inner` elements, each split into blocks of at most `block`. Calls `fill(run, offset,
/// block)` once per zeroed block, in parallel; bf16 is rounded from what `fill` leaves.
pub(super) fn fill_blocks<T: Stored>(
    outer: usize,
    inner: usize,
    block: usize,
    fill: impl Fn(usize, usize, &mut [T::Wide]) + Sync,
) -> Vec<T> {
    let write = |run, offset, raw: &mut [MaybeUninit<T>]| T::fill(raw, |block| fill(run, offset, block));
    // SAFETY: `Stored::fill` writes every element.
    unsafe { write_blocks(outer, inner, block, write) }
}

/// As [`fill_blocks`] with blocks that `write` is to write.
///
/// # Safety
/// `write` writes every element of its block.
unsafe fn write_blocks<T: Send>(
    outer: usize,
    inner: usize,
    block: usize,
    write: impl Fn(usize, usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let len = outer * inner;
    let mut out = Vec::with_capacity(len);
    let (inner, block) = (inner.max(1), block.max(1));
    let spare: &mut [MaybeUninit<T>] = &mut out.spare_capacity_mut()[..len];
    spare.par_chunks_mut(inner).enumerate().for_each(|(run, elements)| {
        let blocks = elements.par_chunks_mut(block).enumerate();
        blocks.for_each(|(i, raw)| write(run, i * block, raw));
    });
    // SAFETY: the blocks cover the first `len` elements, and all of them were written.
    unsafe { out.set_len(len) };
    out
}

/// Applies `f` to every element.
pub(super) fn map<T: Copy + Sync, U: Send>(x: &[T], f: impl Fn(T) -> U + Sync) -> Vec<U> {
    let write = |_, start: usize, out: &mut [MaybeUninit<U>]| {
        let x = &x[start..start + out.len()];
        out.iter_mut().zip(x).for_each(|(o, &x)| _ = o.write(f(x)));
    };
    // SAFETY: `x` is as long as the block.
    unsafe { write_blocks(1, x.len(), BLOCK, write) }
}

/// Applies `f` to every pair of elements.
pub(super) fn map2<T: Stored>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let write = |_, start: usize, out: &mut [MaybeUninit<T>]| {
        let (x, y) = (&x[start..start + out.len()], &y[start..start + out.len()]);
        let pairs = out.iter_mut().zip(x).zip(y);
        pairs.for_each(|((o, &x), &y)| _ = o.write(f(x, y)));
    };
    // SAFETY: `x` and `y` are as long as the block.
    unsafe { write_blocks(1, x.len(), BLOCK, write) }
}

/// (B, H, W, C) of an NHWC argument, or an error that names the op and the shape.
pub(super) fn nhwc(op: &str, x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match x.dims() {
        &[b, h, w, c] => Ok((b, h, w, c)),
        other => bail!("{op}: x must be (B, H, W, C), got {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_filled_once_with_short_last_blocks() {
        let got = fill_blocks::<f32>(3, 10, 4, |run, offset, out| {
            for (i, o) in out.iter_mut().enumerate() {
                *o += (run * 10 + offset + i) as f32;
            }
        });
        assert_eq!(got, (0..30).map(|i| i as f32).collect::<Vec<_>>());
        assert!(fill_blocks::<f32>(0, 10, 4, |_, _, _| ()).is_empty());
        assert!(fill_blocks::<f32>(3, 0, 4, |_, _, _| ()).is_empty());
    }

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        for i in -87_300..88_700 {
            let x = i as f32 / 1000.0;
            let (got, want) = (f64::from(Float::exp(x)), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 2.0 * f64::from(f32::EPSILON), "{x}: {got} {want}");
        }
        assert_eq!(Float::exp(0f32), 1.0);
        assert_eq!([-88f32, -1e4, f32::NEG_INFINITY].map(Float::exp), [0.0; 3]);
        assert_eq!([89f32, f32::INFINITY].map(Float::exp), [f32::INFINITY; 2]);
        assert!(Float::exp(f32::NAN).is_nan() && Float::exp(-f32::NAN).is_nan());
        // logits of a training that diverges
        for power in 2..=38 {
            let far = 10f32.powi(power);
            assert_eq!((Float::exp(-far), Float::exp(far)), (0.0, f32::INFINITY), "1e{power}");
        }
    }

    #[test]
    fn tanh_is_within_three_units_of_the_last_place() {
        for i in -120_000..120_000 {
            let x = i as f32 / 10_000.0;
            let (got, want) = (f64::from(Float::tanh(x)), f64::from(x).tanh());
            let gap = (got - want).abs() / want.abs().max(f64::MIN_POSITIVE);
            assert!(gap < 3.0 * f64::from(f32::EPSILON) / 2.0, "{x}: {got} {want}");
        }
        assert_eq!([1e-30f32, 0.0, f32::INFINITY, -1e30].map(Float::tanh), [1e-30, 0.0, 1.0, -1.0]);
        assert!(Float::tanh(f32::NAN).is_nan());
    }

    /// All upper halves with the lower halves around a tie.
    #[test]
    fn bf16_is_rounded_as_by_half() {
        for upper in 0..=u16::MAX {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let wide = f32::from_bits(u32::from(upper) << 16 | lower);
                let (got, want) = (<bf16 as Stored>::rounded(wide), bf16::from_f32(wide));
                assert_eq!(got.to_bits(), want.to_bits(), "{wide:e} {upper:x} {lower:x}");
            }
            let narrow = bf16::from_bits(upper);
            assert!(narrow.is_nan() && narrow.wide().is_nan() || narrow.wide() == narrow.to_f32());
            let (gradient, wide) = (bf16::from_f32(-7.5), narrow.wide());
            let bits = [narrow.rectify(), narrow.gate(gradient)].map(bf16::to_bits);
            let wide = [wide.rectify(), wide.gate(-7.5)].map(|v| (v.to_bits() >> 16) as u16);
            assert_eq!(bits, wide, "{upper:x}");
        }
    }

    #[test]
    fn blocks_of_bf16_are_summed_in_f32_and_rounded_once() {
        // 257 summands of 1 + 2⁻⁷ are 259.008; in bf16 the sum would stop at 256
        let got = fill_blocks::<bf16>(2, 3, 2, |_, _, out| {
            (0..257).for_each(|_| out.iter_mut().for_each(|o| *o += 1.0078125));
        });
        assert_eq!(got, [bf16::from_f32(260.0); 6]);
    }

    #[test]
    fn relu_shows_nan() {
        assert!(f32::NAN.rectify().is_nan() && f32::NAN.gate(f32::NAN).is_nan());
        assert_eq!(((-0.0f32).rectify().to_bits(), 0f32.gate(5.0)), (0, 0.0));
    }
}
