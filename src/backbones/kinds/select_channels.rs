//! Some channels of a map: the input of each half of a split network.

use super::rule::{LayerModule, LayerRule, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Channels `first..first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectChannelsRow {
    pub first: usize,
    pub count: usize,
}

impl LayerRule for SelectChannelsRow {
    fn word(&self) -> &'static str {
        "select"
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.count
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for SelectChannelsRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let (x, Self { first, count }) = (only(inputs)?, *self);
        let after = x.dim(3)?.saturating_sub(first + count);
        let y = x.narrow(3, first, count)?.contiguous()?;
        let pad = move |dy: &Tensor| dy.pad_with_zeros(3, first, after)?.contiguous();
        Ok(Evaluated::of_input(y, move |dy| dy.map(pad)))
    }
}
