//! Dropout.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{Mode, params::Params},
    ops::dropout::dropout,
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
    fn forward(&self, inputs: &[Tensor], mode: &Mode) -> Result<Tensor> {
        let x = only(inputs)?;
        match mode {
            Mode::Train(rng) => dropout(x, self.share, rng.split(&self.stream).at(0, 0)),
            Mode::Eval | Mode::Frozen | Mode::Initialization => Ok(x.clone()),
        }
    }
}
