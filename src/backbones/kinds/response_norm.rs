//! Local response normalization across channels.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{Mode, params::Params},
    ops::lrn::{Lrn, lrn},
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
    fn forward(&self, inputs: &[Tensor], _mode: &Mode) -> Result<Tensor> {
        lrn(only(inputs)?, Lrn::ALEXNET)
    }
}
