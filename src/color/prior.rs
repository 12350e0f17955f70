//! The empirical distribution of colors over the bins and the class-rebalancing weights (Zhang, Isola and Efros, ECCV 2016,
//! section 2.2, equation 4).
//!
//! Computation: every pixel is counted in a 2-D histogram with cells of 1 × 1 ab unit centered on integers; the
//! histogram is smoothed by a Gaussian in the ab plane (not along the bin index); the mass of each quarter of a
//! smoothed cell is assigned to the nearest bin. Hard assignment, because smoothing has already spread each pixel and
//! rebalancing looks up weights by the nearest bin; quarters, because bin borders of the usual grid pass through cell
//! centers and would otherwise favor one side.
//!
//! Zero-count rule ([`ZERO_RULE`]): the Gaussian is truncated at 4σ, so a bin farther than that from every color of
//! the data set has probability exactly 0; no floor is added. Such a bin is excluded from the uniform component of
//! [`rebalance`] and gets the weight of the rarest observed bin.

use super::bins::Bins;
use super::lab;
pub use super::prior_file::{Prior, PriorError, PriorRecord};
use rayon::prelude::*;

/// The zero-count rule as stored in a prior's record.
pub const ZERO_RULE: &str = "left at 0: outside the uniform share, weighted like the rarest bin seen";

/// Cells from gray to the histogram border; sRGB is within 108.
const REACH: i32 = 110;
const SIDE: usize = 2 * REACH as usize + 1;
/// Truncation of the Gaussian, in standard deviations.
const CUT: f64 = 4.0;
/// Pixels converted at a time.
const CHUNK: usize = 1024;

/// Counts ab values and computes the smoothed probability of every bin. Counters may be filled separately and merged
/// in any order: counts are integers, so the result is bit-identical.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorCounter {
    /// Pixels in each cell of 1 × 1 ab unit, `(a, b)`.
    counts: Vec<u64>,
}

impl Default for PriorCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl PriorCounter {
    /// No pixels yet.
    pub fn new() -> Self {
        Self { counts: vec![0; SIDE * SIDE] }
    }

    /// Counts the pixels of one image given as packed RGB bytes.
    ///
    /// # Panics
    /// When the bytes are not whole pixels.
    pub fn add_rgb(&mut self, rgb: &[u8]) {
        let (pixels, rest) = rgb.as_chunks::<3>();
        assert!(rest.is_empty(), "packed RGB bytes come in threes, got {}", rgb.len());
        let mut lab = [[0f32; 3]; CHUNK];
        for pixels in pixels.chunks(CHUNK) {
            lab::convert(pixels, &mut lab[..pixels.len()]);
            for [_, a, b] in &lab[..pixels.len()] {
                let [row, column] = [a, b].map(|v| (v.round() as i32 + REACH) as usize);
                self.counts[row * SIDE + column] += 1;
            }
        }
    }

    /// Adds the counts of another counter.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The centers of the cells of 1 × 1 ab unit that hold pixels, with their numbers.
    pub fn cells(&self) -> impl Iterator<Item = ([f32; 2], u64)> {
        let center = |cell: usize| [cell / SIDE, cell % SIDE].map(|i| (i as i32 - REACH) as f32);
        let seen = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        seen.map(move |(cell, count)| (center(cell), *count))
    }

    /// Pixels counted so far.
    pub fn pixels(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The probability of every bin after Gaussian smoothing with `sigma` ab units (0: none). Sums to 1; all zeros if
    /// nothing was counted.
    ///
    /// # Panics
    /// When `sigma` is not in [0, 100].
    pub fn prior(&self, bins: &Bins, sigma: f32) -> Vec<f64> {
        assert!((0.0..=100.0).contains(&sigma), "the prior's sigma must be in [0, 100], got {sigma}");
        let kernel = gaussian(f64::from(sigma));
        let counts: Vec<f64> = self.counts.iter().map(|c| *c as f64).collect();
        // the plane is padded by the kernel, so that no mass is lost at the border
        let smoothed = widen_rows(&transposed(&widen_rows(&counts, SIDE, &kernel), SIDE), SIDE, &kernel);
        let side = SIDE + kernel.len() - 1;
        let mut share = shares(&transposed(&smoothed, side), side, bins);
        let total: f64 = share.iter().sum();
        if total > 0.0 {
            share.iter_mut().for_each(|p| *p /= total);
        }
        share
    }
}

/// A Gaussian at integers, truncated at [`CUT`] standard deviations and normalized. Odd length.
fn gaussian(sigma: f64) -> Vec<f64> {
    let reach = (CUT * sigma + 0.5).floor();
    if reach < 1.0 {
        return vec![1.0];
    }
    let at = |i: i32| (-0.5 * (f64::from(i) / sigma).powi(2)).exp();
    let kernel: Vec<f64> = (-(reach as i32)..=reach as i32).map(at).collect();
    let sum: f64 = kernel.iter().sum();
    kernel.into_iter().map(|v| v / sum).collect()
}

/// The full convolution of every row of `plane`, `width` wide, with `kernel`.
fn widen_rows(plane: &[f64], width: usize, kernel: &[f64]) -> Vec<f64> {
    let wide = width + kernel.len() - 1;
    let mut out = vec![0f64; plane.len() / width * wide];
    out.par_chunks_mut(wide).zip(plane.par_chunks(width)).for_each(|(to, from)| {
        for (i, value) in from.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            to[i..].iter_mut().zip(kernel).for_each(|(sum, k)| *sum += value * k);
        }
    });
    out
}

