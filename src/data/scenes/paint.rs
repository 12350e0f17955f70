//! Colors as gamma-encoded sRGB in [0, 1], and random choices among them.

use super::noise::{fraction, lerp};
use rand::{Rng as _, RngExt};
use rand_chacha::ChaCha8Rng;

pub type Rgb = [f32; 3];

/// `0xRRGGBB`
pub fn rgb(hex: u32) -> Rgb {
    [(hex >> 16) & 255, (hex >> 8) & 255, hex & 255].map(|byte| byte as f32 / 255.0)
}

pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t)]
}

pub fn scale(a: Rgb, factor: f32) -> Rgb {
    a.map(|v| v * factor)
}

/// A color by hue (in turns: 0 red, 1/3 green, 2/3 blue), saturation and value.
pub fn hue(turns: f32, saturation: f32, value: f32) -> Rgb {
    [0.0, 2.0 / 3.0, 1.0 / 3.0].map(|offset| {
        let t = turns + offset;
        let ramp = (fraction(t) * 6.0 - 3.0).abs() - 1.0;
        value * lerp(1.0, ramp.clamp(0.0, 1.0), saturation)
    })
}

/// The random stream of one image.
pub struct Dice(pub ChaCha8Rng);

impl Dice {
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        lerp(low, high, self.0.random::<f32>())
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.0.random::<f32>() < probability
    }

    /// One of `items`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        // Not `random_range`: its usize draws depend on the pointer width.
        items[((u64::from(self.0.next_u32()) * items.len() as u64) >> 32) as usize]
    }

    /// A seed for a noise texture.
    pub fn seed(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A shade near `color`: brightness within ±10 %, each channel within ±`spread`.
    pub fn near(&mut self, color: u32, spread: f32) -> Rgb {
        let brightness = self.between(0.9, 1.1);
        rgb(color).map(|v| (v * brightness + self.between(-spread, spread)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_are_where_they_should_be() {
        assert_eq!(hue(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        let green = hue(1.0 / 3.0, 1.0, 0.5);
        assert!(green[0] < 1e-5 && (green[1] - 0.5).abs() < 1e-5 && green[2] < 1e-5);
        assert_eq!(hue(0.37, 0.0, 0.8), [0.8; 3]);
        assert_eq!(rgb(0xFF0033), [1.0, 0.0, 0.2]);
    }
}
