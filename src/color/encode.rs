//! Soft encoding of an ab value over its nearest bins, and the annealed mean back (paper equations 2 and 5).
use super::bins::Bins;
use candle_core::{Result, Tensor};

/// K nearest bins weighted by a Gaussian of width sigma (in ab units), renormalised. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SoftCode {
    bins: std::sync::Arc<Bins>,
    neighbours: usize,
    sigma: f32,
}
impl SoftCode {
    pub fn new(bins: std::sync::Arc<Bins>, neighbours: usize, sigma: f32) -> Self {
        Self { bins, neighbours, sigma }
    }
    pub fn bins(&self) -> &Bins {
        &self.bins
    }
    pub fn neighbours(&self) -> usize {
        self.neighbours
    }
    pub fn sigma(&self) -> f32 {
        self.sigma
    }
    /// Writes the K (bin, weight) pairs of one colour, nearest first; ties go to the lower index. Fast: it is
    /// called for every label pixel of every step (use a lookup over grid cells, not a scan of all bins).
    pub fn encode(&self, ab: [f32; 2], out: &mut [(u32, f32)]) {
        let _ = (ab, out);
        todo!()
    }
}

/// How a distribution over bins becomes a colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decode {
    /// most probable bin
    Mode,
    /// expectation
    Mean,
    /// annealed mean with this temperature
    Annealed(f32),
}

/// Logits `(B, H, W, Q)` → ab `(B, H, W, 2)`. No gradient.
pub fn decode(logits: &Tensor, bins: &Bins, how: Decode) -> Result<Tensor> {
    let _ = (logits, bins, how);
    todo!()
}
