//! Input formats of networks: color space, channel order and scale. Released networks differ in them and their files
//! do not specify them, so a spec does; channels are never swapped silently.
//!
//! Out of scope: sizes and crops, which the data configure, and centering layers, which are folded into the weights
//! when a file is read ([`super::exchange`]).

use crate::{
    color::lab::rgb_to_lab,
    device::{keep_layouts, table},
};
use candle_core::{DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

/// Conversion of pixels to a network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// L − 50 of CIE Lab, one channel: colorizers and their features
    #[default]
    Lightness,
    /// L − 50, a and b of CIE Lab: networks with color input restored, and the "color" rows of transfer tables
    Lab,
    /// a and b of CIE Lab, two channels: networks that learned to predict lightness from color
    Ab,
    /// blue, green, red from 0 to 255, minus (103.939, 116.779, 123.68), their means over ImageNet: Caffe's networks
    BgrMean,
    /// blue, green, red from 0 to 255, unchanged
    Bgr,
    /// blue, green, red from −1 to 1: adversarially learned features
    BgrSigned,
    /// red, green, blue from 0 to 1, minus their means, divided by their standard deviations: torchvision
    RgbUnit,
}

/// Means over ImageNet in the order blue, green, red, as given by VGG's authors. The average of CaffeNet's mean
/// picture is (104.007, 116.669, 122.679), and fine-tuning scripts round to (104, 117, 123): a difference of at most
/// one gray level.
const BGR_MEAN: [f32; 3] = [103.939, 116.779, 123.68];
const RGB_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const RGB_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

impl Input {
    /// Number of input channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Lightness => 1,
            Self::Ab => 2,
            Self::Lab | Self::BgrMean | Self::Bgr | Self::BgrSigned | Self::RgbUnit => 3,
        }
    }

    /// Converts pictures u8 RGB `(B, H, W, 3)` to the network's input, f32 `(B, H, W, channels)` on the same device.
    /// Fails on other dtypes and shapes.
    pub fn read(self, rgb: &Tensor) -> Result<Tensor> {
        let (_, _, _, channels) = rgb.dims4()?;
        if rgb.dtype() != DType::U8 || channels != 3 {
            bail!("network input: expected u8 RGB (B, H, W, 3), got {:?} {:?}", rgb.dtype(), rgb.dims())
        }
        let numbers = |values: [f32; 3]| table(&values, rgb.device());
        let _layouts = keep_layouts(rgb.device());
        match self {
            Self::Lightness => lightness(&rgb_to_lab(rgb)?),
            Self::Ab => rgb_to_lab(rgb)?.narrow(3, 1, 2)?.contiguous(),
            Self::Lab => rgb_to_lab(rgb)?.broadcast_sub(&numbers([50.0, 0.0, 0.0])?),
            Self::BgrMean => bgr(rgb)?.broadcast_sub(&numbers(BGR_MEAN)?),
            Self::Bgr => bgr(rgb),
            Self::BgrSigned => bgr(rgb)?.affine(1.0 / 127.5, -1.0),
            Self::RgbUnit => (rgb.to_dtype(DType::F32)? / 255.0)?
                .broadcast_sub(&numbers(RGB_MEAN)?)?
                .broadcast_div(&numbers(RGB_DEVIATION)?),
        }
    }

    /// Name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lightness => "lightness",
            Self::Lab => "lab",
            Self::Ab => "ab",
            Self::BgrMean => "bgr_mean",
            Self::Bgr => "bgr",
            Self::BgrSigned => "bgr_signed",
            Self::RgbUnit => "rgb_unit",
        }
    }

    /// Description for notes and tables.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Lightness => "lightness L of CIE Lab, minus 50",
            Self::Lab => "CIE Lab: L minus 50, a, b",
            Self::Ab => "CIE Lab: a and b",
            Self::BgrMean => "BGR from 0 to 255, minus the mean (103.939, 116.779, 123.68)",
            Self::Bgr => "BGR from 0 to 255",
            Self::BgrSigned => "BGR from −1 to 1",
            Self::RgbUnit => {
                "RGB from 0 to 1, minus the mean (0.485, 0.456, 0.406), divided by the deviation (0.229, 0.224, 0.225)"
            }
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Lab `(B, H, W, 3)` → L − 50, `(B, H, W, 1)`: the input of [`Input::Lightness`] from pictures already in Lab.
pub fn lightness(lab: &Tensor) -> Result<Tensor> {
    let _layouts = keep_layouts(lab.device());
    lab.narrow(3, 0, 1)?.contiguous()?.affine(1.0, -50.0)
}

/// Channels in the order blue, green, red, f32.
fn bgr(rgb: &Tensor) -> Result<Tensor> {
    let reversed = table(&[2u32, 1, 0], rgb.device())?;
    rgb.to_dtype(DType::F32)?.contiguous()?.index_select(&reversed, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const EVERY: [Input; 6] =
        [Input::Lightness, Input::Lab, Input::BgrMean, Input::Bgr, Input::BgrSigned, Input::RgbUnit];

    fn pixel(rgb: [u8; 3]) -> Result<Tensor> {
        Tensor::from_vec(rgb.to_vec(), (1, 1, 1, 3), &Device::Cpu)
    }

    #[test]
    fn numbers_by_hand() -> Result<()> {
        let rgb = pixel([255, 128, 0])?;
        // Lab of this orange: scikit-image gives (67.0548, 42.8254, 74.0175).
        let expected: [(Input, &[f32]); 6] = [
            (Input::Lightness, &[17.0548]),
            (Input::Lab, &[17.0548, 42.8254, 74.0175]),
            (Input::BgrMean, &[0.0 - 103.939, 128.0 - 116.779, 255.0 - 123.68]),
            (Input::Bgr, &[0.0, 128.0, 255.0]),
            (Input::BgrSigned, &[-1.0, 128.0 / 127.5 - 1.0, 1.0]),
            (
                Input::RgbUnit,
                &[(1.0 - 0.485) / 0.229, (128.0 / 255.0 - 0.456) / 0.224, (0.0 - 0.406) / 0.225],
            ),
        ];
        for (input, wanted) in expected {
            let got = input.read(&rgb)?;
            assert_eq!(got.dims(), [1, 1, 1, input.channels()], "{input}");
            let got = got.flatten_all()?.to_vec1::<f32>()?;
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-3), "{input}: {got:?}");
        }
        Ok(())
    }

    #[test]
    fn names_are_those_of_specs() -> anyhow::Result<()> {
        for input in EVERY {
            assert_eq!(serde_json::to_value(input)?, input.name());
        }
        Ok(())
    }

    #[test]
    fn other_pictures_are_refused() -> Result<()> {
        for input in EVERY {
            let floats = pixel([1, 2, 3])?.to_dtype(DType::F32)?;
            let gray = Tensor::zeros((1, 2, 2, 1), DType::U8, &Device::Cpu)?;
            for wrong in [floats, gray] {
                let error = input.read(&wrong).unwrap_err().to_string();
                assert!(error.contains("expected u8 RGB (B, H, W, 3)"), "{error}");
            }
        }
        Ok(())
    }
}
