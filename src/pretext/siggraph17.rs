//! Colorization with hints (Zhang et al., SIGGRAPH 2017): training of the network
//! [`crate::backbones::siggraph17`]. It classifies colors on a coarse grid from an inner layer and regresses a and b at every
//! pixel. The authors train first the classification without hints, then the regression with simulated ones; the head that
//! is not the stage's own learns on the side, and its loss does not reach the layers that both share.
//!
//! The loss is that of the authors' training code in PyTorch; the paper's is a smooth L1 alone.

use super::{
    colorizer::{Colorizer, ColorizerSpec, OutputKind},
    colorizer_task::{ColorizerCriterion, ColorizerTaskSpec, Draw, check_multiple},
    hints::{self, HintSpec},
    label_grid::subsample,
};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        siggraph17::{CLASS_HEAD, COLOR_HEAD, Siggraph17Head},
    },
    bounded::{NonNegative, Positive},
    color::lab,
    data::Batch,
    key_error::KeyError,
    nn::Mode,
    ops::{activation::tanh, losses::cross_entropy},
    train::task::StepOutput,
    yaml,
};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Spacing of the color grid, in ab units.
const GRID: f64 = 10.0;
/// Colors on each axis: −110 … 110.
const SIDE: usize = 23;
/// Unit of the L1 loss, in ab units.
const AB_UNIT: f64 = 110.0;
/// Pixels between the labels of the classification.
const CLASS_STRIDE: usize = 4;
/// What the network's sides must be multiples of.
const MULTIPLE: usize = 8;

/// Colors from lightness and hints (Zhang et al. 2017). In YAML: `siggraph17: { stage: regression, hints: { stop:
/// 0.125 } }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Siggraph17TaskSpec {
    /// The loss that trains the shared layers.
    pub stage: Siggraph17Stage,
    /// Simulated hints; absent: those of the stage, none for the classification and the defaults for the regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<HintSpec>,
    /// Weight of the L1 loss beside the cross-entropy.
    pub regression_weight: NonNegative,
    /// a and b are this number times the tanh: 110 in the releases in PyTorch, 100 in that in Caffe.
    pub output_scale: Positive,
}

/// A stage of the training of a colorizer with hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Stage of Siggraph17")]
pub enum Siggraph17Stage {
    /// Cross-entropy over 529 colors.
    Classification,
    /// L1 in ab.
    #[default]
    Regression,
}

impl Default for Siggraph17TaskSpec {
    fn default() -> Self {
        Self {
            stage: Siggraph17Stage::default(),
            hints: None,
            regression_weight: NonNegative::of(10.0),
            output_scale: Positive::of(110.0),
        }
    }
}

impl ColorizerSpec for Siggraph17TaskSpec {
    fn name(&self) -> &'static str {
        "siggraph17"
    }

    fn section(&self) -> Result<String, serde_yaml::Error> {
        yaml::write(self)
    }

    fn build(&self) -> Build {
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 4, outputs: Some(SIDE * SIDE) }
    }

    fn output(&self, _: &BackboneSpec) -> OutputKind {
        OutputKind::Tanh { scale: self.output_scale.get() }
    }

    fn network(&self) -> Option<&'static str> {
        Some("siggraph17")
    }
}

impl ColorizerTaskSpec for Siggraph17TaskSpec {
    fn losses(&self) -> &'static [&'static str] {
        &["loss", "class_loss", "l1"]
    }

    fn adapted(&self, backbone: &BackboneSpec) -> BackboneSpec {
        let mut adapted = backbone.clone();
        if let BackboneSpec::Siggraph17(network) = &mut adapted {
            network.trains = match self.stage {
                Siggraph17Stage::Classification => Siggraph17Head::Classes,
                Siggraph17Stage::Regression => Siggraph17Head::Color,
            };
        }
        adapted
    }

    fn check_crop(&self, crop: usize) -> Result<(), KeyError> {
        check_multiple(self.name(), MULTIPLE, crop)
    }

    fn criterion(&self) -> Box<dyn ColorizerCriterion> {
        let usual = match self.stage {
            Siggraph17Stage::Classification => None,
            Siggraph17Stage::Regression => Some(HintSpec::default()),
        };
        let (hints, scale) = (self.hints.or(usual), self.output_scale.get());
        Box::new(ClassesAndColors { hints, weight: self.regression_weight.get(), scale })
    }
}

