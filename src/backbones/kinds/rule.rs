//! Traits of a kind of row: its rule, and the module with its parameters.

use crate::{
    nn::{Mode, layers::LayerCall, params::Params},
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor, TensorId, Var, bail};
use std::{fmt, sync::Arc};

/// Height and width of a map.
pub type MapSize = (usize, usize);

/// A sliding window; each number applies to both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
}

impl SlidingWindow {
    /// Span of the dilated window in cells.
    pub fn extent(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Whether the window fits an axis of `n` cells with padding.
    pub fn fits(&self, n: usize) -> bool {
        n + 2 * self.pad >= self.extent()
    }
}

/// Shape rule, parameters and constructor of a kind of row.
pub(crate) trait LayerRule {
    /// Word for layer tables, for kinds without a window.
    fn word(&self) -> &'static str;

    /// Output channels for inputs with these channels.
    fn channels(&self, inputs: &[usize]) -> usize {
        inputs.first().copied().unwrap_or(0)
    }

    /// Output size for inputs of these sizes; `None` if they do not fit.
    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().copied()
    }

    /// The sliding window over its input, which determines its cells' positions on the picture.
    fn window(&self) -> Option<SlidingWindow> {
        None
    }

    /// Number of parameters.
    fn parameters(&self) -> usize {
        0
    }

    /// Multiply-accumulates per picture, including taps on the padding.
    fn macs(&self, _from: MapSize, _to: MapSize) -> usize {
        0
    }

    /// Shape of its weight, if any. A batch normalization after it can then be absorbed.
    fn weight(&self) -> Option<Vec<usize>> {
        None
    }

    /// The axis of the weight for output channels.
    fn output_axis(&self) -> usize {
        0
    }

    /// Whether it has a bias in addition to its weight.
    fn has_bias(&self) -> bool {
        false
    }

    /// Names of its parameters, in order.
    fn trained(&self) -> &'static [&'static str] {
        match (self.weight().is_some(), self.has_bias()) {
            (true, true) => &["weight", "bias"],
            (true, false) => &["weight"],
            (false, _) => &[],
        }
    }

    /// Adds its parameters to `params` under the name of the row, initialized from `rng`.
    fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>>;
}

/// A row with its parameters.
pub(crate) trait LayerModule: fmt::Debug + Send + Sync {
    /// Computes one output map from input maps `(B, H, W, C)`, outside of candle's graph, and gives its backward pass.
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated>;

    /// Whether it computes a ReLU that follows.
    fn fuses_relu(&self) -> bool {
        false
    }

    /// The parameters that it reads, if `mode` records the pass.
    fn learned(&self, _mode: &Mode) -> Vec<TensorId> {
        vec![]
    }

    /// The weight that initialization and calibration scale.
    fn weight(&self) -> Option<&Var> {
        None
    }

    fn bias(&self) -> Option<&Var> {
        None
    }

    /// The same with all input channels except the first unfrozen: see
    /// [`super::super::network::Network::unfreeze_chroma`].
    fn with_chroma(&self, name: &str, _params: &mut Params) -> Result<Arc<dyn LayerModule>> {
        bail!("`{name}` is not a convolution")
    }

    /// Whether it was made by [`LayerModule::with_chroma`].
    fn learns_chroma(&self) -> bool {
        false
    }
}

/// The single input of a row.
pub(super) fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    match inputs {
        [x] => Ok(x),
        _ => bail!("a row with one input was given {}", inputs.len()),
    }
}
