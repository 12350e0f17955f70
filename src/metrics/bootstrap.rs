//! The percentile bootstrap (Efron 1979): sampling uncertainty of a statistic.
//!
//! Units are the independent samples: images here, participants in a study; never the pixels of an image, which are
//! correlated. Every replicate is a pure function of (seed, replicate, number of units), so two methods scored on the
//! same units use the same resamples, and [`share_below`] compares them pairwise.

use crate::rng::Rng;
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Number of resamples and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    pub replicates: usize,
    pub seed: u64,
}

/// The paper's 1,000 replicates.
impl Default for Bootstrap {
    fn default() -> Self {
        Self { replicates: 1000, seed: 0 }
    }
}

impl Bootstrap {
    /// Computes `statistic` for every resample, in order, independent of the number of threads. Its argument is the
    /// multiplicity of each unit; the multiplicities sum to `units`.
    pub fn replicates<T: Send>(&self, units: usize, statistic: impl Fn(&[u32]) -> T + Sync) -> Vec<T> {
        let streams = Rng::new(self.seed).split("bootstrap");
        let replicate = |r: usize| statistic(&drawn(&streams, r as u64, units));
        (0..self.replicates).into_par_iter().map(replicate).collect()
    }

    /// Two stages, for values that are correlated within clusters, as trials of a participant. For every replicate, draws as
    /// many clusters as there are with replacement, and for each drawn one as many of its values as it has, with
    /// replacement: the mean over drawn clusters of the means of their drawn values. Empty without clusters.
    /// Replicates of different `name`s are independent, also for the same seed.
    ///
    /// # Panics
    /// On a cluster without values.
    pub fn clustered_means(&self, name: &str, clusters: &[Vec<f64>]) -> Vec<f64> {
        if clusters.is_empty() {
            return vec![];
        }
        let streams = Rng::new(self.seed).split("clustered bootstrap").split(name);
        let replicate = |r: usize| {
            let mut generator = streams.at(0, r as u64);
            let mut drawn_mean = || {
                let values = &clusters[generator.random_range(0..clusters.len())];
                let sum: f64 = values.iter().map(|_| values[generator.random_range(0..values.len())]).sum();
                sum / values.len() as f64
            };
            (0..clusters.len()).map(|_| drawn_mean()).sum::<f64>() / clusters.len() as f64
        };
        (0..self.replicates).into_par_iter().map(replicate).collect()
    }
}

/// Multiplicity of each unit in `units` draws with replacement.
fn drawn(streams: &Rng, replicate: u64, units: usize) -> Vec<u32> {
    let mut generator = streams.at(0, replicate);
    let mut times = vec![0u32; units];
    for _ in 0..units {
        times[generator.random_range(0..units)] += 1;
    }
    times
}

/// Mean, standard deviation and 95 % interval of a bootstrap distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub mean: f64,
    /// Standard deviation over the replicates (n − 1 in the denominator): the ± in the paper's table 1.
    pub std: f64,
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// None for fewer than two replicates or a non-finite one. Percentiles are interpolated linearly.
    pub fn of(replicates: &[f64]) -> Option<Self> {
        if replicates.len() < 2 || !replicates.iter().all(|v| v.is_finite()) {
            return None;
        }
        let n = replicates.len() as f64;
        let mean = replicates.iter().sum::<f64>() / n;
        let squares: f64 = replicates.iter().map(|v| (v - mean) * (v - mean)).sum();
        let mut sorted = replicates.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (percentile(&sorted, 0.025), percentile(&sorted, 0.975));
        Some(Self { mean, std: (squares / (n - 1.0)).sqrt(), low, high })
    }
}

