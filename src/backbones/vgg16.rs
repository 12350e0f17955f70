//! VGG-16, configuration D of Simonyan and Zisserman, "Very Deep Convolutional Networks" (2015): the off-the-shelf
//! classifier that judges whether a recoloured picture can still be recognised.
//!
//! Five blocks of 3×3 convolutions, each ending in a 2×2 pool with stride 2, then three fully connected layers, here
//! convolutions that see the whole map. Pools round up as Caffe's do, where torchvision's round down: on crops that
//! divide by 32, such as 224, the two are equal. What a picture must look like to the network depends on who trained
//! it: see [`Input`]. Names and shapes that others give the same weights are read by [`adopted`].

use super::{
    Build, Graph,
    input::Input,
    network::PixelGrid,
    table::{Kind, Layer, Table, channels},
};
use crate::{
    bounded::{Count, Positive},
    nn::{init::Filler, layers::Fillers},
};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a spec says about the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vgg16Spec {
    /// factor on every hidden channel count (rounded to a multiple of 8)
    pub width: Positive,
    /// channels of fc6 and fc7; 4096·width when absent
    pub fc: Option<Count>,
    /// side of the square that is classified, pixels, at least 17; fc6 sees the whole map that five pools leave of it
    /// (7×7 at 224)
    pub crop: Count,
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

/// What torchvision and timm call the fully connected layers.
const ELSEWHERE: [(&str, [&str; 2]); 3] = [
    ("fc6", ["classifier.0", "pre_logits.fc1"]),
    ("fc7", ["classifier.3", "pre_logits.fc2"]),
    ("fc8", ["classifier.6", "head.fc"]),
];

/// Whether tensors are named as torchvision and timm name those of a VGG, which go with
/// [`Input::RgbUnit`].
pub fn is_torchvision(tensors: &BTreeMap<String, Tensor>) -> bool {
    tensors.contains_key("features.0.weight")
}

/// Weights of a VGG-16 as others store them → as this network's: torchvision's and timm's names become Caffe's, and
/// fully connected weights `(O, C·H·W)` become windows `(O, H, W, C)`. What is neither stays as it is.
///
/// # Errors
/// When a tensor cannot be laid out anew.
pub fn adopted(layers: &[Layer], tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let names = names_elsewhere(layers);
    let mut out = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = renamed(name, &names);
        let row = layers.iter().find(|row| name.strip_suffix(".weight") == Some(&row.name));
        let tensor = match row {
            Some(row) if tensor.rank() == 2 => window(row, tensor)?,
            _ => tensor,
        };
        out.insert(name, tensor);
    }
    Ok(out)
}

/// From names elsewhere to ours: `features.2` → `conv1_2`, since each ReLU and each pool counts there too.
fn names_elsewhere(layers: &[Layer]) -> BTreeMap<String, &str> {
    let fully = ELSEWHERE.iter().flat_map(|(ours, theirs)| theirs.map(|name| (name.to_string(), *ours)));
    let mut names: BTreeMap<_, _> = fully.collect();
    let mut index = 0;
    for row in layers {
        match row.kind {
            Kind::MaxPool => index += 1,
            _ if row.name.starts_with("conv") => {
                names.insert(format!("features.{index}"), &row.name);
                index += 2;
            }
            _ => {}
        }
    }
    names
}

fn renamed(name: String, names: &BTreeMap<String, &str>) -> String {
    let parts = name.rsplit_once('.').and_then(|(layer, which)| Some((*names.get(layer)?, which)));
    parts.map_or(name.clone(), |(layer, which)| format!("{layer}.{which}"))
}

/// `(O, C·K·K)` → `(O, K, K, C)` where the numbers agree; else the tensor as it is, for loading to refuse.
fn window(row: &Layer, flat: Tensor) -> Result<Tensor> {
    let Layer { kernel, inputs, .. } = *row;
    let (outputs, columns) = flat.dims2()?;
    if columns != kernel * kernel * inputs {
        return Ok(flat);
    }
    flat.reshape((outputs, inputs, kernel, kernel))?.permute((0, 2, 3, 1))?.contiguous()
}
