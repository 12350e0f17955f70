//! Convolution on contiguous NHWC tensors with its gradients: as an op of candle's graph, and as a record for the tape.
//!
//! A transposed convolution is a convolution's adjoint, so one operation with a direction serves both layers and both
//! input gradients.

use super::super::{
    activation::gated_gradient,
    cpu::by_stored,
    tape::{Gradient, ParamGradient},
};
use super::bf16;
use super::cpu::{self, Epilogue};
#[cfg(feature = "cuda")]
use super::cuda::{self, Gpu};
use super::shape::ConvShape;
use super::{panels::even_ranges, tile::Real};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, evaluate, output, wide};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{DType, Result, Tensor, WithDType, bail};
use std::ops::Range;

/// Direction of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Direction {
    /// From `(B, H, W, C)` to `(B, H', W', O)`.
    Forward,
    /// From `(B, H', W', O)` to `(B, H, W, C)`.
    Adjoint,
}

/// A convolution of known shape, or its adjoint, with an optional fused ReLU.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Convolution {
    pub shape: ConvShape,
    pub direction: Direction,
    pub relu: bool,
}

impl Convolution {
    /// Applies it to x of the source shape; w `(O, KH, KW, C/groups)`, bias one per channel of the result.
    pub fn apply(self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let wants = Wants { x: x.track_op(), w: w.track_op(), bias: bias.is_some_and(Tensor::track_op) };
        let layer = ConvOp { convolution: self, wants };
        match self.checked(x, w, bias)? {
            Some(bias) => apply(layer, [x, w, bias]),
            None => apply(layer, [x, w]),
        }
    }

    /// As [`Convolution::apply`], outside of candle's graph, with a record for the wanted gradients.
    pub fn record(
        self,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        wants: Wants,
    ) -> Result<(Tensor, ConvRecord)> {
        let bias = self.checked(x, w, bias)?;
        let w = &operand(x, w)?;
        let y = match bias {
            Some(bias) => evaluate(&ConvOp { convolution: self, wants }, [x, w, bias])?,
            None => evaluate(&ConvOp { convolution: self, wants }, [x, w])?,
        };
        let kept = |tensor: &Tensor, is_read: bool| is_read.then(|| tensor.clone());
        let record = ConvRecord {
            convolution: self,
            wants,
            x: kept(x, wants.w),
            w: kept(w, wants.x),
            y: kept(&y, self.relu),
        };
        Ok((y, record))
    }

