//! Dropout.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{Mode, layers::LayerCall, params::Params},
    ops::{dropout::dropout_recorded, tape::Evaluated},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Drops a fraction of its input in training; the identity otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct DropoutRow {
    pub share: f64,
    /// Name of its random stream: that of its layer.
    pub stream: String,
}

impl LayerRule for DropoutRow {
    fn word(&self) -> &'static str {
        "dropout"
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(self.clone()))
    }
}

impl LayerModule for DropoutRow {
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        let x = only(inputs)?;
        match call.mode {
            Mode::Train(training) => {
                dropout_recorded(x, self.share, training.rng.split(&self.stream).at(0, 0))
            }
            Mode::Eval(_) | Mode::Frozen | Mode::Initialization => Ok(Evaluated::of_input(x.clone(), Ok)),
        }
    }
}
