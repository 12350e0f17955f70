//! 2-D transposed convolution.
use super::conv::ConvGeometry;
use candle_core::{Result, Tensor};
/// x `(B, H, W, C)`, w `(C, KH, KW, O/groups)`, bias `(O)` → `(B, (H−1)s − 2p + d(k−1) + 1, …, O)`.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry) -> Result<Tensor> {
    let _ = (x, w, bias, g);
    todo!()
}
