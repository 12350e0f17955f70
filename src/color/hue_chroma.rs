//! Hue and chroma of gamma-encoded RGB, and the decoding of their distributions (Larsson, Maire and Shakhnarovich 2016):
//! hue is that of HSV, chroma the largest channel minus the smallest, the gray value the mean of the channels.

use super::srgb::ab_of;
use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;
use std::f32::consts::TAU;

/// Bins of each distribution.
pub const BINS: usize = 32;
/// Confidence in the hue, as the length of its mean direction divided by the bins, below which chroma fades.
const FADING: f32 = 0.03;

/// Hue in [0, 1), 0 without color, and chroma in [0, 1].
pub fn hue_chroma(rgb: [u8; 3]) -> (f32, f32) {
    let [r, g, b] = rgb.map(|v| f32::from(v) / 255.0);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = high - low;
    if chroma == 0.0 {
        return (0.0, 0.0);
    }
    let sector = match high {
        v if v == r => (g - b) / chroma,
        v if v == g => 2.0 + (b - r) / chroma,
        _ => 4.0 + (r - g) / chroma,
    };
    ((sector / 6.0).rem_euclid(1.0), chroma)
}

/// The bin of a value in [0, 1].
pub fn bin(value: f32) -> usize {
    ((value * BINS as f32) as usize).min(BINS - 1)
}

/// a and b `(B, H, W, 2)` from probabilities of hue and chroma `(B, H, W, 64)` and gray values from 0 to 1 `(B, H, W, 1)`.
/// Chroma is the center of the median bin, hue the direction of the mean; where the hue is uncertain, chroma fades. No
/// gradient.
///
/// # Errors
/// Another number of channels.
pub fn ab_of_hue_chroma(probabilities: &Tensor, gray: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = probabilities.dims4()?;
    if channels != 2 * BINS {
        bail!("hue and chroma: expected (B, H, W, {}), got {:?}", 2 * BINS, probabilities.dims())
    }
    let values = |x: &Tensor| x.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>();
    let (probabilities, gray_values) = (values(probabilities)?, values(gray)?);
    let pixels = probabilities.par_chunks_exact(2 * BINS).zip(&gray_values);
    let rgb: Vec<[f32; 3]> = pixels.map(|(p, gray)| painted(&p[..BINS], &p[BINS..], *gray)).collect();
    let rgb = Tensor::from_vec(rgb.into_flattened(), (batch, height, width, 3), &Device::Cpu)?;
    ab_of(&rgb.to_device(gray.device())?)
}

/// The color of a pixel; its mean is the gray value unless a channel is clipped.
fn painted(hue: &[f32], chroma: &[f32], gray: f32) -> [f32; 3] {
    let angles = (0..BINS).map(|k| TAU * (k as f32 + 0.5) / BINS as f32);
    let direction = angles.zip(hue).fold([0.0; 2], |[x, y], (at, p)| [x + p * at.cos(), y + p * at.sin()]);
    let certainty = (direction[0].hypot(direction[1]) / BINS as f32).min(FADING) / FADING;
    let angle = (direction[1].atan2(direction[0]) / TAU).rem_euclid(1.0);
    let chroma = (median(chroma) + 0.5) / BINS as f32 * certainty;
    let value = gray + chroma / 2.0;
    let saturation = if value > 0.0 { chroma / value } else { 0.0 };
    let rgb = from_hsv(angle, saturation.clamp(0.0, 1.0), value.clamp(0.0, 1.0));
    let mean = rgb.iter().sum::<f32>() / 3.0;
    rgb.map(|channel| channel - mean + gray)
}

/// Number of bins that end below half of the probability.
fn median(distribution: &[f32]) -> f32 {
    let mut sum = 0.0;
    let below = |p: &&f32| {
        sum += **p;
        sum < 0.5
    };
    distribution.iter().take_while(below).count() as f32
}

fn from_hsv(hue: f32, saturation: f32, value: f32) -> [f32; 3] {
    let channel = |offset: f32| {
        let k = (offset + hue * 6.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::lab::rgb_to_lab;

    /// By Python's colorsys.
    #[test]
    fn hue_and_chroma_are_those_of_hsv() {
        for (rgb, hue, chroma) in [
            ([255, 0, 0], 0.0, 1.0),
            ([0, 255, 0], 1.0 / 3.0, 1.0),
            ([10, 200, 90], 0.40350878, 190.0 / 255.0),
            ([200, 10, 90], 0.92982453, 190.0 / 255.0),
            ([7, 7, 7], 0.0, 0.0),
        ] {
            let (h, c) = hue_chroma(rgb);
            assert!((h - hue).abs() < 1e-5 && (c - chroma).abs() < 1e-6, "{rgb:?}: {h} {c}");
            let back = from_hsv(
                h,
                if c == 0.0 { 0.0 } else { c / (f32::from(*rgb.iter().max().unwrap()) / 255.0) },
                f32::from(*rgb.iter().max().unwrap()) / 255.0,
            );
            for (back, own) in back.iter().zip(rgb) {
                assert!((255.0 * back - f32::from(own)).abs() < 1e-3, "{rgb:?}: {back}");
            }
        }
        assert_eq!([bin(0.0), bin(0.999), bin(1.0), bin(0.5)], [0, 31, 31, 16]);
    }

    /// A certain hue is 1/32 long: fading is complete only at 0.96 of it.
    #[test]
    fn uncertain_hues_fade() -> Result<()> {
        let mut certain = vec![0f32; 2 * BINS];
        (certain[0], certain[BINS + 16]) = (1.0, 1.0); // red, chroma about a half
        let spread: Vec<f32> =
            (0..2 * BINS).map(|i| if i < BINS { 1.0 / BINS as f32 } else { certain[i] }).collect();
        let both = Tensor::from_vec([certain, spread].concat(), (1, 1, 2, 2 * BINS), &Device::Cpu)?;
        let gray = Tensor::new(&[[[[0.4f32], [0.4]]]], &Device::Cpu)?;
        let ab = ab_of_hue_chroma(&both, &gray)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(ab[0] > 40.0 && ab[2].abs() < 1.0 && ab[3].abs() < 1.0, "{ab:?}");
        Ok(())
    }

    /// A color whose bins are certain is painted within the width of a bin.
    #[test]
    fn certain_colors_come_back() -> Result<()> {
        for rgb in [[120u8, 60, 90], [30, 90, 60], [100, 100, 160]] {
            let (hue, chroma) = hue_chroma(rgb);
            let mut p = vec![0f32; 2 * BINS];
            (p[bin(hue)], p[BINS + bin(chroma)]) = (1.0, 1.0);
            let gray = rgb.iter().map(|v| f32::from(*v)).sum::<f32>() / 765.0;
            let gray = Tensor::full(gray, (1, 1, 1, 1), &Device::Cpu)?;
            let ours = ab_of_hue_chroma(&Tensor::from_vec(p, (1, 1, 1, 2 * BINS), &Device::Cpu)?, &gray)?;
            let truth = rgb_to_lab(&Tensor::new(&[[[rgb]]], &Device::Cpu)?)?.narrow(3, 1, 2)?;
            let apart = (ours - truth)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(apart < 6.0, "{rgb:?}: {apart}");
        }
        Ok(())
    }
}
