//! VGG-16, configuration D of Simonyan and Zisserman, "Very Deep Convolutional Networks" (2015): the off-the-shelf
//! classifier that judges whether a recoloured picture can still be recognised.
//!
//! Five blocks of 3×3 convolutions, each ending in a 2×2 pool with stride 2, then three fully connected layers, here
//! convolutions that see the whole map. Pools round up as Caffe's do, where torchvision's round down: on crops that
//! divide by 32, such as 224, the two are equal. What a picture must look like to the network depends on who trained
//! it: see [`Input`]. Names and shapes that others give the
//! same weights are [`super::exchange`]'s.

use super::{
    Build, Graph,
    input::Input,
    network::PixelGrid,
    table::{Layer, Table, channels},
};
use crate::{
    bounded::{Channels, Count, Pixels, Positive},
    nn::{init::Filler, layers::Fillers},
};
use serde::{Deserialize, Serialize};

/// What a spec says about the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vgg16Spec {
    /// factor on every hidden channel count (rounded to a multiple of 8)
    pub width: Positive,
    /// channels of fc6 and fc7; 4096·width when absent
    pub fc: Option<Channels>,
    /// side of the square that is classified, pixels, at least 17; fc6 sees the whole map that five pools leave of it
    /// (7×7 at 224)
    pub crop: Pixels,
    /// what the weights expect of a picture
    pub input: Input,
    /// how all weights but the last layer's start, which are zero as all biases are
    pub init: Filler,
}

impl Default for Vgg16Spec {
    fn default() -> Self {
        Self {
            width: Positive::of(1.0),
            fc: None,
            crop: Count::of(224),
            input: Input::BgrMean,
            init: Filler::Msra,
        }
    }
}

impl Vgg16Spec {
    /// One label for each crop: this network says nothing about single pixels.
    pub fn grid(&self) -> PixelGrid {
        let crop = self.crop.get();
        PixelGrid { stride: crop, align_corners: false, multiple: crop }
    }
}

/// Channels and convolutions of the five blocks.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// The rows of the network. `build.batch_norm` changes nothing: there is no normalisation. Training drops half of fc6 and of fc7.
pub fn layer_table(spec: &Vgg16Spec, build: &Build) -> Vec<Layer> {
    let fillers = |weight| Fillers { weight, bias: Some(Filler::Constant { value: 0.0 }) };
    let mut table = Table::new(build.input_channels);
    let mut map = spec.crop.get();
    for (block, &(full, convs)) in (1..).zip(&BLOCKS) {
        for conv in 1..=convs {
            let first = (block, conv) == (1, 1) && build.graph == Graph::Dense;
            let (name, window) = (format!("conv{block}_{conv}"), [3, 1, if first { 100 } else { 1 }, 1, 1]);
            table.conv(&name, window, channels(full, spec.width), fillers(spec.init));
        }
        if block < BLOCKS.len() || build.graph != Graph::Regions {
            table.pool(&format!("pool{block}"), [2, 2, 0, 1, 1]);
        }
        map = map.div_ceil(2);
    }
    let fc = spec.fc.map_or_else(|| channels(4096, spec.width), Count::get);
    table.conv("fc6", [map, 1, 0, 1, 1], fc, fillers(spec.init)).dropout = 0.5;
    table.conv("fc7", [1, 1, 0, 1, 1], fc, fillers(spec.init)).dropout = 0.5;
    if let Some(outputs) = build.outputs {
        table.conv("fc8", [1, 1, 0, 1, 1], outputs, fillers(Filler::Zero)).relu = false;
    }
    table.rows
}
