//! The colorizer that takes hints: Zhang, Zhu, Isola, Geng, Lin, Yu and Efros, "Real-Time User-Guided Image Colorization
//! with Learned Deep Priors" (SIGGRAPH 2017), the graph of the released `siggraph17` in PyTorch.
//!
//! Ten blocks of (3×3 convolution → ReLU) × n → batch normalization with scale and shift. Blocks 2, 3 and 4 read every
//! second cell of the block before; 5 and 6 are dilated. Blocks 8, 9 and 10 begin with a transposed convolution, to which a
//! convolution of block 3, 2 or 1 is added. One head classifies colors on a grid of 23×23 from block 8, at every fourth
//! pixel; the other puts out a and b at every pixel, whose tanh and scale are in the task
//! ([`crate::pretext::siggraph17`]).

use super::{
    build::{Backbone, Build},
    input::Input,
    kinds::{AddRow, LayerKind, PoolRow, SlidingWindow, StopGradientRow},
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

/// The network with color hints of Zhang et al. (2017), for the task of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Siggraph17 network")]
pub struct Siggraph17Spec {
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// `hints`, or `hints_centered` for weights of the authors' training code in PyTorch.
    pub input: Input,
    /// Initialization of the hidden weights; biases are zero.
    pub init: Filler,
    /// Decay of batch normalization's running statistics per step, 1 − PyTorch's momentum.
    pub norm_decay: Fraction,
    /// The head whose loss trains the layers that both share; set by the task.
    #[serde(skip)]
    pub trains: Siggraph17Head,
}

/// A head of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Siggraph17Head {
    /// [`COLOR_HEAD`]
    #[default]
    Color,
    /// [`CLASS_HEAD`]
    Classes,
}

impl Default for Siggraph17Spec {
    fn default() -> Self {
        Self {
            width: Positive::of(1.0),
            input: Input::Hints,
            init: Filler::Msra,
            norm_decay: Fraction::of(0.9),
            trains: Siggraph17Head::default(),
        }
    }
}

/// Name of the head that classifies.
pub const CLASS_HEAD: &str = "conv8_529";
/// Name of the head that puts out a and b.
pub const COLOR_HEAD: &str = "conv10_ab";

/// Channels, number of convolutions and dilation of blocks 1 … 7.
const BLOCKS: [(usize, usize, usize); 7] =
    [(64, 2, 1), (128, 2, 1), (256, 3, 1), (512, 3, 1), (512, 3, 2), (512, 3, 2), (512, 3, 1)];
/// Blocks that read every second cell.
const STRIDED: std::ops::RangeInclusive<usize> = 2..=4;
/// Blocks 8 … 10: channels, number of convolutions after the first, and the block added to it.
const UPWARD: [(usize, usize, usize, usize); 3] = [(8, 256, 2, 3), (9, 128, 1, 2), (10, 128, 1, 1)];

impl Backbone for Siggraph17Spec {
    /// One label per pixel: that of the color head.
    fn interface(&self) -> Interface {
        let grid = PixelGrid { stride: 1, align_corners: false, multiple: 8 };
        Interface { name: "siggraph17", input: self.input, grid, region: None }
    }

    /// `build.variant` and `build.batch_norm` are ignored: there is one network, and its normalization cannot be absorbed.
    /// `build.outputs` are the colors of the class head.
    fn table(&self, build: &Build) -> Vec<Layer> {
        let mut table = TableBuilder::new(build.input_channels);
        let mut ends = vec![];
        for (block, shape) in (1..).zip(BLOCKS) {
            if STRIDED.contains(&block) {
                table.pool(&format!("slice{block}"), PoolRow::max(1, 2, 0));
            }
            self.block(&mut table, block, shape);
            ends.push(table.value());
        }
        for (block, full, convs, beside) in UPWARD {
            self.upward(&mut table, (block, full, convs), (beside, ends[beside - 1]));
            if let (8, Some(outputs)) = (block, build.outputs) {
                self.class_head(&mut table, outputs);
            }
        }
        if build.outputs.is_some() {
            table.role(Role::Head);
            table.conv(COLOR_HEAD, [1, 1, 0, 1, 1], 2, fillers(Filler::Zero)).tap(COLOR_HEAD);
        }
        table.rows()
    }

