//! Losses over the last axis.
use crate::color::encode::SoftCode;
use candle_core::{Result, Tensor};
/// Softmax cross entropy. logits `(N, K)`, labels u32 `(N)`; entries equal to `ignore` count in nothing. Mean over the rest.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, ignore: Option<u32>) -> Result<Tensor> {
    let _ = (logits, labels, ignore);
    todo!()
}
/// Sigmoid cross entropy, stable at any logit. logits, targets and mask (0 or 1) `(N, K)`; sum over masked entries / `divisor`.
pub fn bce_with_logits(
    logits: &Tensor,
    targets: &Tensor,
    mask: Option<&Tensor>,
    divisor: f64,
) -> Result<Tensor> {
    let _ = (logits, targets, mask, divisor);
    todo!()
}
/// The colorization loss without a dense target (paper equation 3, PROTOCOLS section 9).
pub struct SoftCrossEntropy {
    /// Scalar whose gradient is the weighted one: Σ_i v_i·CE_i / B, v_i = weight[nearest bin]·gate of the image.
    pub loss: Tensor,
    /// Σ_i CE_i / B without weights or gate: what the paper's code logs.
    pub unweighted: f64,
    /// Σ_i v_i·CE_i / B.
    pub weighted: f64,
    /// Σ_i H(target_i) / B; `unweighted - target_entropy` is the KL form.
    pub target_entropy: f64,
    /// Label pixels per image.
    pub pixels: usize,
}
/// logits `(B, H, W, Q)`, ab `(B, H, W, 2)`; `weights` one per bin (None: all 1);
/// `grey_gate`: an image none of whose |a| or |b| exceeds it has v = 0 (None: no gate).
pub fn soft_encoded_cross_entropy(
    logits: &Tensor,
    ab: &Tensor,
    code: &SoftCode,
    weights: Option<&[f32]>,
    grey_gate: Option<f32>,
) -> Result<SoftCrossEntropy> {
    let _ = (logits, ab, code, weights, grey_gate);
    todo!()
}
