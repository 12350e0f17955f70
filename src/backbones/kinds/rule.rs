//! What every kind of row says of itself, and what it is once it has its parameters.

use crate::{
    nn::{Mode, params::Params},
    rng::Rng,
};
use candle_core::{Result, Tensor, Var, bail};
use std::{fmt, sync::Arc};

/// Height and width of a map.
pub type MapSize = (usize, usize);

/// A window that moves over a map; one number serves both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
}

impl SlidingWindow {
    /// Cells from the first to the last that the window covers, plus one.
    pub fn extent(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Whether the window fits an axis of `n` cells and their padding.
    pub fn fits(&self, n: usize) -> bool {
        n + 2 * self.pad >= self.extent()
    }
}

/// What a kind of row says of itself.
pub(crate) trait LayerRule {
    /// Its word in a layer table, where no window describes it.
    fn word(&self) -> &'static str;

    /// Channels that come of maps with these channels.
    fn channels(&self, inputs: &[usize]) -> usize {
        inputs.first().copied().unwrap_or(0)
    }

    /// Size that comes of maps of these sizes; `None` where they do not fit.
    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().copied()
    }

    /// The window that it moves over its input, which tells where its cells lie on the picture.
    fn window(&self) -> Option<SlidingWindow> {
        None
    }

    /// Trained numbers.
    fn parameters(&self) -> usize {
        0
    }

    /// Multiply-accumulates of one picture, taps on the padding included.
    fn macs(&self, _from: MapSize, _to: MapSize) -> usize {
        0
    }

    /// The shape of its weight, if it has one. A batch normalization that follows can then be absorbed.
    fn weight(&self) -> Option<Vec<usize>> {
        None
    }

    /// The axis of the weight that counts output channels.
    fn output_axis(&self) -> usize {
        0
    }

    /// Whether it has a bias beside its weight.
    fn has_bias(&self) -> bool {
        false
    }

    /// Adds its parameters to `params` under the name of the row, filled from `rng`.
    fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>>;
}

/// A row with its parameters.
pub(crate) trait LayerModule: fmt::Debug + Send + Sync {
    /// Maps `(B, H, W, C)` in, one map out.
    fn forward(&self, inputs: &[Tensor], mode: &Mode) -> Result<Tensor>;

    /// The same with the ReLU that follows, in one pass over the map; `None` where there is no such pass.
    fn forward_relu(&self, _inputs: &[Tensor], _mode: &Mode) -> Option<Result<Tensor>> {
        None
    }

    /// The weight that initialization and calibration scale.
    fn weight(&self) -> Option<&Var> {
        None
    }

    fn bias(&self) -> Option<&Var> {
        None
    }

    /// The same with all input channels but the first unfrozen: see [`super::super::network::Network::unfreeze_chroma`].
    fn with_chroma(&self, name: &str, _params: &mut Params) -> Result<Arc<dyn LayerModule>> {
        bail!("`{name}` is no convolution")
    }

    /// Whether [`LayerModule::with_chroma`] made it.
    fn learns_chroma(&self) -> bool {
        false
    }
}

/// The only input of a row.
pub(super) fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    match inputs {
        [x] => Ok(x),
        _ => bail!("a row of one input was given {}", inputs.len()),
    }
}
