//! Networks that learn representations, each a layer table first, then the forward pass.

pub mod alexnet;

use crate::{
    nn::{init::Filler, params::Params},
    rng::Rng,
};
use alexnet::{AlexNet, AlexNetSpec, Build, Layer, layer_table};
use candle_core::Result;
use serde::{Deserialize, Serialize};

/// A network, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackboneSpec {
    Alexnet(AlexNetSpec),
}

impl BackboneSpec {
    /// The layers that [`BackboneSpec::build`] would make.
    pub fn table(&self, build: &Build) -> Vec<Layer> {
        let Self::Alexnet(spec) = self;
        layer_table(spec, build)
    }

    /// Adds the network's parameters to `params`, filled from `rng`.
    ///
    /// # Errors
    /// When a tensor cannot be made on the device.
    pub fn build(&self, build: &Build, params: &mut Params, rng: &Rng) -> Result<AlexNet> {
        let Self::Alexnet(spec) = self;
        AlexNet::new(spec, build, params, rng)
    }

    /// The same network with its convolutions filled in another way.
    pub fn with_init(&self, init: Filler) -> Self {
        let Self::Alexnet(spec) = self;
        Self::Alexnet(AlexNetSpec { init, ..spec.clone() })
    }
}
