//! AlexNet as Zhang, Isola and Efros train it to colour (pretext graph) and as its features are used afterwards
//! (transfer graph): two graphs of the same weights, each read from one layer table ([`table`]).
//!
//! A layer is convolution → [batch normalisation] → ReLU → [dropout]; pools are layers of their own. There is no
//! local response normalisation. The losses, the resize of the logits to the label size and the scaling of the
//! input belong to the tasks.

mod absorb;
mod summary;
mod table;

pub use absorb::absorb_batch_norm;
pub use summary::{Row, Summary};
pub use table::{Kind, Layer, TAPS, layer_table};

use crate::{
    bounded::{Count, Positive},
    nn::{
        Mode,
        init::Filler,
        layers::{BatchNorm, BatchNormOptions, Conv, ConvShape, Fillers},
        params::Params,
    },
    ops::{activation::relu, dropout::dropout, pool::max_pool2d},
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

/// The first and the sixth layer, which depend on the size of the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// conv1 11×11 stride 4, fc6 6×6: photographs
    #[default]
    Standard,
    /// conv1 5×5 stride 1 pad 2, fc6 3×3 (dilation 2, pad 2): 32-pixel pictures
    Small,
}

/// What a spec says about the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlexNetSpec {
    #[serde(default)]
    pub stem: Stem,
    /// factor on every hidden channel count (rounded to a multiple of 8, so that two groups stay whole)
    #[serde(default = "full")]
    pub width: Positive,
    /// channels of fc6 and fc7; 4096·width when absent
    #[serde(default)]
    pub fc: Option<Count>,
    /// how the weights of conv1 … conv5 start
    #[serde(default = "msra")]
    pub init: Filler,
}

fn full() -> Positive {
    Positive::of(1.0)
}
fn msra() -> Filler {
    Filler::Msra
}

impl Default for AlexNetSpec {
    fn default() -> Self {
        Self { stem: Stem::Standard, width: full(), fc: None, init: msra() }
    }
}

/// Which of the two graphs of the same weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Graph {
    /// Padded pools, pool5 stride 1, fc6 dilated: a fully convolutional net for pixels. No dropout.
    Pretext,
    #[default]
    /// Unpadded, pool5 stride 2, dropout after fc6 and fc7: one vector for a 227-pixel (small stem: 29) picture.
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

/// The network: its table, and the parameters of each row.
#[derive(Clone, Debug)]
pub struct AlexNet {
    layers: Vec<Layer>,
    blocks: Vec<Block>,
    stem: Stem,
}

#[derive(Clone, Debug)]
enum Block {
    Conv(Conv, Option<BatchNorm>),
    Pool,
}

impl AlexNet {
    /// Adds its parameters to `params` in layer order: `conv1.weight`, `conv1.bias`, …, and with batch
    /// normalisation the buffers of `bn1` … `bn7`.
    ///
    /// conv1 … conv5 start from `spec.init` with biases 0 (the paper fills them from k-means). fc6 and fc7 start
    /// as the paper's, Gaussian 0.005 with biases 1, where batch normalisation makes the scale immaterial; without
    /// it so small a deviation would starve narrow layers, and they start from MSRA with biases 0. fc8 is zero, so
    /// that the first loss is exactly the logarithm of the number of outputs.
    pub fn new(spec: &AlexNetSpec, build: &Build, params: &mut Params, rng: &Rng) -> Result<Self> {
        let layers = layer_table(spec, build);
        let blocks =
            layers.iter().map(|layer| Block::new(layer, spec, params, rng)).collect::<Result<_>>()?;
        Ok(Self { layers, blocks, stem: spec.stem })
    }

    /// The table, in the order of computation. Each name is a tap.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Output maps, parameters and multiply-accumulates for a picture of `(height, width)` pixels.
    pub fn summary(&self, input: (usize, usize)) -> Result<Summary> {
        Summary::of(&self.layers, input)
    }

    /// Pixels from one label of the pretext task to the next: labels are points at multiples of it. The logits lie
    /// at every second label, so an align-corners resize by (2n − 1) / n lines them up.
    pub fn label_stride(&self) -> usize {
        match self.stem {
            Stem::Standard => 8,
            Stem::Small => 2,
        }
    }

