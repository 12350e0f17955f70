//! Networks that learn representations, each a layer table first, then the forward pass.

pub mod absorb;
pub mod alexnet;
pub mod calibrate;
pub mod data_init;
pub mod exchange;
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
use alexnet::AlexNetSpec;
use candle_core::Result;
use network::{Network, PixelGrid};
use serde::{Deserialize, Serialize};
use table::Layer;
use vgg::VggSpec;
use vgg16::Vgg16Spec;

/// Which of the two graphs of the same weights; the VGG colorizer and VGG-16 have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// Padded pools, pool5 stride 1, fc6 dilated: a fully convolutional net for pixels. No dropout.
    Pretext,
    #[default]
    /// Unpadded, pool5 stride 2, dropout after fc6 and fc7: one vector for a 227-pixel (small stem: 29) picture.
    Transfer,
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
        Network::new(self.name(), self.grid(), self.table(build), params, rng)
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

    /// The layers that a probe can read: all but the heads.
    pub fn taps(&self) -> Vec<String> {
        let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels: 1, outputs: None };
        self.table(&build).into_iter().map(|layer| layer.name).collect()
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
