//! Convolution on the CPU: three products over NHWC slices, for any stride, padding, dilation and groups. Independent
//! of tensors and autograd, so another backend could replace it.
//!
//! The summation order of each output element depends only on shapes, so results are bit-identical for any number of
//! threads.

use super::axis::{Axis, AxisMap};
use super::filter_gemm::FilterGemm;
pub(super) use super::gather_gemm::Epilogue;
use super::gather_gemm::{Filter, GatherGemm};
use super::tile::Real;
use rayon::prelude::*;

/// Shape of a convolution: x `(B, H, W, C)`, w `(O, KH, KW, C/groups)`, y `(B, H', W', O)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct ConvShape {
    pub batch: usize,
    pub rows: Axis,
    pub cols: Axis,
    /// C, the channels of x.
    pub inputs: usize,
    /// O, the channels of y.
    pub outputs: usize,
    pub groups: usize,
}

impl ConvShape {
    /// Elements of x.
    pub fn input_len(&self) -> usize {
        self.batch * self.rows.input * self.cols.input * self.inputs
    }
    /// Elements of y.
    pub fn output_len(&self) -> usize {
        self.batch * self.rows.output * self.cols.output * self.outputs
    }
    /// Elements of w.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.taps() * self.inputs_per_group()
    }
    pub fn taps(&self) -> usize {
        self.rows.kernel * self.cols.kernel
    }
    pub fn inputs_per_group(&self) -> usize {
        self.inputs / self.groups
    }
    pub fn outputs_per_group(&self) -> usize {
        self.outputs / self.groups
    }
}

/// y = x ∗ w (+ bias, optional ReLU).
pub(super) fn forward<T: Real>(s: &ConvShape, x: &[T], w: &[T], finish: Epilogue<T>) -> Vec<T> {
    assert_eq!((x.len(), w.len()), (s.input_len(), s.weight_len()));
    let (taps, depth) = (s.taps(), s.inputs_per_group());
    GatherGemm {
        batch: s.batch,
        groups: s.groups,
        depth,
        width: s.outputs_per_group(),
        rows: AxisMap::forward(&s.rows),
        cols: AxisMap::forward(&s.cols),
        source: x,
        source_size: (s.rows.input, s.cols.input),
        filter: Filter {
            data: w,
            group_step: s.outputs_per_group() * taps * depth,
            tap_step: depth,
            depth_step: 1,
            column_step: taps * depth,
        },
        finish,
    }
    .run()
}

/// dx = the adjoint of `forward` in x, applied to dy (+ bias and ReLU, for the forward pass of a transposed
/// convolution).
pub(super) fn grad_input<T: Real>(s: &ConvShape, dy: &[T], w: &[T], finish: Epilogue<T>) -> Vec<T> {
    assert_eq!((dy.len(), w.len()), (s.output_len(), s.weight_len()));
    let (taps, width) = (s.taps(), s.inputs_per_group());
    GatherGemm {
        batch: s.batch,
        groups: s.groups,
        depth: s.outputs_per_group(),
        width,
        rows: AxisMap::inverse(&s.rows),
        cols: AxisMap::inverse(&s.cols),
        source: dy,
        source_size: (s.rows.output, s.cols.output),
        filter: Filter {
            data: w,
            group_step: s.outputs_per_group() * taps * width,
            tap_step: width,
            depth_step: taps * width,
            column_step: 1,
        },
        finish,
    }
    .run()
}

/// dw = the adjoint of `forward` in w, applied to dy.
pub(super) fn grad_weight<T: Real>(s: &ConvShape, x: &[T], dy: &[T]) -> Vec<T> {
    assert_eq!((x.len(), dy.len()), (s.input_len(), s.output_len()));
    FilterGemm::new(s, x, dy).run()
}

/// Sums `(rows, channels)` over the rows: the gradient of a bias. The block size, and so the summation order, is
/// fixed.
pub(super) fn grad_bias<T: Real>(dy: &[T], channels: usize) -> Vec<T> {
    const BLOCK_ROWS: usize = 256;
    let sum_into = |mut sums: Vec<T>, row: &[T]| {
        sums.iter_mut().zip(row).for_each(|(s, &v)| *s = *s + v);
        sums
    };
    let blocks: Vec<Vec<T>> = dy
        .par_chunks(BLOCK_ROWS * channels)
        .map(|block| block.chunks_exact(channels).fold(vec![T::default(); channels], sum_into))
        .collect();
    blocks.iter().map(Vec::as_slice).fold(vec![T::default(); channels], sum_into)
}
