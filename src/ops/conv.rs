//! 2-D convolution (cross-correlation, as is usual in networks) with gradients.
//!
//! Tensors are NHWC and filters `(O, KH, KW, C/groups)`, cuDNN's order for NHWC. `conv/cpu.rs`, `conv/bf16.rs` and
//! `conv/cuda.rs` implement the products, `conv/graph.rs` the autograd op. Second-order gradients are not supported.

mod axis;
mod bf16;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod filter_gemm;
mod gather_gemm;
mod graph;
mod lanes;
mod panels;
mod patches;
mod shape;
mod simd;
mod tile;
mod winograd;

use axis::Axis;
pub use bf16::bf16_instructions;
use candle_core::{Result, Tensor, bail};
use graph::weight_gradient;
pub use graph::{ConvGradients, ConvRecord, Wants};
pub(super) use graph::{Convolution, Direction};
use shape::ConvShape;
pub use simd::{check_simd, instructions};
use std::fmt;

/// Geometry of a convolution, the same for both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
    pub groups: usize,
}

impl fmt::Display for ConvGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stride, pad, dilation, groups } = self;
        write!(f, "stride {stride}, pad {pad}, dilation {dilation}, {groups} groups")
    }
}

impl Default for ConvGeometry {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Self {
        Self { stride: 1, pad: 0, dilation: 1, groups: 1 }
    }
}

impl ConvGeometry {
    /// Output length of a convolution along one axis: floor((n+2p−d(k−1)−1)/s)+1; 0 if the kernel does not fit.
    pub fn out(&self, n: usize, k: usize) -> usize {
        let reach = self.dilation * k.saturating_sub(1) + 1;
        (n + 2 * self.pad).checked_sub(reach).map_or(0, |slack| slack / self.stride.max(1) + 1)
    }

    /// Output length of a transposed convolution along one axis: (n−1)s − 2p + d(k−1) + 1; 0 if empty.
    pub fn transposed_out(&self, n: usize, k: usize) -> usize {
        let full = n.saturating_sub(1) * self.stride + self.dilation * k.saturating_sub(1) + 1;
        full.saturating_sub(2 * self.pad)
    }
}

/// x `(B, H, W, C)`, w `(O, KH, KW, C/groups)`, bias `(O)` → `(B, H', W', O)`; H' = floor((H+2p−d(k−1)−1)/s)+1.
///
/// f32 or f64, one dtype for all; or x in bf16 with f32 w and bias, of which w is rounded to bf16 before it is
/// multiplied. Gradients are computed only for tracked arguments. Errors: mismatched shapes or groups, a kernel larger than the padded input.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry) -> Result<Tensor> {
    forward(x, w, bias, g, false)
}

/// max([`conv2d`], 0) in one pass; pre-activations are not stored. Gradient 0 at 0, and NaN propagates, as in
/// [`relu`](super::activation::relu).
pub fn conv2d_relu(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry) -> Result<Tensor> {
    forward(x, w, bias, g, true)
}

fn forward(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, g: ConvGeometry, relu: bool) -> Result<Tensor> {
    convolution(x, w, g, relu)?.apply(x, w, bias)
}

/// [`conv2d`], or with `relu` [`conv2d_relu`], outside of candle's graph; the record gives the wanted gradients.
pub fn conv2d_recorded(
    x: &Tensor,
    (w, bias): (&Tensor, Option<&Tensor>),
    g: ConvGeometry,
    relu: bool,
    wants: Wants,
) -> Result<(Tensor, ConvRecord)> {
    convolution(x, w, g, relu)?.record(x, w, bias, wants)
}

fn convolution(x: &Tensor, w: &Tensor, g: ConvGeometry, relu: bool) -> Result<Convolution> {
    let ((batch, height, width, inputs), (outputs, kh, kw, _)) = (x.dims4()?, w.dims4()?);
    let sizes = [(height, g.out(height, kh)), (width, g.out(width, kw))];
    let shape = conv_shape("conv2d", batch, sizes, (inputs, outputs), w.dims4()?, g)?;
    Ok(Convolution { shape, direction: Direction::Forward, relu })
}

/// The gradient of [`conv2d`] in x of size (H, W), not recorded in the graph: w `(O, KH, KW, C/groups)`, dy `(B, H',
/// W', O)` → `(B, H, W, C)`.
pub fn conv2d_input_grad(size: (usize, usize), w: &Tensor, dy: &Tensor, g: ConvGeometry) -> Result<Tensor> {
    let ((batch, oh, ow, outputs), per_group) = (dy.dims4()?, w.dims4()?.3);
    let sizes = [(size.0, oh), (size.1, ow)];
    let shape =
        conv_shape("conv2d_input_grad", batch, sizes, (per_group * g.groups, outputs), w.dims4()?, g)?;
    Convolution { shape, direction: Direction::Adjoint, relu: false }.apply(&dy.detach(), &w.detach(), None)
}

/// The gradient of [`conv2d`] in w with a kernel (KH, KW), not recorded in the graph: x `(B, H, W, C)`, dy `(B, H',
/// W', O)` → `(O, KH, KW, C/groups)`.
pub fn conv2d_weight_grad(
    x: &Tensor,
    kernel: (usize, usize),
    dy: &Tensor,
    g: ConvGeometry,
) -> Result<Tensor> {
    let ((batch, h, w, inputs), (_, oh, ow, outputs)) = (x.dims4()?, dy.dims4()?);
    let filters = (outputs, kernel.0, kernel.1, inputs / g.groups.max(1));
    let shape = conv_shape("conv2d_weight_grad", batch, [(h, oh), (w, ow)], (inputs, outputs), filters, g)?;
    weight_gradient(&shape, x, dy)
}

/// The shape of the convolution from `(batch, in, in, channels.0)` to `(batch, out, out, channels.1)`, where `sizes`
/// are the (in, out) lengths of the two axes; an error if there is none. `op` names the caller.
pub(super) fn conv_shape(
    op: &str,
    batch: usize,
    sizes: [(usize, usize); 2],
    (inputs, outputs): (usize, usize),
    filters: (usize, usize, usize, usize),
    g: ConvGeometry,
) -> Result<ConvShape> {
    let ConvGeometry { stride, pad, dilation, groups } = g;
    let (count, kh, kw, per_group) = filters;
    if stride == 0 || dilation == 0 || groups == 0 {
        bail!("{op}: stride, dilation and groups must be at least 1, got {g}")
    }
    if count != outputs || outputs % groups != 0 || per_group * groups != inputs {
        bail!("{op}: w {filters:?} does not fit {inputs} and {outputs} channels in {groups} groups")
    }
    if sizes.iter().zip([kh, kw]).any(|(&(input, output), k)| g.out(input, k) != output) {
        bail!("{op}: no convolution of {g} and kernel ({kh}, {kw}) has the (input, output) sizes {sizes:?}")
    }
    let axis = |(input, output), kernel| Axis { input, output, kernel, stride, pad, dilation };
    let (rows, cols) = (axis(sizes[0], kh), axis(sizes[1], kw));
    let shape = ConvShape { batch, rows, cols, inputs, outputs, groups };
    if [shape.input_len(), shape.output_len(), shape.weight_len()].contains(&0) {
        bail!("{op}: nothing to compute for batch {batch}, sizes {sizes:?}, w {filters:?}, {g}")
    }
    Ok(shape)
}
