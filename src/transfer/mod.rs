//! What learned features are good for: PASCAL VOC classification, detection and segmentation, fine-tuned from the weights
//! of a pretext task (Zhang et al. 2016, section 3.2 and table 2). Each is a [`crate::train::task::Task`] over a network and
//! its parameters, which the experiment has built, filled and frozen as far as the spec says.

pub mod classification;
pub mod detection;
mod drawing; // boxes and masks over pictures
pub mod segmentation;

use crate::{
    backbones::input::Input,
    nn::{init::Filler, layers::Fillers},
};
use serde::{Deserialize, Serialize};

/// What a fine-tuned network sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colors {
    /// What its weights were made for: lightness alone after colorization.
    #[default]
    Gray,
    /// Lightness, a and b; the filters of a and b start at zero (Zhang et al. 2016, section 3.2).
    Color,
}

impl Colors {
    /// As a spec writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gray => "gray",
            Self::Color => "color",
        }
    }

    /// What the network reads, whose weights were made for `own`.
    pub fn input(self, own: Input) -> Input {
        match self {
            Self::Gray => own,
            Self::Color => Input::Lab,
        }
    }
}

/// Rows of the backbone that do not learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// The last of them: `conv3`.
    pub through: String,
}

/// Weights from N(0, `std`²), biases `bias`.
pub(crate) fn gaussian(std: f64, bias: f64) -> Fillers {
    let std = crate::bounded::Positive::of(std);
    Fillers { weight: Filler::Gaussian { std }, bias: Some(Filler::Constant { value: bias }) }
}
