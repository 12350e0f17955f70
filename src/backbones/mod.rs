//! Networks that learn representations, each a layer table first, then the forward pass.

pub mod absorb;
pub mod alexnet;
pub mod alexnet_conventions;
pub mod calibrate;
pub mod data_init;
pub mod exchange;
pub mod finite;
pub mod input;
pub mod network;
mod rows;
pub mod summary;
pub mod surgery;
pub mod table;
pub mod vgg;
pub mod vgg16;

use crate::{
    nn::{init::Filler, params::Params},
    rng::Rng,
};
use alexnet::{AlexNetSpec, Stem};
use candle_core::Result;
use input::Input;
use network::{Network, PixelGrid};
use serde::{Deserialize, Serialize};
use table::Layer;
use vgg::VggSpec;
use vgg16::Vgg16Spec;

/// Which of the graphs of the same weights. They differ in padding, and in what becomes of pool5; the VGG colorizer has
/// one, VGG-16 three (its pretext graph is its transfer graph).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// Padded pools, pool5 stride 1, fc6 dilated: a fully convolutional net for pixels. No dropout.
    Pretext,
    #[default]
    /// Unpadded, pool5 stride 2, dropout after fc6 and fc7: one vector for a 227-pixel (small stem: 29) picture.
    Transfer,
    /// Padded so that cell j of the last convolution is centred on pixel stride·j; pool5 is left out, since a detector
    /// pools its regions there and runs them through fc6 and fc7 (Girshick 2015).
    Regions,
    /// The transfer graph with the picture padded by 100 pixels (small stem: 28), for pictures of any size: a map of
    /// answers that covers the whole picture (Long, Shelhamer and Darrell 2015).
    Dense,
}

/// What is built, beside the spec.
#[derive(Clone, Debug)]
pub struct Build {
    pub graph: Graph,
    pub batch_norm: bool,
    pub input_channels: usize,
    /// channels of the head (313 colours, 2 for ab itself, 1000 classes); None leaves it out
    pub outputs: Option<usize>,
}

/// A network, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackboneSpec {
    Alexnet(AlexNetSpec),
    Vgg(VggSpec),
    Vgg16(Vgg16Spec),
}

impl BackboneSpec {
    /// The layers that [`BackboneSpec::build`] would make.
    pub fn table(&self, build: &Build) -> Vec<Layer> {
        match self {
            Self::Alexnet(spec) => alexnet::layer_table(spec, build),
            Self::Vgg(spec) => vgg::layer_table(spec, build),
            Self::Vgg16(spec) => vgg16::layer_table(spec, build),
        }
    }

    /// Adds the network's parameters to `params`, filled from `rng`.
    ///
    /// # Errors
    /// When a tensor cannot be made on the device.
    pub fn build(&self, build: &Build, params: &mut Params, rng: &Rng) -> Result<Network> {
        Network::new(self.name(), self.grid(), self.input(), self.table(build), params, rng)
    }

    /// Whether its largest graph fits into memory.
    ///
    /// # Errors
    /// How many parameters it would have.
    pub fn check_size(&self) -> std::result::Result<(), String> {
        let input_channels = self.input().channels();
        let build = Build { graph: Graph::Transfer, batch_norm: true, input_channels, outputs: None };
        table::check_size(&self.table(&build))
    }

    /// As a spec names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alexnet(_) => "alexnet",
            Self::Vgg(_) => "vgg",
            Self::Vgg16(_) => "vgg16",
        }
    }

    /// Where the pixels of a prediction lie on the picture.
    pub fn grid(&self) -> PixelGrid {
        match self {
            Self::Alexnet(spec) => spec.grid(),
            Self::Vgg(spec) => spec.grid(),
            Self::Vgg16(spec) => spec.grid(),
        }
    }

    /// What its weights expect of a picture.
    pub fn input(&self) -> Input {
        match self {
            Self::Alexnet(spec) => spec.input,
            Self::Vgg(_) => Input::Lightness,
            Self::Vgg16(spec) => spec.input,
        }
    }

    /// The layers that a probe can read: all but the heads.
    pub fn taps(&self) -> Vec<String> {
        let input_channels = self.input().channels();
        let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels, outputs: None };
        self.table(&build).into_iter().map(|layer| layer.name).collect()
    }

    /// The same network for another input. VGG-16 and the VGG colorizer see what they were made for.
    pub fn with_input(&self, input: Input) -> Self {
        match self {
            Self::Alexnet(spec) => Self::Alexnet(AlexNetSpec { input, ..spec.clone() }),
            Self::Vgg16(spec) => Self::Vgg16(Vgg16Spec { input, ..spec.clone() }),
            Self::Vgg(spec) => Self::Vgg(spec.clone()),
        }
    }

    /// Side of the square pictures, in pixels, of which the transfer graph makes one vector; the VGG colorizer takes any.
    pub fn crop(&self) -> usize {
        match self {
            Self::Alexnet(AlexNetSpec { stem: Stem::Standard, .. }) => 227,
            Self::Alexnet(AlexNetSpec { stem: Stem::Small, .. }) => 29,
            Self::Vgg(_) => 224,
            Self::Vgg16(spec) => spec.crop.get(),
        }
    }

    /// The same network with its convolutions filled in another way.
    pub fn with_init(&self, init: Filler) -> Self {
        match self {
            Self::Alexnet(spec) => Self::Alexnet(AlexNetSpec { init, ..spec.clone() }),
            Self::Vgg(spec) => Self::Vgg(VggSpec { init, ..spec.clone() }),
            Self::Vgg16(spec) => Self::Vgg16(Vgg16Spec { init, ..spec.clone() }),
        }
    }
}
