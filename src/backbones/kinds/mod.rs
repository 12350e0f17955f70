//! The kinds of rows that a network is made of. A kind is one file: what it does to the shape of a map, its parameters,
//! its multiply-accumulates, its forward pass (the backward pass is that of the operations it calls).
//!
//! Maps are NHWC, `(B, H, W, C)`, in and out of every kind. Which rows a row reads is not a kind's business: see
//! [`super::table`].

mod activation;
mod add;
mod batch_norm;
mod concatenate;
mod conv;
mod conv_transpose;
mod dropout;
mod layer_norm;
mod linear;
mod pool;
mod resize;
mod response_norm;

pub use activation::ActivationRow;
pub use add::AddRow;
pub use batch_norm::BatchNormRow;
pub use concatenate::ConcatenateRow;
pub use conv::ConvRow;
pub use conv_transpose::ConvTransposeRow;
pub use dropout::DropoutRow;
pub use layer_norm::LayerNormRow;
pub use linear::LinearRow;
pub use pool::{GlobalPoolRow, PoolRow, Statistic};
pub use resize::ResizeRow;
pub use response_norm::ResponseNormRow;

use crate::{
    nn::{Mode, layers::Fillers, params::Params},
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
    fn fits(&self, n: usize) -> bool {
        n + 2 * self.pad >= self.extent()
    }
}

/// What a row computes.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerKind {
    Conv(ConvRow),
    ConvTranspose(ConvTransposeRow),
    Linear(LinearRow),
    Pool(PoolRow),
    GlobalPool(GlobalPoolRow),
    BatchNorm(BatchNormRow),
    ResponseNorm(ResponseNormRow),
    LayerNorm(LayerNormRow),
    Activation(ActivationRow),
    Dropout(DropoutRow),
    Add(AddRow),
    Concatenate(ConcatenateRow),
    Resize(ResizeRow),
}

/// What a kind of row says of itself.
pub(super) trait LayerRule {
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
pub(super) trait LayerModule: fmt::Debug + Send + Sync {
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

    /// The same with all input channels but the first unfrozen: see [`super::network::Network::unfreeze_chroma`].
    fn with_chroma(&self, name: &str, _params: &mut Params) -> Result<Arc<dyn LayerModule>> {
        bail!("`{name}` is no convolution")
    }

    /// Whether [`LayerModule::with_chroma`] made it.
    fn learns_chroma(&self) -> bool {
        false
    }
}

impl LayerKind {
    fn rule(&self) -> &dyn LayerRule {
        match self {
            Self::Conv(kind) => kind,
            Self::ConvTranspose(kind) => kind,
            Self::Linear(kind) => kind,
            Self::Pool(kind) => kind,
            Self::GlobalPool(kind) => kind,
            Self::BatchNorm(kind) => kind,
            Self::ResponseNorm(kind) => kind,
            Self::LayerNorm(kind) => kind,
            Self::Activation(kind) => kind,
            Self::Dropout(kind) => kind,
            Self::Add(kind) => kind,
            Self::Concatenate(kind) => kind,
            Self::Resize(kind) => kind,
        }
    }

    /// Its word in a layer table, where no window describes it.
    pub fn word(&self) -> &'static str {
        self.rule().word()
    }

    /// Channels that come of maps with these channels.
    pub fn channels(&self, inputs: &[usize]) -> usize {
        self.rule().channels(inputs)
    }

    /// Size that comes of maps of these sizes; `None` where they do not fit.
    pub fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        self.rule().size(inputs).filter(|(height, width)| *height > 0 && *width > 0)
    }

    /// The window that it moves over its input.
    pub fn window(&self) -> Option<SlidingWindow> {
        self.rule().window()
    }

    /// Trained numbers: weights and biases, scales and shifts.
    pub fn parameters(&self) -> usize {
        self.rule().parameters()
    }

    /// Multiply-accumulates of one picture, taps on the padding included.
    pub fn macs(&self, from: MapSize, to: MapSize) -> usize {
        self.rule().macs(from, to)
    }

    /// The shape of its weight, if it has one.
    pub fn weight(&self) -> Option<Vec<usize>> {
        self.rule().weight()
    }

    /// The shape in which one number for each output channel multiplies the weight; `None` without a weight.
    pub fn per_output(&self) -> Option<Vec<usize>> {
        let (weight, axis) = (self.weight()?, self.rule().output_axis());
        Some(weight.iter().enumerate().map(|(i, n)| if i == axis { *n } else { 1 }).collect())
    }

    /// Whether it has a bias beside its weight.
    pub fn has_bias(&self) -> bool {
        self.rule().has_bias()
    }

    /// Whether it has a weight that initialization and calibration scale.
    pub fn has_weights(&self) -> bool {
        self.weight().is_some()
    }

    /// Whether it acts on every number, or every channel, of one map alone and keeps its size: such rows share a line of
    /// a printed table with the row that they follow.
    pub fn is_pointwise(&self) -> bool {
        matches!(self, Self::BatchNorm(_) | Self::LayerNorm(_) | Self::Activation(_) | Self::Dropout(_))
    }

    /// Lets its weight and bias start in another way, where it has them.
    pub fn fill(&mut self, fillers: Fillers) {
        match self {
            Self::Conv(conv) => conv.fillers = fillers,
            Self::ConvTranspose(conv) => conv.fillers = fillers,
            Self::Linear(linear) => linear.fillers = fillers,
            _ => {}
        }
    }

    pub(super) fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        self.rule().build(name, params, rng)
    }
}

/// The only input of a row.
fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    match inputs {
        [x] => Ok(x),
        _ => bail!("a row of one input was given {}", inputs.len()),
    }
}
