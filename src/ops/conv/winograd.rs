//! Convolution by minimal filtering (Winograd 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2016): F(m × m, r × r) computes m × m outputs of an r × r filter by (m + r − 1)² multiplications per
//! channel instead of m² r².

mod choose;
mod correlate;
mod correlate_task;
mod grid;
mod pack;
mod plan;
mod points;
mod product;
mod scheme;
mod transform;
mod weights;
mod weights_task;

use super::gather_gemm::{Epilogue, Filter};
use super::shape::ConvShape;
use super::simd::Simd;
use super::tile::Real;
pub(super) use choose::{Pass, pays};
use correlate::Correlation;
use grid::Grid;
pub(super) use scheme::Scheme;
use scheme::{LIMITS, Limits};
use weights::WeightGradient;

/// y = x ∗ w (+ bias, optional ReLU), as `cpu::forward`.
pub(super) fn forward<T: Real>(
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Epilogue<T>,
    scheme: Scheme,
) -> Vec<T> {
    forward_on((T::simd(), LIMITS), s, x, w, finish, scheme)
}

/// dx = the adjoint of `forward` in x, as `cpu::grad_input`.
pub(super) fn grad_input<T: Real>(
    s: &ConvShape,
    dy: &[T],
    w: &[T],
    finish: Epilogue<T>,
    scheme: Scheme,
) -> Vec<T> {
    grad_input_on((T::simd(), LIMITS), s, dy, w, finish, scheme)
}

/// dw = the adjoint of `forward` in w, as `cpu::grad_weight`.
pub(super) fn grad_weight<T: Real>(s: &ConvShape, x: &[T], dy: &[T], scheme: Scheme) -> Vec<T> {
    grad_weight_on((T::simd(), LIMITS), s, x, dy, scheme)
}

fn forward_on<T: Real>(
    (simd, limits): (Simd, Limits),
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Epilogue<T>,
    scheme: Scheme,
) -> Vec<T> {
    assert_eq!((x.len(), w.len()), (s.input_len(), s.weight_len()));
    let (taps, depth) = (s.taps(), s.inputs_per_group());
    Correlation {
        simd,
        limits,
        grid: Grid::forward(&s.rows, &s.cols, scheme),
        batch: s.batch,
        groups: s.groups,
        depth,
        width: s.outputs_per_group(),
        source: x,
        source_size: (s.rows.input, s.cols.input),
        tap_cols: s.cols.kernel,
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

fn grad_input_on<T: Real>(
    (simd, limits): (Simd, Limits),
    s: &ConvShape,
    dy: &[T],
    w: &[T],
    finish: Epilogue<T>,
    scheme: Scheme,
) -> Vec<T> {
    assert_eq!((dy.len(), w.len()), (s.output_len(), s.weight_len()));
    let (taps, width) = (s.taps(), s.inputs_per_group());
    Correlation {
        simd,
        limits,
        grid: Grid::adjoint(&s.rows, &s.cols, scheme),
        batch: s.batch,
        groups: s.groups,
        depth: s.outputs_per_group(),
        width,
        source: dy,
        source_size: (s.rows.output, s.cols.output),
        tap_cols: s.cols.kernel,
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

fn grad_weight_on<T: Real>(
    (simd, limits): (Simd, Limits),
    s: &ConvShape,
    x: &[T],
    dy: &[T],
    scheme: Scheme,
) -> Vec<T> {
    assert_eq!((x.len(), dy.len()), (s.input_len(), s.output_len()));
    WeightGradient {
        simd,
        limits,
        grid: Grid::forward(&s.rows, &s.cols, scheme),
        batch: s.batch,
        groups: s.groups,
        inputs: s.inputs_per_group(),
        outputs: s.outputs_per_group(),
        x,
        dy,
        x_size: (s.rows.input, s.cols.input),
        taps: (s.taps(), s.cols.kernel),
    }
    .run()
}

#[cfg(test)]
mod tests;
