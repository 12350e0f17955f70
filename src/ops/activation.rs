//! ReLU with the usual subgradient 0 at 0 (candle's own has 1 there). NaN passes through, so that a diverged network
//! shows in its loss.

use super::cpu::{Float, by_dtype, map, map2, view};
#[cfg(feature = "cuda")]
use crate::device::cuda::{Arg, Grid, address, element, empty, launch, modules::ELEMENTWISE};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

/// max(x, 0), any shape, f32 or f64, on a GPU also bf16.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Relu)
}

/// max(x, `slope`·x) for a slope from 0 to 1, any shape and type of [`relu`]; the subgradient at 0 is
/// `slope`.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    relu(x)?.affine(1.0 - slope, 0.0)? + x.affine(slope, 0.0)?
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!(self.name(), s, T => {
            T::to_cpu_storage_owned(map(view::<T>(self.name(), s, l)?, Float::rectify))
        });
        Ok((y, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        over_elements(self.name(), "relu", &[(s, l)])
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(relu_gradient(y, dy)?))
    }
}

/// The gradient before a ReLU from its result y, contiguous, and the gradient of y; without a graph.
pub(super) fn relu_gradient(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    y.apply_op2_no_bwd(&dy.contiguous()?, &ReluGradient)
}

/// (y, dy) → dx.
struct ReluGradient;

impl CustomOp2 for ReluGradient {
    fn name(&self) -> &'static str {
        "relu gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dx = by_dtype!(self.name(), s1, T => {
            let (y, dy) = (view::<T>(self.name(), s1, l1)?, view::<T>(self.name(), s2, l2)?);
            T::to_cpu_storage_owned(map2(y, dy, Float::gate))
        });
        Ok((dx, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        over_elements(self.name(), "relu_gradient", &[(s1, l1), (s2, l2)])
    }
}

/// A kernel of (arguments, result, number of elements); all have the shape and the type of the first.
#[cfg(feature = "cuda")]
fn over_elements(
    op: &str,
    kernel: &str,
    arguments: &[(&CudaStorage, &Layout)],
) -> Result<(CudaStorage, Shape)> {
    let [(first, layout), ..] = arguments else { candle_core::bail!("{op}: no argument") };
    let (dtype, shape) = (first.dtype(), layout.shape());
    let mut args = Vec::new();
    for (s, l) in arguments {
        if s.dtype() != dtype {
            candle_core::bail!("{op}: arguments of {dtype:?} and {:?}: one type wanted", s.dtype());
        }
        args.push(Arg::Pointer(address(op, s, l)?));
    }
    let (storage, result) = empty(first.device(), shape.clone(), dtype)?;
    let n = shape.elem_count();
    args.extend([Arg::Pointer(result), Arg::count(n)]);
    let kernel = format!("{kernel}_{}", element(op, dtype)?);
    let packs = n.div_ceil(16 / dtype.size_in_bytes());
    launch(first.device(), ELEMENTWISE, &kernel, Grid::over(packs), &args)?;
    Ok((storage, shape.clone()))
}
