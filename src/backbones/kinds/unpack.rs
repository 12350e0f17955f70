//! A part of a packed vector as a map, for networks with several inputs: they are given as one vector.

use super::rule::{LayerModule, LayerRule, MapSize, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Elements `first` and following of `(B, 1, 1, N)` as `(B, side, side, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackRow {
    pub first: usize,
    pub side: usize,
    pub channels: usize,
}

impl UnpackRow {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.side * self.side * self.channels
    }
}

impl LayerRule for UnpackRow {
    fn word(&self) -> &'static str {
        "part"
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.channels
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().filter(|size| **size == (1, 1)).map(|_| (self.side, self.side))
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for UnpackRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let (x, own) = (only(inputs)?, *self);
        let (batch, _, _, all) = x.dims4()?;
        let part = x.narrow(3, own.first, own.count())?;
        let y = part.contiguous()?.reshape((batch, own.side, own.side, own.channels))?;
        let gradient = move |dy: &Tensor| {
            let flat = dy.contiguous()?.reshape((batch, 1, 1, own.count()))?;
            flat.pad_with_zeros(3, own.first, all - own.first - own.count())
        };
        Ok(Evaluated::of_input(y, move |dy| dy.map(gradient)))
    }
}
