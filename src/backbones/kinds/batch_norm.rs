//! Batch normalization.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{
        Mode,
        layers::{self, BatchNormOptions, LayerCall},
        params::Params,
    },
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor, TensorId};
use std::sync::Arc;

/// Normalizes each channel over the batch and the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormRow {
    pub channels: usize,
    pub options: BatchNormOptions,
}

impl LayerRule for BatchNormRow {
    fn word(&self) -> &'static str {
        "batch"
    }

    fn parameters(&self) -> usize {
        if self.options.affine { 2 * self.channels } else { 0 }
    }

    fn trained(&self) -> &'static [&'static str] {
        if self.options.affine { &["weight", "bias"] } else { &[] }
    }

    fn build(&self, name: &str, params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(layers::BatchNorm::new(params, name, self.channels, self.options)?))
    }
}

impl LayerModule for layers::BatchNorm {
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        self.evaluate(only(inputs)?, call)
    }

    fn fuses_relu(&self) -> bool {
        true
    }

    fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        self.learned(mode)
    }
}
