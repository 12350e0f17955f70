//! The empirical distribution of colours and the class-rebalancing weights (paper section 2.2, equation 4).
use super::bins::Bins;

/// Counts ab values, smooths them in the ab plane, gives the probability of every bin.
#[derive(Clone, Debug)]
pub struct PriorCounter {/* 2-D histogram at 1 ab unit */}
impl PriorCounter {
    pub fn new() -> Self {
        todo!()
    }
    /// Counts the pixels of one image given as packed RGB bytes.
    pub fn add_rgb(&mut self, rgb: &[u8]) {
        let _ = rgb;
        todo!()
    }
    pub fn merge(&mut self, other: &Self) {
        let _ = other;
        todo!()
    }
    pub fn pixels(&self) -> u64 {
        todo!()
    }
    /// Gaussian smoothing of `sigma` ab units in the ab plane, then the share of every bin (sums to 1).
    pub fn prior(&self, bins: &Bins, sigma: f32) -> Vec<f64> {
        let _ = (bins, sigma);
        todo!()
    }
}
/// Rebalancing weights w_q ∝ 1 / ((1-λ) p_q + λ/Q'), scaled so that Σ p_q w_q = 1; Q' counts bins with p_q > 0.
pub fn rebalance(prior: &[f64], lambda: f64) -> Vec<f32> {
    let _ = (prior, lambda);
    todo!()
}
