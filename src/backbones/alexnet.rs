//! AlexNet as Zhang, Isola and Efros train it to colorize (pretext graph), and as a feature extractor (transfer graph,
//! with variants for regions and for whole pictures). The graphs share their weights; each is a layer table.
//!
//! A layer is convolution → [batch normalization] → ReLU → [dropout]; pools are separate layers. The conventions of
//! other released AlexNets are in [`super::alexnet_conventions`]; the defaults are no local response normalization,
//! two groups and one input channel. The losses, the resize of the logits to the label size and the scaling of the
//! input are in the tasks.

use super::{
    alexnet_conventions::{Given, ResponseNorm, TWO_TOWERS, TestNorm},
    build::{Backbone, Build, Variant},
    input::Input,
    kinds::PoolRow,
    network::{Interface, PixelGrid},
    table::{KernelShape, Layer, Role, TableBuilder, channels, sizes},
};
use crate::{
    bounded::{Channels, Count, Fraction, Pixels, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Taps of the full network without response normalization, in order.
pub const TAPS: [&str; 11] =
    ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "fc8"];
/// Its convolutions, which probes read unless told.
pub const CONVOLUTIONS: [&str; 5] = ["conv1", "conv2", "conv3", "conv4", "conv5"];

/// The first and the sixth layer of an AlexNet, for different sizes of pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "AlexNet stem")]
pub enum Stem {
    /// conv1 11×11 stride 4, fc6 6×6: photographs.
    #[default]
    Standard,
    /// conv1 5×5 stride 1 pad 2, fc6 3×3 (dilation 2, pad 2): 32-pixel pictures.
    Small,
}

/// An AlexNet (Krizhevsky, Sutskever and Hinton 2012). The defaults are the network of "Colorful Image Colorization"
/// (2016).
///
/// conv1 … conv5 are initialized by `init` with biases 0 (the paper uses k-means). fc6 and fc7 are initialized as in
/// the paper, Gaussian 0.005 with biases 1, where batch normalization makes the scale irrelevant. Without it, such a
/// small deviation would make the activations of narrow layers vanish, so MSRA with biases 0 is used. fc8 is zero, so
/// that the initial loss is exactly the logarithm of the number of outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Given")]
#[schemars(title = "AlexNet")]
pub struct AlexNetSpec {
    pub stem: Stem,
    /// Factor on all hidden channel counts (rounded to a multiple of 8, so that they divide into two groups).
    pub width: Positive,
    /// Channels of fc6 and fc7; default: 4096·width.
    pub fc: Option<Channels>,
    /// Initialization of the weights of conv1 … conv5.
    pub init: Filler,
    /// Decay of batch normalization's running statistics per step (Caffe's moving average fraction); shorter runs need
    /// less than 0.999.
    pub norm_decay: Fraction,
    /// Input format of the weights.
    #[serde(skip_serializing_if = "is_default")]
    pub input: Input,
    /// Local response normalization.
    #[serde(skip_serializing_if = "is_default")]
    pub lrn: ResponseNorm,
    /// Stride of the standard stem's conv1; default: 4.
    #[serde(skip_serializing_if = "is_four")]
    pub conv1_stride: Pixels,
    /// Padding of the standard stem's conv1 on the transfer graph.
    #[serde(skip_serializing_if = "is_default")]
    pub conv1_pad: usize,
    /// Groups of conv2, conv4 and conv5.
    #[serde(skip_serializing_if = "is_two")]
    pub groups: Channels,
    /// Channels of conv1 … conv5 at width 1.
    #[serde(skip_serializing_if = "is_two_towers")]
    pub channels: [Channels; 5],
    /// Negative slope of the ReLUs.
    #[serde(skip_serializing_if = "is_none_leaking")]
    pub leak: Fraction,
    /// Treatment of batch normalization in the transfer graph.
    #[serde(skip_serializing_if = "is_default")]
    pub batch_norm: TestNorm,
}

impl Default for AlexNetSpec {
    fn default() -> Self {
        Self {
            stem: Stem::Standard,
            width: Positive::of(1.0),
            fc: None,
            init: Filler::Msra,
            norm_decay: Fraction::of(0.999),
            input: Input::Lightness,
            lrn: ResponseNorm::None,
            conv1_stride: Count::of(4),
            conv1_pad: 0,
            groups: Count::of(2),
            channels: TWO_TOWERS.map(Count::of),
            leak: Fraction::of(0.0),
            batch_norm: TestNorm::Absorbed,
        }
    }
}

/// Fields added after the first release are serialized only if they differ from the default, so that the hashes of
/// older specs do not change.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn is_four(stride: &Pixels) -> bool {
    stride.get() == 4
}
fn is_two(groups: &Channels) -> bool {
    groups.get() == 2
}
fn is_two_towers(channels: &[Channels; 5]) -> bool {
    channels.map(Count::get) == TWO_TOWERS
}
fn is_none_leaking(leak: &Fraction) -> bool {
    leak.get() == 0.0
}

