//! Tensors as views of storages: checked against the storage, then copied out of it.

use crate::nn::weights::{TO_MEMORY, permuted};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};

/// A block of numbers in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub key: String,
    pub dtype: DType,
    pub count: usize,
}

impl Storage {
    pub fn bytes(&self) -> Result<u64> {
        let bytes = (self.count as u64).checked_mul(self.dtype.size_in_bytes() as u64);
        bytes.with_context(|| format!("storage `{}` claims {} numbers: it is corrupt", self.key, self.count))
    }
}

/// A tensor: element `(i, j, …)` is number `offset + i·strides[0] + j·strides[1] + …` of its storage.
#[derive(Clone, Debug)]
pub(super) struct Strided {
    pub storage: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// Elements.
    count: usize,
}

impl Strided {
    /// A tensor whose every element lies in its storage, and which is no larger than that.
    pub fn checked(
        storage: usize,
        of: &Storage,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self> {
        ensure!(shape.len() == strides.len(), "a tensor of shape {shape:?} has the strides {strides:?}");
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let outside = || {
            format!(
                "a tensor of shape {shape:?}, strides {strides:?} at {offset} reaches outside its storage `{}` \
                 of {} numbers: the file is corrupt",
                of.key, of.count
            )
        };
        let count = count.filter(|&count| count <= of.count).with_context(outside)?;
        let last = shape.iter().zip(&strides).try_fold(offset, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        ensure!(count == 0 || last.is_some_and(|last| last < of.count), outside());
        Ok(Self { storage, offset, shape, strides, count })
    }

    /// Bytes that the tensor takes by itself.
    pub fn bytes(&self, dtype: DType) -> u64 {
        (self.count * dtype.size_in_bytes()) as u64
    }

    /// The tensor in memory layout; `bytes` are those of its storage.
    pub fn tensor(&self, bytes: &[u8], dtype: DType) -> Result<Tensor> {
        let width = dtype.size_in_bytes();
        let tensor = if self.count == 0 {
            Tensor::zeros(self.shape.as_slice(), dtype, &Device::Cpu)?
        } else if self.is_contiguous() {
            let bytes = &bytes[self.offset * width..][..self.count * width];
            Tensor::from_raw_buffer(bytes, dtype, &self.shape, &Device::Cpu)?
        } else {
            Tensor::from_raw_buffer(&self.gathered(bytes, width), dtype, &self.shape, &Device::Cpu)?
        };
        Ok(permuted(&tensor, TO_MEMORY)?)
    }

    fn is_contiguous(&self) -> bool {
        let mut step = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == step;
            step *= size;
            fits
        })
    }

    /// The elements in the order of the last axis fastest.
    fn gathered(&self, bytes: &[u8], width: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.count * width);
        let mut index = vec![0; self.shape.len()];
        let mut at = self.offset;
        for _ in 0..self.count {
            out.extend_from_slice(&bytes[at * width..][..width]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        out
    }
}
