//! 2-D transposed convolution: the adjoint of [`conv2d`](super::conv::conv2d) in its input.

use super::conv::{ConvGeometry, ConvRecord, Convolution, Direction, Wants, conv_shape};
use candle_core::{Result, Tensor};

/// x `(B, H, W, C)`, w `(C, KH, KW, O/groups)`, bias `(O)` → `(B, (H−1)s − 2p + d(k−1) + 1, …, O)`.
///
/// Types as for `conv2d`. Gradients are computed only for tracked arguments. Errors: mismatched shapes or
/// groups, an empty output.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry) -> Result<Tensor> {
    forward(x, w, bias, g, false)
}

/// max([`conv_transpose2d`], 0) in one pass; pre-activations are not stored. Gradient 0 at 0, and NaN propagates, as
/// in [`relu`](super::activation::relu).
pub fn conv_transpose2d_relu(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    g: ConvGeometry,
) -> Result<Tensor> {
    forward(x, w, bias, g, true)
}

fn forward(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry, relu: bool) -> Result<Tensor> {
    convolution(x, w, g, relu)?.apply(x, w, bias)
}

/// [`conv_transpose2d`], or with `relu` [`conv_transpose2d_relu`], outside of candle's graph; the record gives the
/// wanted gradients.
pub fn conv_transpose2d_recorded(
    x: &Tensor,
    (w, bias): (&Tensor, Option<&Tensor>),
    g: ConvGeometry,
    relu: bool,
    wants: Wants,
) -> Result<(Tensor, ConvRecord)> {
    convolution(x, w, g, relu)?.record(x, w, bias, wants)
}

fn convolution(x: &Tensor, w: &Tensor, g: ConvGeometry, relu: bool) -> Result<Convolution> {
    let ((batch, height, width, channels), (_, kh, kw, per_group)) = (x.dims4()?, w.dims4()?);
    // The corresponding forward convolution maps this op's output to its input.
    let sizes = [(g.transposed_out(height, kh), height), (g.transposed_out(width, kw), width)];
    let shape =
        conv_shape("conv_transpose2d", batch, sizes, (per_group * g.groups, channels), w.dims4()?, g)?;
    Ok(Convolution { shape, direction: Direction::Adjoint, relu })
}
