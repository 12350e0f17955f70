//! Soft encoding of an ab value over its nearest bins (Zhang, Isola and Efros, ECCV 2016, equation 2 and section 2.2:
//! five nearest bins and σ = 5 in the paper, ten in the released code). [`super::decode`] is the inverse direction.
//!
//! Targets are never dense: a color is K pairs of bin and weight.

use super::bins::Bins;
use super::cells::Cells;
use super::uploaded::Uploaded;
use candle_core::{Device, Result, Tensor};
use std::sync::Arc;

/// K nearest bins weighted by a Gaussian of width sigma (in ab units), renormalized. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SoftCode {
    bins: Arc<Bins>,
    neighbors: usize,
    sigma: f32,
    cells: Arc<Cells>,
    weights: Arc<Uploaded>,
}

impl SoftCode {
    /// # Panics
    /// When `neighbors` is not in [1, number of bins] or `sigma` is not positive and finite.
    pub fn new(bins: Arc<Bins>, neighbors: usize, sigma: f32) -> Self {
        let most = bins.len();
        assert!((1..=most).contains(&neighbors), "neighbors must be in [1, {most}], got {neighbors}");
        assert!(sigma > 0.0 && sigma.is_finite(), "sigma must be positive and finite, got {sigma}");
        let cells = Arc::new(Cells::new(bins.centers(), bins.grid(), neighbors));
        Self { bins, neighbors, sigma, cells, weights: Arc::default() }
    }

    /// The underlying bins.
    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    /// K, the number of bins per color.
    pub fn neighbors(&self) -> usize {
        self.neighbors
    }

    /// Width of the Gaussian, in ab units.
    pub fn sigma(&self) -> f32 {
        self.sigma
    }

