//! Upsampling of a map by an integer factor that repeats its cells.

use super::rule::{LayerModule, LayerRule, MapSize, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    op::wide,
    ops::tape::{Evaluated, Gradient},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Upsamples both axes by `factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearestRow {
    pub factor: usize,
}

impl LayerRule for NearestRow {
    fn word(&self) -> &'static str {
        "nearest"
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().map(|(height, width)| (height * self.factor, width * self.factor))
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for NearestRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let (x, f) = (only(inputs)?, self.factor);
        let (batch, height, width, channels) = x.dims4()?;
        let cells = x.reshape((batch * height, 1, width, 1, channels))?;
        let y = cells.broadcast_as((batch * height, f, width, f, channels))?.contiguous()?;
        let y = y.reshape((batch, height * f, width * f, channels))?;
        let backward = move |dy: Gradient| {
            dy.map(|dy| {
                // The sum over copies is f32 where the maps are bf16.
                let copies =
                    dy.to_dtype(wide(dy.dtype()))?.reshape((batch * height, f, width, f, channels))?;
                copies.sum(3)?.sum(1)?.reshape((batch, height, width, channels))?.to_dtype(dy.dtype())
            })
        };
        Ok(Evaluated::of_input(y, backward))
    }
}
