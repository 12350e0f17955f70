//! Gray pictures in which colorizers of other color spaces paint, and a and b of what they have painted.

use super::lab::rgb_to_lab;
use candle_core::{DType, Result, Tensor};

/// a and b `(B, H, W, 2)` of sRGB pictures f32 from 0 to 1 `(B, H, W, 3)`, rounded to bytes as the pictures that colorizers
/// write. No gradient.
pub fn ab_of(rgb: &Tensor) -> Result<Tensor> {
    let bytes = rgb.detach().clamp(0.0, 1.0)?.affine(255.0, 0.5)?.to_dtype(DType::U8)?;
    rgb_to_lab(&bytes)?.narrow(3, 1, 2)?.contiguous()
}
