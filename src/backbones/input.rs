//! Input formats of networks: color space, channel order and scale. Released networks differ in them and their files
//! do not specify them, so a spec does; channels are never swapped silently.
//!
//! Out of scope: sizes and crops, which the data configure, and centering layers, which are folded into the weights
//! when a file is read ([`super::exchange`]).

use crate::{
    color::{
        channels::{ChannelOrder, SIGNED_STEP, look_up},
        gray::{Gray, gray_of},
        lab::rgb_to_lab,
    },
    device::{keep_layouts, table},
};
use candle_core::{DType, Result, Tensor, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Conversion of pixels to a network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Network input")]
pub enum Input {
    /// L − 50 of CIE Lab, one channel: colorizers and their features.
    #[default]
    Lightness,
    /// L − 50, a and b of CIE Lab: networks with color input restored, and the "color" rows of transfer tables.
    Lab,
    /// a and b of CIE Lab, two channels: networks that learned to predict lightness from color.
    Ab,
    /// Blue, green, red from 0 to 255, minus (103.939, 116.779, 123.68), their means over ImageNet: Caffe's networks.
    BgrMean,
    /// Blue, green, red from 0 to 255, unchanged.
    Bgr,
    /// Blue, green, red from −1 to 1: adversarially learned features.
    BgrSigned,
    /// Red, green, blue from 0 to 1, minus their means, divided by their standard deviations: torchvision.
    RgbUnit,
    /// (L − 50) / 100 of CIE Lab, and color hints: a / 110, b / 110, and 1 where there is a hint, else 0. Pictures have no
    /// hints.
    Hints,
    /// As `hints`, with ½ where there is a hint, else −½.
    HintsCentered,
    /// The gray value (R+G+B)/3 from 0 to 1, minus 0.4488, its mean over ImageNet.
    Gray,
    /// Y of YUV from 0 to 1, minus 0.4488.
    Luma,
    /// Y of YUV from 0 to 255 in each of three channels, minus (103.939, 116.779, 123.68).
    LumaBgr,
}

/// Means over ImageNet in the order blue, green, red, as given by VGG's authors. The average of CaffeNet's mean
/// picture is (104.007, 116.669, 122.679), and fine-tuning scripts round to (104, 117, 123): a difference of at most
/// one gray level.
const BGR_MEAN: [f32; 3] = [103.939, 116.779, 123.68];
const RGB_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const RGB_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Mean gray value over ImageNet.
const GRAY_MEAN: f64 = 0.4488;
/// Scale of L − 50 beside hints.
pub(super) const HINTED_LIGHTNESS: f64 = 100.0;
/// Scale of hints' a and b.
pub(super) const HINT_UNIT: f64 = 110.0;

impl Input {
    /// Number of input channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Lightness | Self::Gray | Self::Luma => 1,
            Self::Ab => 2,
            Self::Hints | Self::HintsCentered => 4,
            Self::Lab | Self::BgrMean | Self::Bgr | Self::BgrSigned | Self::RgbUnit | Self::LumaBgr => 3,
        }
    }

    /// Converts pictures u8 RGB `(B, H, W, 3)` to the network's input, f32 `(B, H, W, channels)` on the same device.
    /// Fails on other dtypes and shapes.
    pub fn read(self, rgb: &Tensor) -> Result<Tensor> {
        let (_, _, _, channels) = rgb.dims4()?;
        if rgb.dtype() != DType::U8 || channels != 3 {
            bail!("network input: expected u8 RGB (B, H, W, 3), got {:?} {:?}", rgb.dtype(), rgb.dims())
        }
        let _layouts = keep_layouts(rgb.device());
        match self {
            Self::Lightness => lightness(&rgb_to_lab(rgb)?),
            Self::Ab => rgb_to_lab(rgb)?.narrow(3, 1, 2)?.contiguous(),
            Self::Lab => rgb_to_lab(rgb)?.broadcast_sub(&table(&[50f32, 0.0, 0.0], rgb.device())?),
            Self::BgrMean => look_up(rgb, ChannelOrder::Bgr, |channel, value| value - BGR_MEAN[channel]),
            Self::Bgr => look_up(rgb, ChannelOrder::Bgr, |_, value| value),
            Self::BgrSigned => look_up(rgb, ChannelOrder::Bgr, |_, value| value * SIGNED_STEP - 1.0),
            Self::RgbUnit => look_up(rgb, ChannelOrder::Rgb, |channel, value| {
                (value * (1.0 / 255.0) - RGB_MEAN[channel]) / RGB_DEVIATION[channel]
            }),
            Self::Hints | Self::HintsCentered | Self::Gray | Self::Luma | Self::LumaBgr => {
                self.of_lightness(&self.gray().of_pictures(rgb)?, None)
            }
        }
    }

    /// Whether the network sees colors of pictures.
    pub fn has_color(self) -> bool {
        match self {
            Self::Lab | Self::Ab | Self::BgrMean | Self::Bgr | Self::BgrSigned | Self::RgbUnit => true,
            Self::Lightness | Self::Hints | Self::HintsCentered | Self::Gray | Self::Luma | Self::LumaBgr => {
                false
            }
        }
    }

    /// The gray picture that a network with this input sees; of inputs with color, the lightness.
    pub fn gray(self) -> Gray {
        match self {
            Self::Gray => Gray::Average,
            Self::Luma | Self::LumaBgr => Gray::Luma,
            _ => Gray::Lightness,
        }
    }

    /// Whether the network takes hints.
    pub fn takes_hints(self) -> bool {
        matches!(self, Self::Hints | Self::HintsCentered)
    }

    /// Converts gray pictures, given as L − 50 `(B, H, W, 1)`, to the network's input `(B, H, W, channels)`. `hints`
    /// `(B, H, W, 3)` are a, b, and 1 where there is a hint, else 0 everywhere; None for no hints.
    ///
    /// # Errors
    /// An input with color; hints for a network that takes none.
    pub fn of_lightness(self, lightness: &Tensor, hints: Option<&Tensor>) -> Result<Tensor> {
        let _layouts = keep_layouts(lightness.device());
        if hints.is_some() && !self.takes_hints() {
            bail!("the network takes no color hints: it sees {}", self.describe())
        }
        match self {
            Self::Lightness => Ok(lightness.clone()),
            Self::Hints => hinted(lightness, hints, 0.0),
            Self::HintsCentered => hinted(lightness, hints, 0.5),
            Self::Gray | Self::Luma => gray_of(lightness)?.affine(1.0, -GRAY_MEAN),
            Self::LumaBgr => {
                let gray = gray_of(lightness)?.affine(255.0, 0.0)?;
                Tensor::cat(&[&gray, &gray, &gray], 3)?.broadcast_sub(&table(&BGR_MEAN, lightness.device())?)
            }
            _ => bail!("the network is no colorizer: it sees {}", self.describe()),
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
            Self::Hints => "hints",
            Self::HintsCentered => "hints_centered",
            Self::Gray => "gray",
            Self::Luma => "luma",
            Self::LumaBgr => "luma_bgr",
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
            Self::Hints => {
                "lightness (L − 50) / 100 of CIE Lab, and hints a / 110, b / 110 and where they are, 1 or 0"
            }
            Self::HintsCentered => {
                "lightness (L − 50) / 100 of CIE Lab, and hints a / 110, b / 110 and where they are, ½ or −½"
            }
            Self::Gray => "gray values (R+G+B)/3 from 0 to 1, minus 0.4488",
            Self::Luma => "Y of YUV from 0 to 1, minus 0.4488",
            Self::LumaBgr => "Y of YUV from 0 to 255, three times, minus (103.939, 116.779, 123.68)",
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

/// Lightness and hints side by side.
fn hinted(lightness: &Tensor, hints: Option<&Tensor>, center: f64) -> Result<Tensor> {
    let light = (lightness / HINTED_LIGHTNESS)?;
    let (ab, place) = match hints {
        Some(hints) => {
            ((hints.narrow(3, 0, 2)?.contiguous()? / HINT_UNIT)?, hints.narrow(3, 2, 1)?.contiguous()?)
        }
        None => (Tensor::cat(&[&light.zeros_like()?, &light.zeros_like()?], 3)?, light.zeros_like()?),
    };
    Tensor::cat(&[light, ab, place.affine(1.0, -center)?], 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const EVERY: [Input; 11] = [
        Input::Lightness,
        Input::Lab,
        Input::BgrMean,
        Input::Bgr,
        Input::BgrSigned,
        Input::RgbUnit,
        Input::Hints,
        Input::HintsCentered,
        Input::Gray,
        Input::Luma,
        Input::LumaBgr,
    ];

    fn pixel(rgb: [u8; 3]) -> Result<Tensor> {
        Tensor::from_vec(rgb.to_vec(), (1, 1, 1, 3), &Device::Cpu)
    }

    #[test]
    fn numbers_by_hand() -> Result<()> {
        let rgb = pixel([255, 128, 0])?;
        // Lab of this orange: scikit-image gives (67.0548, 42.8254, 74.0175).
        let expected: [(Input, &[f32]); 11] = [
            (Input::Gray, &[383.0 / 765.0 - 0.4488]),
            // 0.299 · 255 + 0.587 · 128 = 151.381
            (Input::Luma, &[151.381 / 255.0 - 0.4488]),
            (Input::LumaBgr, &[151.381 - 103.939, 151.381 - 116.779, 151.381 - 123.68]),
            (Input::Hints, &[0.170548, 0.0, 0.0, 0.0]),
            (Input::HintsCentered, &[0.170548, 0.0, 0.0, -0.5]),
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
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 2e-3), "{input}: {got:?}");
        }
        Ok(())
    }

    #[test]
    fn hints_come_after_the_lightness_or_are_refused() -> Result<()> {
        let lightness = Tensor::new(&[[[[20f32], [-50.0]]]], &Device::Cpu)?;
        let hints = Tensor::new(&[[[[55f32, -11.0, 1.0], [0.0, 0.0, 0.0]]]], &Device::Cpu)?;
        let got = Input::Hints.of_lightness(&lightness, Some(&hints))?.flatten_all()?.to_vec1::<f32>()?;
        let wanted = [0.2, 0.5, -0.1, 1.0, -0.5, 0.0, 0.0, 0.0];
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        let centered = Input::HintsCentered.of_lightness(&lightness, Some(&hints))?;
        assert_eq!(centered.narrow(3, 3, 1)?.flatten_all()?.to_vec1::<f32>()?, [0.5, -0.5]);
        let error = Input::Lightness.of_lightness(&lightness, Some(&hints)).unwrap_err().to_string();
        assert!(error.contains("takes no color hints"), "{error}");
        assert!(Input::Lab.of_lightness(&lightness, None).is_err());
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
