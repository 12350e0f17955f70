//! Batch normalization.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{
        Mode,
        layers::{self, BatchNormOptions},
        params::Params,
    },
    rng::Rng,
};
use candle_core::{Result, Tensor};
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

    fn build(&self, name: &str, params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(layers::BatchNorm::new(params, name, self.channels, self.options)?))
    }
}

impl LayerModule for layers::BatchNorm {
    fn forward(&self, inputs: &[Tensor], mode: &Mode) -> Result<Tensor> {
        self.forward(only(inputs)?, mode)
    }

    fn forward_relu(&self, inputs: &[Tensor], mode: &Mode) -> Option<Result<Tensor>> {
        Some(only(inputs).and_then(|x| self.forward_relu(x, mode)))
    }
}
