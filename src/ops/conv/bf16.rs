//! Convolution on the CPU of maps in bf16: filters are f32 and rounded to bf16 before they are multiplied, sums and
//! gradients of filters are f32, as on a GPU. Computed directly by the products of f32 (`cpu.rs`) on widened copies.

use super::super::cpu::{Stored, map};
use super::cpu::{self, Epilogue};
use super::shape::ConvShape;
use half::bf16;

/// y = x ∗ w (+ bias, optional ReLU).
pub(super) fn forward(s: &ConvShape, x: &[bf16], w: &[f32], finish: Epilogue<f32>) -> Vec<bf16> {
    narrow(&cpu::direct_forward(s, &wide(x), &rounded(w), finish))
}

/// dx = the adjoint of `forward` in x, applied to dy (+ bias and ReLU, for the forward pass of a transposed
/// convolution).
pub(super) fn grad_input(s: &ConvShape, dy: &[bf16], w: &[f32], finish: Epilogue<f32>) -> Vec<bf16> {
    narrow(&cpu::direct_grad_input(s, &wide(dy), &rounded(w), finish))
}

/// dw = the adjoint of `forward` in w, applied to dy.
pub(super) fn grad_weight(s: &ConvShape, x: &[bf16], dy: &[bf16]) -> Vec<f32> {
    cpu::direct_grad_weight(s, &wide(x), &wide(dy))
}

fn wide(x: &[bf16]) -> Vec<f32> {
    map(x, Stored::wide)
}

fn narrow(x: &[f32]) -> Vec<bf16> {
    map(x, Stored::rounded)
}

/// f32 with the values of bf16.
fn rounded(w: &[f32]) -> Vec<f32> {
    map(w, |w| bf16::rounded(w).wide())
}
