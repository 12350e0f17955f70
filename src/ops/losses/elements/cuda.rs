//! Elementwise losses on a GPU: one kernel writes partial sums per block, another adds them.

use super::{ElementLoss, Total};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, element, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result};

impl<L: ElementLoss> Total<L> {
    /// Number of weights, after which they repeat; 1 without any.
    fn period(&self) -> Arg<'static> {
        Arg::count(self.weights.as_ref().map_or(1, |weights| weights.elem_count().max(1)))
    }

    /// Pointers to predictions, targets and weights.
    fn pointers(&self, x: CudaInput, t: CudaInput) -> Result<[Arg<'static>; 3]> {
        let weights = self.weights.as_ref().map_or(Ok(0), |weights| device_ptr(L::KERNELS, weights))?;
        Ok([x.address()?, t.address()?, weights].map(Arg::Pointer))
    }

    fn kernel(what: &str, dtype: DType) -> Result<String> {
        Ok(format!("{}_{what}_{}", L::KERNELS, element(L::KERNELS, dtype)?))
    }

    pub(super) fn total_cuda(&self, x: CudaInput, t: CudaInput) -> Result<CudaOutput> {
        let (device, dtype, n) = (x.device(), x.dtype(), x.shape().elem_count());
        let grid = Grid::sums(n);
        let blocks = grid.blocks.0 as usize;
        let (_sums, sums) = alloc_uninit(device, blocks, DType::F64)?;
        let args = [&self.pointers(x, t)?[..], &[self.period(), Arg::Pointer(sums), Arg::count(n)]].concat();
        launch(device, modules::LOSSES, &Self::kernel("sums", dtype)?, grid, &args)?;
        let (out, y) = alloc_uninit(device, (), dtype)?;
        let args = [Arg::Pointer(sums), Arg::Pointer(y), Arg::Double(self.divisor), Arg::length(blocks)];
        let kernel = format!("total_{}", element(L::KERNELS, dtype)?);
        launch(device, modules::LOSSES, &kernel, Grid::blocks(1, 256), &args)?;
        Ok((out, ().into()))
    }

    /// The gradient of the predictions.
    pub(super) fn gradient_cuda(&self, x: CudaInput, t: CudaInput, dloss: CudaInput) -> Result<CudaOutput> {
        let (device, dtype, n) = (x.device(), x.dtype(), x.shape().elem_count());
        let (out, dx) = alloc_uninit(device, x.shape(), dtype)?;
        let rest =
            [Arg::Pointer(dloss.address()?), Arg::Pointer(dx), Arg::Double(self.divisor), Arg::count(n)];
        let args = [&self.pointers(x, t)?[..], &[self.period()], &rest].concat();
        launch(device, modules::LOSSES, &Self::kernel("gradient", dtype)?, Grid::over(n), &args)?;
        Ok((out, x.shape().clone()))
    }
}
