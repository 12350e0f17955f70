//! Buckets of gradients as one run of numbers, and back.

use super::wire::Wire;
use crate::train::collective::operations::Bucket;
use anyhow::{Context, Result, ensure};
use candle_core::{CpuStorage, Shape, Storage, Tensor};

/// The sums of a bucket over all ranks.
///
/// # Errors
/// Gradients that are not contiguous f32 on processors; sums of earlier passes for some of them only.
pub fn sum(wire: &mut Wire, Bucket { gradients, carry }: &Bucket) -> Result<Vec<Tensor>> {
    ensure!(
        carry.is_empty() || carry.len() == gradients.len(),
        "a pass has gradients that an earlier one lacks"
    );
    let shapes: Vec<&Shape> = gradients.iter().map(Tensor::shape).collect();
    let sums = packed(gradients, |values| match carry.is_empty() {
        true => Ok(wire.sum(values, None)),
        false => packed(carry, |carry| Ok(wire.sum(values, Some(carry)))),
    })?;
    unpacked(sums, &shapes)
}

/// Lends the numbers of all tensors, one after another; those of a single one where they lie.
fn packed<T>(tensors: &[Tensor], work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    if let [tensor] = tensors {
        return numbers(tensor, work)?;
    }
    let mut all = Vec::with_capacity(tensors.iter().map(Tensor::elem_count).sum());
    for tensor in tensors {
        numbers(tensor, |values| all.extend_from_slice(values))?;
    }
    work(&all)
}

/// Lends the numbers of a tensor.
fn numbers<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().context("a gradient is not contiguous")?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(work(&values[start..end])),
        _ => anyhow::bail!("MPI sums gradients in f32 on processors"),
    }
}

/// Tensors of these shapes from their numbers, one after another.
fn unpacked(values: Vec<f32>, shapes: &[&Shape]) -> Result<Vec<Tensor>> {
    let device = &candle_core::Device::Cpu;
    if let [shape] = shapes {
        return Ok(vec![Tensor::from_vec(values, *shape, device)?]);
    }
    let mut rest = &values[..];
    let mut tensor = |shape: &&Shape| {
        let (own, after) = rest.split_at(shape.elem_count());
        rest = after;
        Ok(Tensor::from_slice(own, *shape, device)?)
    };
    shapes.iter().map(&mut tensor).collect()
}
