//! Concatenation of maps along the channels: fused streams, hypercolumns.

use super::rule::{LayerModule, LayerRule, MapSize};
use crate::{
    nn::{Mode, params::Params},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// All inputs have the same height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcatenateRow;

impl LayerRule for ConcatenateRow {
    fn word(&self) -> &'static str {
        "concatenate"
    }

    fn channels(&self, inputs: &[usize]) -> usize {
        inputs.iter().sum()
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        let first = inputs.first().copied()?;
        inputs.iter().all(|size| *size == first).then_some(first)
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for ConcatenateRow {
    fn forward(&self, inputs: &[Tensor], _mode: &Mode) -> Result<Tensor> {
        Tensor::cat(inputs, 3)
    }
}
