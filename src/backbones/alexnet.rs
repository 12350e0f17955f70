//! AlexNet as the paper trains it (colorizer graph) and as its features are used (transfer graph).
use crate::{
    bounded::{Count, Positive},
    nn::{Mode, params::Params},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// conv1 11×11 stride 4, fc6 6×6: photographs
    #[default]
    Standard,
    /// conv1 5×5 stride 1 pad 2, fc6 3×3 (dilation 2, pad 2): 32-pixel pictures
    Small,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlexNetSpec {
    #[serde(default)]
    pub stem: Stem,
    /// factor on every hidden channel count (rounded to a multiple of 8 per group pair)
    #[serde(default = "full")]
    pub width: Positive,
    /// channels of fc6 and fc7; 4096·width when absent
    #[serde(default)]
    pub fc: Option<Count>,
}
fn full() -> Positive {
    Positive::of(1.0)
}

/// Which of the two graphs of the same weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// PROTOCOLS 1.1: padded, pool5 stride 1, fc6 dilated: a fully convolutional net for pixels
    Pretext,
    /// PROTOCOLS 1.3: unpadded, pool5 stride 2, dropout after fc6 and fc7
    Transfer,
}

/// What is built, beside the spec.
#[derive(Clone, Debug)]
pub struct Build {
    pub graph: Graph,
    pub batch_norm: bool,
    pub input_channels: usize,
    /// channels of fc8 (313 colours, 1000 classes); None leaves fc8 out
    pub outputs: Option<usize>,
}

/// One row of the layer table.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: String, /* kind, kernel, stride, pad, groups, dilation, channels, batch_norm … */
}

pub struct AlexNet {/* … */}
impl AlexNet {
    /// Adds its parameters to `params` in layer order. Fillers as PROTOCOLS 1.1/1.3: fc8 zero; conv layers Gaussian (see docs).
    pub fn new(spec: &AlexNetSpec, build: &Build, params: &mut Params, rng: &Rng) -> Result<Self> {
        let _ = (spec, build, params, rng);
        todo!()
    }
    pub fn layers(&self) -> &[Layer] {
        todo!()
    }
    /// x `(B, H, W, C)` → the outputs after the named taps (post-ReLU for conv and fc, pooled for pools, logits for `fc8`),
    /// in the order asked. Computes no layer beyond the last one asked.
    pub fn forward(&self, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        let _ = (x, taps, mode);
        todo!()
    }
}