    fn crop(&self) -> usize {
        176
    }

    /// No effect unless it is another input with hints.
    fn set_input(&mut self, input: Input) {
        if input.takes_hints() {
            self.input = input;
        }
    }

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

impl Siggraph17Spec {
    /// (Convolution → ReLU) × n → batch normalization, `conv1_2norm` after `conv1_2`.
    fn block(&self, table: &mut TableBuilder, block: usize, (full, convs, dilation): (usize, usize, usize)) {
        for conv in 1..=convs {
            let (name, width) = (format!("conv{block}_{conv}"), channels(full, self.width));
            table.conv(&name, [3, 1, dilation, 1, dilation], width, fillers(self.init));
            table.relu(&format!("relu{block}_{conv}"), 0.0);
            if conv == convs {
                self.norm(table, &name);
            }
            table.tap(&name);
        }
    }

    /// A block that doubles the map and adds the end of an earlier one. Block 10 ends in a leaky ReLU and is not
    /// normalized.
    fn upward(
        &self,
        table: &mut TableBuilder,
        (block, full, convs): (usize, usize, usize),
        (beside, end): (usize, usize),
    ) {
        let width = channels(full, self.width);
        let window = SlidingWindow { kernel: 4, stride: 2, pad: 1, dilation: 1 };
        let first = format!("conv{block}_1");
        let up = table.conv_transpose(&first, window, width, fillers(self.init)).value();
        let short = format!("conv{beside}_short{block}");
        table.read(end);
        self.stop(table, &format!("{short}_stop"), Siggraph17Head::Classes, block > 8);
        let short = table.conv(&short, [3, 1, 1, 1, 1], width, fillers(self.init)).value();
        table.join(&format!("add{block}"), LayerKind::Add(AddRow), vec![up, short]);
        table.relu(&format!("relu{block}_1"), 0.0).tap(&first);
        for conv in 2..=convs + 1 {
            let name = format!("conv{block}_{conv}");
            table.conv(&name, [3, 1, 1, 1, 1], width, fillers(self.init));
            table.relu(&format!("relu{block}_{conv}"), if block == 10 { 0.2 } else { 0.0 });
            if conv == convs + 1 && block < 10 {
                self.norm(table, &name);
            }
            table.tap(&name);
        }
    }

    /// The head on block 8. What comes after it reads block 8.
    fn class_head(&self, table: &mut TableBuilder, outputs: usize) {
        let end = table.value();
        self.stop(table, "conv8_529_stop", Siggraph17Head::Color, true);
        table.role(Role::Head);
        table.conv(CLASS_HEAD, [1, 1, 0, 1, 1], outputs, fillers(Filler::Zero)).tap(CLASS_HEAD);
        table.role(Role::Trunk);
        table.read(end);
        self.stop(table, "conv9_1_stop", Siggraph17Head::Classes, true);
    }

    /// Keeps a loss from the shared layers while `head` trains them.
    fn stop(&self, table: &mut TableBuilder, name: &str, head: Siggraph17Head, here: bool) {
        if here && self.trains == head {
            table.push(name, LayerKind::StopGradient(StopGradientRow));
        }
    }

    fn norm(&self, table: &mut TableBuilder, after: &str) {
        let momentum = Momentum::PyTorch(1.0 - self.norm_decay.get());
        table.batch_norm(&format!("{after}norm"), BatchNormOptions { momentum, ..BatchNormOptions::PYTORCH });
    }
}

fn fillers(weight: Filler) -> Fillers {
    Fillers { weight, bias: Some(Filler::Zero) }
}
