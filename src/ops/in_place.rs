//! Elementwise operations in the memory of their first argument, on the CPU.

use super::cpu::{BLOCK, Stored};
use crate::op::{elements, elements_mut};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, backend::BackendStorage, bail};
use rayon::prelude::*;

/// An operation on two elements.
pub(super) trait ElementRule: Send + Sync {
    const NAME: &'static str;
    fn apply<T: Stored>(&self, a: T, b: T) -> T;
}

/// Whether [`in_place`] can be used for these tensors: contiguous, in host memory.
pub(super) fn fits(a: &Tensor, b: &Tensor) -> bool {
    a.device().is_cpu() && a.is_contiguous() && b.is_contiguous() && a.dtype() == b.dtype()
}

/// a ← rule(a, b). Nothing else may read the memory of `a`.
///
/// # Errors
/// Two shapes; another type than f32, f64 and bf16; tensors that do not [fit](fits).
pub(super) fn in_place<R: ElementRule>(rule: R, a: Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        bail!("{}: tensors of {:?} and {:?}", R::NAME, a.dims(), b.dims())
    }
    a.inplace_op2(b, &InPlace(rule))?;
    Ok(a)
}

struct InPlace<R>(R);

impl<R: ElementRule> InPlace<R> {
    fn run<T: Stored>(
        &self,
        a: &mut [T],
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        let (a, b) = (elements_mut(R::NAME, a, a_layout)?, elements::<T>(R::NAME, b, b_layout)?);
        let blocks = a.par_chunks_mut(BLOCK).zip(b.par_chunks(BLOCK));
        blocks.for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a = self.0.apply(*a, *b)));
        Ok(())
    }
}

impl<R: ElementRule> InplaceOp2 for InPlace<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        match a {
            CpuStorage::F32(a) => self.run(a, a_layout, b, b_layout),
            CpuStorage::F64(a) => self.run(a, a_layout, b, b_layout),
            CpuStorage::BF16(a) => self.run(a, a_layout, b, b_layout),
            other => bail!("{}: f32, f64 or bf16 wanted, got {:?}", R::NAME, other.dtype()),
        }
    }
}
