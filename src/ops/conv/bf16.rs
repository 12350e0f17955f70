//! Convolution of bf16 activations on the CPU: filters are narrowed, sums are f32.
//!
//! The bits of a result depend on shapes alone: whatever the instructions of the processor and the number of threads, they are
//! those of the tile instruction `tdpbf16ps`. With `deterministic: false` they may be those of a faster instruction, or of
//! minimal filtering in f32.

use super::super::cpu::{BLOCK, fill_blocks};
use super::axis::AxisMap;
use super::gather_gemm::Epilogue;
use super::shape::ConvShape;
use super::winograd::{self, Pass, Scheme, pays};
use crate::device;
use filters::{AdjointFilters, ForwardFilters};
use gather::Gather;
use gemm::{Gemm, Side, Sizes, Store};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use kernel::Kernel;
use pixels::{OutputRows, PatchColumns};
use product::{COLUMNS, SUMS};
use std::mem::MaybeUninit;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dot;
mod filters;
#[cfg(target_arch = "x86_64")]
mod fma;
mod gather;
mod gemm;
mod kernel;
mod model;
mod pixels;
mod plain;
mod product;
#[cfg(test)]
mod tests;
mod wide;

/// What computes products of bf16 here, and whether it is faster than f32.
pub fn bf16_instructions() -> (&'static str, bool) {
    let kernel = Kernel::chosen();
    (kernel.name(), !device::deterministic() || kernel == Kernel::Amx)
}

/// y = x ∗ w (+ bias, optional ReLU).
pub(super) fn forward(s: &ConvShape, x: &[bf16], w: &[f32], finish: Epilogue<f32>) -> Vec<bf16> {
    match filtered(s, Pass::Forward) {
        Some(scheme) => rounded(&winograd::forward(s, &widened(x), w, finish, scheme)),
        None => forward_by(Kernel::chosen(), s, x, w, finish),
    }
}

/// dx = the adjoint of `forward` in x, applied to dy (+ bias and ReLU, for the forward pass of a transposed convolution).
pub(super) fn grad_input(s: &ConvShape, dy: &[bf16], w: &[f32], finish: Epilogue<f32>) -> Vec<bf16> {
    match filtered(s, Pass::GradInput) {
        Some(scheme) => rounded(&winograd::grad_input(s, &widened(dy), w, finish, scheme)),
        None => grad_input_by(Kernel::chosen(), s, dy, w, finish),
    }
}

/// dw = the adjoint of `forward` in w, applied to dy.
pub(super) fn grad_weight(s: &ConvShape, x: &[bf16], dy: &[bf16]) -> Vec<f32> {
    match filtered(s, Pass::GradWeight) {
        Some(scheme) => winograd::grad_weight(s, &widened(x), &widened(dy), scheme),
        None => grad_weight_by(Kernel::chosen(), s, x, dy),
    }
}

/// The scheme of minimal filtering, in f32, by which a product is computed: where bits may differ, it is faster than
/// any instruction for bf16 but that for tiles.
fn filtered(s: &ConvShape, pass: Pass) -> Option<Scheme> {
    let direct = device::deterministic() || device::exact() || Kernel::chosen() == Kernel::Amx;
    if direct { None } else { pays(s, pass) }
}

fn widened(x: &[bf16]) -> Vec<f32> {
    fill_blocks(1, x.len(), BLOCK, |_, start, out: &mut [f32]| {
        wide::elements(x[start..start + out.len()].reinterpret_cast(), out);
    })
}

fn rounded(x: &[f32]) -> Vec<bf16> {
    fill_blocks(1, x.len(), BLOCK, |_, start, out| out.copy_from_slice(&x[start..start + out.len()]))
}

fn forward_by(kernel: Kernel, s: &ConvShape, x: &[bf16], w: &[f32], finish: Epilogue<f32>) -> Vec<bf16> {
    assert_eq!((x.len(), w.len()), (s.input_len(), s.weight_len()));
    let (rows, cols) = (AxisMap::forward(&s.rows), AxisMap::forward(&s.cols));
    let left = Gather {
        source: x.reinterpret_cast(),
        batch: s.batch,
        size: (s.rows.input, s.cols.input),
        groups: s.groups,
        depth: s.inputs_per_group(),
        rows: &rows,
        cols: &cols,
    };
    pixels_by_channels(kernel, left, ForwardFilters { shape: s, w }, s.outputs_per_group(), finish)
}

