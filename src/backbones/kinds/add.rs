//! The sum of several maps: residual connections.

use super::rule::{LayerModule, LayerRule, MapSize};
use crate::{
    nn::{Mode, params::Params},
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// All inputs have the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddRow;

impl LayerRule for AddRow {
    fn word(&self) -> &'static str {
        "add"
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        let first = inputs.first().copied()?;
        inputs.iter().all(|size| *size == first).then_some(first)
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for AddRow {
    fn forward(&self, inputs: &[Tensor], _mode: &Mode) -> Result<Tensor> {
        let Some((first, rest)) = inputs.split_first() else { bail!("a sum of no maps") };
        rest.iter().try_fold(first.clone(), |sum, x| sum + x)
    }
}