/// Cross-entropy over colors, and L1 in ab.
struct ClassesAndColors {
    hints: Option<HintSpec>,
    /// Of the L1.
    weight: f64,
    scale: f64,
}

impl ColorizerCriterion for ClassesAndColors {
    fn score(&self, colorizer: &Colorizer, batch: &Batch, mode: &Mode, draw: Draw) -> Result<StepOutput> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let hints = self.hints.map(|spec| simulated(&spec, &lab, draw)).transpose()?;
        let light = colorizer.gray().of_pictures(&batch.pixels)?;
        let input = colorizer.input(&light, hints.as_ref())?;
        let maps = colorizer.network().forward(&input, &[CLASS_HEAD, COLOR_HEAD], mode)?;
        let ab = lab.narrow(3, 1, 2)?.contiguous()?;
        let classes = class_loss(&maps[0], &ab)?;
        let l1 = l1(&tanh(&maps[1])?.affine(self.scale / AB_UNIT, 0.0)?, &(ab / AB_UNIT)?)?;
        let loss = (&classes + (&l1 * self.weight)?)?;
        let scalars = vec![("loss", loss.detach()), ("class_loss", classes.detach()), ("l1", l1.detach())];
        Ok(StepOutput { loss, scalars })
    }
}

/// Hints of a batch of Lab pictures `(B, H, W, 3)` as a map `(B, H, W, 3)`.
fn simulated(spec: &HintSpec, lab: &Tensor, Draw { rng, first }: Draw) -> Result<Tensor> {
    let (_, height, width, _) = lab.dims4()?;
    let values = lab.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let pictures = values.as_chunks::<3>().0.par_chunks_exact(height * width).enumerate();
    let drawn =
        pictures.map(|(i, pixels)| spec.draw(pixels, (height, width), &mut rng.at(0, (first + i) as u64)));
    hints::map(&drawn.collect::<Vec<_>>(), (height, width), lab.device())
}

/// Mean cross-entropy of logits `(B, h, w, 529)` with the nearest color of the grid at every fourth pixel of ab `(B, H, W,
/// 2)`.
fn class_loss(logits: &Tensor, ab: &Tensor) -> candle_core::Result<Tensor> {
    let (batch, height, width, colors) = logits.dims4()?;
    let labels = classes(&subsample(ab, CLASS_STRIDE)?)?;
    cross_entropy(&logits.reshape((batch * height * width, colors))?, &labels, None)
}

/// Number 23·i + j of the nearest color of the grid, a = 10·i − 110 and b = 10·j − 110: ab `(…, 2)` → u32 `(N)`.
fn classes(ab: &Tensor) -> candle_core::Result<Tensor> {
    let middle = (SIDE / 2) as f64;
    let steps = ab.reshape(((), 2))?.affine(1.0 / GRID, middle)?.round()?.clamp(0.0, 2.0 * middle)?;
    let [a, b] = [0, 1].map(|axis| steps.narrow(1, axis, 1)?.flatten_all());
    ((a? * SIDE as f64)? + b?)?.to_dtype(DType::U32)
}

/// Sum of the absolute differences of a and b, averaged over pixels.
fn l1(predicted: &Tensor, truth: &Tensor) -> candle_core::Result<Tensor> {
    (predicted - truth)?.abs()?.mean_all()? * 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_have_the_numbers_of_the_release() -> Result<()> {
        let ab = [[0f32, 0.0], [-110.0, -110.0], [110.0, 110.0], [14.9, -4.9], [-200.0, 6.0]];
        let got = classes(&Tensor::new(&ab, &Device::Cpu)?)?.to_vec1::<u32>()?;
        assert_eq!(got, [11 * 23 + 11, 0, 528, 12 * 23 + 11, 12]);
        Ok(())
    }

    #[test]
    fn l1_sums_channels_and_averages_pixels() -> Result<()> {
        let a = Tensor::new(&[[[[1f32, 2.0], [0.0, 0.5]]]], &Device::Cpu)?;
        let b = Tensor::new(&[[[[0f32, 4.0], [1.0, 0.5]]]], &Device::Cpu)?;
        assert_eq!(l1(&a, &b)?.to_scalar::<f32>()?, 2.0); // (3 + 1) / 2
        Ok(())
    }
}
