//! The colorization loss (Zhang, Isola and Efros, ECCV 2016, equations 2 and 3) without a dense target: only the K
//! bins of each pixel's soft code are stored. Rebalancing and the gray gate scale the gradient, as in the authors'
//! code, and sums are divided by the batch size only.

use super::sparse_target::{RowEntropies, SparseTarget};
use crate::color::encode::SoftCode;
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
mod cuda;

/// The loss in its logged variants, in nats per image, as scalars on the logits' device: f64, except `loss`, which
/// has the logits' dtype.
pub struct SoftCrossEntropy {
    /// Scalar whose gradient is the weighted one: Σ_i v_i·CE_i / B, v_i = weight[nearest bin]·gate of the image.
    pub loss: Tensor,
    /// Σ_i CE_i / B without weights or gate: what the paper's code logs.
    pub unweighted: Tensor,
    /// Σ_i v_i·CE_i / B.
    pub weighted: Tensor,
    /// Σ_i H(target_i) / B; `unweighted - target_entropy` is the KL form.
    pub target_entropy: Tensor,
    /// Label pixels per image.
    pub pixels: usize,
}

/// logits `(B, H, W, Q)` f32 or f64, ab `(B, H, W, 2)` in ab units; `weights` one per bin (None: all 1); `gray_gate`:
/// an image in which no |a| or |b| exceeds it has v = 0 (None: no gate); it still counts in the divisor and in the
/// unweighted sum. Not differentiable in ab. Errors: B, H or W that differ, Q or the weights not one per bin, no
/// neighbors or more than there are bins; on a GPU, more than 32 neighbors.
pub fn soft_encoded_cross_entropy(
    logits: &Tensor,
    ab: &Tensor,
    code: &SoftCode,
    weights: Option<&[f32]>,
    gray_gate: Option<f32>,
) -> Result<SoftCrossEntropy> {
    let (batch, pixels, q) = check(logits, ab, code, weights)?;
    let (colors, device) = (ab.detach().to_dtype(DType::F32)?.flatten_all()?, logits.device());
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        let scoring = cuda::Scoring { batch, pixels, code, weights, gray_gate };
        return scoring.loss(&logits.reshape((batch * pixels, q))?, &colors);
    }
    let colors = colors.to_vec1::<f32>()?;
    let codes = Codes::new(&colors, code);
    let gates = gates(&colors, batch, gray_gate);
    let pixel_weights: Vec<f64> = (codes.classes.chunks_exact(code.neighbors()).enumerate())
        .map(|(i, bins)| gates[i / pixels] * weights.map_or(1.0, |w| f64::from(w[bins[0] as usize])))
        .collect();
    let (per_image, target_entropy) = (1.0 / batch as f64, codes.entropies.iter().sum::<f64>());
    let row_weights = pixel_weights.iter().map(|v| v * per_image).collect();
    let target = codes.into_target(row_weights, code.neighbors(), logits)?;
    let entropies = RowEntropies::new(&logits.reshape((batch * pixels, q))?, target)?;
    let values = entropies.values()?;
    let weighted = weighted_sum(&values, &pixel_weights) * per_image;
    Ok(SoftCrossEntropy {
        loss: entropies.into_loss(Tensor::new(weighted, device)?)?,
        unweighted: Tensor::new(values.iter().sum::<f64>() * per_image, device)?,
        weighted: Tensor::new(weighted, device)?,
        target_entropy: Tensor::new(target_entropy * per_image, device)?,
        pixels,
    })
}

const NAME: &str = "soft_encoded_cross_entropy";

