//! Transfer tasks: PASCAL VOC classification, detection and segmentation, fine-tuned from the weights of a pretext
//! task (Zhang et al. 2016, section 3.2 and table 2). Each is a [`crate::train::task::Task`] over a network and
//! parameters that the experiment has built, initialized and frozen according to the spec.

pub mod classification;
pub mod detection;
mod drawing; // boxes and masks on pictures
pub mod segmentation;

use crate::{
    backbones::input::Input,
    nn::{init::Filler, layers::Fillers},
};
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Input of a fine-tuned network: lightness alone, or color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputColors {
    /// The input that the weights were trained on: lightness after colorization.
    #[default]
    Gray,
    /// Lightness, a and b; the filters of a and b are initialized to zero (Zhang et al. 2016, section 3.2).
    Color,
}

impl InputColors {
    /// Name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gray => "gray",
            Self::Color => "color",
        }
    }

    /// What a network with this input sees, for tables.
    pub fn seen(input: Input) -> Self {
        if input.has_color() { Self::Color } else { Self::Gray }
    }

    /// Input of the network, given the input that its weights were trained on.
    pub fn input(self, own: Input) -> Input {
        match self {
            Self::Gray => own,
            Self::Color => Input::Lab,
        }
    }
}

/// Frozen layers of a backbone. In YAML: `frozen: { through: conv3 }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Frozen layers")]
pub struct Frozen {
    /// The last frozen layer.
    pub through: String,
}

/// Weights from N(0, `std`²), biases `bias`.
pub(crate) fn gaussian(std: f64, bias: f64) -> Fillers {
    let std = crate::bounded::Positive::of(std);
    Fillers { weight: Filler::Gaussian { std }, bias: Some(Filler::Constant { value: bias }) }
}

/// Errors if any output is not finite: an argmax over NaN would be arbitrary. A sum is non-finite if any of its terms
/// is.
pub(crate) fn ensure_finite(answers: &Tensor) -> Result<()> {
    let finite =
        answers.elem_count() == 0 || answers.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?.is_finite();
    ensure!(
        finite,
        "the network's output is not finite: its training has diverged, or its weights are damaged"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn answers_must_be_numbers() -> Result<()> {
        for at in 0..3 {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = [0.5, -2.0, 1.0];
                assert!(ensure_finite(&Tensor::new(&values, &Device::Cpu)?).is_ok());
                values[at] = value;
                assert!(ensure_finite(&Tensor::new(&values, &Device::Cpu)?).is_err(), "{value} at {at}");
            }
        }
        assert!(ensure_finite(&Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?).is_ok());
        Ok(())
    }
}
