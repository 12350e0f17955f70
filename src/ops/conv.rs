//! 2-D convolution.
use candle_core::{Result, Tensor};

/// Geometry of a convolution: one number serves both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
    pub groups: usize,
}

/// x `(B, H, W, C)`, w `(O, KH, KW, C/groups)`, bias `(O)` → `(B, H', W', O)`; H' = floor((H+2p−d(k−1)−1)/s)+1.
/// The gradient of x is computed only when x takes part in the graph.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry) -> Result<Tensor> {
    let _ = (x, w, bias, g);
    todo!()
}
