//! The sum of several maps: residual connections.

use super::{LayerKind, Module, Size};
use crate::{
    nn::{Mode, params::Params},
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// All inputs have one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Add;

impl LayerKind for Add {
    fn word(&self) -> &'static str {
        "add"
    }

    fn size(&self, inputs: &[Size]) -> Option<Size> {
        let first = inputs.first().copied()?;
        inputs.iter().all(|size| *size == first).then_some(first)
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn Module>> {
        Ok(Arc::new(*self))
    }
}

impl Module for Add {
    fn forward(&self, inputs: &[Tensor], _mode: &Mode) -> Result<Tensor> {
        let Some((first, rest)) = inputs.split_first() else { bail!("a sum of no maps") };
        rest.iter().try_fold(first.clone(), |sum, x| sum + x)
    }
}
