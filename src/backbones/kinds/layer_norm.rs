//! Layer normalization over the channels of each cell (Ba, Kiros and Hinton 2016, as used in ConvNets).

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{
        Mode,
        layers::{self, LayerCall},
        params::Params,
    },
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor, TensorId};
use std::sync::Arc;

/// `NAME.weight` and `NAME.bias` are `(channels)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormRow {
    pub channels: usize,
    pub eps: f64,
}

impl LayerRule for LayerNormRow {
    fn word(&self) -> &'static str {
        "layer"
    }

    fn parameters(&self) -> usize {
        2 * self.channels
    }

    fn trained(&self) -> &'static [&'static str] {
        &["weight", "bias"]
    }

    fn build(&self, name: &str, params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(layers::LayerNorm::new(params, name, self.channels, self.eps)?))
    }
}

impl LayerModule for layers::LayerNorm {
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        self.evaluate(only(inputs)?, call)
    }

    fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        self.learned(mode)
    }
}