    /// The bias, if it is one per channel of the result and filters and bias have the dtype of parameters.
    fn checked<'a>(&self, x: &Tensor, w: &Tensor, bias: Option<&'a Tensor>) -> Result<Option<&'a Tensor>> {
        let wide = wide(x.dtype());
        if let Some(other) = [Some(w), bias].into_iter().flatten().find(|t| t.dtype() != wide) {
            let (op, x, other) = (self.name(), x.dtype(), other.dtype());
            bail!("{op}: of x in {x:?}, filters and biases are {wide:?}, not {other:?}")
        }
        let channels = self.result_dims().3;
        match bias {
            Some(bias) if bias.dims() != [channels] => {
                bail!("{}: bias {:?} for {channels} channels", self.name(), bias.shape())
            }
            bias => Ok(bias),
        }
    }

    /// The gradient of x.
    fn input_gradient(&self, w: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let back = self.reversed();
        compute(
            back.name(),
            [dy, w],
            |[dy, w]| back.on_cpu(dy, w, None),
            #[cfg(feature = "cuda")]
            |[dy, w]| back.on_gpu(dy, w, None),
        )
    }

    /// The gradient of w, in pieces if it is large and its output channels can be split.
    fn param_gradient(self, x: Tensor, dy: Tensor) -> Result<ParamGradient> {
        let (shape, size, [least, most]) = (self.shape, wide(dy.dtype()).size_in_bytes(), PIECE_BYTES);
        let prepared = if shape.taps() > 1 { 16 } else { 2 };
        let piece = (prepared * shape.input_len() * size).clamp(least, most);
        let pieces = (shape.weight_len() * size).div_ceil(piece).min(shape.outputs);
        if pieces < 2 || shape.groups > 1 || self.direction == Direction::Adjoint || !dy.device().is_cpu() {
            return Ok(self.weight_gradient(&x, &dy)?.into());
        }
        let rows = even_ranges(shape.outputs, pieces);
        let piece = move |rows: Range<usize>| {
            let dy = dy.narrow(3, rows.start, rows.len())?.contiguous()?;
            weight_gradient(&ConvShape { outputs: rows.len(), ..shape }, &x, &dy)
        };
        Ok(ParamGradient::Pieces { rows, piece: Box::new(piece) })
    }

    /// The gradient of w.
    fn weight_gradient(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        match self.direction {
            Direction::Forward => weight_gradient(&self.shape, x, dy),
            Direction::Adjoint => weight_gradient(&self.shape, dy, x),
        }
    }

    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Forward => "conv2d",
            Direction::Adjoint => "conv_transpose2d",
        }
    }

    fn result_dims(&self) -> (usize, usize, usize, usize) {
        let s = &self.shape;
        match self.direction {
            Direction::Forward => (s.batch, s.rows.output, s.cols.output, s.outputs),
            Direction::Adjoint => (s.batch, s.rows.input, s.cols.input, s.inputs),
        }
    }

    fn reversed(&self) -> Self {
        let direction = match self.direction {
            Direction::Forward => Direction::Adjoint,
            Direction::Adjoint => Direction::Forward,
        };
        Self { direction, relu: false, ..*self }
    }

    /// By the function of `products` for its direction: [forward, adjoint].
    fn product<T: WithDType, W: Real + WithDType>(
        &self,
        products: [Product<T, W>; 2],
        x: CpuInput,
        w: CpuInput,
        bias: Option<CpuInput>,
    ) -> Result<CpuOutput> {
        let finish = Epilogue { bias: bias.map(|b| b.elements::<W>()).transpose()?, relu: self.relu };
        let [forward, adjoint] = products;
        let product = match self.direction {
            Direction::Forward => forward,
            Direction::Adjoint => adjoint,
        };
        Ok(output(product(&self.shape, x.elements()?, w.elements()?, finish), self.result_dims()))
    }

    fn on_cpu(&self, x: CpuInput, w: CpuInput, bias: Option<CpuInput>) -> Result<CpuOutput> {
        match x.dtype() {
            DType::F32 => self.product([cpu::forward::<f32>, cpu::grad_input], x, w, bias),
            DType::F64 => self.product([cpu::forward::<f64>, cpu::grad_input], x, w, bias),
            DType::BF16 => self.product([bf16::forward, bf16::grad_input], x, w, bias),
            other => bail!("{}: f32, f64 or bf16, not {other:?}", self.name()),
        }
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(&self, x: CudaInput, w: CudaInput, bias: Option<CudaInput>) -> Result<CudaOutput> {
        let gpu = Gpu { device: x.device(), shape: &self.shape, dtype: x.dtype() };
        let bias = bias.map(|b| b.address()).transpose()?;
        let finish = cuda::CudaEpilogue { bias, relu: self.relu };
        let (x, w) = (x.address()?, cuda::Filters { at: w.address()?, dtype: w.dtype() });
        let result = match self.direction {
            Direction::Forward => gpu.forward(x, w, finish)?,
            Direction::Adjoint => gpu.adjoint(x, w, finish)?,
        };
        Ok((result, self.result_dims().into()))
    }
}

/// A product of maps of T with filters of W, which are also the bias's: [`cpu::forward`] and its like.
type Product<T, W> = fn(&ConvShape, &[T], &[W], Epilogue<W>) -> Vec<T>;

/// The filters as the products of a record read them: on a GPU in x's dtype, so that forward and backward pass share one
/// copy of bf16. A copy never outlives its record, so no change of a parameter can leave a stale one behind.
fn operand(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && x.dtype() == DType::BF16 {
        return cuda::in_bf16(w);
    }
    let _ = x; // the CPU's products take filters as they are
    Ok(w.clone())
}

/// Which arguments need gradients.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    pub x: bool,
    pub w: bool,
    pub bias: bool,
}

/// What the wanted gradients of one call are computed from.
pub struct ConvRecord {
    convolution: Convolution,
    wants: Wants,
    x: Option<Tensor>,
    w: Option<Tensor>,
    y: Option<Tensor>,
}

/// The wanted gradients of one call.
pub struct ConvGradients {
    pub x: Option<Tensor>,
    /// `(O, KH, KW, C/groups)`, large ones in pieces of output channels.
    pub w: Option<ParamGradient>,
    pub bias: Option<Tensor>,
}

/// Fewest and most bytes of a piece of a weight gradient. It is applied while it is in a cache, but x is prepared anew for
/// each piece: packed where there is one tap, transformed to several times its size where there are more.
const PIECE_BYTES: [usize; 2] = [8 << 20, 24 << 20];

