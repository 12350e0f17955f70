//! Bilinear upsampling of a map by an integer factor.

use super::rule::{LayerModule, LayerRule, MapSize, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::{resize::resize_bilinear_recorded, tape::Evaluated},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Upsamples both axes by `factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeRow {
    pub factor: usize,
    /// Whether the centers of the corner cells are aligned, instead of the outer borders.
    pub align_corners: bool,
}

impl ResizeRow {
    fn scaled(&self, (height, width): MapSize) -> MapSize {
        (height * self.factor, width * self.factor)
    }
}

impl LayerRule for ResizeRow {
    fn word(&self) -> &'static str {
        "resize"
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().map(|size| self.scaled(*size))
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for ResizeRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let x = only(inputs)?;
        let (_, height, width, _) = x.dims4()?;
        resize_bilinear_recorded(x, self.scaled((height, width)), self.align_corners)
    }
}
