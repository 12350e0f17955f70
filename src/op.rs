//! The interface for custom operations: a forward pass per device on contiguous inputs and, for differentiable
//! operations, a backward pass. This module alone wraps them in candle's custom ops.
//!
//! Not here: the operations themselves (`color`, `ops`) and kernel launches (`device`).

#[cfg(feature = "cuda")]
use crate::device::cuda::{address, element};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Error, Layout, Result, Shape, Tensor, WithDType,
    backend::BackendStorage, bail,
};
#[cfg(feature = "cuda")]
use candle_core::{CudaDevice, CudaStorage};

/// A differentiable operation on N tensors, applied by [`apply`].
pub(crate) trait Op<const N: usize> {
    /// Name used in errors.
    fn name(&self) -> &'static str;

    fn cpu(&self, inputs: [CpuInput; N]) -> Result<CpuOutput>;

    #[cfg(feature = "cuda")]
    fn cuda(&self, inputs: [CudaInput; N]) -> Result<CudaOutput>;

    /// Gradients of the inputs (None for a non-differentiable input) from the output y and its gradient dy (of any
    /// layout).
    fn backward(&self, _: [&Tensor; N], _y: &Tensor, _dy: &Tensor) -> Result<[Option<Tensor>; N]> {
        Err(Error::BackwardNotSupported { op: self.name() })
    }
}

impl<O: Op<N>, const N: usize> Op<N> for &O {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn cpu(&self, inputs: [CpuInput; N]) -> Result<CpuOutput> {
        (**self).cpu(inputs)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, inputs: [CudaInput; N]) -> Result<CudaOutput> {
        (**self).cuda(inputs)
    }
}

/// The dtype in which an operation on elements of this one computes, and that of its parameters and their gradients.
pub(crate) fn wide(dtype: DType) -> DType {
    if dtype == DType::BF16 { DType::F32 } else { dtype }
}

/// Output storage and shape.
pub(crate) type CpuOutput = (CpuStorage, Shape);
#[cfg(feature = "cuda")]
pub(crate) type CudaOutput = (CudaStorage, Shape);

/// Wraps elements as an operation's CPU output.
pub(crate) fn output<T: WithDType>(elements: Vec<T>, shape: impl Into<Shape>) -> CpuOutput {
    (T::to_cpu_storage_owned(elements), shape.into())
}

/// An input on the CPU.
#[derive(Clone, Copy)]
pub(crate) struct CpuInput<'a> {
    /// Name of the operation, for errors.
    pub op: &'static str,
    pub storage: &'a CpuStorage,
    layout: &'a Layout,
}

impl<'a> CpuInput<'a> {
    pub fn shape(&self) -> &'a Shape {
        self.layout.shape()
    }

    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// The elements in row-major order. Errors: a different dtype.
    pub fn elements<T: WithDType>(&self) -> Result<&'a [T]> {
        elements(self.op, self.storage, self.layout)
    }
}

/// The elements of a contiguous tensor. Errors: a different dtype, a non-contiguous tensor.
pub(crate) fn elements<'a, T: WithDType>(
    op: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!("{op}: the argument of shape {:?} is not contiguous", layout.shape()),
    }
}

/// The elements of a contiguous tensor's storage, to be overwritten. Errors: a non-contiguous tensor.
pub(crate) fn elements_mut<'a, T>(op: &str, storage: &'a mut [T], layout: &Layout) -> Result<&'a mut [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut storage[start..end]),
        None => bail!("{op}: the argument of shape {:?} is not contiguous", layout.shape()),
    }
}

/// An input on a GPU.
#[cfg(feature = "cuda")]
#[derive(Clone, Copy)]
pub(crate) struct CudaInput<'a> {
    /// Name of the operation, for errors.
    pub op: &'static str,
    storage: &'a CudaStorage,
    layout: &'a Layout,
}

#[cfg(feature = "cuda")]
impl<'a> CudaInput<'a> {
    pub fn shape(&self) -> &'a Shape {
        self.layout.shape()
    }

    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    pub fn device(&self) -> &'a CudaDevice {
        &self.storage.device
    }

    /// Device address of the first element.
    pub fn address(&self) -> Result<u64> {
        address(self.op, self.storage, self.layout)
    }

    /// The kernel-name suffix of its dtype.
    pub fn element(&self) -> Result<&'static str> {
        element(self.op, self.dtype())
    }
}

/// Applies a differentiable operation. Non-contiguous inputs are copied first.
pub(crate) fn apply<const N: usize>(
    op: impl Op<N> + Send + Sync + 'static,
    inputs: [&Tensor; N],
) -> Result<Tensor>
where
    for<'a> [&'a Tensor; N]: OpInputs<N>,
{
    inputs.apply(op)
}

