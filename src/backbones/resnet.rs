//! Residual networks of He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016), with the
//! parameter names and the stride of torchvision (in the 3×3 convolution of a bottleneck).
//!
//! Taps: `conv1`, `maxpool`, every block (`layer2.0`; the last of a stage has the stage's name, `layer2`), `avgpool`,
//! `fc`. Detectors pool regions after layer3 and apply layer4 to them; fully convolutional networks have skip
//! connections from layer3 and layer2. For per-pixel predictions the strides of layer3 and layer4 become dilation.

use super::{
    build::{Backbone, Build, Variant},
    input::Input,
    kinds::{AddRow, GlobalPoolRow, LayerKind, PoolRow},
    network::{Interface, PixelGrid},
    table::{Layer, Role, TableBuilder, channels},
};
use crate::{
    bounded::Positive,
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of layers with weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "usize", into = "usize")]
#[schemars(inline, extend("enum" = Depth::ALL))]
pub enum Depth {
    #[default]
    D18,
    D34,
    D50,
    D101,
    D152,
}

impl Depth {
    /// All depths.
    pub const ALL: [Self; 5] = [Self::D18, Self::D34, Self::D50, Self::D101, Self::D152];

    /// Number of blocks of each stage.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::D18 => [2, 2, 2, 2],
            Self::D34 | Self::D50 => [3, 4, 6, 3],
            Self::D101 => [3, 4, 23, 3],
            Self::D152 => [3, 8, 36, 3],
        }
    }

    /// Whether a block is 1×1, 3×3, 1×1 with four times the output channels, instead of two 3×3 convolutions.
    pub fn bottleneck(self) -> bool {
        !matches!(self, Self::D18 | Self::D34)
    }
}

impl From<Depth> for usize {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::D18 => 18,
            Depth::D34 => 34,
            Depth::D50 => 50,
            Depth::D101 => 101,
            Depth::D152 => 152,
        }
    }
}

impl TryFrom<usize> for Depth {
    type Error = String;

    fn try_from(depth: usize) -> Result<Self, String> {
        let known = Self::ALL.map(usize::from);
        let found = Self::ALL.into_iter().find(|known| usize::from(*known) == depth);
        found.ok_or_else(|| {
            format!("there is no residual network of {depth} layers; the depths are {known:?}")
        })
    }
}

/// First layers of a ResNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "ResNet stem")]
pub enum ResNetStem {
    /// 7×7 stride 2, then a 3×3 pool stride 2: photographs.
    #[default]
    Standard,
    /// 3×3 stride 1 and no pool: 32-pixel pictures.
    Small,
}

/// A residual network (He et al. 2016), as in torchvision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "ResNet")]
pub struct ResNetSpec {
    /// Layers with weights: 18, 34, 50, 101 or 152.
    pub depth: Depth,
    /// First layers.
    pub stem: ResNetStem,
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// Input format of the weights; `rgb_unit` for torchvision's.
    pub input: Input,
    /// Initialization of the hidden weights; the head is zero.
    pub init: Filler,
    /// Keep batch normalization in the transfer variants; otherwise it is absorbed into the convolutions.
    pub keep_batch_norm: bool,
}

impl Default for ResNetSpec {
    fn default() -> Self {
        Self {
            depth: Depth::D18,
            stem: ResNetStem::Standard,
            width: Positive::of(1.0),
            input: Input::Lightness,
            init: Filler::Msra,
            keep_batch_norm: false,
        }
    }
}

/// Channels of the 3×3 convolutions of each stage.
const STAGES: [usize; 4] = [64, 128, 256, 512];

impl Backbone for ResNetSpec {
    /// All windows are centered on multiples of the stride, so each label coincides with its logit.
    fn interface(&self) -> Interface {
        let (stride, region) = match self.stem {
            ResNetStem::Standard => (8, 14),
            ResNetStem::Small => (2, 8),
        };
        let grid = PixelGrid { stride, align_corners: true, multiple: 1 };
        Interface { name: "resnet", input: self.input, grid, region: Some(region) }
    }

