//! Kinds of rows. Each kind is one file with its shape rule, parameters, multiply-accumulates and forward pass (the
//! backward pass is that of the operations used).
//!
//! Inputs and outputs are NHWC maps, `(B, H, W, C)`. Connections between rows are defined by [`super::table`].

mod activation;
mod add;
mod add_vector;
mod batch_norm;
mod channelwise;
mod concatenate;
mod conv;
mod conv_transpose;
mod dropout;
mod fuse;
mod group_views;
mod layer_norm;
mod linear;
mod nearest;
mod pool;
mod resize;
mod response_norm;
mod rule;
mod select_channels;
mod stop_gradient;
mod unpack;

pub use activation::ActivationRow;
pub use add::AddRow;
pub use add_vector::AddVectorRow;
pub use batch_norm::BatchNormRow;
pub use channelwise::ChannelwiseRow;
pub use concatenate::ConcatenateRow;
pub use conv::ConvRow;
pub use conv_transpose::ConvTransposeRow;
pub use dropout::DropoutRow;
pub use fuse::{FuseRow, fused};
pub use group_views::GroupViewsRow;
pub use layer_norm::LayerNormRow;
pub use linear::LinearRow;
pub use nearest::NearestRow;
pub use pool::{GlobalPoolRow, PoolRow, Statistic};
pub use resize::ResizeRow;
pub use response_norm::ResponseNormRow;
pub(super) use rule::LayerModule;
use rule::LayerRule;
pub use rule::{MapSize, SlidingWindow};
pub use select_channels::SelectChannelsRow;
pub use stop_gradient::StopGradientRow;
pub use unpack::UnpackRow;

use crate::{
    nn::{layers::Fillers, params::Params},
    rng::Rng,
};
use candle_core::Result;
use std::sync::Arc;

/// Operation of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerKind {
    Conv(ConvRow),
    ConvTranspose(ConvTransposeRow),
    Linear(LinearRow),
    Channelwise(ChannelwiseRow),
    Pool(PoolRow),
    GlobalPool(GlobalPoolRow),
    BatchNorm(BatchNormRow),
    ResponseNorm(ResponseNormRow),
    LayerNorm(LayerNormRow),
    Activation(ActivationRow),
    Dropout(DropoutRow),
    Add(AddRow),
    Concatenate(ConcatenateRow),
    GroupViews(GroupViewsRow),
    Resize(ResizeRow),
    AddVector(AddVectorRow),
    Unpack(UnpackRow),
    SelectChannels(SelectChannelsRow),
    Nearest(NearestRow),
    Fuse(FuseRow),
    StopGradient(StopGradientRow),
}

impl LayerKind {
    fn rule(&self) -> &dyn LayerRule {
        match self {
            Self::Conv(kind) => kind,
            Self::ConvTranspose(kind) => kind,
            Self::Linear(kind) => kind,
            Self::Channelwise(kind) => kind,
            Self::Pool(kind) => kind,
            Self::GlobalPool(kind) => kind,
            Self::BatchNorm(kind) => kind,
            Self::ResponseNorm(kind) => kind,
            Self::LayerNorm(kind) => kind,
            Self::Activation(kind) => kind,
            Self::Dropout(kind) => kind,
            Self::Add(kind) => kind,
            Self::Concatenate(kind) => kind,
            Self::GroupViews(kind) => kind,
            Self::Resize(kind) => kind,
            Self::AddVector(kind) => kind,
            Self::Unpack(kind) => kind,
            Self::SelectChannels(kind) => kind,
            Self::Nearest(kind) => kind,
            Self::Fuse(kind) => kind,
            Self::StopGradient(kind) => kind,
        }
    }

    /// Word for layer tables, for kinds without a window.
    pub fn word(&self) -> &'static str {
        self.rule().word()
    }

    /// Output channels for inputs with these channels.
    pub fn channels(&self, inputs: &[usize]) -> usize {
        self.rule().channels(inputs)
    }

    /// Output size for inputs of these sizes; `None` if they do not fit.
    pub fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        self.rule().size(inputs).filter(|(height, width)| *height > 0 && *width > 0)
    }

    /// The sliding window over its input.
    pub fn window(&self) -> Option<SlidingWindow> {
        self.rule().window()
    }

    /// Names of its parameters below the name of the row, in order.
    pub fn trained(&self) -> &'static [&'static str] {
        self.rule().trained()
    }

    /// Number of parameters: weights and biases, scales and shifts.
    pub fn parameters(&self) -> usize {
        self.rule().parameters()
    }

    /// Multiply-accumulates per picture, including taps on the padding.
    pub fn macs(&self, from: MapSize, to: MapSize) -> usize {
        self.rule().macs(from, to)
    }

    /// Shape of its weight, if any.
    pub fn weight(&self) -> Option<Vec<usize>> {
        self.rule().weight()
    }

    /// Shape in which `count` per-output-channel factors multiply the weight; `None` without a weight.
    pub fn per_output(&self, count: usize) -> Option<Vec<usize>> {
        let mut shape = vec![1; self.weight()?.len()];
        shape[self.rule().output_axis()] = count;
        Some(shape)
    }

    /// Whether it has a bias in addition to its weight.
    pub fn has_bias(&self) -> bool {
        self.rule().has_bias()
    }

    /// Whether it has a weight that initialization and calibration scale.
    pub fn has_weights(&self) -> bool {
        self.weight().is_some()
    }

    /// Whether it is elementwise or per channel, with one input and unchanged size. Such rows share a line of a
    /// printed table with the row that they follow.
    pub fn is_pointwise(&self) -> bool {
        matches!(self, Self::BatchNorm(_) | Self::LayerNorm(_) | Self::Activation(_) | Self::Dropout(_))
    }

    /// Sets the initialization of its weight and bias, if any.
    pub fn fill(&mut self, fillers: Fillers) {
        match self {
            Self::Conv(conv) => conv.fillers = fillers,
            Self::ConvTranspose(conv) => conv.fillers = fillers,
            Self::Linear(linear) => linear.fillers = fillers,
            Self::Channelwise(row) => row.filler = fillers.weight,
            _ => {}
        }
    }

    pub(super) fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        self.rule().build(name, params, rng)
    }
}