/// Windows that depend on the variant and the stem.
struct AlexNetWindows {
    conv1: KernelShape,
    /// kernel, stride, pad
    pool: [usize; 3],
    /// absent if RoI pooling replaces it
    pool5: Option<[usize; 3]>,
    fc6: KernelShape,
}

impl AlexNetWindows {
    fn of(spec: &AlexNetSpec, variant: Variant) -> Self {
        let (pad, fc6) = match (spec.stem, variant) {
            (Stem::Standard, Variant::Pretext) => (5, [6, 1, 5, 1, 2]),
            (Stem::Standard, Variant::Transfer) => (spec.conv1_pad, [6, 1, 0, 1, 1]),
            (Stem::Standard, Variant::Regions) => (5, [6, 1, 0, 1, 1]),
            (Stem::Standard, Variant::Dense) => (100, [6, 1, 0, 1, 1]),
            (Stem::Small, Variant::Pretext) => (2, [3, 1, 2, 1, 2]),
            (Stem::Small, Variant::Transfer | Variant::Regions) => (2, [3, 1, 0, 1, 1]),
            (Stem::Small, Variant::Dense) => (28, [3, 1, 0, 1, 1]),
        };
        // No release uses the small stem, so its stride is fixed.
        let conv1 = match spec.stem {
            Stem::Standard => [11, spec.conv1_stride.get(), pad, 1, 1],
            Stem::Small => [5, 1, pad, 1, 1],
        };
        let (pool, pool5) = match variant {
            Variant::Pretext => ([3, 2, 1], Some([3, 1, 1])),
            Variant::Transfer | Variant::Dense => ([3, 2, 0], Some([3, 2, 0])),
            Variant::Regions => ([3, 2, 1], None),
        };
        Self { conv1, pool, pool5, fc6 }
    }
}

impl Backbone for AlexNetSpec {
    fn interface(&self) -> Interface {
        // Labels at every 8th pixel (small stem: 2nd; at stride 2 of conv1: 4th). Logits have half that resolution: an
        // align-corners resize from n to 2n − 1 aligns them with the labels.
        let (stride, region) = match self.stem {
            Stem::Standard => (2 * self.conv1_stride.get(), 6),
            Stem::Small => (2, 3),
        };
        let grid = PixelGrid { stride, align_corners: true, multiple: 1 };
        Interface { name: "alexnet", input: self.input, grid, region: Some(region) }
    }

    fn table(&self, build: &Build) -> Vec<Layer> {
        let windows = AlexNetWindows::of(self, build.variant);
        let mut writer = AlexNetWriter { spec: self, build, table: TableBuilder::new(build.input_channels) };
        writer.trunk(&windows);
        writer.reader(&windows);
        writer.head();
        writer.table.rows()
    }

    /// 227 pixels, 224 with conv1 padded, or the most below at which the reader's windows leave one vector.
    fn crop(&self) -> usize {
        let table = self.table(&Build {
            variant: Variant::Transfer,
            batch_norm: false,
            input_channels: self.input.channels(),
            outputs: None,
        });
        let one =
            |side: &usize| sizes(&table, 0, (*side, *side)).is_ok_and(|s| s[table.len()] == Some((1, 1)));
        let usual = match self.stem {
            Stem::Standard if self.conv1_pad == 0 => 227,
            Stem::Standard => 224,
            Stem::Small => 29,
        };
        (1..=usual).rev().find(one).unwrap_or(usual)
    }