    fn table(&self, build: &Build) -> Vec<Layer> {
        let with_norm = build.batch_norm || self.keep_batch_norm;
        let mut writer =
            ResNetWriter { spec: self, with_norm, table: TableBuilder::new(build.input_channels) };
        writer.stem();
        let mut dilation = 1;
        for (stage, blocks) in (1..).zip(self.depth.blocks()) {
            if stage == STAGES.len() {
                writer.table.role(Role::Reader);
            }
            let strided = stage > 1;
            let dilated = strided && stage > 2 && build.variant == Variant::Pretext;
            let before = dilation;
            dilation *= if dilated { 2 } else { 1 };
            let stride = if strided && !dilated { 2 } else { 1 };
            for block in 0..blocks {
                let first = block == 0;
                let (stride, dilation) = if first { (stride, before) } else { (1, dilation) };
                // All variants have the same parameters: a block keeps its projection if its stride becomes dilation.
                writer.block((stage, block), stride, dilation, first && strided);
                let stage_name = format!("layer{stage}");
                let last = block + 1 == blocks;
                let tap = if last { stage_name } else { format!("{stage_name}.{block}") };
                writer.table.tap(&tap);
            }
            writer.table.skip();
        }
        writer.head(build);
        writer.table.rows()
    }

    fn crop(&self) -> usize {
        match self.stem {
            ResNetStem::Standard => 224,
            ResNetStem::Small => 32,
        }
    }

    fn set_input(&mut self, input: Input) {
        self.input = input;
    }

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

/// Writes the table.
struct ResNetWriter<'a> {
    spec: &'a ResNetSpec,
    with_norm: bool,
    table: TableBuilder,
}

impl ResNetWriter<'_> {
    fn stem(&mut self) {
        let full = channels(STAGES[0], self.spec.width);
        match self.spec.stem {
            ResNetStem::Standard => {
                self.conv("conv1", "bn1", [7, 2, 3, 1, 1], full);
                self.table.relu("relu", 0.0).tap("conv1");
                self.table.pool("maxpool", PoolRow::max(3, 2, 1).floor()).tap("maxpool");
            }
            ResNetStem::Small => {
                self.conv("conv1", "bn1", [3, 1, 1, 1, 1], full);
                self.table.relu("relu", 0.0).tap("conv1");
            }
        }
    }

    /// A convolution and its normalization; without normalization it has a bias.
    fn conv(&mut self, name: &str, norm: &str, shape: [usize; 5], outputs: usize) {
        let bias = (!self.with_norm).then_some(Filler::Zero);
        self.table.conv(name, shape, outputs, Fillers { weight: self.spec.init, bias });
        if self.with_norm {
            self.table.batch_norm(norm, BatchNormOptions::PYTORCH);
        }
    }

    /// F(x) + x, or F(x) + P(x) with a 1×1 projection P at the start of a stage or if the channels differ, then a
    /// ReLU.
    fn block(&mut self, (stage, block): (usize, usize), stride: usize, dilation: usize, begins: bool) {
        let name = format!("layer{stage}.{block}");
        let inner = channels(STAGES[stage - 1], self.spec.width);
        let (entry, inputs) = (self.table.value(), self.table.channels());
        let wide = [3, 1, dilation, 1, dilation];
        let strided = [3, stride, dilation, 1, dilation];
        let (shapes, outputs): (&[[usize; 5]], usize) = match self.spec.depth.bottleneck() {
            true => (&[[1, 1, 0, 1, 1], strided, [1, 1, 0, 1, 1]], 4 * inner),
            false => (&[strided, wide], inner),
        };
        for (i, shape) in (1..).zip(shapes) {
            let last = i == shapes.len();
            let (conv, norm) = (format!("{name}.conv{i}"), format!("{name}.bn{i}"));
            self.conv(&conv, &norm, *shape, if last { outputs } else { inner });
            if !last {
                self.table.relu(&format!("{name}.relu{i}"), 0.0);
            }
        }
        let residual = self.table.value();
        let mut shortcut = entry;
        if begins || inputs != outputs {
            self.table.read(entry);
            let [conv, norm] = ["0", "1"].map(|part| format!("{name}.downsample.{part}"));
            self.conv(&conv, &norm, [1, stride, 0, 1, 1], outputs);
            shortcut = self.table.value();
        }
        self.table.join(&format!("{name}.add"), LayerKind::Add(AddRow), vec![residual, shortcut]);
        self.table.relu(&format!("{name}.relu"), 0.0);
    }

    /// Global average and a linear classifier; for score maps, the same classifier in every cell.
    fn head(&mut self, build: &Build) {
        let on_map = matches!(build.variant, Variant::Pretext | Variant::Dense);
        if !on_map {
            self.table.push("avgpool", LayerKind::GlobalPool(GlobalPoolRow)).tap("avgpool");
        }
        let Some(outputs) = build.outputs else { return };
        let fillers = Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) };
        self.table.role(Role::Head);
        match on_map {
            true => self.table.fully_connected("fc", [1, 1, 0, 1, 1], outputs, fillers),
            false => self.table.linear("fc", outputs, fillers),
        };
        self.table.tap("fc");
    }
}
