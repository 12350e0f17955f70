//! The identity, through which no gradient passes: what comes after it learns from a map without changing it.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::tape::{Evaluated, LayerGradients},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Passes its input on and its gradient not back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopGradientRow;

impl LayerRule for StopGradientRow {
    fn word(&self) -> &'static str {
        "stop gradient"
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for StopGradientRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let y = only(inputs)?.clone();
        Ok(Evaluated { y, backward: Box::new(|_| Ok(LayerGradients { inputs: vec![None], params: vec![] })) })
    }
}
