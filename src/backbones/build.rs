//! What every backbone's file implements, and the options with which its network is built.

use super::{input::Input, network::Interface, table::Layer};
use crate::nn::init::Filler;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Variant of a network; all variants share their weights. They differ in padding, in stride, and in the layers after
/// the trunk. The VGG colorizer has one variant, VGG-16 three (its pretext variant is its transfer variant).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Variant of a network")]
pub enum Variant {
    /// Fully convolutional, for per-pixel predictions: padded pools, and dilation instead of the late strides. No
    /// dropout.
    Pretext,
    /// One output vector per picture of the network's native size; dropout if the architecture has it.
    #[default]
    Transfer,
    /// Padded so that cell j of the trunk is centered on pixel stride·j: detectors pool regions from the trunk and
    /// apply the reader to them (Girshick 2015).
    Regions,
    /// Score map over the whole picture, for pictures of any size (Long, Shelhamer and Darrell 2015).
    Dense,
}

/// Build options in addition to the spec.
#[derive(Clone, Debug)]
pub struct Build {
    pub variant: Variant,
    pub batch_norm: bool,
    pub input_channels: usize,
    /// channels of the head (313 colors, 2 for ab itself, 1000 classes); None builds no head
    pub outputs: Option<usize>,
}

/// Interface implemented by each backbone's file.
pub(super) trait Backbone {
    /// Name, input and prediction grid.
    fn interface(&self) -> Interface;

    /// Its rows.
    fn table(&self, build: &Build) -> Vec<Layer>;

    /// Side in pixels of the square pictures from which the transfer variant computes one vector.
    fn crop(&self) -> usize;

    /// Sets the input format, unless it is fixed.
    fn set_input(&mut self, input: Input);

    /// Sets the initialization of the hidden weights.
    fn set_init(&mut self, init: Filler);
}