    fn set_input(&mut self, input: Input) {
        self.input = input;
    }

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

/// Writes the table layer by layer.
struct AlexNetWriter<'a> {
    spec: &'a AlexNetSpec,
    build: &'a Build,
    table: TableBuilder,
}

impl AlexNetWriter<'_> {
    fn trunk(&mut self, windows: &AlexNetWindows) {
        let [c1, c2, c3, c4, c5] = self.spec.channels.map(|full| channels(full.get(), self.spec.width));
        let groups = self.spec.groups.get();
        self.conv(1, windows.conv1, c1);
        self.pool_and_norm(1, windows.pool);
        self.conv(2, [5, 1, 2, groups, 1], c2);
        self.pool_and_norm(2, windows.pool);
        self.conv(3, [3, 1, 1, 1, 1], c3);
        self.conv(4, [3, 1, 1, groups, 1], c4);
        self.conv(5, [3, 1, 1, groups, 1], c5);
        if let Some([kernel, stride, pad]) = windows.pool5 {
            self.table.pool("pool5", PoolRow::max(kernel, stride, pad)).tap("pool5");
        }
    }

    fn reader(&mut self, windows: &AlexNetWindows) {
        let width = self.spec.fc.map_or_else(|| channels(4096, self.spec.width), Count::get);
        self.table.role(Role::Reader);
        for (number, shape) in [(6, windows.fc6), (7, [1, 1, 0, 1, 1])] {
            let name = format!("fc{number}");
            self.table.fully_connected(&name, shape, width, fc_fillers(self.build));
            self.norm_and_relu(number);
            if self.build.variant != Variant::Pretext {
                self.table.dropout(&format!("drop{number}"), &name);
            }
            self.table.tap(&name);
        }
    }

    fn head(&mut self) {
        let Some(outputs) = self.build.outputs else { return };
        let zero = Fillers { weight: Filler::Zero, bias: Some(Filler::Constant { value: 0.0 }) };
        self.table.role(Role::Head);
        self.table.fully_connected("fc8", [1, 1, 0, 1, 1], outputs, zero).tap("fc8");
    }

    fn conv(&mut self, number: usize, shape: KernelShape, outputs: usize) {
        let fillers = Fillers { weight: self.spec.init, bias: Some(Filler::Constant { value: 0.0 }) };
        let name = format!("conv{number}");
        self.table.conv(&name, shape, outputs, fillers);
        self.norm_and_relu(number);
        self.table.tap(&name);
    }

    /// `bn1` and `relu1` after `conv1`; the normalization has scale and shift only if the spec sets them.
    fn norm_and_relu(&mut self, number: usize) {
        if self.build.batch_norm || self.spec.batch_norm != TestNorm::Absorbed {
            let affine = self.spec.batch_norm == TestNorm::Affine;
            let options = BatchNormOptions { affine, ..BatchNormOptions::caffe(self.spec.norm_decay.get()) };
            self.table.batch_norm(&format!("bn{number}"), options);
        }
        self.table.relu(&format!("relu{number}"), self.spec.leak.get());
    }

    /// `pool1` and, if the spec has it, `norm1` before or after the pool.
    fn pool_and_norm(&mut self, number: usize, [kernel, stride, pad]: [usize; 3]) {
        let (pool, norm) = (format!("pool{number}"), format!("norm{number}"));
        if self.spec.lrn == ResponseNorm::NormPool {
            self.table.response_norm(&norm).tap(&norm);
        }
        self.table.pool(&pool, PoolRow::max(kernel, stride, pad)).tap(&pool).skip();
        if self.spec.lrn == ResponseNorm::PoolNorm {
            self.table.response_norm(&norm).tap(&norm);
        }
    }
}

/// See [`AlexNetSpec`].
fn fc_fillers(build: &Build) -> Fillers {
    let (weight, value) = match build.batch_norm {
        true => (Filler::Gaussian { std: Positive::of(0.005) }, 1.0),
        false => (Filler::Msra, 0.0),
    };
    Fillers { weight, bias: Some(Filler::Constant { value }) }
}
