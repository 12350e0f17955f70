//! Convolution on the CPU: three products over NHWC slices, for any stride, padding, dilation and groups. Independent
//! of tensors and autograd, so another backend could replace it. Each is computed directly, or by minimal filtering where
//! that pays (`winograd.rs`).
//!
//! The summation order of each output element depends only on shapes, so results are bit-identical for any number of
//! threads.

use super::super::cpu::{Float, Stored};
use super::axis::AxisMap;
use super::filter_gemm::FilterGemm;
pub(super) use super::gather_gemm::Epilogue;
use super::gather_gemm::{Filter, GatherGemm};
use super::shape::ConvShape;
use super::tile::Real;
use super::winograd::{self, Pass, Scheme, pays};
use crate::device;
use rayon::prelude::*;

/// The scheme of minimal filtering by which a product is computed, if it is not computed directly.
fn filtered(s: &ConvShape, pass: Pass) -> Option<Scheme> {
    if device::exact() { None } else { pays(s, pass) }
}

/// y = x ∗ w (+ bias, optional ReLU).
pub(super) fn forward<T: Real>(s: &ConvShape, x: &[T], w: &[T], finish: Epilogue<T>) -> Vec<T> {
    match filtered(s, Pass::Forward) {
        Some(scheme) => winograd::forward(s, x, w, finish, scheme),
        None => direct_forward(s, x, w, finish),
    }
}

/// `forward` without minimal filtering.
pub(super) fn direct_forward<T: Real>(s: &ConvShape, x: &[T], w: &[T], finish: Epilogue<T>) -> Vec<T> {
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
    match filtered(s, Pass::GradInput) {
        Some(scheme) => winograd::grad_input(s, dy, w, finish, scheme),
        None => direct_grad_input(s, dy, w, finish),
    }
}

/// `grad_input` without minimal filtering.
pub(super) fn direct_grad_input<T: Real>(s: &ConvShape, dy: &[T], w: &[T], finish: Epilogue<T>) -> Vec<T> {
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
    match filtered(s, Pass::GradWeight) {
        Some(scheme) => winograd::grad_weight(s, x, dy, scheme),
        None => direct_grad_weight(s, x, dy),
    }
}

/// `grad_weight` without minimal filtering.
pub(super) fn direct_grad_weight<T: Real>(s: &ConvShape, x: &[T], dy: &[T]) -> Vec<T> {
    assert_eq!((x.len(), dy.len()), (s.input_len(), s.output_len()));
    FilterGemm::new(s, x, dy).run()
}

/// Sums `(rows, channels)` over the rows: the gradient of a bias. The block size, and so the summation order, is
/// fixed.
pub(super) fn grad_bias<T: Stored>(dy: &[T], channels: usize) -> Vec<T::Wide> {
    const BLOCK_ROWS: usize = 256;
    let zeros = || vec![T::Wide::ZERO; channels];
    let blocks: Vec<Vec<T::Wide>> = dy
        .par_chunks(BLOCK_ROWS * channels)
        .map(|block| block.chunks_exact(channels).fold(zeros(), add_row))
        .collect();
    blocks.iter().map(Vec::as_slice).fold(zeros(), add_row)
}

fn add_row<T: Stored>(mut sums: Vec<T::Wide>, row: &[T]) -> Vec<T::Wide> {
    sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.wide());
    sums
}
