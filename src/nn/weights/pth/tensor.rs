//! Tensors as views of storages: checked against the storage, then copied out of it.

use crate::{
    element::Element,
    nn::weights::layout::{TO_MEMORY, permuted},
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;

/// A block of values in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub key: String,
    /// Bytes per value.
    pub width: usize,
    pub count: usize,
}

impl Storage {
    pub fn bytes(&self) -> Result<u64> {
        let bytes = (self.count as u64).checked_mul(self.width as u64);
        bytes.with_context(|| format!("storage `{}` claims {} numbers: it is corrupt", self.key, self.count))
    }
}

/// A tensor: element `(i, j, …)` is value `offset + i·strides[0] + j·strides[1] + …` of its storage. Strides of 0
/// repeat a value, so a tensor may have more elements than its storage has values.
#[derive(Clone, Debug)]
pub(super) struct Strided {
    pub storage: usize,
    element: Element,
    /// The values are stored with the opposite sign.
    negated: bool,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// Number of elements.
    count: usize,
}

impl Strided {
    /// A tensor, after checking that every element is inside its storage.
    pub fn checked(
        (storage, of): (usize, &Storage),
        element: Element,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self> {
        ensure!(shape.len() == strides.len(), "a tensor of shape {shape:?} has the strides {strides:?}");
        let outside = || {
            format!(
                "a tensor of shape {shape:?}, strides {strides:?} at {offset} reaches outside its storage `{}` \
                 of {} numbers: the file is corrupt",
                of.key, of.count
            )
        };
        let numbers = of.bytes()? / element.width() as u64;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let count = count.with_context(outside)?;
        let last = shape.iter().zip(&strides).try_fold(offset, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        ensure!(count == 0 || last.is_some_and(|last| (last as u64) < numbers), outside());
        Ok(Self { storage, element, negated: false, offset, shape, strides, count })
    }

    /// The same tensor with the opposite sign, if `negated`.
    pub fn negated(self, negated: bool) -> Self {
        Self { negated, ..self }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn element(&self) -> Element {
        self.element
    }

    /// Bytes of the tensor's own elements.
    pub fn bytes(&self) -> u64 {
        (self.count as u64)
            .saturating_mul(self.element.dtype().size_in_bytes().max(self.element.width()) as u64)
    }

    /// The tensor in memory layout; `bytes` is its storage.
    pub fn tensor(&self, bytes: &[u8]) -> Result<Tensor> {
        let width = self.element.width();
        let tensor = if self.count == 0 {
            self.element.tensor(&[], &self.shape)?
        } else if self.is_contiguous() {
            self.element.tensor(&bytes[self.offset * width..][..self.count * width], &self.shape)?
        } else {
            self.element.tensor(&self.gathered(bytes, width), &self.shape)?
        };
        let tensor = if self.negated { tensor.neg()? } else { tensor };
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

    /// The elements in row-major order.
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
