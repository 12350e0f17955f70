//! Texture: Gaussian derivatives (σ = 1) of every channel in eight directions, in ten bins each (section 3.2 of the paper).

use super::{
    color::Planes,
    segmentation::{across, down},
};
use std::f32::consts::FRAC_1_SQRT_2;

pub(super) const DIRECTIONS: usize = 8;
pub(super) const BINS: usize = 10;

/// Derivatives below this, in units per pixel, are treated as rounding noise.
const FLAT: f32 = 1e-2;

/// Bin indices of one channel: `(pixels, 8)`, each below [`BINS`].
pub(super) type TextureBins = Vec<[u8; DIRECTIONS]>;

/// The bin of every pixel's derivative in every direction, per channel. Bins are scaled to the largest derivative of
/// that channel and direction, so that low-contrast images have texture too.
pub(super) fn bins(planes: &Planes) -> Vec<TextureBins> {
    planes.channels.iter().map(|plane| channel(plane, (planes.width, planes.height))).collect()
}

fn channel(plane: &[f32], size: (usize, usize)) -> TextureBins {
    let (bell, slope) = kernels();
    let along_x = down(&across(plane, size, &slope), size, &bell);
    let along_y = down(&across(plane, size, &bell), size, &slope);
    let responses = || along_x.iter().zip(&along_y).map(|(&x, &y)| steered(x, y));
    let mut largest = [0f32; DIRECTIONS];
    for response in responses() {
        for (largest, value) in largest.iter_mut().zip(response) {
            *largest = largest.max(value);
        }
    }
    let scale = largest.map(|m| if m > FLAT { BINS as f32 / m } else { 0.0 });
    let bin = |response: [f32; DIRECTIONS]| {
        std::array::from_fn(|d| ((response[d] * scale[d]) as u8).min(BINS as u8 - 1))
    };
    responses().map(bin).collect()
}

/// The derivative in eight directions, 45° apart, from the two axis-aligned ones (Gaussian derivatives are
/// steerable). Negative responses are clipped: they are positive in the opposite direction.
fn steered(x: f32, y: f32) -> [f32; DIRECTIONS] {
    let (rising, falling) = ((x + y) * FRAC_1_SQRT_2, (y - x) * FRAC_1_SQRT_2);
    [x, rising, y, falling, -x, -rising, -y, -falling].map(|v| v.max(0.0))
}

/// A Gaussian and its derivative, σ = 1, truncated at 4.
fn kernels() -> (Vec<f32>, Vec<f32>) {
    let places = || (-4..=4).map(|i| i as f32);
    let bell: Vec<f32> = places().map(|x| (-0.5 * x * x).exp()).collect();
    let sum: f32 = bell.iter().sum();
    let slope = places().zip(&bell).map(|(x, b)| x * b / sum).collect();
    (bell.iter().map(|b| b / sum).collect(), slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_has_one_direction() {
        let plane: Vec<f32> = (0..30 * 30).map(|i| (i % 30) as f32).collect();
        let bins = channel(&plane, (30, 30));
        assert_eq!(
            bins[15 * 30 + 15],
            [9, 9, 0, 0, 0, 0, 0, 9],
            "rising to the right, and between the diagonals"
        );
        let (_, slope) = kernels();
        let derivative = across(&plane, (30, 30), &slope)[15 * 30 + 15];
        assert!((derivative - 1.0).abs() < 1e-3, "a derivative, in units per pixel: {derivative}");
    }

    #[test]
    fn what_is_flat_has_no_texture() {
        assert!(channel(&[7.0; 6], (3, 2)).iter().all(|bins| *bins == [0; DIRECTIONS]));
    }
}