    /// Per-bin weights as f32 `(Q)` on a device; cached for the next call with the same weights.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn weights_on(&self, weights: &[f32], device: &Device) -> Result<Tensor> {
        self.weights.on(weights, weights.len(), device)
    }

    /// Writes the K (bin, weight) pairs of one color, nearest first; ties resolve to the lower index. The first bin
    /// is [`Bins::nearest`]. Weights are non-negative and sum to 1 at any distance from the bins; a non-finite color
    /// gets NaN weights, which propagate to the loss.
    ///
    /// # Panics
    /// When `out` does not hold exactly K pairs.
    pub fn encode(&self, ab: [f32; 2], out: &mut [(u32, f32)]) {
        assert_eq!(out.len(), self.neighbors, "encode writes one pair per neighbor");
        self.rank(ab, out);
        // relative to the nearest, so that the sum does not underflow far outside the gamut
        let (nearest, scale) = (out[0].1, -0.5 / (self.sigma * self.sigma));
        let mut sum = 0.0;
        for (_, value) in out.iter_mut() {
            *value = ((*value - nearest) * scale).exp();
            sum += *value;
        }
        out.iter_mut().for_each(|(_, weight)| *weight /= sum);
    }

    /// Writes the K nearest bins and their squared distances, sorted by distance, then index.
    fn rank(&self, ab: [f32; 2], out: &mut [(u32, f32)]) {
        let mut filled = 0;
        for candidate in self.cells.candidates(ab) {
            let (index, distance) = (candidate.index, candidate.distance(ab));
            let before = |other: (u32, f32)| distance < other.1 || (distance == other.1 && index < other.0);
            let mut place = filled;
            if filled < out.len() {
                filled += 1;
            } else if before(out[filled - 1]) {
                place = filled - 1;
            } else {
                continue;
            }
            while place > 0 && before(out[place - 1]) {
                out[place] = out[place - 1];
                place -= 1;
            }
            out[place] = (index, distance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(code: &SoftCode, ab: [f32; 2]) -> Vec<(u32, f32)> {
        let mut out = vec![(u32::MAX, f32::NAN); code.neighbors()];
        code.encode(ab, &mut out);
        out
    }

    fn entropy(pairs: &[(u32, f32)]) -> f32 {
        -pairs.iter().map(|(_, w)| w * w.ln()).sum::<f32>()
    }

    /// Ranks all bins in f64, the weights straight from the formula.
    fn by_formula(code: &SoftCode, ab: [f32; 2]) -> Vec<(u32, f64)> {
        let distance = |c: &[f32; 2]| {
            let (da, db) = (ab[0] - c[0], ab[1] - c[1]);
            da * da + db * db
        };
        let mut all: Vec<(u32, f32)> =
            code.bins().centers().iter().enumerate().map(|(i, c)| (i as u32, distance(c))).collect();
        all.sort_by(|x, y| x.1.total_cmp(&y.1)); // stable: ties stay in index order
        all.truncate(code.neighbors());
        let weight = |d: f32| (-f64::from(d - all[0].1) / (2.0 * f64::from(code.sigma()).powi(2))).exp();
        let sum: f64 = all.iter().map(|(_, d)| weight(*d)).sum();
        all.iter().map(|(i, d)| (*i, weight(*d) / sum)).collect()
    }

    #[test]
    fn the_known_weights_and_entropies() {
        let bins = Arc::new(Bins::new(10.0));
        let (five, ten) = (SoftCode::new(bins.clone(), 5, 5.0), SoftCode::new(bins, 10, 5.0));
        let close = |x: f32, y: f32| assert!((x - y).abs() < 6e-4, "{x} is not {y}");
        let center = encoded(&five, [0.0, 0.0]);
        assert_eq!(center[0].0, 120);
        close(center[0].1, 0.649);
        close(center[4].1, 0.088);
        close(entropy(&center), 1.135);
        let center = encoded(&ten, [0.0, 0.0]);
        close(center[0].1, 0.619);
        close(center[4].1, 0.084);
        close(center[8].1, 0.011);
        close(entropy(&center), 1.333);
        close(entropy(&encoded(&five, [5.0, 5.0])), 1.409);
        close(entropy(&encoded(&ten, [5.0, 5.0])), 1.520);
        close(encoded(&five, [5.0, 5.0])[0].1, 0.249);
        close(encoded(&ten, [5.0, 5.0])[0].1, 0.243);
    }

    #[test]
    fn ties_are_in_index_order() {
        let code = SoftCode::new(Arc::new(Bins::new(10.0)), 10, 5.0);
        let order: Vec<_> = encoded(&code, [0.0, 0.0])[1..5].iter().map(|p| p.0).collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn far_and_broken_colors_do_not_panic() {
        let code = SoftCode::new(Arc::new(Bins::new(10.0)), 10, 5.0);
        let far = encoded(&code, [4000.0, -3000.0]);
        assert!((far.iter().map(|p| p.1).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(far[0].0 as usize, code.bins().nearest([4000.0, -3000.0]));
        assert!(encoded(&code, [f32::NAN, 0.0]).iter().all(|p| p.1.is_nan()));
        let all = SoftCode::new(Arc::new(Bins::new(10.0)), 313, 5.0);
        assert_eq!(encoded(&all, [0.0, 0.0]).len(), 313);
    }

    proptest! {
        #[test]
        fn encode_is_the_formula(
            a in -140f32..140.0, b in -140f32..140.0, snap: bool,
            neighbors in 1usize..24, grid in prop_oneof![Just(10f32), Just(4.0), Just(17.5)],
        ) {
            let code = SoftCode::new(Arc::new(Bins::new(grid)), neighbors, 5.0);
            let ab = if snap { [a.round(), b.round()] } else { [a, b] };
            let pairs = encoded(&code, ab);
            prop_assert_eq!(pairs[0].0 as usize, code.bins().nearest(ab));
            prop_assert!((pairs.iter().map(|p| p.1).sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!(pairs.windows(2).all(|w| w[0].1 >= w[1].1));
            for (ours, formula) in pairs.iter().zip(by_formula(&code, ab)) {
                prop_assert_eq!(ours.0, formula.0);
                prop_assert!((f64::from(ours.1) - formula.1).abs() < 1e-5);
            }
        }
    }
}
