//! Conversion of a layer's blobs to tensors.

use super::proto::BlobMessage;
use crate::nn::weights::layout::{TO_MEMORY, permuted};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use prost::{Message, bytes::Bytes};

/// Maximum number of axes of a blob, which is also Caffe's limit.
const MOST_AXES: usize = 32;

/// Meaning of the shapes of a layer's blobs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BlobLayout {
    /// Including transposed convolutions.
    Convolution,
    InnerProduct,
    BatchNorm,
    Other,
}

/// The blobs of a layer by the last part of their names, in memory layout.
pub(super) fn tensors(kind: BlobLayout, blobs: Vec<Bytes>) -> Result<Vec<(String, Tensor)>> {
    let names: &[&str] = match (kind, blobs.len()) {
        (BlobLayout::BatchNorm, 3) => &["running_mean", "running_var", "weight_sum"],
        (BlobLayout::BatchNorm, other) => {
            bail!("a batch normalization has {other} blobs, but Caffe's has three")
        }
        (_, 1 | 2) => &["weight", "bias"],
        _ => &[],
    };
    let mut out = vec![];
    for (index, blob) in blobs.into_iter().enumerate() {
        let name = names.get(index).map_or_else(|| format!("blob{index}"), |name| (*name).into());
        let tensor = tensor(kind, index, blob).with_context(|| format!("its blob {index} ({name})"))?;
        out.push((name, tensor));
    }
    if let (BlobLayout::BatchNorm, [(_, mean), (_, var), (_, sum)]) = (kind, &mut out[..]) {
        normalize(mean, var, sum)?;
    }
    Ok(out)
}

/// Converts sums to statistics. A layer without any accumulated batch has a third blob of 0; Caffe then uses 0 for
/// both.
fn normalize(mean: &mut Tensor, var: &mut Tensor, sum: &Tensor) -> Result<()> {
    ensure!(sum.dims() == [1], "its third blob has the shape {:?} instead of [1]", sum.dims());
    let weight = sum.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?;
    let scale = if weight == 0.0 { 0.0 } else { 1.0 / weight };
    for tensor in [mean, var] {
        *tensor = (tensor.to_dtype(DType::F64)? * scale)?.to_dtype(tensor.dtype())?;
    }
    Ok(())
}

fn tensor(kind: BlobLayout, index: usize, blob: Bytes) -> Result<Tensor> {
    let blob = BlobMessage::decode(blob)?;
    let shape = shape(kind, index, &blob)?;
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let given = blob.data.len().max(blob.double_data.len());
    ensure!(
        count == Some(given) && (blob.data.is_empty() || blob.double_data.is_empty()),
        "its shape {shape:?} does not fit its {} numbers and {} doubles: the file is corrupt",
        blob.data.len(),
        blob.double_data.len()
    );
    let tensor = if blob.double_data.is_empty() {
        Tensor::from_vec(blob.data, shape, &Device::Cpu)?
    } else {
        Tensor::from_vec(blob.double_data, shape, &Device::Cpu)?.to_dtype(DType::F32)?
    };
    Ok(permuted(&tensor, TO_MEMORY)?)
}

/// Convolution weights have rank 4 and inner-product weights rank 2. All other blobs lose the leading axes of length 1
/// that the older format adds.
fn shape(kind: BlobLayout, index: usize, blob: &BlobMessage) -> Result<Vec<usize>> {
    let dims = match &blob.shape {
        Some(shape) => shape.dim.clone(),
        None => [blob.num, blob.channels, blob.height, blob.width]
            .map(|size| i64::from(size.unwrap_or(0)))
            .to_vec(),
    };
    ensure!(dims.len() <= MOST_AXES, "it has {} axes", dims.len());
    let dims = dims.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
    let dims = dims.context("its shape is negative: the file is corrupt")?;
    let kept = match (kind, index) {
        (BlobLayout::Convolution, 0) => 4,
        (BlobLayout::InnerProduct, 0) => 2,
        _ => 1,
    };
    let ones = dims.iter().take(dims.len().saturating_sub(kept)).take_while(|&&size| size == 1).count();
    Ok(dims[ones..].to_vec())
}
