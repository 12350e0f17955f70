//! Transposed convolution, which upsamples the map by its stride.

use super::rule::{LayerModule, LayerRule, MapSize, SlidingWindow, only};
use crate::{
    nn::{
        Mode,
        layers::{self, ConvShape, Fillers, LayerCall},
        params::Params,
    },
    ops::{conv::ConvGeometry, tape::Evaluated},
    rng::Rng,
};
use candle_core::{Result, Tensor, TensorId, Var};
use std::sync::Arc;

/// `NAME.weight` is `(inputs, K, K, outputs)`, one group. It has no sliding window: its outputs are not windows
/// over the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTransposeRow {
    pub inputs: usize,
    pub outputs: usize,
    pub shape: SlidingWindow,
    pub fillers: Fillers,
}

impl ConvTransposeRow {
    fn geometry(&self) -> ConvGeometry {
        let SlidingWindow { stride, pad, dilation, .. } = self.shape;
        ConvGeometry { stride, pad, dilation, groups: 1 }
    }

    fn weights(&self) -> usize {
        let window = self.shape.kernel.saturating_mul(self.shape.kernel);
        window.saturating_mul(self.inputs).saturating_mul(self.outputs)
    }
}

impl LayerRule for ConvTransposeRow {
    fn word(&self) -> &'static str {
        "transposed conv"
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.outputs
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        let out = |n| self.geometry().transposed_out(n, self.shape.kernel);
        inputs.first().map(|(height, width)| (out(*height), out(*width)))
    }

    fn parameters(&self) -> usize {
        let biases = if self.has_bias() { self.outputs } else { 0 };
        self.weights().saturating_add(biases)
    }

    fn macs(&self, from: MapSize, _to: MapSize) -> usize {
        (from.0 * from.1).saturating_mul(self.weights())
    }

    fn weight(&self) -> Option<Vec<usize>> {
        Some(vec![self.inputs, self.shape.kernel, self.shape.kernel, self.outputs])
    }

    fn output_axis(&self) -> usize {
        3
    }

    fn has_bias(&self) -> bool {
        self.fillers.bias.is_some()
    }

    fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        let shape = ConvShape { inputs: self.inputs, outputs: self.outputs, kernel: self.shape.kernel };
        Ok(Arc::new(layers::ConvTranspose::new(params, name, shape, self.geometry(), self.fillers, rng)?))
    }
}

impl LayerModule for layers::ConvTranspose {
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
