//! ReLU with the usual subgradient 0 at 0 (candle's own has 1 there). NaN passes through, so that a diverged network
//! shows in its loss.

use super::cpu::{Float, by_dtype, map, map2, view};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType};

/// max(x, 0), any shape, f32 or f64.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Relu)
}

/// max(x, `slope`·x) for a slope from 0 to 1, any shape, f32 or f64; the subgradient at 0 is `slope`.
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
}
