//! Differentiable operations on NHWC tensors that candle lacks or computes differently. Each is a `crate::op::Op`
//! with its own backward and a row in `tests/operations/gradients.rs`, which runs on every device. The CPU code is
//! generic over f32 and f64 (f64 for the checks). Layers also take maps in bf16, with parameters in f32: they compute in
//! f32 and round once. GPU kernels are in `crate::device`.

pub mod activation;
pub mod batch_norm;
pub mod conv;
pub mod conv_transpose;
mod cpu;
pub mod dropout;
pub mod filter_axis;
mod in_place;
pub mod losses;
pub mod lrn;
pub mod pool;
pub mod resize;
pub mod roi_pool;
pub mod sum;
pub mod tape;
