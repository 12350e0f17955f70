//! The sum of several maps: residual connections.

use super::rule::{LayerModule, LayerRule, MapSize};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::{
        activation::{gated_gradient, sum_relu},
        sum::sum,
        tape::{Evaluated, Gradient, LayerGradients},
    },
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
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        let [first, rest @ .., last] = inputs else { bail!("a sum of fewer than two maps") };
        let rest = rest.iter().try_fold(first.clone(), |total, x| sum(&total, x))?;
        let y = if call.relu { sum_relu(&rest, last)? } else { sum(&rest, last)? };
        let (count, open) = (inputs.len(), call.relu.then(|| y.clone()));
        let backward = move |dy: Gradient| {
            let dy = match open {
                Some(y) => gated_gradient(&y, dy, 0.0)?.into(),
                None => dy,
            };
            Ok(LayerGradients { inputs: vec![Some(dy); count], params: vec![] })
        };
        Ok(Evaluated { y, backward: Box::new(backward) })
    }

    fn fuses_relu(&self) -> bool {
        true
    }
}
