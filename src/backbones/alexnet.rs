//! AlexNet as Zhang, Isola and Efros train it to colour (pretext graph) and as its features are used afterwards
//! (transfer graph, and its variants for regions and for whole pictures): graphs of the same weights, each a layer table.
//!
//! A layer is convolution → [batch normalisation] → ReLU → [dropout]; pools are layers of their own. In what other
//! people's AlexNets differ is [`super::alexnet_conventions`]; by default there is no local response normalisation, two
//! groups and one channel of input. The losses, the resize of the logits to the label size and the scaling of the
//! input belong to the tasks.

use super::{
    Build, Graph,
    alexnet_conventions::{Given, ResponseNorm, TWO_TOWERS, TestNorm},
    input::Input,
    network::PixelGrid,
    table::{Layer, Norm, Table, Window, channels},
};
use crate::{
    bounded::{Channels, Count, Fraction, Pixels, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use serde::{Deserialize, Serialize};

/// Every tap of the full network without response normalisation, in order.
pub const TAPS: [&str; 11] =
    ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "fc8"];

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
///
/// conv1 … conv5 start from `init` with biases 0 (the paper fills them from k-means). fc6 and fc7 start as the
/// paper's, Gaussian 0.005 with biases 1, where batch normalisation makes the scale immaterial; without it so small a
/// deviation would starve narrow layers, and they start from MSRA with biases 0. fc8 is zero, so that the first loss
/// is exactly the logarithm of the number of outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Given")]
pub struct AlexNetSpec {
    pub stem: Stem,
    /// factor on every hidden channel count (rounded to a multiple of 8, so that two groups stay whole)
    pub width: Positive,
    /// channels of fc6 and fc7; 4096·width when absent
    pub fc: Option<Channels>,
    /// how the weights of conv1 … conv5 start
    pub init: Filler,
    /// what the running statistics of batch normalisation keep at each step (Caffe's moving average fraction); shorter
    /// runs want less than 0.999
    pub norm_decay: Fraction,
    /// what the weights expect of a picture
    #[serde(skip_serializing_if = "is_default")]
    pub input: Input,
    /// local response normalisation
    #[serde(skip_serializing_if = "is_default")]
    pub lrn: ResponseNorm,
    /// stride of the standard stem's conv1; the others have 4
    #[serde(skip_serializing_if = "is_four")]
    pub conv1_stride: Pixels,
    /// padding of the standard stem's conv1 on the transfer graph
    #[serde(skip_serializing_if = "is_default")]
    pub conv1_pad: usize,
    /// parts that conv2, conv4 and conv5 are split into
    #[serde(skip_serializing_if = "is_two")]
    pub groups: Channels,
    /// channels of conv1 … conv5 at width 1
    #[serde(skip_serializing_if = "is_two_towers")]
    pub channels: [Channels; 5],
    /// slope of the ReLUs below 0
    #[serde(skip_serializing_if = "is_none_leaking")]
    pub leak: Fraction,
    /// what becomes of batch normalisation when features are used
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

/// Fields that came after the first release are written only where they say something, so that the specs before them
/// keep their hashes.
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

impl AlexNetSpec {
    /// Labels at every 8th pixel (small stem: 2nd; at stride 2 of conv1: 4th). The logits lie at every second label, so an align-corners resize
    /// from n to 2n − 1 lines them up.
    pub fn grid(&self) -> PixelGrid {
        let stride = match self.stem {
            Stem::Standard => 2 * self.conv1_stride.get(),
            Stem::Small => 2,
        };
        PixelGrid { stride, align_corners: true, multiple: 1 }
    }
}

/// The windows that differ between the graphs and the stems.
struct Windows {
    conv1: Window,
    pool: Window,
    /// absent where regions are pooled in its place
    pool5: Option<Window>,
    fc6: Window,
}

impl Windows {
    fn of(stem: Stem, graph: Graph) -> Self {
        let (pad, fc6) = match (stem, graph) {
            (Stem::Standard, Graph::Pretext) => (5, [6, 1, 5, 1, 2]),
            (Stem::Standard, Graph::Transfer) => (0, [6, 1, 0, 1, 1]),
            (Stem::Standard, Graph::Regions) => (5, [6, 1, 0, 1, 1]),
            (Stem::Standard, Graph::Dense) => (100, [6, 1, 0, 1, 1]),
            (Stem::Small, Graph::Pretext) => (2, [3, 1, 2, 1, 2]),
            (Stem::Small, Graph::Transfer | Graph::Regions) => (2, [3, 1, 0, 1, 1]),
            (Stem::Small, Graph::Dense) => (28, [3, 1, 0, 1, 1]),
        };
        let conv1 = match stem {
            Stem::Standard => [11, 4, pad, 1, 1],
            Stem::Small => [5, 1, pad, 1, 1],
        };
        let (pool, pool5) = match graph {
            Graph::Pretext => ([3, 2, 1, 1, 1], Some([3, 1, 1, 1, 1])),
            Graph::Transfer | Graph::Dense => ([3, 2, 0, 1, 1], Some([3, 2, 0, 1, 1])),
            Graph::Regions => ([3, 2, 1, 1, 1], None),
        };
        Self { conv1, pool, pool5, fc6 }
    }
}

/// The rows of the network.
pub fn layer_table(spec: &AlexNetSpec, build: &Build) -> Vec<Layer> {
    let Windows { conv1, pool, pool5, fc6 } = Windows::of(spec.stem, build.graph);
    let conv1 = first_window(conv1, spec, build.graph);
    let fc = spec.fc.map_or_else(|| channels(4096, spec.width), Count::get);
    let conv = Fillers { weight: spec.init, bias: Some(Filler::Constant { value: 0.0 }) };
    let [c1, c2, c3, c4, c5] = spec.channels.map(|full| channels(full.get(), spec.width));
    let groups = spec.groups.get();
    let mut table = Table::new(build.input_channels);
    table.conv("conv1", conv1, c1, conv);
    pool_and_norm(&mut table, 1, pool, spec.lrn);
    table.conv("conv2", [5, 1, 2, groups, 1], c2, conv);
    pool_and_norm(&mut table, 2, pool, spec.lrn);
    table.conv("conv3", [3, 1, 1, 1, 1], c3, conv);
    table.conv("conv4", [3, 1, 1, groups, 1], c4, conv);
    table.conv("conv5", [3, 1, 1, groups, 1], c5, conv);
    if let Some(pool5) = pool5 {
        table.pool("pool5", pool5);
    }
    table.conv("fc6", fc6, fc, fc_fillers(build));
    table.conv("fc7", [1, 1, 0, 1, 1], fc, fc_fillers(build));
    if build.graph != Graph::Pretext {
        table.rows.iter_mut().filter(|row| row.name.starts_with("fc")).for_each(|row| row.dropout = 0.5);
    }
    table.rows.iter_mut().filter(|row| row.relu).for_each(|row| row.leak = spec.leak.get());
    if build.batch_norm || spec.batch_norm != TestNorm::Absorbed {
        table.rows.iter_mut().filter(|row| row.relu).for_each(|row| row.norm = Some(norm(row, spec)));
    }
    if let Some(outputs) = build.outputs {
        let zero = Fillers { weight: Filler::Zero, bias: Some(Filler::Constant { value: 0.0 }) };
        table.conv("fc8", [1, 1, 0, 1, 1], outputs, zero).relu = false;
    }
    table.rows
}

/// conv1 as the spec changes it; the small stem is nobody's release.
fn first_window(window: Window, spec: &AlexNetSpec, graph: Graph) -> Window {
    let [kernel, _, pad, groups, dilation] = window;
    match spec.stem {
        Stem::Small => window,
        Stem::Standard => {
            let pad = if graph == Graph::Transfer { spec.conv1_pad } else { pad };
            [kernel, spec.conv1_stride.get(), pad, groups, dilation]
        }
    }
}

/// `pool1` and, where the spec has it, `norm1` on its side of the pool.
fn pool_and_norm(table: &mut Table, number: usize, pool: Window, lrn: ResponseNorm) {
    let norm = format!("norm{number}");
    if lrn == ResponseNorm::NormPool {
        table.lrn(&norm);
    }
    table.pool(&format!("pool{number}"), pool);
    if lrn == ResponseNorm::PoolNorm {
        table.lrn(&norm);
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

/// `bn1` of `conv1`, `bn6` of `fc6`: before the ReLU, without scale or shift unless the spec wants them.
fn norm(row: &Layer, spec: &AlexNetSpec) -> Norm {
    let number = row.name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let affine = spec.batch_norm == TestNorm::Affine;
    let options = BatchNormOptions { affine, ..BatchNormOptions::caffe(spec.norm_decay.get()) };
    Norm { name: format!("bn{number}"), after_relu: false, options }
}
