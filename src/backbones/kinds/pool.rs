//! Pooling: over a sliding window, or over the whole map.

use super::rule::{LayerModule, LayerRule, MapSize, SlidingWindow, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    op::wide,
    ops::{
        pool::{PoolGeometry, avg_pool2d_recorded, max_pool2d_recorded},
        tape::Evaluated,
    },
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Reduction of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    Max,
    Average,
}

/// Maximum or average of each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRow {
    pub statistic: Statistic,
    pub geometry: PoolGeometry,
}

impl PoolRow {
    /// Max pooling as in Caffe: the output size rounds up.
    pub fn max(kernel: usize, stride: usize, pad: usize) -> Self {
        let geometry = PoolGeometry { kernel, stride, pad, ceil: true };
        Self { statistic: Statistic::Max, geometry }
    }

    /// Rounds the output size down, as in PyTorch.
    pub fn floor(self) -> Self {
        Self { geometry: PoolGeometry { ceil: false, ..self.geometry }, ..self }
    }

    /// Average pooling as in Caffe: the output size rounds up.
    pub fn average(kernel: usize, stride: usize, pad: usize) -> Self {
        Self { statistic: Statistic::Average, ..Self::max(kernel, stride, pad) }
    }
}

impl LayerRule for PoolRow {
    fn word(&self) -> &'static str {
        match self.statistic {
            Statistic::Max => "max pool",
            Statistic::Average => "average pool",
        }
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        let window = self.window()?;
        let out = |n| window.fits(n).then(|| self.geometry.out(n));
        let (height, width) = *inputs.first()?;
        Some((out(height)?, out(width)?))
    }

    fn window(&self) -> Option<SlidingWindow> {
        let PoolGeometry { kernel, stride, pad, .. } = self.geometry;
        Some(SlidingWindow { kernel, stride, pad, dilation: 1 })
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for PoolRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        match self.statistic {
            Statistic::Max => max_pool2d_recorded(only(inputs)?, self.geometry),
            Statistic::Average => avg_pool2d_recorded(only(inputs)?, self.geometry),
        }
    }
}

/// Global average: a 1×1 map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalPoolRow;

impl LayerRule for GlobalPoolRow {
    fn word(&self) -> &'static str {
        "global pool"
    }

    fn size(&self, _inputs: &[MapSize]) -> Option<MapSize> {
        Some((1, 1))
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(*self))
    }
}

impl LayerModule for GlobalPoolRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let x = only(inputs)?;
        let (dims, cells) = (x.dims().to_vec(), (x.dim(1)? * x.dim(2)?) as f64);
        // The sum, and each cell's share of the gradient, are f32 where the maps are bf16.
        let (dtype, wide) = (x.dtype(), wide(x.dtype()));
        let y = x.to_dtype(wide)?.mean_keepdim((1, 2))?.to_dtype(dtype)?;
        let spread = move |dy: &Tensor| {
            let share = (dy.to_dtype(wide)? / cells)?.to_dtype(dtype)?;
            share.broadcast_as(dims)?.contiguous()
        };
        Ok(Evaluated::of_input(y, |dy| dy.map(spread)))
    }
}
