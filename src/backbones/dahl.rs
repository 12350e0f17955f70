//! The residual encoder of Dahl, "Automatic Colorization" (2016): a VGG-16 up to conv4_3 on the gray picture, whose layers
//! are added, from coarse to fine, to a small decoder that puts out U and V of YUV at every pixel. Details are those of a
//! public re-implementation, which normalizes as TensorFlow does (ε 1e-3).
//!
//! The layers of VGG-16 have its names, so that its weights can be loaded: all others count as the head. The sigmoid is in
//! the task ([`crate::pretext::dahl`]).

use super::{
    build::{Backbone, Build},
    input::Input,
    kinds::{AddRow, LayerKind, PoolRow, ResizeRow},
    network::{Interface, PixelGrid},
    table::{Layer, Role, TableBuilder, channels},
};
use crate::{
    bounded::{Fraction, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
    ops::batch_norm::Momentum,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The residual encoder of Dahl (2016) on VGG-16, for the task of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Dahl network")]
pub struct DahlSpec {
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// Initialization of the layers of VGG-16; those of the decoder are Gaussian with a deviation of 0.01.
    pub init: Filler,
    /// Decay of batch normalization's running statistics per step.
    pub norm_decay: Fraction,
}

impl Default for DahlSpec {
    fn default() -> Self {
        Self { width: Positive::of(1.0), init: Filler::Msra, norm_decay: Fraction::of(0.99) }
    }
}

/// Channels and number of convolutions of the blocks of VGG-16 that are used.
const BLOCKS: [(usize, usize); 4] = [(64, 2), (128, 2), (256, 3), (512, 3)];
/// The decoder's convolutions onto the ends of blocks 3, 2 and 1: name, channels.
const DECODER: [(&str, usize); 3] = [("decoder3", 128), ("decoder2", 64), ("decoder1", 3)];
/// Channels of the input, which the last layers keep.
const COLORS: usize = 3;

impl Backbone for DahlSpec {
    fn interface(&self) -> Interface {
        let grid = PixelGrid { stride: 1, align_corners: false, multiple: 8 };
        Interface { name: "dahl", input: Input::LumaBgr, grid, region: None }
    }

    /// `build.variant` is ignored: there is one network. Without outputs it is the part of VGG-16.
    fn table(&self, build: &Build) -> Vec<Layer> {
        let mut table = TableBuilder::new(build.input_channels);
        let ends = self.encoder(&mut table);
        if let Some(outputs) = build.outputs {
            table.role(Role::Head);
            self.decoder(&mut table, ends);
            self.conv(&mut table, "uv_conv", [3, 1, 1, 1, 1], outputs);
            self.norm(&mut table, "uv");
            table.tap("uv");
        }
        table.rows()
    }

    fn crop(&self) -> usize {
        224
    }

    /// No effect: the input format is fixed.
    fn set_input(&mut self, _input: Input) {}

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

impl DahlSpec {
    /// Adds the layers of VGG-16; the values at the ends of its blocks.
    fn encoder(&self, table: &mut TableBuilder) -> [usize; 4] {
        let fillers = Fillers { weight: self.init, bias: Some(Filler::Zero) };
        let mut ends = [0; 4];
        for (block, (full, convs)) in (1..).zip(BLOCKS) {
            for conv in 1..=convs {
                let name = format!("conv{block}_{conv}");
                table.conv(&name, [3, 1, 1, 1, 1], channels(full, self.width), fillers);
                table.relu(&format!("relu{block}_{conv}"), 0.0).tap(&name);
            }
            ends[block - 1] = table.value();
            if block < BLOCKS.len() {
                table.pool(&format!("pool{block}"), PoolRow::max(2, 2, 0)).tap(&format!("pool{block}"));
            }
        }
        ends
    }

    /// From the end of block 4 to the input: each step doubles the map and adds the normalized map of its size.
    fn decoder(&self, table: &mut TableBuilder, [first, second, third, fourth]: [usize; 4]) {
        table.read(fourth);
        self.norm(table, "bn4");
        self.conv(table, "decoder4", [1, 1, 0, 1, 1], channels(256, self.width));
        table.relu("decoder4_relu", 0.0);
        for ((name, full), (level, end)) in DECODER.into_iter().zip([(3, third), (2, second), (1, first)]) {
            let row = ResizeRow { factor: 2, align_corners: false };
            table.push(&format!("up{level}"), LayerKind::Resize(row));
            let outputs = if full == COLORS { COLORS } else { channels(full, self.width) };
            self.onto(table, (name, outputs), (level, end));
        }
        self.onto(table, ("decoder0", COLORS), (0, 0));
    }

    /// Adds the normalized value `end` → convolution → batch normalization → ReLU.
    fn onto(&self, table: &mut TableBuilder, (name, outputs): (&str, usize), (level, end): (usize, usize)) {
        let own = table.value();
        table.read(end);
        self.norm(table, &format!("bn{level}"));
        let beside = table.value();
        table.join(&format!("add{level}"), LayerKind::Add(AddRow), vec![beside, own]);
        self.conv(table, name, [3, 1, 1, 1, 1], outputs);
        self.norm(table, &format!("{name}_bn"));
        table.relu(&format!("{name}_relu"), 0.0);
    }

    /// A convolution of the decoder, which has no bias.
    fn conv(&self, table: &mut TableBuilder, name: &str, shape: [usize; 5], outputs: usize) {
        let weight = Filler::Gaussian { std: Positive::of(0.01) };
        table.conv(name, shape, outputs, Fillers { weight, bias: None });
    }

    fn norm(&self, table: &mut TableBuilder, name: &str) {
        let momentum = Momentum::PyTorch(1.0 - self.norm_decay.get());
        table.batch_norm(name, BatchNormOptions { momentum, eps: 1e-3, affine: true });
    }
}
