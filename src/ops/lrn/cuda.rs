//! LRN on a GPU, with f32 sums for f32 and bf16 (f64 for f64). The backward pass stores the summands of the windows
//! first, so that each element is read once per window position.

use super::{Lrn, extents};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Shape, bail};

/// The common kernel arguments after the pointers, and the grid: one block per row of the map.
fn setting(options: Lrn, shape: &Shape) -> Result<([Arg<'static>; 6], Grid)> {
    let (rows, row, channels) = extents(shape)?;
    let args = [
        Arg::length(row),
        Arg::length(channels),
        Arg::length((options.size / 2).min(channels)),
        Arg::Double(options.alpha / options.size as f64),
        Arg::Double(options.beta),
        Arg::Double(options.k),
    ];
    Ok((args, Grid::blocks(rows, 256)))
}

pub(super) fn forward(options: Lrn, x: CudaInput) -> Result<CudaOutput> {
    let (constants, grid) = setting(options, x.shape())?;
    let (y, result) = alloc_uninit(x.device(), x.shape(), x.dtype())?;
    let args = [&[x.address()?, result].map(Arg::Pointer)[..], &constants].concat();
    launch(x.device(), modules::LRN, &format!("lrn_{}", x.element()?), grid, &args)?;
    Ok((y, x.shape().clone()))
}

/// (x, dy) → dx.
pub(super) fn gradient(options: Lrn, x: CudaInput, dy: CudaInput) -> Result<CudaOutput> {
    let (op, dtype, device) = (x.op, x.dtype(), x.device());
    if dy.dtype() != dtype {
        bail!("{op}: x is {dtype:?} and its gradient {:?}: one type wanted", dy.dtype());
    }
    let (constants, grid) = setting(options, x.shape())?;
    let inputs = [x.address()?, dy.address()?].map(Arg::Pointer);
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (_shares, shares) = alloc_uninit(device, x.shape(), wide)?;
    let args = [&inputs[..], &[Arg::Pointer(shares)], &constants].concat();
    launch(device, modules::LRN, &format!("lrn_shares_{}", x.element()?), grid, &args)?;
    let (dx, result) = alloc_uninit(device, x.shape(), dtype)?;
    let args = [&inputs[..], &[Arg::Pointer(shares), Arg::Pointer(result)], &constants].concat();
    launch(device, modules::LRN, &format!("lrn_gradient_{}", x.element()?), grid, &args)?;
    Ok((dx, x.shape().clone()))
}
