//! 2-D transposed convolution: the adjoint of [`conv2d`](super::conv::conv2d) in its input, as a layer of its own.

use super::conv::{ConvGeometry, Convolution, Direction, conv_shape};
use candle_core::{Result, Tensor};

/// x `(B, H, W, C)`, w `(C, KH, KW, O/groups)`, bias `(O)` → `(B, (H−1)s − 2p + d(k−1) + 1, …, O)`.
///
/// f32 or f64, one dtype for all. The gradient of each argument is computed only when it takes part in the graph.
/// Errors where shapes or groups disagree, or the padding leaves nothing.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry) -> Result<Tensor> {
    forward(x, w, bias, g, false)
}

/// max([`conv_transpose2d`], 0) in one pass; the sums themselves are not kept. Gradient 0 at 0, and NaN shows, as
/// [`relu`](super::activation::relu) has it.
pub fn conv_transpose2d_relu(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    g: ConvGeometry,
) -> Result<Tensor> {
    forward(x, w, bias, g, true)
}

fn forward(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry, relu: bool) -> Result<Tensor> {
    let ((batch, height, width, channels), (_, kh, kw, per_group)) = (x.dims4()?, w.dims4()?);
    // The convolution whose adjoint this is goes from our output to our input.
    let sizes = [(g.transposed_out(height, kh), height), (g.transposed_out(width, kw), width)];
    let shape =
        conv_shape("conv_transpose2d", batch, sizes, (per_group * g.groups, channels), w.dims4()?, g)?;
    Convolution { shape, direction: Direction::Adjoint, relu }.apply(x, w, bias)
}
