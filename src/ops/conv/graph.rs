//! Convolution in candle's graph: three custom operations over contiguous NHWC tensors.
//!
//! A transposed convolution is a convolution's adjoint, so one operation with a direction serves both layers and both
//! input gradients.

use super::super::{activation::relu_gradient, backward::hand_over};
use super::cpu::{self, ConvShape, Finish};
#[cfg(feature = "cuda")]
use super::cuda::{self, Gpu};
use super::tile::Real;
#[cfg(feature = "cuda")]
use crate::device::cuda::address;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType, bail,
};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

/// Which way a convolution is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Direction {
    /// From `(B, H, W, C)` to `(B, H', W', O)`.
    Forward,
    /// From `(B, H', W', O)` to `(B, H, W, C)`.
    Adjoint,
}

/// A convolution of known shape, or its adjoint; then perhaps a ReLU, in the same pass.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Convolution {
    pub shape: ConvShape,
    pub direction: Direction,
    pub relu: bool,
}

impl Convolution {
    /// Applies it to x of the source shape; w `(O, KH, KW, C/groups)`, bias one per channel of the result.
    pub fn apply(self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (x, w) = (x.contiguous()?, w.contiguous()?);
        let wants = Wants { x: x.track_op(), w: w.track_op(), bias: bias.is_some_and(Tensor::track_op) };
        let layer = Layer { convolution: self, wants };
        let Some(bias) = bias else { return x.apply_op2(&w, layer) };
        let channels = self.result_dims().3;
        if bias.dims() != [channels] {
            bail!("{}: bias {:?} for {channels} channels", self.name(), bias.shape())
        }
        x.apply_op3(&w, &bias.contiguous()?, layer)
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

    fn compute<T: Real + WithDType>(
        &self,
        x: Operand,
        w: Operand,
        bias: Option<Operand>,
    ) -> Result<CpuStorage> {
        let op = self.name();
        let (x, w) = (x.slice::<T>(op)?, w.slice::<T>(op)?);
        let finish = Finish { bias: bias.map(|b| b.slice::<T>(op)).transpose()?, relu: self.relu };
        let product = match self.direction {
            Direction::Forward => cpu::forward::<T>,
            Direction::Adjoint => cpu::grad_input::<T>,
        };
        Ok(T::to_cpu_storage_owned(product(&self.shape, x, w, finish)))
    }

    fn on_cpu(&self, x: Operand, w: Operand, bias: Option<Operand>) -> Result<(CpuStorage, Shape)> {
        let storage = match x.dtype() {
            DType::F32 => self.compute::<f32>(x, w, bias)?,
            DType::F64 => self.compute::<f64>(x, w, bias)?,
            other => bail!("{}: f32 or f64, not {other:?}", self.name()),
        };
        Ok((storage, self.result_dims().into()))
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(
        &self,
        (x, xl): (&CudaStorage, &Layout),
        (w, wl): (&CudaStorage, &Layout),
        bias: Option<(&CudaStorage, &Layout)>,
    ) -> Result<(CudaStorage, Shape)> {
        let (op, wide) = (self.name(), cuda::wide(x.dtype()));
        if let Some(other) = [Some(w), bias.map(|b| b.0)].into_iter().flatten().find(|t| t.dtype() != wide) {
            bail!("{op}: of x in {:?}, filters and biases are {wide:?}, not {:?}", x.dtype(), other.dtype())
        }
        let gpu = Gpu { device: &x.device, shape: &self.shape, dtype: x.dtype() };
        let bias = bias.map(|(b, l)| address(op, b, l)).transpose()?;
        let finish = cuda::Finish { bias, relu: self.relu };
        let (x, w) = (address(op, x, xl)?, address(op, w, wl)?);
        let result = match self.direction {
            Direction::Forward => gpu.forward(x, w, finish)?,
            Direction::Adjoint => gpu.adjoint(x, w, finish)?,
        };
        Ok((result, self.result_dims().into()))
    }
}

/// Which arguments take part in the graph, decided when the layer is applied.
#[derive(Clone, Copy, Debug)]
struct Wants {
    x: bool,
    w: bool,
    bias: bool,
}

/// A convolution as a node of the graph.
struct Layer {
    convolution: Convolution,
    wants: Wants,
}

impl Layer {
    /// The gradient of the sums, before the ReLU if there is one, from that of the result y.
    fn of_sums(&self, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
        if self.convolution.relu { relu_gradient(y, grad) } else { grad.contiguous() }
    }

    /// Gradients of x and w.
    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let back = self.convolution.reversed();
        let dx = self.wants.x.then(|| {
            let wants = Wants { x: false, w: false, bias: false };
            grad.apply_op2_no_bwd(w, &Layer { convolution: back, wants })
        });
        let dw = self.wants.w.then(|| {
            let gradient = WeightGradient { shape: self.convolution.shape };
            match self.convolution.direction {
                Direction::Forward => x.apply_op2_no_bwd(grad, &gradient),
                Direction::Adjoint => grad.apply_op2_no_bwd(x, &gradient),
            }
        });
        let dw = dw.transpose()?.map(|dw| hand_over(w, dw)).transpose()?.flatten();
        Ok((dx.transpose()?, dw))
    }
}

impl CustomOp2 for Layer {
    fn name(&self) -> &'static str {
        self.convolution.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.convolution.on_cpu(Operand(x, xl), Operand(w, wl), None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        w: &CudaStorage,
        wl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.convolution.on_gpu((x, xl), (w, wl), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &self.of_sums(y, grad)?)
    }
}

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        self.convolution.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.convolution.on_cpu(Operand(x, xl), Operand(w, wl), Some(Operand(bias, bl)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        w: &CudaStorage,
        wl: &Layout,
        bias: &CudaStorage,
        bl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.convolution.on_gpu((x, xl), (w, wl), Some((bias, bl)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = self.of_sums(y, grad)?;
        let (dx, dw) = self.gradients(x, w, &grad)?;
        let db = self.wants.bias.then(|| grad.apply_op1_no_bwd(&BiasGradient)).transpose()?;
        Ok((dx, dw, db))
    }
}

/// The gradient of w from x and dy.
pub(super) struct WeightGradient {
    pub shape: ConvShape,
}

impl WeightGradient {
    fn dims(&self) -> (usize, usize, usize, usize) {
        let s = &self.shape;
        (s.outputs, s.rows.kernel, s.cols.kernel, s.inputs_per_group())
    }

    fn compute<T: Real + WithDType>(&self, x: Operand, dy: Operand) -> Result<CpuStorage> {
        let (x, dy) = (x.slice::<T>("conv2d backward")?, dy.slice::<T>("conv2d backward")?);
        Ok(T::to_cpu_storage_owned(cpu::grad_weight(&self.shape, x, dy)))
    }
}

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d weight gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, dy) = (Operand(x, xl), Operand(dy, dyl));
        let storage = match x.dtype() {
            DType::F32 => self.compute::<f32>(x, dy)?,
            DType::F64 => self.compute::<f64>(x, dy)?,
            other => bail!("conv2d backward: f32 or f64, not {other:?}"),
        };
        Ok((storage, self.dims().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        dy: &CudaStorage,
        dyl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gpu = Gpu { device: &x.device, shape: &self.shape, dtype: x.dtype() };
        let (x, dy) = (address(self.name(), x, xl)?, address(self.name(), dy, dyl)?);
        Ok((gpu.filter_gradient(x, dy)?, self.dims().into()))
    }
}

/// The gradient of a bias: dy summed over all but the last axis.
struct BiasGradient;

impl BiasGradient {
    fn compute<T: Real + WithDType>(dy: Operand, channels: usize) -> Result<CpuStorage> {
        let dy = dy.slice::<T>("conv2d backward")?;
        Ok(T::to_cpu_storage_owned(cpu::grad_bias(dy, channels)))
    }
}

impl CustomOp1 for BiasGradient {
    fn name(&self) -> &'static str {
        "conv2d bias gradient"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = layout.shape().dims4()?.3;
        let dy = Operand(dy, layout);
        let storage = match dy.dtype() {
            DType::F32 => Self::compute::<f32>(dy, channels)?,
            DType::F64 => Self::compute::<f64>(dy, channels)?,
            other => bail!("conv2d backward: f32 or f64, not {other:?}"),
        };
        Ok((storage, channels.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, dy: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let channels = layout.shape().dims4()?.3;
        let (at, rows) = (address(self.name(), dy, layout)?, layout.shape().elem_count() / channels);
        Ok((cuda::bias_gradient(&dy.device, dy.dtype(), at, rows, channels)?, channels.into()))
    }
}

/// A contiguous tensor's storage with its layout.
#[derive(Clone, Copy)]
struct Operand<'a>(&'a CpuStorage, &'a Layout);

impl<'a> Operand<'a> {
    fn dtype(&self) -> DType {
        match self.0 {
            CpuStorage::F64(_) => DType::F64,
            CpuStorage::F32(_) => DType::F32,
            other => candle_core::backend::BackendStorage::dtype(other),
        }
    }

    fn slice<T: WithDType>(&self, op: &str) -> Result<&'a [T]> {
        let Some((start, end)) = self.1.contiguous_offsets() else {
            bail!("{op}: operand {:?} is not contiguous", self.1.shape())
        };
        Ok(&self.0.as_slice::<T>()?[start..end])
    }
}
