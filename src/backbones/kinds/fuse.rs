//! Fusion of local and global features: a vector beside every cell of a map (Iizuka, Simo-Serra and Ishikawa 2016,
//! section 3.2.4; the weights that follow are a row of their own).

use super::rule::{LayerModule, LayerRule, MapSize};
use crate::{
    nn::{layers::LayerCall, params::Params},
    op::wide,
    ops::tape::{Evaluated, Gradient, LayerGradients},
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Inputs: a map `(B, H, W, C)` and a vector `(B, 1, 1, D)`; output `(B, H, W, C + D)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseRow;

impl LayerRule for FuseRow {
    fn word(&self) -> &'static str {
        "fuse"
    }

    fn channels(&self, inputs: &[usize]) -> usize {
        inputs.iter().sum()
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        match inputs {
            [map, (1, 1)] => Some(*map),
            _ => None,
        }
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for FuseRow {
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        let [map, vector] = inputs else { bail!("a fusion of {} inputs", inputs.len()) };
        let (own, beside, wants) = (map.dim(3)?, vector.dim(3)?, call.wants.to_vec());
        let backward = move |dy: Gradient| {
            let part = |first: usize, width: usize| dy.tensor().narrow(3, first, width)?.contiguous();
            let wanted = |i: usize| wants.get(i).is_some_and(|wanted| *wanted);
            let map = wanted(0).then(|| part(0, own)).transpose()?;
            // The sum over cells is f32 where the maps are bf16.
            let summed =
                |dy: Tensor| dy.to_dtype(wide(dy.dtype()))?.sum_keepdim((1, 2))?.to_dtype(dy.dtype());
            let vector = wanted(1).then(|| part(own, beside).and_then(summed)).transpose()?;
            Ok(LayerGradients {
                inputs: vec![map.map(Gradient::from), vector.map(Gradient::from)],
                params: vec![],
            })
        };
        Ok(Evaluated { y: fused(map, vector)?, backward: Box::new(backward) })
    }
}

/// A map `(B, H, W, C)` with the vector `(B, 1, 1, D)` beside every cell. In candle's graph, if its inputs are.
///
/// # Errors
/// Shapes that do not go together.
pub fn fused(map: &Tensor, vector: &Tensor) -> Result<Tensor> {
    let (batch, height, width, _) = map.dims4()?;
    let spread = vector.broadcast_as((batch, height, width, vector.dim(3)?))?.contiguous()?;
    Tensor::cat(&[map, &spread], 3)
}
