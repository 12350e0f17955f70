//! Surface properties at a point of a subject.

use super::paint::Rgb;

/// Color, normal and gloss at one point.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    pub color: Rgb,
    /// Unit normal: x to the right, y downwards, z towards the viewer.
    pub normal: [f32; 3],
    /// Strength of the highlight, 0 matt to 1 polished.
    pub gloss: f32,
}

impl Surface {
    pub fn flat(color: Rgb) -> Self {
        Self { color, normal: [0.0, 0.0, 1.0], gloss: 0.0 }
    }

    /// A spherical surface at `(x, y)` in the unit disc.
    pub fn round(color: Rgb, x: f32, y: f32, gloss: f32) -> Self {
        let inside = (x * x + y * y).min(0.999);
        Self { color, normal: [x, y, (1.0 - inside).sqrt()], gloss }
    }
}