/// (B, label pixels per image, Q).
fn check(
    logits: &Tensor,
    ab: &Tensor,
    code: &SoftCode,
    weights: Option<&[f32]>,
) -> Result<(usize, usize, usize)> {
    let (&[b, h, w, q], &[ab_b, ab_h, ab_w, 2]) = (logits.dims(), ab.dims()) else {
        let (logits, ab) = (logits.dims(), ab.dims());
        bail!("{NAME}: logits (B, H, W, Q) and ab (B, H, W, 2) wanted, got {logits:?} and {ab:?}");
    };
    if (b, h, w) != (ab_b, ab_h, ab_w) || b * h * w == 0 {
        let (logits, ab) = (logits.dims(), ab.dims());
        bail!("{NAME}: logits {logits:?} and ab {ab:?} must agree in B, H and W and not be empty");
    }
    let (bins, neighbors) = (code.bins().len(), code.neighbors());
    if q != bins {
        bail!("{NAME}: logits {:?} want one channel for each of the {bins} color bins", logits.dims());
    }
    if neighbors == 0 || neighbors > bins {
        bail!("{NAME}: {neighbors} neighbors of {bins} color bins for logits {:?}", logits.dims());
    }
    if let Some(weights) = weights.filter(|w| w.len() != bins) {
        bail!("{NAME}: {} weights for the {bins} color bins of logits {:?}", weights.len(), logits.dims());
    }
    Ok((b, h * w, q))
}

/// 1 for every image with a pixel beyond the threshold in a or b, 0 for the gray ones.
fn gates(colors: &[f32], batch: usize, threshold: Option<f32>) -> Vec<f64> {
    let open = |image: &[f32]| threshold.is_none_or(|t| image.iter().any(|v| v.abs() > t));
    colors.chunks_exact(colors.len() / batch).map(|image| f64::from(u8::from(open(image)))).collect()
}

/// Σ v·CE; pixels of weight 0 are ignored.
fn weighted_sum(entropies: &[f64], weights: &[f64]) -> f64 {
    entropies.iter().zip(weights).filter(|(_, v)| **v != 0.0).map(|(e, v)| e * v).sum()
}

/// The soft codes of all pixels.
struct Codes {
    classes: Vec<u32>,
    /// renormalized in f64, so that each pixel's shares sum to 1 beyond f32 precision
    shares: Vec<f64>,
    /// of every code, in nats
    entropies: Vec<f64>,
}

/// Pixels per encoding task.
const PIXELS: usize = 1024;

impl Codes {
    fn new(colors: &[f32], code: &SoftCode) -> Self {
        let (k, n) = (code.neighbors(), colors.len() / 2);
        let mut codes = Self { classes: vec![0; n * k], shares: vec![0.0; n * k], entropies: vec![0.0; n] };
        let blocks = (codes.classes.par_chunks_mut(PIXELS * k))
            .zip(codes.shares.par_chunks_mut(PIXELS * k))
            .zip(codes.entropies.par_chunks_mut(PIXELS))
            .zip(colors.par_chunks(PIXELS * 2));
        blocks.for_each(|(((classes, shares), entropies), colors)| {
            let mut pairs = vec![(0, 0.0); k];
            let out = classes.chunks_exact_mut(k).zip(shares.chunks_exact_mut(k)).zip(entropies);
            for (((classes, shares), entropy), ab) in out.zip(colors.chunks_exact(2)) {
                code.encode([ab[0], ab[1]], &mut pairs);
                let total: f64 = pairs.iter().map(|&(_, weight)| f64::from(weight)).sum();
                for ((class, share), &(bin, weight)) in classes.iter_mut().zip(shares).zip(&pairs) {
                    (*class, *share) = (bin, f64::from(weight) / total);
                    *entropy -= xlogx(*share);
                }
            }
        });
        codes
    }

    fn into_target(self, row_weights: Vec<f64>, k: usize, logits: &Tensor) -> Result<SparseTarget> {
        let (n, device) = (row_weights.len(), logits.device());
        Ok(SparseTarget {
            classes: Tensor::from_vec(self.classes, (n, k), device)?,
            shares: Tensor::from_vec(self.shares, (n, k), device)?,
            row_weights: Tensor::from_vec(row_weights, n, device)?,
        })
    }
}

/// x·ln x, continued to 0 at 0.
fn xlogx(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * x.ln() }
}
