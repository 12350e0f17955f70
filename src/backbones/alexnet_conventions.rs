//! Conventions in which released AlexNets differ from Zhang's: input, response normalization, stride, padding and
//! channels of the convolutions, leaks, batch normalization at test time. Each is a field of a spec; a preset sets
//! those of one release at once.
//!
//! Presets follow the definitions of the released networks and their fine-tuning scripts, as far as these could be
//! read. Unconfirmed values are marked "uncertain" in [`Preset`]. Fields given together with a preset override it.

use super::{
    alexnet::{AlexNetSpec, Stem},
    input::Input,
};
use crate::{
    bounded::{Channels, Count, Fraction, Pixels, Positive},
    nn::init::Filler,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Local response normalization after the first two convolutions (`norm1`, `norm2`; n 5, α 1e-4, β 0.75, k 1), and its
/// position relative to their pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Local response normalization")]
pub enum ResponseNorm {
    /// None: Zhang's networks and torchvision's.
    #[default]
    None,
    /// Conv, pool, norm: CaffeNet.
    PoolNorm,
    /// Conv, norm, pool: the 2012 paper, Caffe's `bvlc_alexnet`.
    NormPool,
}

/// Treatment of batch normalization in the transfer graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Batch normalization in tests")]
pub enum TestNorm {
    /// Folded into the preceding convolutions; the transfer graph has none.
    #[default]
    Absorbed,
    /// Kept in all graphs, with the running statistics and without scale or shift.
    Kept,
    /// Kept with scale and shift.
    Affine,
}

/// Largest padding of conv1: windows further out would contain only padding.
const MOST_PAD: usize = 10;

/// Channels of conv1 … conv5 of the original AlexNet, which was split over two processors.
pub const TWO_TOWERS: [usize; 5] = [96, 256, 384, 384, 256];
/// Channels in "One weird trick" (Krizhevsky 2014), as in torchvision.
pub const ONE_TOWER: [usize; 5] = [64, 192, 384, 256, 256];

/// Conventions of a released AlexNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "AlexNet preset")]
pub enum Preset {
    /// Zhang, Isola and Efros, "Colorful Image Colorization" (2016): the defaults. With `input: lab`, the
    /// three-channel network of the "color" rows.
    Zhang,
    /// Zhang, Isola and Efros, "Split-Brain Autoencoders" (2017): Lab, otherwise as `zhang`.
    SplitBrain,
    /// `bvlc_reference_caffenet`, trained on ImageNet labels: BGR minus its mean, normalization after the pools.
    Caffenet,
    /// `bvlc_alexnet`, trained on ImageNet labels: as `caffenet`, normalization before the pools.
    Krizhevsky,
    /// Agrawal, Carreira and Malik, "Learning to See by Moving" (2015): assumed to be as `caffenet` (uncertain).
    Agrawal,
    /// Wang and Gupta, "Unsupervised Learning of Visual Representations using Videos" (2015): tested with CaffeNet's
    /// definition.
    WangGupta,
    /// Doersch, Gupta and Efros, "Context Prediction" (2015): CaffeNet without groups, batch normalization absorbed
    /// into conv3 … fc6. The channel order of the released file is assumed to be Caffe's (uncertain).
    Doersch,
    /// Pathak et al., "Context Encoders" (2016): tested with CaffeNet's definition.
    Pathak,
    /// Donahue, Krähenbühl and Darrell, "Adversarial Feature Learning" (2017): BGR in [−1, 1], no response
    /// normalization, leaky ReLUs of slope 0.2, batch normalization absorbed.
    Donahue,
    /// Noroozi and Favaro, "Jigsaw" (2016): CaffeNet with stride 2 in conv1, as in its own tests and linear probes;
    /// for the tests on PASCAL add `conv1_stride: 4`.
    Noroozi,
    /// torchvision's `alexnet`: RGB, one tower, conv1 padded by 2, for 224-pixel input.
    Torchvision,
}

impl Preset {
    /// All presets, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Zhang,
        Self::SplitBrain,
        Self::Caffenet,
        Self::Krizhevsky,
        Self::Agrawal,
        Self::WangGupta,
        Self::Doersch,
        Self::Pathak,
        Self::Donahue,
        Self::Noroozi,
        Self::Torchvision,
    ];

    /// Name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zhang => "zhang",
            Self::SplitBrain => "split_brain",
            Self::Caffenet => "caffenet",
            Self::Krizhevsky => "krizhevsky",
            Self::Agrawal => "agrawal",
            Self::WangGupta => "wang_gupta",
            Self::Doersch => "doersch",
            Self::Pathak => "pathak",
            Self::Donahue => "donahue",
            Self::Noroozi => "noroozi",
            Self::Torchvision => "torchvision",
        }
    }

    /// Description of the released network's conventions.
    pub fn conventions(self) -> String {
        let spec = self.spec();
        let mut parts = vec![format!("input {}", spec.input.describe())];
        parts.push(match spec.lrn {
            ResponseNorm::None => "no response normalization".into(),
            ResponseNorm::PoolNorm => "response normalization after pool1 and pool2".into(),
            ResponseNorm::NormPool => "response normalization before pool1 and pool2".into(),
        });
        parts.push(format!("stride {} in conv1; groups: {}", spec.conv1_stride, spec.groups));
        if spec.leak.get() > 0.0 {
            parts.push(format!("leaky ReLUs of slope {}", spec.leak));
        }
        if matches!(self, Self::Agrawal | Self::Doersch) {
            parts.push("the input is uncertain: assumed to be CaffeNet's".into());
        }
        parts.join("; ")
    }

    /// Spec of the released network at full width.
    pub fn spec(self) -> AlexNetSpec {
        let zhang = AlexNetSpec::default();
        let caffenet =
            AlexNetSpec { input: Input::BgrMean, lrn: ResponseNorm::PoolNorm, ..AlexNetSpec::default() };
        match self {
            Self::Zhang => zhang,
            Self::SplitBrain => AlexNetSpec { input: Input::Lab, ..zhang },
            Self::Caffenet | Self::Agrawal | Self::WangGupta | Self::Pathak => caffenet,
            Self::Krizhevsky => AlexNetSpec { lrn: ResponseNorm::NormPool, ..caffenet },
            Self::Doersch => AlexNetSpec { groups: Count::of(1), ..caffenet },
            Self::Donahue => {
                AlexNetSpec { input: Input::BgrSigned, leak: Fraction::of(0.2), ..AlexNetSpec::default() }
            }
            Self::Noroozi => AlexNetSpec { conv1_stride: Count::of(2), ..caffenet },
            Self::Torchvision => AlexNetSpec {
                input: Input::RgbUnit,
                groups: Count::of(1),
                channels: ONE_TOWER.map(Count::of),
                conv1_pad: 2,
                ..AlexNetSpec::default()
            },
        }
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Fields of an AlexNet spec: a preset and overrides.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Given {
    /// Release whose conventions are the defaults; default: `zhang`.
    preset: Option<Preset>,
    /// First and sixth layer, for the size of the pictures.
    stem: Stem,
    /// Factor on all hidden channel counts (rounded to a multiple of 8, so that they divide into two groups).
    width: Positive,
    /// Channels of fc6 and fc7; default: 4096·width.
    fc: Option<Channels>,
    /// Initialization of the weights of conv1 … conv5.
    init: Filler,
    /// Decay of batch normalization's running statistics per step (Caffe's moving average fraction); shorter runs
    /// need less than 0.999.
    norm_decay: Fraction,
    /// Input format of the weights; default: that of the preset.
    input: Option<Input>,
    /// Local response normalization; default: that of the preset.
    lrn: Option<ResponseNorm>,
    /// Stride of the standard stem's conv1; default: that of the preset.
    conv1_stride: Option<Pixels>,
    /// Padding of the standard stem's conv1 on the transfer graph; default: that of the preset.
    #[schemars(range(max = MOST_PAD))]
    conv1_pad: Option<usize>,
    /// Groups of conv2, conv4 and conv5; default: those of the preset.
    groups: Option<Channels>,
    /// Channels of conv1 … conv5 at width 1; default: those of the preset.
    channels: Option<[Channels; 5]>,
    /// Negative slope of the ReLUs; default: that of the preset.
    leak: Option<Fraction>,
    /// Treatment of batch normalization in the transfer graph; default: that of the preset.
    batch_norm: Option<TestNorm>,
}

impl Default for Given {
    fn default() -> Self {
        let AlexNetSpec { stem, width, fc, init, norm_decay, .. } = AlexNetSpec::default();
        Self {
            preset: None,
            stem,
            width,
            fc,
            init,
            norm_decay,
            input: None,
            lrn: None,
            conv1_stride: None,
            conv1_pad: None,
            groups: None,
            channels: None,
            leak: None,
            batch_norm: None,
        }
    }
}

impl TryFrom<Given> for AlexNetSpec {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        let preset = given.preset.unwrap_or(Preset::Zhang).spec();
        if let Some(pad) = given.conv1_pad.filter(|pad| *pad > MOST_PAD) {
            return Err(format!(
                "`conv1_pad` is {pad}, more than {MOST_PAD}: such windows would contain only padding"
            ));
        }
        Ok(Self {
            stem: given.stem,
            width: given.width,
            fc: given.fc,
            init: given.init,
            norm_decay: given.norm_decay,
            input: given.input.unwrap_or(preset.input),
            lrn: given.lrn.unwrap_or(preset.lrn),
            conv1_stride: given.conv1_stride.unwrap_or(preset.conv1_stride),
            conv1_pad: given.conv1_pad.unwrap_or(preset.conv1_pad),
            groups: given.groups.unwrap_or(preset.groups),
            channels: given.channels.unwrap_or(preset.channels),
            leak: given.leak.unwrap_or(preset.leak),
            batch_norm: given.batch_norm.unwrap_or(preset.batch_norm),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> anyhow::Result<AlexNetSpec> {
        crate::nn::weights::section(yaml)
    }

    #[test]
    fn presets_are_read_by_name_and_fields_beside_them_win() -> anyhow::Result<()> {
        for preset in Preset::ALL {
            assert_eq!(read(&format!("preset: {preset}"))?, preset.spec(), "{preset}");
        }
        let spec = read("preset: noroozi\nconv1_stride: 4\nwidth: 0.5")?;
        let caffenet = Preset::Caffenet.spec();
        assert_eq!(spec, AlexNetSpec { width: Positive::of(0.5), ..caffenet });
        assert!(read("conv1_pad: 11").is_err() && read("conv1_pad: 10").is_ok());
        assert!(read("preset: alexnet").is_err() && read("lrm: none").is_err());
        Ok(())
    }

    /// Specs round-trip, and defaults are not serialized: the hashes of older specs do not change.
    #[test]
    fn specs_round_trip_and_defaults_are_silent() -> anyhow::Result<()> {
        for preset in Preset::ALL {
            let text = serde_yaml::to_string(&serde_json::to_value(preset.spec())?)?;
            assert_eq!(read(&text)?, preset.spec(), "{text}");
        }
        let fields = serde_json::to_value(AlexNetSpec::default())?;
        let fields: Vec<_> = fields.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        assert_eq!(fields, ["stem", "width", "fc", "init", "norm_decay"]);
        Ok(())
    }
}
