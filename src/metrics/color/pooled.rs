//! The measures pooled over the pixels of all images, and their bootstrap replicates.

use super::{
    image::{BinErrors, ImageScores, REACH, THRESHOLDS},
    measure::ColorSummary,
};
use crate::{color::prior::rebalance, metrics::bootstrap::Bootstrap};
use std::collections::HashSet;

/// The scored images of one method.
#[derive(Clone, Debug, Default)]
pub struct ColorScores {
    images: Vec<ImageScores>,
    /// Per-bin weights from the prior; empty without one.
    weights: Vec<f64>,
}

impl ColorScores {
    /// An empty set of scores. `prior` is the probability of every bin, in the order of the bins used for scoring;
    /// pixels are weighted by equation 4 at λ = 0, and a bin of probability 0 like the rarest of the others.
    pub fn new(prior: Option<&[f64]>) -> Self {
        let weights = prior.map(|prior| rebalance(prior, 0.0)).unwrap_or_default();
        Self { images: Vec::new(), weights: weights.into_iter().map(f64::from).collect() }
    }

    /// Adds an image.
    pub fn push(&mut self, image: ImageScores) {
        self.images.push(image);
    }

    pub fn images(&self) -> &[ImageScores] {
        &self.images
    }

    /// The images whose names are in `names`, in order.
    pub fn only(&self, names: &HashSet<&str>) -> Self {
        let images = self.images.iter().filter(|image| names.contains(image.name())).cloned().collect();
        Self { images, weights: self.weights.clone() }
    }

    /// The measures over all images; None if empty.
    pub fn summary(&self) -> Option<ColorSummary> {
        self.resampled(&vec![1; self.images.len()])
    }

    /// The measures of every bootstrap resample, recomputed from the sums.
    pub fn replicates(&self, bootstrap: &Bootstrap) -> Vec<ColorSummary> {
        if self.images.is_empty() {
            return Vec::new();
        }
        let resamples = bootstrap.replicates(self.images.len(), |times| self.resampled(times));
        resamples.into_iter().flatten().collect()
    }

    /// The measures with each image repeated `times`; None if all are 0.
    fn resampled(&self, times: &[u32]) -> Option<ColorSummary> {
        let drawn = || self.images.iter().zip(times).filter(|(_, times)| **times > 0);
        let mut pool = PooledErrors::default();
        drawn().for_each(|(image, times)| pool.add(image, f64::from(*times)));
        let pictures = drawn().all(|(image, _)| image.pictures.is_some());
        (pool.images > 0.0).then(|| pool.summary(&self.weights, pictures))
    }
}

/// Sums of errors; counts are integers below 2⁵³, so they are exact.
#[derive(Clone, Copy, Debug, Default)]
struct ErrorSums {
    pixels: f64,
    capped: f64,
    reached: f64,
}

impl ErrorSums {
    fn add(&mut self, errors: &BinErrors, times: f64) {
        self.pixels += times * errors.pixels as f64;
        self.capped += times * errors.capped;
        self.reached += times * errors.reached as f64;
    }

    /// The weighted sum.
    fn weighted<'a>(parts: impl Iterator<Item = (&'a Self, f64)>) -> Self {
        parts.fold(Self::default(), |sum, (part, weight)| Self {
            pixels: sum.pixels + weight * part.pixels,
            capped: sum.capped + weight * part.capped,
            reached: sum.reached + weight * part.reached,
        })
    }

    /// AuC as an integral, and as the mean over thresholds.
    fn areas(&self) -> [f64; 2] {
        [1.0 - self.capped / (REACH * self.pixels), self.reached / (f64::from(THRESHOLDS) * self.pixels)]
    }
}

#[derive(Debug, Default)]
struct PooledErrors {
    images: f64,
    squared: f64,
    /// Indexed by bin, up to the highest occupied one.
    bins: Vec<ErrorSums>,
    bytes_squared: f64,
    psnr: f64,
    colorfulness: [f64; 2],
}

impl PooledErrors {
    fn add(&mut self, image: &ImageScores, times: f64) {
        self.images += times;
        self.squared += times * image.squared;
        for (bin, errors) in &image.bins {
            if self.bins.len() <= *bin {
                self.bins.resize(bin + 1, ErrorSums::default());
            }
            self.bins[*bin].add(errors, times);
        }
        if let Some(pictures) = &image.pictures {
            self.bytes_squared += times * pictures.squared as f64;
            self.psnr += times * psnr(pictures.squared as f64, image.pixels as f64);
            for (sum, value) in self.colorfulness.iter_mut().zip(pictures.colorfulness) {
                *sum += times * value;
            }
        }
    }

