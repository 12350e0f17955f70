//! A linear map of a vector, that is, of a 1×1 map.

use super::rule::{LayerModule, LayerRule, MapSize, only};
use crate::{
    nn::{
        Mode,
        layers::{self, Fillers, LayerCall},
        params::Params,
    },
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor, TensorId, Var};
use std::sync::Arc;

/// `NAME.weight` is `(outputs, inputs)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearRow {
    pub inputs: usize,
    pub outputs: usize,
    pub fillers: Fillers,
}

impl LayerRule for LinearRow {
    fn word(&self) -> &'static str {
        "linear"
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.outputs
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().copied().filter(|size| *size == (1, 1))
    }

    fn parameters(&self) -> usize {
        let biases = if self.has_bias() { self.outputs } else { 0 };
        self.inputs.saturating_mul(self.outputs).saturating_add(biases)
    }

    fn macs(&self, _from: MapSize, _to: MapSize) -> usize {
        self.inputs.saturating_mul(self.outputs)
    }

    fn weight(&self) -> Option<Vec<usize>> {
        Some(vec![self.outputs, self.inputs])
    }

    fn has_bias(&self) -> bool {
        self.fillers.bias.is_some()
    }

    fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(layers::Linear::new(params, name, (self.inputs, self.outputs), self.fillers, rng)?))
    }
}

impl LayerModule for layers::Linear {
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        self.evaluate(only(inputs)?, call)
    }

    fn fuses_relu(&self) -> bool {
        true
    }

    fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        self.learned(mode)
    }

    fn weight(&self) -> Option<&Var> {
        Some(self.weight())
    }

    fn bias(&self) -> Option<&Var> {
        self.bias()
    }
}
