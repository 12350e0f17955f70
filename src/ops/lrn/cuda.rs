//! The same on a GPU: f32 sums for f32 and bf16 (f64 for f64). The gradient writes what the windows sum over into memory
//! first, so that each element is visited a window's length of times and no more.

use super::{Lrn, extents};
use crate::device::cuda::{Arg, Grid, address, element, empty, launch, modules};
use candle_core::{CudaStorage, DType, Layout, Result, Shape, backend::BackendStorage, bail};

/// What all kernels are told after their pointers, and their grid: one block for each row of the map.
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

pub(super) fn forward(options: Lrn, (s, l): (&CudaStorage, &Layout)) -> Result<(CudaStorage, Shape)> {
    let (constants, grid) = setting(options, l.shape())?;
    let (y, result) = empty(s.device(), l.shape().clone(), s.dtype())?;
    let args = [&[Arg::Pointer(address("lrn", s, l)?), Arg::Pointer(result)], &constants[..]].concat();
    launch(s.device(), modules::LRN, &format!("lrn_{}", element("lrn", s.dtype())?), grid, &args)?;
    Ok((y, l.shape().clone()))
}

/// (x, dy) → dx.
pub(super) fn gradient(
    options: Lrn,
    (s, l): (&CudaStorage, &Layout),
    (sg, lg): (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let (op, dtype, device) = ("lrn gradient", s.dtype(), s.device());
    if sg.dtype() != dtype {
        bail!("{op}: x is {dtype:?} and its gradient {:?}: one type wanted", sg.dtype());
    }
    let (constants, grid) = setting(options, l.shape())?;
    let inputs = [Arg::Pointer(address(op, s, l)?), Arg::Pointer(address(op, sg, lg)?)];
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (_shares, shares) = empty(device, l.shape().clone(), wide)?;
    let args = [&inputs[..], &[Arg::Pointer(shares)], &constants].concat();
    launch(device, modules::LRN, &format!("lrn_shares_{}", element(op, dtype)?), grid, &args)?;
    let (dx, result) = empty(device, l.shape().clone(), dtype)?;
    let args = [&inputs[..], &[Arg::Pointer(shares), Arg::Pointer(result)], &constants].concat();
    launch(device, modules::LRN, &format!("lrn_gradient_{}", element(op, dtype)?), grid, &args)?;
    Ok((dx, l.shape().clone()))
}
