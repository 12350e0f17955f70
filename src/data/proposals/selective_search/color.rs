//! The color spaces of Selective Search. Every channel is scaled to 0 … 255, so that the segmentation's k means the
//! same in all of them.

use crate::{color::lab::srgb8_to_lab, data::dataset::RgbImage};

/// A color space (Uijlings et al. 2013, section 3.1); they differ in their invariance to shadows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColorSpace {
    /// Hue, saturation, value.
    Hsv,
    /// CIE Lab, D65.
    Lab,
    /// Normalized red and green, and the intensity.
    Rgi,
    /// Hue alone.
    Hue,
    Intensity,
}

/// An image as row-major channel planes of equal size.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    pub width: usize,
    pub height: usize,
    pub channels: Vec<Vec<f32>>,
}

impl ColorSpace {
    /// Converts an image to this space.
    pub(super) fn planes(self, image: &RgbImage) -> Planes {
        let channels = match self {
            Self::Hsv => channels(image, hsv),
            Self::Lab => channels(image, lab),
            Self::Rgi => channels(image, rgi),
            Self::Hue => channels(image, |rgb| [hsv(rgb)[0]]),
            Self::Intensity => channels(image, |rgb| [intensity(rgb)]),
        };
        Planes { width: image.width, height: image.height, channels }
    }
}

fn channels<const C: usize>(image: &RgbImage, convert: impl Fn([u8; 3]) -> [f32; C]) -> Vec<Vec<f32>> {
    let mut planes = vec![Vec::with_capacity(image.width * image.height); C];
    let (pixels, _) = image.pixels.as_chunks::<3>();
    // Neighboring pixels are often equal: reuse the last conversion.
    let mut last = ([0; 3], convert([0; 3]));
    for &rgb in pixels {
        if rgb != last.0 {
            last = (rgb, convert(rgb));
        }
        for (plane, value) in planes.iter_mut().zip(last.1) {
            plane.push(value);
        }
    }
    planes
}

fn hsv([r, g, b]: [u8; 3]) -> [f32; 3] {
    let (r, g, b) = (f32::from(r), f32::from(g), f32::from(b));
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let spread = high - low;
    // Hue in sixths of the circle; gray counts as red.
    let hue = if spread == 0.0 {
        0.0
    } else if high == r {
        ((g - b) / spread).rem_euclid(6.0)
    } else if high == g {
        (b - r) / spread + 2.0
    } else {
        (r - g) / spread + 4.0
    };
    let saturation = if high > 0.0 { spread / high } else { 0.0 };
    [hue * (255.0 / 6.0), saturation * 255.0, high]
}

fn lab(rgb: [u8; 3]) -> [f32; 3] {
    let [l, a, b] = srgb8_to_lab(rgb);
    [l * 2.55, a + 128.0, b + 128.0]
}

fn intensity([r, g, b]: [u8; 3]) -> f32 {
    (f32::from(r) + f32::from(g) + f32::from(b)) / 3.0
}

fn rgi([r, g, b]: [u8; 3]) -> [f32; 3] {
    let intensity = intensity([r, g, b]);
    // Black is a third of each.
    let share = |c: u8| if intensity > 0.0 { 85.0 * f32::from(c) / intensity } else { 85.0 };
    [share(r), share(g), intensity]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colors() {
        assert_eq!(hsv([255, 0, 0]), [0.0, 255.0, 255.0]);
        assert_eq!(hsv([0, 255, 0]), [85.0, 255.0, 255.0]);
        assert_eq!(hsv([0, 0, 128]), [170.0, 255.0, 128.0]);
        assert_eq!(hsv([7, 7, 7]), [0.0, 0.0, 7.0]);
        assert_eq!(rgi([0, 0, 0]), [85.0, 85.0, 0.0]);
        assert_eq!(rgi([30, 0, 0]), [255.0, 0.0, 10.0]);
        let white = lab([255; 3]);
        assert!((white[0] - 255.0).abs() < 0.1 && (white[1] - 128.0).abs() < 0.1, "{white:?}");
    }

    #[test]
    fn every_channel_stays_in_its_range() {
        let steps = [0u8, 1, 60, 127, 128, 200, 255];
        for (r, g, b) in steps.iter().flat_map(|&r| steps.iter().flat_map(move |&g| steps.map(|b| (r, g, b))))
        {
            for values in [hsv([r, g, b]), lab([r, g, b]), rgi([r, g, b])] {
                assert!(values.iter().all(|v| (-0.01..=255.01).contains(v)), "{:?}: {values:?}", (r, g, b));
            }
        }
    }

    #[test]
    fn planes_hold_the_pixels_in_rows() {
        let image = RgbImage { width: 2, height: 1, pixels: vec![255, 0, 0, 9, 9, 9] };
        let planes = ColorSpace::Hsv.planes(&image);
        assert_eq!(planes.channels, [[0.0, 0.0], [255.0, 0.0], [255.0, 9.0]]);
        assert_eq!(ColorSpace::Intensity.planes(&image).channels, [[85.0, 9.0]]);
        assert_eq!(ColorSpace::Hue.planes(&image).channels.len(), 1);
    }
}