/// `sorted` is non-empty; `at` is in [0, 1].
fn percentile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The fraction of paired replicates with `a` below `b`: the paper's one-sided p for "a is better than b" if higher
/// is better. Ties count for neither. None for no replicates, different lengths or NaN.
pub fn share_below(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || a.len() != b.len() || a.iter().chain(b).any(|v| v.is_nan()) {
        return None;
    }
    let below = a.iter().zip(b).filter(|(a, b)| a < b).count();
    Some(below as f64 / a.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};

    fn mean_of(values: &[f64], times: &[u32]) -> f64 {
        values.iter().zip(times).map(|(v, t)| v * f64::from(*t)).sum::<f64>() / values.len() as f64
    }

    fn normal(n: usize, name: &str) -> Vec<f64> {
        let mut generator = Rng::new(3).split(name).at(0, 0);
        (0..n).map(|_| StandardNormal.sample(&mut generator)).collect()
    }

    #[test]
    fn a_mean_has_its_analytic_standard_error() {
        let values = normal(400, "values");
        let mean = values.iter().sum::<f64>() / 400.0;
        let error = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>()).sqrt() / 400.0;
        let boot = Bootstrap { replicates: 4000, seed: 5 };
        let interval = Interval::of(&boot.replicates(400, |times| mean_of(&values, times))).unwrap();
        // 4,000 replicates know a standard deviation to 1.1 %, a 2.5th percentile to about 4 % of it
        assert!((interval.std / error - 1.0).abs() < 0.05, "{} against {error}", interval.std);
        assert!((interval.mean - mean).abs() < 0.1 * error);
        assert!(((interval.high - mean) / error - 1.96).abs() < 0.15, "{interval:?}");
        assert!(((mean - interval.low) / error - 1.96).abs() < 0.15, "{interval:?}");
    }

    #[test]
    fn replicates_do_not_depend_on_threads_and_do_on_the_seed() {
        let draw = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Bootstrap { replicates: 20, seed }.replicates(30, <[u32]>::to_vec))
        };
        let one = draw(1, 0);
        assert_eq!(one, draw(4, 0));
        assert_ne!(one, draw(1, 1));
        assert!(one.iter().all(|times| times.iter().sum::<u32>() == 30) && one[0] != one[1]);
        assert!(Bootstrap { replicates: 2, seed: 0 }.replicates(0, <[u32]>::len).iter().all(|n| *n == 0));
    }

    #[test]
    fn intervals_by_hand() {
        let values: Vec<f64> = (0..=40).rev().map(f64::from).collect();
        let interval = Interval::of(&values).unwrap();
        assert_eq!((interval.mean, interval.low, interval.high), (20.0, 1.0, 39.0));
        // the variance of 0 … 40 is 41 · 42 / 12
        assert!((interval.std - (41.0f64 * 42.0 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(Interval::of(&[0.0, 1.0]).unwrap().low, 0.025);
        assert_eq!(Interval::of(&[1.0]), None);
        assert_eq!(Interval::of(&[1.0, f64::INFINITY]), None);
    }

    #[test]
    fn comparisons_are_paired() {
        assert_eq!(share_below(&[1.0, 2.0, 3.0, 4.0], &[2.0, 2.0, 4.0, 1.0]), Some(0.5));
        assert_eq!(share_below(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(share_below(&[f64::NAN], &[1.0]), None);
        assert_eq!(share_below(&[], &[]), None);
        // A small but steady difference is seen through a spread over units that dwarfs it.
        let values = normal(50, "units");
        let better: Vec<f64> = values.iter().map(|v| v + 0.001).collect();
        let boot = Bootstrap::default();
        let [a, b] = [&values, &better].map(|v| boot.replicates(50, |times| mean_of(v, times)));
        assert_eq!((share_below(&a, &b), share_below(&b, &a)), (Some(1.0), Some(0.0)));
    }

    /// One cluster leaves the spread of its values, constant clusters that between clusters.
    #[test]
    fn clusters_and_their_values_are_drawn() {
        let boot = Bootstrap { replicates: 20_000, seed: 1 };
        let std = |clusters: &[Vec<f64>]| Interval::of(&boot.clustered_means("a", clusters)).unwrap().std;
        let within: Vec<f64> = (0..25).map(|i| f64::from(u8::from(i < 10))).collect();
        assert!((std(std::slice::from_ref(&within)) / (0.4f64 * 0.6 / 25.0).sqrt() - 1.0).abs() < 0.03);
        let constant: Vec<Vec<f64>> = within.iter().map(|value| vec![*value; 7]).collect();
        assert!((std(&constant) / (0.4f64 * 0.6 / 25.0).sqrt() - 1.0).abs() < 0.03);
        let [a, b] = ["a", "b"].map(|name| boot.clustered_means(name, &constant));
        assert!(
            (share_below(&a, &b).unwrap() - 0.45).abs() < 0.05,
            "independent, and ties count for neither"
        );
        assert!(boot.clustered_means("a", &[]).is_empty());
    }
}
