//! VGG-16, configuration D of Simonyan and Zisserman, "Very Deep Convolutional Networks" (2015): the off-the-shelf
//! classifier that tests whether a recolored picture is still recognized.
//!
//! Five blocks of 3×3 convolutions, each ending in a 2×2 pool with stride 2, then three fully connected layers, here
//! convolutions over the whole map. Pools round up as in Caffe; torchvision's round down. For crops divisible by 32,
//! such as 224, both give the same size. The input format depends on the origin of the weights: see [`Input`].
//! Third-party names and shapes of the same weights are in [`super::exchange`].

use super::{
    build::{Backbone, Build, Variant},
    input::Input,
    kinds::PoolRow,
    network::{Interface, PixelGrid},
    table::{Layer, Role, TableBuilder, channels},
};
use crate::{
    bounded::{Channels, Count, Pixels, Positive},
    nn::{init::Filler, layers::Fillers},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// VGG-16 (Simonyan and Zisserman 2015), a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "VGG-16")]
pub struct Vgg16Spec {
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// Channels of fc6 and fc7; default: 4096·width.
    pub fc: Option<Channels>,
    /// Side of the classified square in pixels, at least 17; fc6 covers the whole map after five pools (7×7 at 224).
    pub crop: Pixels,
    /// Input format of the weights.
    pub input: Input,
    /// Initialization of all weights but the last layer's; the last layer and all biases are zero.
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

/// Channels and number of convolutions of the five blocks.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

impl Backbone for Vgg16Spec {
    /// One label per crop: the network does not classify single pixels.
    fn interface(&self) -> Interface {
        let crop = self.crop.get();
        let grid = PixelGrid { stride: crop, align_corners: false, multiple: crop };
        Interface { name: "vgg16", input: self.input, grid, region: Some(self.map()) }
    }

    /// `build.batch_norm` is ignored: there is no normalization. Dropout of 0.5 on fc6 and fc7 in training.
    fn table(&self, build: &Build) -> Vec<Layer> {
        let mut table = TableBuilder::new(build.input_channels);
        self.trunk(&mut table, build.variant);
        let width = self.fc.map_or_else(|| channels(4096, self.width), Count::get);
        table.role(Role::Reader);
        for (number, kernel) in [(6, self.map()), (7, 1)] {
            let name = format!("fc{number}");
            table.fully_connected(&name, [kernel, 1, 0, 1, 1], width, fillers(self.init));
            table.relu(&format!("relu{number}"), 0.0).dropout(&format!("drop{number}"), &name).tap(&name);
        }
        if let Some(outputs) = build.outputs {
            table.role(Role::Head);
            table.fully_connected("fc8", [1, 1, 0, 1, 1], outputs, fillers(Filler::Zero)).tap("fc8");
        }
        table.rows()
    }

    fn crop(&self) -> usize {
        self.crop.get()
    }

    fn set_input(&mut self, input: Input) {
        self.input = input;
    }

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

impl Vgg16Spec {
    /// Side of the map after five pools of a crop, in cells.
    fn map(&self) -> usize {
        BLOCKS.iter().fold(self.crop.get(), |map, _| map.div_ceil(2))
    }

    fn trunk(&self, table: &mut TableBuilder, variant: Variant) {
        for (block, &(full, convs)) in (1..).zip(&BLOCKS) {
            for conv in 1..=convs {
                let first = (block, conv) == (1, 1) && variant == Variant::Dense;
                let (name, pad) = (format!("conv{block}_{conv}"), if first { 100 } else { 1 });
                let full = channels(full, self.width);
                table.conv(&name, [3, 1, pad, 1, 1], full, fillers(self.init));
                table.relu(&format!("relu{block}_{conv}"), 0.0).tap(&name);
            }
            if block < BLOCKS.len() || variant != Variant::Regions {
                let name = format!("pool{block}");
                table.pool(&name, PoolRow::max(2, 2, 0)).tap(&name).skip();
            }
        }
    }
}

fn fillers(weight: Filler) -> Fillers {
    Fillers { weight, bias: Some(Filler::Constant { value: 0.0 }) }
}