fn grad_input_by(kernel: Kernel, s: &ConvShape, dy: &[bf16], w: &[f32], finish: Epilogue<f32>) -> Vec<bf16> {
    assert_eq!((dy.len(), w.len()), (s.output_len(), s.weight_len()));
    let (rows, cols) = (AxisMap::inverse(&s.rows), AxisMap::inverse(&s.cols));
    let left = Gather {
        source: dy.reinterpret_cast(),
        batch: s.batch,
        size: (s.rows.output, s.cols.output),
        groups: s.groups,
        depth: s.outputs_per_group(),
        rows: &rows,
        cols: &cols,
    };
    pixels_by_channels(kernel, left, AdjointFilters { shape: s, w }, s.inputs_per_group(), finish)
}

fn grad_weight_by(kernel: Kernel, s: &ConvShape, x: &[bf16], dy: &[bf16]) -> Vec<f32> {
    assert_eq!((x.len(), dy.len()), (s.input_len(), s.output_len()));
    let (rows, cols) = (AxisMap::forward(&s.rows), AxisMap::forward(&s.cols));
    let positions = s.rows.output * s.cols.output;
    let (outputs, inputs) = (s.outputs_per_group(), s.inputs_per_group());
    let left = OutputRows { dy: dy.reinterpret_cast(), batch: s.batch, positions, groups: s.groups, outputs };
    let right = PatchColumns {
        x: x.reinterpret_cast(),
        batch: s.batch,
        size: (s.rows.input, s.cols.input),
        groups: s.groups,
        inputs,
        rows: &rows,
        cols: &cols,
    };
    let columns = s.taps() * inputs;
    let sizes = Sizes { groups: s.groups, rows: outputs, columns, depth: positions * s.batch };
    let store = FilterStore { outputs, columns, len: s.weight_len() };
    Gemm { sizes, left, right, shared: Side::Left, store, kernel }.run()
}

/// The product whose rows are pixels of the destination, and whose columns are its channels, `width` per group.
fn pixels_by_channels(
    kernel: Kernel,
    left: Gather,
    right: impl gemm::Pack,
    width: usize,
    finish: Epilogue<f32>,
) -> Vec<bf16> {
    let (groups, rows) = (left.groups, left.len());
    let sizes = Sizes { groups, rows, columns: width, depth: left.rows.taps * left.cols.taps * left.depth };
    let store = PixelStore { places: left, width, finish };
    Gemm { sizes, left, right, shared: Side::Right, store, kernel }.run()
}

/// Stores pixels in bf16, after bias and ReLU.
struct PixelStore<'a> {
    places: Gather<'a>,
    width: usize,
    finish: Epilogue<'a, f32>,
}

impl Store for PixelStore<'_> {
    type Element = bf16;

    fn len(&self) -> usize {
        self.places.len() * self.places.groups * self.width
    }

    fn offset(&self, group: usize, m: usize) -> usize {
        let (row, col, image) = self.places.place(m);
        let pixel = (image * self.places.rows.len() + row) * self.places.cols.len() + col;
        (pixel * self.places.groups + group) * self.width
    }

    fn row(&self, group: usize, first: usize, sums: &[f32], to: &mut [MaybeUninit<bf16>]) {
        let bias = self.finish.bias.map(|bias| &bias[group * self.width + first..]);
        wide::finish(sums, bias, self.finish.relu, to);
    }
}

/// Stores filters in f32.
struct FilterStore {
    outputs: usize,
    columns: usize,
    len: usize,
}

impl Store for FilterStore {
    type Element = f32;

    fn len(&self) -> usize {
        self.len
    }

    fn offset(&self, group: usize, m: usize) -> usize {
        (group * self.outputs + m) * self.columns
    }

    fn row(&self, _: usize, _: usize, sums: &[f32], to: &mut [MaybeUninit<f32>]) {
        for (j, to) in to.chunks_mut(COLUMNS).enumerate() {
            let sums = &sums[j * SUMS..];
            // +0 for -0, as in f32.
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = MaybeUninit::new(sum + 0.0));
        }
    }
}
