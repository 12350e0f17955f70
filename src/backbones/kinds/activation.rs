//! Activation functions.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::{activation::leaky_relu_recorded, tape::Evaluated},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// max(x, `slope`·x); a ReLU for slope 0. A ReLU is fused with its input row if it is that row's only reader and the
/// row has a fused pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationRow {
    pub slope: f64,
}

impl LayerRule for ActivationRow {
    fn word(&self) -> &'static str {
        "relu"
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for ActivationRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        leaky_relu_recorded(only(inputs)?, self.slope)
    }
}
