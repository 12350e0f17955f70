//! Batch normalisation over (B, H, W), optionally affine, optionally with the ReLU that follows.
use candle_core::{Result, Tensor, Var};
/// How running statistics move: new = (1−momentum)·old + momentum·batch (PyTorch), variance unbiased.
/// Caffe's accumulators with fraction 0.999 are `Momentum::Caffe`: see the docs of the variants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    PyTorch(f64),
    Caffe(f64),
}
/// Running mean and variance `(C)`; for Caffe they are kept normalised, with the accumulated weight in `weight` `(1)`.
#[derive(Clone, Debug)]
pub struct Running {
    pub mean: Var,
    pub var: Var,
    pub weight: Var,
}
/// Training: batch statistics, and `running` moves. x `(B, H, W, C)` or `(B, C)`.
pub fn batch_norm_train(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    momentum: Momentum,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let _ = (x, affine, running, momentum, eps, relu);
    todo!()
}
/// Evaluation: running statistics; differentiable in x and the affine pair.
pub fn batch_norm_eval(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let _ = (x, affine, running, eps, relu);
    todo!()
}
