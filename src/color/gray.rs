//! Gray values of color pictures, and their lightness. Colorizers differ in what they take for the gray picture: L of
//! Lab, the mean of the channels, or the luma of video.

use super::lab::{gray_lightness, rgb_to_lab, srgb8_to_lab};
use crate::device::{keep_layouts, table};
use candle_core::{DType, Result, Tensor};
use std::sync::LazyLock;

/// Gray value of a color picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gray {
    /// L of Lab.
    #[default]
    Lightness,
    /// L of the sRGB gray (R+G+B)/3 (Larsson, Maire and Shakhnarovich 2016; the comparison on SUN).
    Average,
    /// L of the sRGB gray 0.299 R + 0.587 G + 0.114 B, Y of YUV (Dahl 2016; Iizuka, Simo-Serra and Ishikawa 2016).
    Luma,
}

/// Shares of red, green and blue in the luma.
pub const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// The sRGB transfer curve and CIE's f are straight lines near black, below these values.
const LINEAR_GRAY: f64 = 0.04045;
const LINEAR_INTENSITY: f64 = 0.0031308;
const LINEAR_RESPONSE: f64 = 0.008856;
const LINEAR_ROOT: f64 = 0.2068966;

impl Gray {
    /// L of a pixel.
    pub fn lightness(self, rgb: [u8; 3]) -> f32 {
        static OF_SUM: LazyLock<Vec<f32>> =
            LazyLock::new(|| (0..=3 * 255).map(|sum| gray_lightness(f64::from(sum) / 3.0)).collect());
        match self {
            Self::Lightness => srgb8_to_lab(rgb)[0],
            Self::Average => OF_SUM[rgb.map(usize::from).iter().sum::<usize>()],
            Self::Luma => {
                let parts = rgb.iter().zip(LUMA).map(|(value, share)| f64::from(*value) * f64::from(share));
                gray_lightness(parts.sum())
            }
        }
    }

    /// L − 50 of pictures u8 RGB `(B, H, W, 3)` → f32 `(B, H, W, 1)` on the same device. No gradient.
    ///
    /// # Errors
    /// Another dtype or shape.
    pub fn of_pictures(self, rgb: &Tensor) -> Result<Tensor> {
        let shares = match self {
            Self::Lightness => {
                let _layouts = keep_layouts(rgb.device());
                return rgb_to_lab(rgb)?.narrow(3, 0, 1)?.contiguous()?.affine(1.0, -50.0);
            }
            Self::Average => [1.0 / 3.0; 3],
            Self::Luma => LUMA,
        };
        let _layouts = keep_layouts(rgb.device());
        let shares = table(&shares.map(|share| share / 255.0), rgb.device())?;
        lightness_of(&rgb.to_dtype(DType::F32)?.broadcast_mul(&shares)?.sum_keepdim(3)?)
    }
}

/// sRGB gray from 0 to 1, any shape, f32 → L − 50.
fn lightness_of(gray: &Tensor) -> Result<Tensor> {
    let curve = gray.affine(1.0 / 1.055, 0.055 / 1.055)?.clamp(1e-3, 2.0)?.powf(2.4)?;
    let intensity = gray.gt(LINEAR_GRAY)?.where_cond(&curve, &(gray / 12.92)?)?;
    let root = intensity.clamp(1e-3, 2.0)?.powf(1.0 / 3.0)?;
    let line = intensity.affine(7.787, 16.0 / 116.0)?;
    intensity.gt(LINEAR_RESPONSE)?.where_cond(&root, &line)?.affine(116.0, -66.0)
}

/// L − 50, any shape, f32 → the sRGB gray of that lightness, from 0 to 1. Inverts [`Gray::of_pictures`] for gray pictures.
/// No gradient.
pub fn gray_of(lightness: &Tensor) -> Result<Tensor> {
    let response = lightness.affine(1.0 / 116.0, 66.0 / 116.0)?;
    let cube = response.powf(3.0)?;
    let line = response.affine(1.0 / 7.787, -16.0 / 116.0 / 7.787)?;
    let intensity = response.gt(LINEAR_ROOT)?.where_cond(&cube, &line)?;
    let curve = intensity.clamp(1e-4, 2.0)?.powf(1.0 / 2.4)?.affine(1.055, -0.055)?;
    intensity.gt(LINEAR_INTENSITY)?.where_cond(&curve, &(intensity * 12.92)?)?.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().and_then(|x| x.to_vec1()).expect("numbers")
    }

    /// Of red: L of (85, 85, 85) is 36.146 and of 76.245 it is 32.31, by scikit-image.
    #[test]
    fn grays_of_a_color() {
        assert!((Gray::Average.lightness([255, 0, 0]) - 36.146).abs() < 2e-3);
        assert!((Gray::Lightness.lightness([255, 0, 0]) - 53.241).abs() < 2e-3);
        let luma = Gray::Luma.lightness([255, 0, 0]);
        let [low, high] = [76u8, 77].map(|v| srgb8_to_lab([v; 3])[0]);
        assert!(low < luma && luma < high, "{luma} between {low} and {high}");
        let [low, high] = [[0, 0, 100], [1, 0, 100]].map(|rgb| Gray::Average.lightness(rgb));
        assert!(low < high, "a third of a gray level is not lost");
    }

    #[test]
    fn a_batch_has_the_lightness_of_its_pixels_and_the_gray_comes_back() -> Result<()> {
        let mut bytes: Vec<u8> = (0..=255).flat_map(|v| [v, v, v]).collect();
        bytes.extend([255, 0, 0, 10, 200, 30, 3, 1, 250]);
        let rgb = Tensor::from_vec(bytes.clone(), (1, 1, 259, 3), &Device::Cpu)?;
        for gray in [Gray::Lightness, Gray::Average, Gray::Luma] {
            let batch = gray.of_pictures(&rgb)?;
            for (pixel, got) in bytes.as_chunks::<3>().0.iter().zip(values(&batch)) {
                assert!((got + 50.0 - gray.lightness(*pixel)).abs() < 2e-3, "{gray:?} of {pixel:?}: {got}");
            }
            for (value, back) in values(&gray_of(&batch)?)[..256].iter().enumerate() {
                assert!((255.0 * back - value as f32).abs() < 5e-3, "{value}: {back}");
            }
        }
        Ok(())
    }
}
