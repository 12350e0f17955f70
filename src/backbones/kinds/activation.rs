//! Activation functions.

use super::{LayerKind, Module, only};
use crate::{
    nn::{Mode, params::Params},
    ops::activation::{leaky_relu, relu},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// max(x, `slope`·x); a ReLU for slope 0. A ReLU is computed together with the row that it alone reads, where that has
/// such a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    pub slope: f64,
}

impl LayerKind for Activation {
    fn word(&self) -> &'static str {
        "relu"
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn Module>> {
        Ok(Arc::new(*self))
    }
}

impl Module for Activation {
    fn forward(&self, inputs: &[Tensor], _mode: &Mode) -> Result<Tensor> {
        let x = only(inputs)?;
        if self.slope > 0.0 { leaky_relu(x, self.slope) } else { relu(x) }
    }
}
