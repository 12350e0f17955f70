//! The paper's colorizer: the VGG-style network of its appendix table and of the released `colorization_train_val_v2`.
//! It has eight blocks of 3×3 convolutions: the first three end in stride 2, the fifth and sixth are dilated, the
//! eighth begins with a transposed convolution that doubles the resolution. It is fully convolutional, with logits at
//! every fourth pixel.
//!
//! A block is (convolution → ReLU) × n → batch normalization, which follows the last ReLU and has no scale or shift;
//! block 8 has none. There are no pools. The losses, the decoding and the scaling of the input are in the tasks.

use super::{
    build::{Backbone, Build},
    input::Input,
    kinds::SlidingWindow,
    network::{Interface, PixelGrid},
    table::{Layer, Role, TableBuilder, channels},
};
use crate::{
    bounded::{Fraction, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The VGG-style colorizer of Zhang, Isola and Efros (2016), fully convolutional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "VGG colorizer")]
pub struct VggSpec {
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// 256 channels in conv7 and 128 in conv8, as in the paper's figure, instead of 512 and 256 as in its code.
    pub narrow: bool,
    /// Additional heads on conv5, conv6 and conv7, as in the first release (loss weights 1/8, 1/4, 1/2, and 1 of the
    /// last head).
    pub deep_supervision: bool,
    /// Batch normalization with scale and shift, as in the released PyTorch weights.
    pub affine: bool,
    /// Initialization of the weights (the paper uses k-means); biases and heads are zero.
    pub init: Filler,
    /// Decay of batch normalization's running statistics per step (Caffe's moving average fraction); shorter runs need
    /// less than 0.999.
    pub norm_decay: Fraction,
}

impl Default for VggSpec {
    fn default() -> Self {
        Self {
            width: Positive::of(1.0),
            narrow: false,
            deep_supervision: false,
            affine: false,
            init: Filler::Msra,
            norm_decay: Fraction::of(0.999),
        }
    }
}

/// Channels, number of convolutions, stride of the last one and dilation of blocks 1 … 7.
const BLOCKS: [(usize, usize, usize, usize); 7] = [
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
];

/// Branches of deep supervision with their loss weights; the last head's is 1.
pub const BRANCHES: [(&str, f64); 3] = [("conv5_313", 0.125), ("conv6_313", 0.25), ("conv7_313", 0.5)];

impl Backbone for VggSpec {
    /// Labels at every 4th pixel, one per logit.
    fn interface(&self) -> Interface {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        Interface { name: "vgg", input: Input::Lightness, grid, region: None }
    }

    /// The head is named `conv8_313` as in the released network, for any number of bins, and `conv8_ab` if its two
    /// outputs are a color. `build.variant` and `build.batch_norm` are ignored: there is one network, and its
    /// normalization cannot be absorbed.
    fn table(&self, build: &Build) -> Vec<Layer> {
        let head = if build.outputs == Some(2) { "conv8_ab" } else { "conv8_313" };
        let mut table = TableBuilder::new(build.input_channels);
        for (block, shape) in (1..).zip(&BLOCKS) {
            self.block(&mut table, block, shape);
            let branch = BRANCHES.iter().find(|(name, _)| name.starts_with(&format!("conv{block}_")));
            if let (true, Some((name, _)), Some(outputs)) = (self.deep_supervision, branch, build.outputs) {
                let trunk = table.value();
                classifier(&mut table, name, outputs);
                table.role(Role::Trunk);
                table.read(trunk);
            }
        }
        self.last_block(&mut table);
        if let Some(outputs) = build.outputs {
            classifier(&mut table, head, outputs);
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

impl VggSpec {
    /// (Convolution → ReLU) × n → batch normalization, `conv1_2norm` after `conv1_2`.
    fn block(
        &self,
        table: &mut TableBuilder,
        block: usize,
        &(full, convs, stride, dilation): &(usize, usize, usize, usize),
    ) {
        let full = if self.narrow && block == 7 { full / 2 } else { full };
        let options = BatchNormOptions::caffe(self.norm_decay.get());
        let options = BatchNormOptions { affine: self.affine, ..options };
        for conv in 1..=convs {
            let stride = if conv == convs { stride } else { 1 };
            let name = format!("conv{block}_{conv}");
            let shape = [3, stride, dilation, 1, dilation];
            table.conv(&name, shape, channels(full, self.width), fillers(self.init));
            table.relu(&format!("relu{block}_{conv}"), 0.0);
            if conv == convs {
                table.batch_norm(&format!("{name}norm"), options);
            }
            table.tap(&name);
        }
    }

    /// Block 8, which upsamples the map and is not normalized.
    fn last_block(&self, table: &mut TableBuilder) {
        let full = channels(if self.narrow { 128 } else { 256 }, self.width);
        let window = SlidingWindow { kernel: 4, stride: 2, pad: 1, dilation: 1 };
        table.conv_transpose("conv8_1", window, full, fillers(self.init)).relu("relu8_1", 0.0).tap("conv8_1");
        for conv in ["8_2", "8_3"] {
            let name = format!("conv{conv}");
            table.conv(&name, [3, 1, 1, 1, 1], full, fillers(self.init));
            table.relu(&format!("relu{conv}"), 0.0).tap(&name);
        }
    }
}

fn fillers(weight: Filler) -> Fillers {
    Fillers { weight, bias: Some(Filler::Constant { value: 0.0 }) }
}

/// A head: a 1×1 convolution initialized to zero.
fn classifier(table: &mut TableBuilder, name: &str, outputs: usize) {
    table.role(Role::Head);
    table.conv(name, [1, 1, 0, 1, 1], outputs, fillers(Filler::Zero)).tap(name);
}