    fn occupied(&self) -> impl Iterator<Item = (usize, &ErrorSums)> {
        self.bins.iter().enumerate().filter(|(_, sums)| sums.pixels > 0.0)
    }

    /// Both areas and the effective sample size with a weight per occupied bin; None if the total weight is 0.
    fn rebalanced(&self, weight: impl Fn(usize, &ErrorSums) -> f64) -> Option<([f64; 2], f64)> {
        let total = ErrorSums::weighted(self.occupied().map(|(bin, sums)| (sums, weight(bin, sums))));
        let squares: f64 = self.occupied().map(|(bin, sums)| weight(bin, sums).powi(2) * sums.pixels).sum();
        (total.pixels > 0.0).then(|| (total.areas(), total.pixels.powi(2) / squares))
    }

    /// Requires at least one image.
    fn summary(&self, weights: &[f64], pictures: bool) -> ColorSummary {
        let all = ErrorSums::weighted(self.bins.iter().map(|sums| (sums, 1.0)));
        let [auc, auc_thresholds] = all.areas();
        let empirical = self.rebalanced(|_, sums| 1.0 / sums.pixels);
        let ([auc_empirical, auc_empirical_thresholds], effective_empirical) =
            empirical.unwrap_or(([auc, auc_thresholds], all.pixels));
        let prior = self.rebalanced(|bin, _| weights.get(bin).copied().unwrap_or(0.0));
        let finite = |value: f64| (pictures && value.is_finite()).then_some(value);
        let [colorfulness, truth_colorfulness] = self.colorfulness.map(|sum| finite(sum / self.images));
        ColorSummary {
            images: self.images as usize,
            pixels: all.pixels as u64,
            auc,
            auc_thresholds,
            auc_empirical,
            auc_empirical_thresholds,
            occupied_bins: self.occupied().count(),
            effective_empirical,
            auc_prior: prior.map(|([area, _], _)| area),
            auc_prior_thresholds: prior.map(|([_, area], _)| area),
            effective_prior: prior.map(|(_, effective)| effective),
            rmse: (self.squared / all.pixels).sqrt(),
            psnr: finite(psnr(self.bytes_squared, all.pixels)),
            psnr_mean: finite(self.psnr / self.images),
            colorfulness,
            truth_colorfulness,
        }
    }
}

