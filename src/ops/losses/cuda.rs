//! Losses that are sums over single elements, on an NVIDIA GPU: the blocks of one kernel leave sums, another adds them up.

use crate::{
    device::cuda::{Arg, Grid, element, empty, held, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Tensor};

/// Such a loss.
pub(super) struct Elements<'a> {
    /// What its kernels' names begin with.
    pub name: &'static str,
    /// A mask or weights, of the predictions' shape and type.
    pub others: Option<&'a Tensor>,
    pub divisor: f64,
}

impl Elements<'_> {
    /// Predictions, targets, and the mask or weights.
    fn pointers(&self, predictions: CudaInput, targets: CudaInput) -> Result<[Arg<'static>; 3]> {
        let others = self.others.map_or(Ok(0), |others| held(self.name, others))?;
        Ok([predictions.address()?, targets.address()?, others].map(Arg::Pointer))
    }

    fn kernel(&self, what: &str, dtype: DType) -> Result<String> {
        Ok(format!("{}_{what}_{}", self.name, element(self.name, dtype)?))
    }
}

/// The sum over all elements / divisor.
pub(super) fn loss(of: &Elements, predictions: CudaInput, targets: CudaInput) -> Result<CudaOutput> {
    let (device, dtype, n) = (predictions.device(), predictions.dtype(), predictions.shape().elem_count());
    let grid = Grid::sums(n);
    let blocks = grid.blocks.0 as usize;
    let (_sums, sums) = empty(device, blocks, DType::F64)?;
    let args = [&of.pointers(predictions, targets)?[..], &[Arg::Pointer(sums), Arg::count(n)]].concat();
    launch(device, modules::LOSSES, &of.kernel("sums", dtype)?, grid, &args)?;
    let (out, y) = empty(device, (), dtype)?;
    let args = [Arg::Pointer(sums), Arg::Pointer(y), Arg::Double(of.divisor), Arg::length(blocks)];
    let kernel = format!("total_{}", element(of.name, dtype)?);
    launch(device, modules::LOSSES, &kernel, Grid::blocks(1, 256), &args)?;
    Ok((out, ().into()))
}

/// What reaches the predictions.
pub(super) fn gradient(
    of: &Elements,
    predictions: CudaInput,
    targets: CudaInput,
    dloss: CudaInput,
) -> Result<CudaOutput> {
    let (device, dtype, shape) = (predictions.device(), predictions.dtype(), predictions.shape());
    let n = shape.elem_count();
    let (out, dx) = empty(device, shape, dtype)?;
    let rest = [Arg::Pointer(dloss.address()?), Arg::Pointer(dx), Arg::Double(of.divisor), Arg::count(n)];
    let args = [&of.pointers(predictions, targets)?[..], &rest].concat();
    launch(device, modules::LOSSES, &of.kernel("gradient", dtype)?, Grid::over(n), &args)?;
    Ok((out, shape.clone()))
}
