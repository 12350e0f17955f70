//! CPU building blocks of the ops: inputs as f32 or f64 slices, outputs as vectors filled by parallel blocks. The
//! partition into blocks depends only on the shapes, so results are bit-reproducible for any number of threads.

use crate::op::elements;
use candle_core::{FloatDType, Layout, Result, Storage, Tensor, WithDType, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Neg;

/// Elements per block: 64 KiB of f32, which fits in the L2 cache.
pub(super) const BLOCK: usize = 1 << 14;

/// The element types of the CPU code: f32, and f64 for the gradient checks.
pub(super) trait Float: FloatDType + Neg<Output = Self> {
    const ZERO: Self;
    const NEG_INFINITY: Self;
    fn exp(self) -> Self;
    fn nan(self) -> bool;

    /// max(x, 0) that propagates NaN.
    fn rectify(self) -> Self {
        if self <= Self::ZERO { Self::ZERO } else { self }
    }

    /// `gradient` masked by `self`, the input or output of a ReLU: 0 at 0, and NaN propagates.
    fn gate(self, gradient: Self) -> Self {
        if self <= Self::ZERO { Self::ZERO } else { gradient }
    }
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

    fn nan(self) -> bool {
        self.is_nan()
    }
}

/// Evaluates `$body` with `$t` bound to the input's element type, f32 or f64; others are an error that names the op.
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
/// block)` once per zeroed block, in parallel.
pub(super) fn fill_blocks<T: Float>(
    outer: usize,
    inner: usize,
    block: usize,
    fill: impl Fn(usize, usize, &mut [T]) + Sync,
) -> Vec<T> {
    let len = outer * inner;
    let mut out = Vec::with_capacity(len);
    let (inner, block) = (inner.max(1), block.max(1));
    let spare: &mut [MaybeUninit<T>] = &mut out.spare_capacity_mut()[..len];
    spare.par_chunks_mut(inner).enumerate().for_each(|(run, elements)| {
        elements.par_chunks_mut(block).enumerate().for_each(|(i, raw)| {
            raw.fill(MaybeUninit::new(T::ZERO));
            // SAFETY: every element of `raw` was written by the line above, and MaybeUninit<T> has T's layout.
            fill(run, i * block, unsafe { &mut *(raw as *mut [MaybeUninit<T>] as *mut [T]) });
        });
    });
    // SAFETY: the blocks cover the first `len` elements, and all of them were written.
    unsafe { out.set_len(len) };
    out
}

/// Applies `f` to every element.
pub(super) fn map<T: Float>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    fill_blocks(1, x.len(), BLOCK, |_, start, out| {
        let x = &x[start..start + out.len()];
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = f(x));
    })
}

/// Applies `f` to every pair of elements.
pub(super) fn map2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    fill_blocks(1, x.len(), BLOCK, |_, start, out| {
        let (x, y) = (&x[start..start + out.len()], &y[start..start + out.len()]);
        out.iter_mut().zip(x).zip(y).for_each(|((o, &x), &y)| *o = f(x, y));
    })
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
    fn relu_shows_nan() {
        assert!(f32::NAN.rectify().is_nan() && f32::NAN.gate(f32::NAN).is_nan());
        assert_eq!(((-0.0f32).rectify().to_bits(), 0f32.gate(5.0)), (0, 0.0));
    }
}
