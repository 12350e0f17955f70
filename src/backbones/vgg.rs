//! The paper's colorizer: the VGG-styled network of its appendix table and of the released `colorization_train_val_v2`,
//! eight blocks of 3×3 convolutions, the first three ending in stride 2, the fifth and sixth dilated, the eighth beginning
//! with a transposed convolution that doubles the map. It is fully convolutional: logits lie at every fourth pixel.
//!
//! A block is (convolution → ReLU) × n → batch normalisation, which here follows the last ReLU and has no scale or
//! shift; block 8 has none. There are no pools. The losses, the decoding and the scaling of the input belong to the
//! tasks.

use super::{
    Build,
    network::PixelGrid,
    table::{Layer, Norm, Table, channels},
};
use crate::{
    bounded::{Fraction, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use serde::{Deserialize, Serialize};

/// What a spec says about the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VggSpec {
    /// factor on every hidden channel count (rounded to a multiple of 8)
    pub width: Positive,
    /// 256 channels in conv7 and 128 in conv8, as the paper's figure draws them, instead of the code's 512 and 256
    pub narrow: bool,
    /// heads on conv5, conv6 and conv7 beside the last one, as in the first release (its losses weigh 1/8, 1/4, 1/2, 1)
    pub deep_supervision: bool,
    /// batch normalisation with scale and shift, as in the released PyTorch weights
    pub affine: bool,
    /// how the weights start (the paper fills them from k-means); biases and the heads start at zero
    pub init: Filler,
    /// what the running statistics of batch normalisation keep at each step (Caffe's moving average fraction); shorter
    /// runs want less than 0.999
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

impl VggSpec {
    /// Labels at every 4th pixel, one for each logit.
    pub fn grid(&self) -> PixelGrid {
        PixelGrid { stride: 4, align_corners: false, multiple: 8 }
    }
}

/// Channels, convolutions, stride of the last one and dilation of blocks 1 … 7.
const BLOCKS: [(usize, usize, usize, usize); 7] = [
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
];

/// Branches of deep supervision, with the weights of their losses; the head's is 1.
pub const BRANCHES: [(&str, f64); 3] = [("conv5_313", 0.125), ("conv6_313", 0.25), ("conv7_313", 0.5)];

/// The rows of the network. The head is called `conv8_313` as in the released net, whatever the number of bins, and
/// `conv8_ab` when its two outputs are a colour. `build.graph` and `build.batch_norm` change nothing: there is one
/// graph, and its normalisation cannot be absorbed.
pub fn layer_table(spec: &VggSpec, build: &Build) -> Vec<Layer> {
    let fillers = |weight| Fillers { weight, bias: Some(Filler::Constant { value: 0.0 }) };
    let (hidden, head) = (fillers(spec.init), fillers(Filler::Zero));
    let mut table = Table::new(build.input_channels);
    for (block, &(full, convs, stride, dilation)) in (1..).zip(&BLOCKS) {
        let full = if spec.narrow && block == 7 { full / 2 } else { full };
        for conv in 1..=convs {
            let stride = if conv == convs { stride } else { 1 };
            let window = [3, stride, dilation, 1, dilation];
            let row = table.conv(&format!("conv{block}_{conv}"), window, channels(full, spec.width), hidden);
            if conv == convs {
                row.norm = Some(norm(row, spec));
            }
        }
        let branch = BRANCHES.iter().find(|(name, _)| name.starts_with(&format!("conv{block}_")));
        if let (true, Some((name, _)), Some(outputs)) = (spec.deep_supervision, branch, build.outputs) {
            table.branch(name, outputs, head);
        }
    }
    let full = channels(if spec.narrow { 128 } else { 256 }, spec.width);
    table.conv_transpose("conv8_1", [4, 2, 1, 1, 1], full, hidden);
    table.conv("conv8_2", [3, 1, 1, 1, 1], full, hidden);
    table.conv("conv8_3", [3, 1, 1, 1, 1], full, hidden);
    if let Some(outputs) = build.outputs {
        let name = if outputs == 2 { "conv8_ab" } else { "conv8_313" };
        table.conv(name, [1, 1, 0, 1, 1], outputs, head).relu = false;
    }
    table.rows
}

/// `conv1_2norm` of `conv1_2`.
fn norm(row: &Layer, spec: &VggSpec) -> Norm {
    let options = BatchNormOptions::caffe(spec.norm_decay.get());
    let options = BatchNormOptions { affine: spec.affine, ..options };
    Norm { name: format!("{}norm", row.name), after_relu: true, options }
}
