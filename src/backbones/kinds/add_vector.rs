//! The sum of a map and a vector, which is added to every cell: a bias that depends on another input.

use super::rule::{LayerModule, LayerRule, MapSize};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::{
        sum::{add_to_cells, sum_of_cells},
        tape::{Evaluated, Gradient, LayerGradients},
    },
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// `(B, H, W, C)` and `(B, 1, 1, C)` → `(B, H, W, C)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddVectorRow;

impl LayerRule for AddVectorRow {
    fn word(&self) -> &'static str {
        "add vector"
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().copied().filter(|_| inputs.get(1) == Some(&(1, 1)))
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for AddVectorRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let [map, vector] = inputs else { bail!("a map and a vector are added, not {}", inputs.len()) };
        let y = add_to_cells(map, vector)?;
        let backward = |dy: Gradient| {
            let cells = sum_of_cells(dy.tensor())?;
            Ok(LayerGradients { inputs: vec![Some(dy), Some(cells.into())], params: vec![] })
        };
        Ok(Evaluated { y, backward: Box::new(backward) })
    }
}
