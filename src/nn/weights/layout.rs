//! Memory layout of tensors in files, and atomic writing.

use crate::atomic_write;
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::{fs::File, io::BufWriter, path::Path};

pub(super) type Axes = [usize; 4];
pub(super) const TO_FILE: Axes = [0, 3, 1, 2];
pub(super) const TO_MEMORY: Axes = [0, 2, 3, 1];

pub(super) fn permuted(tensor: &Tensor, axes: Axes) -> candle_core::Result<Tensor> {
    if tensor.rank() == 4 { tensor.permute(axes)?.contiguous() } else { tensor.contiguous() }
}

pub(super) fn permuted_dims(dims: &[usize], axes: Axes) -> Vec<usize> {
    if dims.len() == 4 { axes.iter().map(|&axis| dims[axis]).collect() } else { dims.to_vec() }
}

/// Shape in a file of a tensor in memory layout: `(O, KH, KW, I)` becomes `(O, I, KH, KW)`.
pub fn dims_in_file(dims: &[usize]) -> Vec<usize> {
    permuted_dims(dims, TO_FILE)
}

/// A tensor as a file has it, in memory layout: `(O, I, KH, KW)` becomes `(O, KH, KW, I)`.
///
/// # Errors
/// No memory on the device.
pub fn to_memory_layout(tensor: &Tensor) -> candle_core::Result<Tensor> {
    permuted(tensor, TO_MEMORY)
}

/// The inverse of [`to_memory_layout`].
///
/// # Errors
/// No memory on the device.
pub fn to_file_layout(tensor: &Tensor) -> candle_core::Result<Tensor> {
    permuted(tensor, TO_FILE)
}

/// Writes `path` through `fill`, completely or not at all.
pub(super) fn atomically(path: &Path, fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    atomic_write::write_with(path, fill).with_context(|| {
        format!(
            "cannot write {}: does its folder exist, may you write there, is the disk full?",
            path.display()
        )
    })
}
