//! Local response normalization across channels.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::{
        lrn::{Lrn, lrn_recorded},
        tape::Evaluated,
    },
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Uses AlexNet's constants ([`Lrn::ALEXNET`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseNormRow;

impl LayerRule for ResponseNormRow {
    fn word(&self) -> &'static str {
        "local"
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for ResponseNormRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        lrn_recorded(only(inputs)?, Lrn::ALEXNET)
    }
}