/// Runs an operation outside of candle's graph. Non-contiguous inputs are copied first.
pub(crate) fn evaluate<const N: usize>(op: &impl Op<N>, inputs: [&Tensor; N]) -> Result<Tensor>
where
    for<'a> [&'a Tensor; N]: OpInputs<N>,
{
    inputs.evaluate(op)
}

/// Runs a non-differentiable operation, given one function per device. Non-contiguous inputs are copied first.
pub(crate) fn compute<const N: usize>(
    name: &'static str,
    inputs: [&Tensor; N],
    cpu: impl Fn([CpuInput; N]) -> Result<CpuOutput>,
    #[cfg(feature = "cuda")] cuda: impl Fn([CudaInput; N]) -> Result<CudaOutput>,
) -> Result<Tensor>
where
    for<'a> [&'a Tensor; N]: OpInputs<N>,
{
    let computation = Computation {
        name,
        cpu: &cpu,
        #[cfg(feature = "cuda")]
        cuda: &cuda,
    };
    inputs.evaluate(&computation)
}

/// The per-device functions of [`compute`].
pub(crate) struct Computation<'a, const N: usize> {
    name: &'static str,
    cpu: &'a dyn Fn([CpuInput; N]) -> Result<CpuOutput>,
    #[cfg(feature = "cuda")]
    cuda: &'a dyn Fn([CudaInput; N]) -> Result<CudaOutput>,
}

impl<const N: usize> Op<N> for Computation<'_, N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu(&self, inputs: [CpuInput; N]) -> Result<CpuOutput> {
        (self.cpu)(inputs)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, inputs: [CudaInput; N]) -> Result<CudaOutput> {
        (self.cuda)(inputs)
    }
}

/// One, two or three input tensors: the arities of candle's custom ops.
pub(crate) trait OpInputs<const N: usize> {
    fn apply(self, op: impl Op<N> + Send + Sync + 'static) -> Result<Tensor>;
    fn evaluate(self, op: &impl Op<N>) -> Result<Tensor>;
}

impl OpInputs<1> for [&Tensor; 1] {
    fn apply(self, op: impl Op<1> + Send + Sync + 'static) -> Result<Tensor> {
        self[0].contiguous()?.apply_op1(Custom(op))
    }

    fn evaluate(self, op: &impl Op<1>) -> Result<Tensor> {
        self[0].contiguous()?.apply_op1_no_bwd(&Custom(op))
    }
}

impl OpInputs<2> for [&Tensor; 2] {
    fn apply(self, op: impl Op<2> + Send + Sync + 'static) -> Result<Tensor> {
        self[0].contiguous()?.apply_op2(&self[1].contiguous()?, Custom(op))
    }

    fn evaluate(self, op: &impl Op<2>) -> Result<Tensor> {
        self[0].contiguous()?.apply_op2_no_bwd(&self[1].contiguous()?, &Custom(op))
    }
}

impl OpInputs<3> for [&Tensor; 3] {
    fn apply(self, op: impl Op<3> + Send + Sync + 'static) -> Result<Tensor> {
        self[0].contiguous()?.apply_op3(&self[1].contiguous()?, &self[2].contiguous()?, Custom(op))
    }

    fn evaluate(self, op: &impl Op<3>) -> Result<Tensor> {
        let (b, c) = (self[1].contiguous()?, self[2].contiguous()?);
        self[0].contiguous()?.apply_op3_no_bwd(&b, &c, &Custom(op))
    }
}

/// Adapts an [`Op`] to candle's `CustomOp` traits.
struct Custom<O>(O);

impl<O> Custom<O> {
    fn cpu<const N: usize>(&self, inputs: [(&CpuStorage, &Layout); N]) -> Result<CpuOutput>
    where
        O: Op<N>,
    {
        let op = self.0.name();
        self.0.cpu(inputs.map(|(storage, layout)| CpuInput { op, storage, layout }))
    }

    #[cfg(feature = "cuda")]
    fn cuda<const N: usize>(&self, inputs: [(&CudaStorage, &Layout); N]) -> Result<CudaOutput>
    where
        O: Op<N>,
    {
        let op = self.0.name();
        self.0.cuda(inputs.map(|(storage, layout)| CudaInput { op, storage, layout }))
    }
}

impl<O: Op<1>> CustomOp1 for Custom<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<CpuOutput> {
        self.cpu([(s, l)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<CudaOutput> {
        self.cuda([(s, l)])
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let [dx] = self.0.backward([x], y, dy)?;
        Ok(dx)
    }
}

impl<O: Op<2>> CustomOp2 for Custom<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<CpuOutput> {
        self.cpu([(s1, l1), (s2, l2)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<CudaOutput> {
        self.cuda([(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.0.backward([a, b], y, dy)?.into())
    }
}

impl<O: Op<3>> CustomOp3 for Custom<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<CpuOutput> {
        self.cpu([(s1, l1), (s2, l2), (s3, l3)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<CudaOutput> {
        self.cuda([(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.0.backward([a, b, c], y, dy)?.into())
    }
}