impl ConvRecord {
    /// From the gradient of the result, whose memory is reused if it can be.
    ///
    /// # Errors
    /// Those of the device.
    pub fn gradients(self, dy: Gradient) -> Result<ConvGradients> {
        let dy = match self.y {
            Some(y) => gated_gradient(&y, dy, 0.0)?,
            None => dy.tensor().contiguous()?,
        };
        let bias = self.wants.bias.then(|| bias_gradient(&dy)).transpose()?;
        // First, so that x and its packed copy are freed before dx takes memory; pieces are computed after it.
        let w = self.x.map(|x| self.convolution.param_gradient(x, dy.clone())).transpose()?;
        let x = self.w.map(|w| self.convolution.input_gradient(&w, &dy)).transpose()?;
        Ok(ConvGradients { x, w, bias })
    }
}

/// A convolution as an op of candle's graph.
struct ConvOp {
    convolution: Convolution,
    wants: Wants,
}

impl ConvOp {
    fn gradients(&self, x: &Tensor, w: &Tensor, y: &Tensor, dy: &Tensor) -> Result<ConvGradients> {
        let ConvOp { convolution, wants } = *self;
        let kept = |tensor: &Tensor, is_read: bool| is_read.then(|| tensor.clone());
        let (x, w, y) = (kept(x, wants.w), kept(w, wants.x), kept(y, convolution.relu));
        ConvRecord { convolution, wants, x, w, y }.gradients(Gradient::lent(dy))
    }
}

impl Op<2> for ConvOp {
    fn name(&self) -> &'static str {
        self.convolution.name()
    }

    fn cpu(&self, [x, w]: [CpuInput; 2]) -> Result<CpuOutput> {
        self.convolution.on_cpu(x, w, None)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, w]: [CudaInput; 2]) -> Result<CudaOutput> {
        self.convolution.on_gpu(x, w, None)
    }

    fn backward(&self, [x, w]: [&Tensor; 2], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let ConvGradients { x, w, .. } = self.gradients(x, w, y, dy)?;
        Ok([x, w.map(ParamGradient::whole).transpose()?])
    }
}

impl Op<3> for ConvOp {
    fn name(&self) -> &'static str {
        self.convolution.name()
    }

    fn cpu(&self, [x, w, bias]: [CpuInput; 3]) -> Result<CpuOutput> {
        self.convolution.on_cpu(x, w, Some(bias))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, w, bias]: [CudaInput; 3]) -> Result<CudaOutput> {
        self.convolution.on_gpu(x, w, Some(bias))
    }

    fn backward(&self, [x, w, _]: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let ConvGradients { x, w, bias } = self.gradients(x, w, y, dy)?;
        Ok([x, w.map(ParamGradient::whole).transpose()?, bias])
    }
}

/// The gradient of w from x and dy.
pub(super) fn weight_gradient(shape: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dims = (shape.outputs, shape.rows.kernel, shape.cols.kernel, shape.inputs_per_group());
    compute(
        "conv2d weight gradient",
        [x, dy],
        |[x, dy]| {
            Ok(match x.dtype() {
                DType::F32 => output(cpu::grad_weight::<f32>(shape, x.elements()?, dy.elements()?), dims),
                DType::F64 => output(cpu::grad_weight::<f64>(shape, x.elements()?, dy.elements()?), dims),
                DType::BF16 => output(bf16::grad_weight(shape, x.elements()?, dy.elements()?), dims),
                other => bail!("conv2d backward: f32, f64 or bf16, not {other:?}"),
            })
        },
        #[cfg(feature = "cuda")]
        |[x, dy]| {
            let gpu = Gpu { device: x.device(), shape, dtype: x.dtype() };
            Ok((gpu.filter_gradient(x.address()?, dy.address()?)?, dims.into()))
        },
    )
}

/// The gradient of a bias: dy summed over all but the last axis.
fn bias_gradient(dy: &Tensor) -> Result<Tensor> {
    let channels = dy.dims4()?.3;
    compute(
        "conv2d bias gradient",
        [dy],
        |[dy]| Ok(by_stored!(dy, T => output(cpu::grad_bias(dy.elements::<T>()?, channels), channels))),
        #[cfg(feature = "cuda")]
        |[dy]| {
            let rows = dy.shape().elem_count() / channels;
            let sums = cuda::bias_gradient(dy.device(), dy.dtype(), dy.address()?, rows, channels)?;
            Ok((sums, channels.into()))
        },
    )
}
