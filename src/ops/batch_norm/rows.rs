//! CPU loops of batch normalization: reductions over the rows of an `(m, C)` matrix, and row-wise passes.

use crate::ops::cpu::{BLOCK, Float, Stored, fill_blocks};
use rayon::prelude::*;
use std::ops::Range;

/// Channels per block: their tables fit in the L1 cache.
const SUM_CHANNELS: usize = 1024;
/// Rows summed in the element type before adding to the f64 sum.
const SUM_ROWS: usize = 16;

/// Two sums per channel over the rows of an `(m, C)` matrix. `add(row, channels, s0, s1)` adds a row to the sums of
/// those channels: in the element type over a few rows, in f64 beyond. The partition depends only on the shape, and
/// partial sums are added in order.
pub(super) fn channel_sums<T: Float>(
    m: usize,
    channels: usize,
    add: impl Fn(usize, Range<usize>, &mut [T], &mut [T]) + Sync,
) -> [Vec<f64>; 2] {
    let pieces = (m * channels / (2 * BLOCK)).clamp(1, 32);
    let rows = m.div_ceil(pieces);
    let piece = |i: usize| {
        let mut sums = [vec![0.0; channels], vec![0.0; channels]];
        let (start, end) = ((i * rows).min(m), ((i + 1) * rows).min(m));
        for c in (0..channels).step_by(SUM_CHANNELS).map(|c| c..(c + SUM_CHANNELS).min(channels)) {
            for run in (start..end).step_by(SUM_ROWS) {
                let mut short = [[T::ZERO; SUM_CHANNELS]; 2];
                let [s0, s1] = &mut short;
                for row in run..(run + SUM_ROWS).min(end) {
                    add(row, c.clone(), &mut s0[..c.len()], &mut s1[..c.len()]);
                }
                for (sum, short) in sums.iter_mut().zip(&short) {
                    sum[c.clone()].iter_mut().zip(short).for_each(|(s, v)| *s += v.to_f64());
                }
            }
        }
        sums
    };
    let partial: Vec<_> = (0..pieces).into_par_iter().map(piece).collect();
    let mut total = [vec![0.0; channels], vec![0.0; channels]];
    for part in &partial {
        for (total, part) in total.iter_mut().zip(part) {
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
    }
    total
}

/// Per-channel parameters of one call.
pub(super) struct ChannelParams<T> {
    pub mean: Vec<T>,
    pub inv_std: Vec<T>,
    pub scale: Vec<T>,
    pub shift: Vec<T>,
    pub relu: bool,
}

impl<T: Float> ChannelParams<T> {
    pub fn forward<S: Stored<Wide = T>>(&self, x: &[S]) -> Vec<S> {
        let c = self.mean.len();
        let rows = BLOCK.div_ceil(c) * c;
        fill_blocks(1, x.len(), rows, |_, start, out| {
            for (out, x) in out.chunks_exact_mut(c).zip(x[start..].chunks_exact(c)) {
                normalize_row(self, x, out);
            }
        })
    }

    /// Σ dy and Σ dy·(x − mean) per channel, with dy masked by the ReLU, if any.
    pub fn sums<S: Stored<Wide = T>>(&self, x: &[S], dy: &[S]) -> [Vec<f64>; 2] {
        let n = self.mean.len();
        channel_sums(x.len() / n, n, |row, c, s0, s1| {
            let tables = [&self.mean, &self.scale, &self.shift].map(|t| &t[c.clone()]);
            add_gradient_sums(&x[row * n..][c.clone()], &dy[row * n..][c.clone()], tables, self.relu, s0, s1);
        })
    }

    /// dx = γ/σ·(dy − mean dy − (x − mean)/σ²·mean(dy·(x − mean))) for batch statistics; γ/σ·dy for fixed statistics.
    pub fn input_gradient<S: Stored<Wide = T>>(&self, x: &[S], dy: &[S], sums: Option<&[f64]>) -> Vec<S> {
        let c = self.mean.len();
        let samples = (x.len() / c) as f64;
        let zeros = vec![0.0; 2 * c];
        let (s0, s1) = sums.unwrap_or(&zeros).split_at(c);
        let constant: Vec<T> = s0.iter().map(|s| T::from_f64(s / samples)).collect();
        let slope: Vec<T> = s1
            .iter()
            .zip(&self.inv_std)
            .map(|(s, i)| T::from_f64(s / samples * i.to_f64() * i.to_f64()))
            .collect();
        let rows = BLOCK.div_ceil(c) * c;
        fill_blocks(1, x.len(), rows, |_, start, out| {
            let rows =
                out.chunks_exact_mut(c).zip(x[start..].chunks_exact(c)).zip(dy[start..].chunks_exact(c));
            for ((out, x), dy) in rows {
                input_gradient_row(self, (&constant, &slope), x, dy, out);
            }
        })
    }
}

// The inner loops are separate functions, since the compiler vectorizes them only with non-aliasing slice arguments.

/// Σ (x − shift) and Σ (x − shift)².
#[inline(never)]
pub(super) fn add_moments<T: Stored>(x: &[T], shift: &[T], s0: &mut [T::Wide], s1: &mut [T::Wide]) {
    for (((x, shift), s0), s1) in x.iter().zip(shift).zip(s0).zip(s1) {
        let d = x.wide() - shift.wide();
        *s0 += d;
        *s1 += d * d;
    }
}

#[inline(never)]
fn normalize_row<T: Stored>(channels: &ChannelParams<T::Wide>, x: &[T], out: &mut [T::Wide]) {
    let ChannelParams { mean, scale, shift, relu, .. } = channels;
    for ((((o, x), &mean), &scale), &shift) in out.iter_mut().zip(x).zip(mean).zip(scale).zip(shift) {
        let y = (x.wide() - mean) * scale + shift;
        *o = if *relu { y.rectify() } else { y };
    }
}

/// dy masked by the ReLU, if any, for x − mean = `d`, with the arithmetic of [`normalize_row`].
#[inline(always)]
fn open<T: Float>(relu: bool, d: T, scale: T, shift: T, dy: T) -> T {
    if relu { (d * scale + shift).gate(dy) } else { dy }
}

#[inline(never)]
fn add_gradient_sums<T: Stored>(
    x: &[T],
    dy: &[T],
    [mean, scale, shift]: [&[T::Wide]; 3],
    relu: bool,
    s0: &mut [T::Wide],
    s1: &mut [T::Wide],
) {
    let row = x.iter().zip(dy).zip(mean).zip(scale).zip(shift);
    for (((((x, dy), &mean), &scale), &shift), (s0, s1)) in row.zip(s0.iter_mut().zip(s1)) {
        let d = x.wide() - mean;
        let dy = open(relu, d, scale, shift, dy.wide());
        *s0 += dy;
        *s1 += dy * d;
    }
}

#[inline(never)]
fn input_gradient_row<T: Stored>(
    channels: &ChannelParams<T::Wide>,
    (constant, slope): (&[T::Wide], &[T::Wide]),
    x: &[T],
    dy: &[T],
    out: &mut [T::Wide],
) {
    let ChannelParams { mean, scale, shift, relu, .. } = channels;
    let row = out.iter_mut().zip(x).zip(dy).zip(mean).zip(scale).zip(shift).zip(constant.iter().zip(slope));
    for ((((((o, x), dy), &mean), &scale), &shift), (&constant, &slope)) in row {
        let d = x.wide() - mean;
        *o = scale * (open(*relu, d, scale, shift, dy.wide()) - constant - d * slope);
    }
}
