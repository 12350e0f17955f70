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
mod rule;

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
pub(super) use rule::LayerModule;
use rule::LayerRule;
pub use rule::{MapSize, SlidingWindow};

use crate::{
    nn::{layers::Fillers, params::Params},
    rng::Rng,
};
use candle_core::Result;
use std::sync::Arc;

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

    /// The shape in which `count` numbers, one for each output channel, multiply the weight; `None` without a weight.
    pub fn per_output(&self, count: usize) -> Option<Vec<usize>> {
        let mut shape = vec![1; self.weight()?.len()];
        shape[self.rule().output_axis()] = count;
        Some(shape)
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
