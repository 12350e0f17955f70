//! Concatenation of maps along the channels: fused streams, hypercolumns.

use super::rule::{LayerModule, LayerRule, MapSize};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::tape::{Evaluated, Gradient, LayerGradients},
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
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        let widths = inputs.iter().map(|x| x.dim(3)).collect::<Result<Vec<usize>>>()?;
        let wants = call.wants.to_vec();
        let backward = move |dy: Gradient| {
            let (mut first, mut inputs) = (0, vec![]);
            for (width, wanted) in widths.into_iter().zip(wants) {
                inputs.push(wanted.then(|| part(&dy, first, width)).transpose()?);
                first += width;
            }
            Ok(LayerGradients { inputs, params: vec![] })
        };
        Ok(Evaluated { y: Tensor::cat(inputs, 3)?, backward: Box::new(backward) })
    }
}

/// The gradient of one input. That of a single cell lies in the memory of the whole.
fn part(dy: &Gradient, first: usize, width: usize) -> Result<Gradient> {
    let part = dy.tensor().narrow(3, first, width)?;
    Ok(if part.is_contiguous() { Gradient::lent(&part) } else { part.contiguous()?.into() })
}
