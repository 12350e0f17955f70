//! ReLU with the usual subgradient 0 at 0 (candle's has 1). NaN propagates, so that a diverged network shows in its
//! loss.

use super::{
    cpu::{Stored, by_stored, map, map2},
    in_place::{ElementRule, fits, in_place},
    sum::sum_on_cpu,
    tape::{Evaluated, Gradient},
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output, wide};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules::ELEMENTWISE},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Tensor};

/// max(x, 0), any shape, f32, f64 or bf16.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply(Relu, [x])
}

/// max(x, `slope`·x) for a slope in [0, 1]; shapes and types as [`relu`]. The subgradient at 0 is `slope`.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    rounded_once(x.dtype(), [x], |[x]| relu(x)?.affine(1.0 - slope, 0.0)? + x.affine(slope, 0.0)?)
}

/// A result of several operations on tensors of `dtype`, of which bf16 is computed in f32.
fn rounded_once<const N: usize>(
    dtype: DType,
    inputs: [&Tensor; N],
    compute: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
) -> Result<Tensor> {
    let wide = inputs.iter().map(|x| x.to_dtype(wide(dtype))).collect::<Result<Vec<_>>>()?;
    compute(std::array::from_fn(|i| &wide[i]))?.to_dtype(dtype)
}

/// max(a + b, 0), on the CPU in one pass; outside of candle's graph.
///
/// # Errors
/// Two shapes or dtypes.
pub fn sum_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { sum_on_cpu(a, b, true) } else { relu(&(a.detach() + b.detach())?) }
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
        let gradient = rounded_once(kept.dtype(), [&kept, dy.tensor()], |[y, dy]| {
            relu_gradient(y, dy)?.affine(1.0 - slope, 0.0)? + dy.affine(slope, 0.0)?
        });
        Ok(gradient?.into())
    };
    Ok(Evaluated::of_input(y, gradient))
}

struct Relu;

impl Op<1> for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        Ok(by_stored!(x, T => output(map(x.elements::<T>()?, Stored::rectify), x.shape())))
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
            Ok(by_stored!(y, T => output(map2(y.elements::<T>()?, dy.elements()?, Stored::gate), y.shape())))
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
    match dy.owned() {
        Ok(dy) if fits(&dy, y) => in_place::<Gate>(dy, y),
        Ok(dy) => relu_gradient(y, &dy),
        Err(shared) => relu_gradient(y, shared.tensor()),
    }
}

/// dy masked by a ReLU's output.
struct Gate;

impl ElementRule for Gate {
    const NAME: &'static str = "relu gradient";

    fn apply<T: Stored>(dy: T, y: T) -> T {
        y.gate(dy)
    }
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
