//! ReLU with the usual subgradient 0 at 0 (candle's has 1). NaN propagates, so that a diverged network shows in its
//! loss.

use super::{
    cpu::{BLOCK, Float, by_dtype, map, map2},
    tape::{Evaluated, Gradient},
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, elements, elements_mut, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules::ELEMENTWISE},
    op::{CudaInput, CudaOutput},
};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, backend::BackendStorage, bail};
use rayon::prelude::*;

/// max(x, 0), any shape, f32 or f64, on a GPU also bf16.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply(Relu, [x])
}

/// max(x, `slope`·x) for a slope in [0, 1]; shapes and types as [`relu`]. The subgradient at 0 is `slope`.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    relu(x)?.affine(1.0 - slope, 0.0)? + x.affine(slope, 0.0)?
}

/// [`leaky_relu`], or for slope 0 [`relu`], outside of candle's graph; only the result is kept for the gradient.
pub fn leaky_relu_recorded(x: &Tensor, slope: f64) -> Result<Evaluated> {
    let x = x.detach();
    if slope == 0.0 {
        let y = relu(&x)?;
        let kept = y.clone();
        return Ok(Evaluated::of_input(y, move |dy| Ok(gated_gradient(&kept, dy)?.into())));
    }
    let y = leaky_relu(&x, slope)?;
    let kept = y.clone(); // positive where x is
    let gradient = move |dy: Gradient| {
        let above = relu_gradient(&kept, dy.tensor())?.affine(1.0 - slope, 0.0)?;
        Ok((above + dy.tensor().affine(slope, 0.0)?)?.into())
    };
    Ok(Evaluated::of_input(y, gradient))
}

struct Relu;

impl Op<1> for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        Ok(by_dtype!(x, T => output(map(x.elements::<T>()?, Float::rectify), x.shape())))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, inputs: [CudaInput; 1]) -> Result<CudaOutput> {
        over_elements("relu", inputs)
    }

    fn backward(&self, _: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(relu_gradient(y, dy)?)])
    }
}

/// The input gradient of a ReLU from its output y and the gradient of y; not recorded in the graph.
pub(super) fn relu_gradient(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    compute(
        "relu gradient",
        [y, dy],
        |[y, dy]| {
            Ok(by_dtype!(y, T => output(map2(y.elements::<T>()?, dy.elements()?, Float::gate), y.shape())))
        },
        #[cfg(feature = "cuda")]
        |inputs| over_elements("relu_gradient", inputs),
    )
}

/// The input gradient of a ReLU from its output y, in the memory of `dy` if nothing else holds that.
///
/// # Errors
/// Those of the device.
pub fn gated_gradient(y: &Tensor, dy: Gradient) -> Result<Tensor> {
    let fits = |dy: &Tensor| dy.device().is_cpu() && dy.is_contiguous() && y.is_contiguous();
    match dy.owned() {
        Ok(dy) if fits(&dy) => {
            dy.inplace_op2(y, &Gate)?;
            Ok(dy)
        }
        Ok(dy) => relu_gradient(y, &dy),
        Err(shared) => relu_gradient(y, shared.tensor()),
    }
}

/// dy ← dy masked by a ReLU's output, in host memory.
struct Gate;

impl InplaceOp2 for Gate {
    fn name(&self) -> &'static str {
        "relu gradient"
    }

    fn cpu_fwd(
        &self,
        dy: &mut CpuStorage,
        dy_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<()> {
        match dy {
            CpuStorage::F32(dy) => {
                gate(elements_mut("relu gradient", dy, dy_layout)?, elements("relu gradient", y, y_layout)?)
            }
            CpuStorage::F64(dy) => {
                gate(elements_mut("relu gradient", dy, dy_layout)?, elements("relu gradient", y, y_layout)?)
            }
            other => bail!("relu gradient: f32 or f64 wanted, got {:?}", other.dtype()),
        }
        Ok(())
    }
}

fn gate<T: Float>(dy: &mut [T], y: &[T]) {
    let blocks = dy.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK));
    blocks.for_each(|(dy, y)| dy.iter_mut().zip(y).for_each(|(dy, y)| *dy = y.gate(*dy)));
}

/// a + b, and with `relu` max(a + b, 0) in one pass on the CPU; outside of candle's graph.
///
/// # Errors
/// Two shapes or dtypes.
pub fn sum(a: &Tensor, b: &Tensor, with_relu: bool) -> Result<Tensor> {
    if !with_relu || !a.device().is_cpu() {
        let sum = (a.detach() + b.detach())?;
        return if with_relu { relu(&sum) } else { Ok(sum) };
    }
    if a.shape() != b.shape() {
        bail!("sum: maps of {:?} and {:?}", a.dims(), b.dims())
    }
    compute(
        "sum",
        [a, b],
        |[a, b]| {
            Ok(
                by_dtype!(a, T => output(map2(a.elements::<T>()?, b.elements()?, |a, b| (a + b).rectify()), a.shape())),
            )
        },
        #[cfg(feature = "cuda")]
        |_| bail!("sum: not on the processor"),
    )
}

/// Launches an elementwise kernel with arguments (inputs, result, number of elements), all with the shape and dtype
/// of the first.
#[cfg(feature = "cuda")]
fn over_elements<const N: usize>(kernel: &str, inputs: [CudaInput; N]) -> Result<CudaOutput> {
    let x = inputs[0];
    let (device, dtype, shape) = (x.device(), x.dtype(), x.shape());
    if let Some(other) = inputs.iter().find(|input| input.dtype() != dtype) {
        candle_core::bail!("{}: arguments of {dtype:?} and {:?}: one type wanted", x.op, other.dtype());
    }
    let mut args = Vec::new();
    for input in inputs {
        args.push(Arg::Pointer(input.address()?));
    }
    let (storage, result) = alloc_uninit(device, shape, dtype)?;
    let n = shape.elem_count();
    args.extend([Arg::Pointer(result), Arg::count(n)]);
    let packs = n.div_ceil(16 / dtype.size_in_bytes());
    launch(device, ELEMENTWISE, &format!("{kernel}_{}", x.element()?), Grid::over(packs), &args)?;
    Ok((storage, shape.clone()))
}
