//! Convolution.

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

/// `NAME.weight` is `(outputs, K, K, inputs / groups)`; with a bias filler there is `NAME.bias` `(outputs)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvRow {
    pub inputs: usize,
    pub outputs: usize,
    pub window: SlidingWindow,
    pub groups: usize,
    pub fillers: Fillers,
    /// Whether it is a fully connected layer implemented as a convolution: weight files may store it as a matrix.
    pub fully_connected: bool,
}

impl ConvRow {
    /// Geometry for the convolution operations.
    pub fn geometry(&self) -> ConvGeometry {
        let SlidingWindow { stride, pad, dilation, .. } = self.window;
        ConvGeometry { stride, pad, dilation, groups: self.groups }
    }

    fn weights(&self) -> usize {
        let window = self.window.kernel.saturating_mul(self.window.kernel);
        (window.saturating_mul(self.inputs) / self.groups.max(1)).saturating_mul(self.outputs)
    }
}

impl LayerRule for ConvRow {
    fn word(&self) -> &'static str {
        "conv"
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.outputs
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        let out = |n| self.window.fits(n).then(|| self.geometry().out(n, self.window.kernel));
        let (height, width) = *inputs.first()?;
        Some((out(height)?, out(width)?))
    }

    fn window(&self) -> Option<SlidingWindow> {
        Some(self.window)
    }

    fn parameters(&self) -> usize {
        let biases = if self.has_bias() { self.outputs } else { 0 };
        self.weights().saturating_add(biases)
    }

    fn macs(&self, _from: MapSize, to: MapSize) -> usize {
        (to.0 * to.1).saturating_mul(self.weights())
    }

    fn weight(&self) -> Option<Vec<usize>> {
        let kernel = self.window.kernel;
        Some(vec![self.outputs, kernel, kernel, self.inputs / self.groups.max(1)])
    }

    fn has_bias(&self) -> bool {
        self.fillers.bias.is_some()
    }

    fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        let shape = ConvShape { inputs: self.inputs, outputs: self.outputs, kernel: self.window.kernel };
        Ok(Arc::new(layers::Conv::new(params, name, shape, self.geometry(), self.fillers, rng)?))
    }
}

impl LayerModule for layers::Conv {
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

    fn with_chroma(&self, name: &str, params: &mut Params) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(self.with_chroma(name, params)?))
    }

    fn learns_chroma(&self) -> bool {
        self.learns_chroma()
    }
}