    /// Labels along an axis of `pixels`: 180 → 23, small stem 29 → 15.
    pub fn label_size(&self, pixels: usize) -> usize {
        pixels.div_ceil(self.label_stride())
    }

    /// x `(B, H, W, C)` → the outputs after the named taps (post-ReLU for conv and fc, after the dropout of
    /// training; pooled for pools; logits for `fc8`), in the order asked. Computes no layer beyond the last one
    /// asked. Errors on a name that is no layer of this network, and on maps too small for a window.
    pub fn forward(&self, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        let asked = taps.iter().map(|tap| self.index(tap)).collect::<Result<Vec<usize>>>()?;
        let count = asked.iter().max().map_or(0, |last| last + 1);
        self.check_input(x, count)?;
        let mut kept: Vec<Option<Tensor>> = vec![None; taps.len()];
        let mut hidden = x.clone();
        for (i, (layer, block)) in self.layers.iter().zip(&self.blocks).take(count).enumerate() {
            hidden = block.forward(layer, &hidden, mode)?;
            let takers = kept.iter_mut().zip(&asked).filter(|(_, asked)| **asked == i);
            takers.for_each(|(slot, _)| *slot = Some(hidden.clone()));
        }
        Ok(kept.into_iter().flatten().collect())
    }

    fn index(&self, tap: &str) -> Result<usize> {
        match self.layers.iter().position(|layer| layer.name == tap) {
            Some(index) => Ok(index),
            None => {
                let names: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
                bail!("alexnet: there is no layer `{tap}`; the layers are {}", names.join(", "))
            }
        }
    }

    /// The channels, and that every window of the first `count` layers fits.
    fn check_input(&self, x: &Tensor, count: usize) -> Result<()> {
        let (_, height, width, channels) = x.dims4()?;
        let wanted = self.layers[0].inputs;
        if channels != wanted {
            bail!("alexnet: the input is {:?} (B, H, W, C), but conv1 takes {wanted} channels", x.dims())
        }
        Summary::of(&self.layers[..count], (height, width)).map(drop)
    }
}

impl Block {
    fn new(layer: &Layer, spec: &AlexNetSpec, params: &mut Params, rng: &Rng) -> Result<Self> {
        if layer.kind == Kind::MaxPool {
            return Ok(Self::Pool);
        }
        let shape = ConvShape { inputs: layer.inputs, outputs: layer.outputs, kernel: layer.kernel };
        let conv = Conv::new(params, &layer.name, shape, layer.conv_geometry(), fillers(layer, spec), rng)?;
        let options = if layer.relu { BatchNormOptions::CAFFE.with_relu() } else { BatchNormOptions::CAFFE };
        let norm = layer.batch_norm_name();
        let norm = norm.map(|name| BatchNorm::new(params, &name, layer.outputs, options)).transpose()?;
        Ok(Self::Conv(conv, norm))
    }

    fn forward(&self, layer: &Layer, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let y = match self {
            Self::Pool => max_pool2d(x, layer.pool_geometry())?,
            Self::Conv(conv, Some(norm)) => norm.forward(&conv.forward(x, mode)?, mode)?,
            Self::Conv(conv, None) if layer.relu => relu(&conv.forward(x, mode)?)?,
            Self::Conv(conv, None) => conv.forward(x, mode)?,
        };
        match mode {
            Mode::Train(rng) if layer.dropout > 0.0 => {
                dropout(&y, layer.dropout, rng.split(&layer.name).at(0, 0))
            }
            _ => Ok(y),
        }
    }
}

/// See [`AlexNet::new`].
fn fillers(layer: &Layer, spec: &AlexNetSpec) -> Fillers {
    let (weight, bias) = match layer.name.as_str() {
        "fc8" => (Filler::Zero, 0.0),
        "fc6" | "fc7" if layer.batch_norm => (Filler::Gaussian { std: Positive::of(0.005) }, 1.0),
        "fc6" | "fc7" => (Filler::Msra, 0.0),
        _ => (spec.init, 0.0),
    };
    Fillers { weight, bias: Some(Filler::Constant { value: bias }) }
}
