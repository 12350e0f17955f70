//! sRGB (8 bit) ↔ CIE Lab, D65, 2° observer; equal to scikit-image's float conversion.
use candle_core::{Result, Tensor};

/// One pixel. L in [0, 100], a and b in about [-110, 110].
pub fn srgb8_to_lab(rgb: [u8; 3]) -> [f32; 3] {
    let _ = rgb;
    todo!()
}
/// One pixel back, clipped to the gamut: the byte triple and whether anything was clipped.
pub fn lab_to_srgb8(lab: [f32; 3]) -> ([u8; 3], bool) {
    let _ = lab;
    todo!()
}
/// A batch on its device: u8 `(B, H, W, 3)` → f32 Lab `(B, H, W, 3)`. No gradient.
pub fn rgb_to_lab(rgb: &Tensor) -> Result<Tensor> {
    let _ = rgb;
    todo!()
}