/// Transposes a plane of `rows` rows.
fn transposed(plane: &[f64], rows: usize) -> Vec<f64> {
    let columns = plane.len() / rows;
    (0..plane.len()).map(|i| plane[i % rows * columns + i / rows]).collect()
}

/// Assigns a quarter of each cell's mass to the bin nearest to the quarter's center. `plane` is square and centered
/// on gray.
fn shares(plane: &[f64], side: usize, bins: &Bins) -> Vec<f64> {
    let mut share = vec![0f64; bins.len()];
    let reach = (side / 2) as f32;
    for (i, mass) in plane.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
        let (a, b) = ((i / side) as f32 - reach, (i % side) as f32 - reach);
        for (da, db) in [(-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)] {
            share[bins.nearest([a + da, b + db])] += 0.25 * mass;
        }
    }
    share
}

/// Rebalancing weights w_q ∝ 1 / ((1-λ) p_q + λ/Q'), scaled so that Σ p_q w_q = 1; Q' counts bins with p_q > 0.
///
/// A bin with p_q = 0 gets the largest of the other weights (see the zero-count rule above). `lambda` is in [0, 1]: 1
/// gives equal weights, 0 the inverse prior. All zeros for a prior without mass.
pub fn rebalance(prior: &[f64], lambda: f64) -> Vec<f32> {
    let seen = prior.iter().filter(|p| **p > 0.0).count() as f64;
    let raw = |p: f64| 1.0 / ((1.0 - lambda) * p + lambda / seen);
    let raw_weights = || prior.iter().filter(|p| **p > 0.0).map(|p| (p, raw(*p)));
    let sum: f64 = raw_weights().map(|(p, w)| p * w).sum();
    let largest = raw_weights().map(|(_, w)| w).fold(0.0, f64::max);
    let scaled = |p: &f64| if *p > 0.0 { raw(*p) / sum } else { largest / sum.max(f64::MIN_POSITIVE) };
    prior.iter().map(|p| scaled(p) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_is_spread_as_the_gaussian_says() {
        let bins = Bins::new(10.0);
        let mut counter = PriorCounter::new();
        counter.add_rgb(&[128; 3 * 50]);
        assert_eq!(counter.pixels(), 50);
        let prior = counter.prior(&bins, 5.0);
        assert!((prior.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // a unit cell and a Gaussian of 5: the share within ±5 along one axis is near erf(1/√2) = 0.6827
        assert!((prior[120].sqrt() - 0.6827).abs() < 4e-3, "{}", prior[120].sqrt());
        // the four bins around gray are equal
        let beside: Vec<f64> = (0..bins.len())
            .filter(|i| bins.centers()[*i].iter().map(|v| v.abs()).sum::<f32>() == 10.0)
            .map(|i| prior[i])
            .collect();
        assert_eq!(beside.len(), 4);
        assert!(beside.iter().all(|p| (p - beside[0]).abs() < 1e-12), "{beside:?}");
        // beyond 4 σ and half a bin there is nothing
        for (center, p) in bins.centers().iter().zip(&prior) {
            let reached = center.iter().all(|v| v.abs() <= 20.0);
            assert_eq!(*p > 0.0, reached, "{center:?}");
        }
    }

    #[test]
    fn without_smoothing_it_is_the_histogram() {
        let bins = Bins::new(10.0);
        let mut counter = PriorCounter::new();
        let colors = [[128u8; 3], [255, 0, 0], [0, 0, 255], [0, 0, 255]];
        counter.add_rgb(colors.as_flattened());
        let prior = counter.prior(&bins, 0.0);
        for (color, share) in colors.iter().zip([0.25, 0.25, 0.5, 0.5]) {
            let [_, a, b] = lab::srgb8_to_lab(*color);
            assert_eq!(prior[bins.nearest([a, b])], share);
        }
        assert!(PriorCounter::new().prior(&bins, 5.0).iter().all(|p| *p == 0.0));
    }

    #[test]
    fn counters_merge_in_any_order() {
        let bytes: Vec<u8> = (0..30_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut whole = PriorCounter::new();
        whole.add_rgb(&bytes);
        let mut parts = PriorCounter::new();
        for part in bytes.chunks(3 * 777).rev() {
            let mut counter = PriorCounter::new();
            counter.add_rgb(part);
            parts.merge(&counter);
        }
        assert_eq!(whole, parts);
        assert_eq!(whole.pixels(), 10_000);
    }

    #[test]
    fn weights_by_hand() {
        let prior = [0.5, 0.25, 0.25, 0.0];
        // λ = 1/2, Q' = 3: m = 5/12, 7/24, 7/24; Σ p/m = 6/5 + 12/7 = 102/35
        let expected = [12.0 / 5.0, 24.0 / 7.0, 24.0 / 7.0, 24.0 / 7.0].map(|w| w * 35.0 / 102.0);
        for (ours, expected) in rebalance(&prior, 0.5).iter().zip(expected) {
            assert!((f64::from(*ours) - expected).abs() < 1e-6);
        }
        assert_eq!(rebalance(&prior, 1.0), [1.0; 4]);
        let inverse = rebalance(&prior, 0.0);
        assert!((inverse[1] / inverse[0] - 2.0).abs() < 1e-6 && inverse[3] == inverse[1]);
        assert_eq!(rebalance(&[0.0; 3], 0.5), [0.0; 3]);
    }
}