/// PSNR in dB from the sum of squared byte differences over three channels; infinite for 0.
fn psnr(squared: f64, pixels: f64) -> f64 {
    10.0 * (255.0 * 255.0 * 3.0 * pixels / squared).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{color::bins::Bins, metrics::color::intervals};

    fn image(name: &str, predicted: &[[f32; 2]], truth: &[[f32; 2]]) -> ImageScores {
        ImageScores::of(name, predicted, truth, &Bins::new(10.0)).unwrap()
    }

    fn pool(prior: Option<&[f64]>, images: Vec<ImageScores>) -> ColorScores {
        let mut scores = ColorScores::new(prior);
        images.into_iter().for_each(|image| scores.push(image));
        scores
    }

    fn near(ours: f64, by_hand: f64) {
        assert!((ours - by_hand).abs() < 1e-7, "{ours}, by hand {by_hand}");
    }

    /// Three gray pixels right, a fourth pixel red and taken for gray, over two images of unequal size.
    fn four_pixels(prior: Option<&[f64]>) -> ColorSummary {
        let large = image("a", &[[0.0; 2]; 3], &[[0.0; 2], [0.0; 2], [60.0, 45.0]]);
        pool(prior, vec![large, image("b", &[[0.0; 2]], &[[0.0; 2]])]).summary().unwrap()
    }

    #[test]
    fn four_pixels_by_hand() {
        let summary = four_pixels(None);
        // d = 0, 0, 75, 0; 75 reaches 76 of 151 thresholds
        near(summary.auc, 1.0 - 75.0 / 4.0 / 150.0);
        near(summary.auc_thresholds, (3.0 + 76.0 / 151.0) / 4.0);
        // gray 1, red ½; each bin half of the weight
        near(summary.auc_empirical, 0.75);
        near(summary.auc_empirical_thresholds, (1.0 + 76.0 / 151.0) / 2.0);
        // Σw = 2, Σw² = 3 / 9 + 1
        near(summary.effective_empirical, 4.0 / (4.0 / 3.0));
        near(summary.rmse, 75.0 / 2.0);
        assert_eq!((summary.images, summary.pixels, summary.occupied_bins), (2, 4, 2));
        assert_eq!((summary.auc_prior, summary.effective_prior), (None, None));
    }

    #[test]
    fn the_prior_weighs_by_the_true_color() {
        let bins = Bins::new(10.0);
        let [gray, red] = [[0.0, 0.0], [60.0, 45.0]].map(|ab| bins.nearest(ab));
        let mut prior = vec![0.2 / 311.0; 313];
        (prior[gray], prior[red]) = (0.7, 0.1);
        let summary = four_pixels(Some(&prior));
        // weights 1 (three gray pixels) and 7 (one red)
        near(summary.auc_prior.unwrap(), 1.0 - 7.0 * 75.0 / 10.0 / 150.0);
        near(summary.auc_prior_thresholds.unwrap(), (3.0 + 7.0 * 76.0 / 151.0) / 10.0);
        near(summary.effective_prior.unwrap(), 100.0 / 52.0);
        near(summary.auc_empirical, 0.75);
        // The predicted color plays no part in the weights.
        let swapped = image("a", &[[60.0, 45.0]], &[[0.0; 2]]);
        near(pool(Some(&prior), vec![swapped]).summary().unwrap().effective_prior.unwrap(), 1.0);
    }

    #[test]
    fn equal_pictures_have_no_psnr_but_a_colorfulness() {
        let pictured = |name: &str, predicted: [u8; 3], truth: [u8; 3]| {
            image(name, &[[0.0; 2]], &[[0.0; 2]]).with_pictures(&predicted, &truth).unwrap()
        };
        let equal = pictured("a", [9, 9, 9], [9, 9, 9]);
        let off = pictured("b", [9, 9, 14], [9, 9, 9]);
        let summary = pool(None, vec![equal.clone()]).summary().unwrap();
        assert_eq!((summary.psnr, summary.psnr_mean, summary.colorfulness), (None, None, Some(0.0)));
        let summary = pool(None, vec![equal.clone(), off.clone()]).summary().unwrap();
        near(summary.psnr.unwrap(), 10.0 * (255.0f64 * 255.0 * 6.0 / 25.0).log10());
        assert_eq!(summary.psnr_mean, None);
        near(summary.colorfulness.unwrap(), 0.3 * 5.0 / 2.0);
        let summary = pool(None, vec![off.clone()]).summary().unwrap();
        near(summary.psnr_mean.unwrap(), 10.0 * (255.0f64 * 255.0 * 3.0 / 25.0).log10());
        let mixed = pool(None, vec![off, image("c", &[[0.0; 2]], &[[0.0; 2]])]).summary().unwrap();
        assert_eq!((mixed.psnr, mixed.colorfulness, mixed.truth_colorfulness), (None, None, None));
        assert_eq!(ColorScores::new(None).summary(), None);
        assert!(ColorScores::new(None).replicates(&Bootstrap::default()).is_empty());
    }

    #[test]
    fn replicates_recompute_the_weights_of_each_resample() {
        // One image all gray and right, one all red and wrong by 75: AuC and its rebalanced form depend on the draw.
        let scores = pool(
            None,
            vec![image("a", &[[0.0; 2]; 3], &[[0.0; 2]; 3]), image("b", &[[0.0; 2]], &[[60.0, 45.0]])],
        );
        let replicates = scores.replicates(&Bootstrap { replicates: 400, seed: 1 });
        assert_eq!(replicates.len(), 400);
        let mut shares = [0usize; 3];
        for replicate in &replicates {
            let (place, by_hand) = match (replicate.occupied_bins, replicate.pixels) {
                (2, 4) => (0, [1.0 - 0.5 / 4.0, 0.75]),
                (1, 6) => (1, [1.0, 1.0]),
                (1, 2) => (2, [0.5, 0.5]),
                other => panic!("no resample of two images has {other:?}"),
            };
            shares[place] += 1;
            near(replicate.auc, by_hand[0]);
            near(replicate.auc_empirical, by_hand[1]);
        }
        assert!(shares.iter().zip([200, 100, 100]).all(|(n, mean)| n.abs_diff(mean) < 50), "{shares:?}");
        let intervals = intervals(&replicates);
        assert_eq!(intervals.len(), 5, "only what every replicate has: {intervals:?}");
    }

    #[test]
    fn subsets_keep_the_weights() {
        let prior = vec![1.0 / 313.0; 313];
        let scores = pool(
            Some(&prior),
            vec![image("a", &[[0.0; 2]], &[[0.0; 2]]), image("b", &[[150.0, 0.0]], &[[0.0; 2]])],
        );
        let only = scores.only(&HashSet::from(["b"])).summary().unwrap();
        assert_eq!((only.images, only.auc, only.auc_prior), (1, 0.0, Some(0.0)));
    }
}
