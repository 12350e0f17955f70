//! Cross-channel prediction with the colorization network: color from lightness or lightness from color, each by
//! classification or regression, and the autoencoder, Lab from Lab (Zhang, Isola and Efros, "Split-Brain
//! Autoencoders", CVPR 2017, section 3: the halves and the baselines, each a separate network; they are not joined
//! into one split network).
//!
//! Classification targets the nearest bin only: no soft encoding, no class rebalancing, no gray gate. This
//! distinguishes `predict: ab` from [`super::colorization`].

use super::{
    channels::LabChannels,
    label_grid::{heads, predict, subsample, upsampled},
    mean_meter::MeanMeter,
};
use crate::{
    backbones::{BackboneSpec, Build, Variant, network::Network},
    color::{
        bins::Bins,
        decode::{Decode, decode},
        lab,
        nearest::nearest_bins,
    },
    data::{Batch, loader::Loader},
    device::{keep_layouts, table},
    nn::{Mode, TrainingPass, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::{
        panel,
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Images in a panel.
const PANEL_IMAGES: usize = 8;
/// Ratio of predicted to true variation below which the network has collapsed to one color.
const COLLAPSE_RATIO: f64 = 0.1;
/// True variation within a picture, in Lab units, below which it counts as flat.
const MIN_VARIATION: f64 = 0.1;
/// Spacing of the ab bins, in ab units.
const GRID: f32 = 10.0;
/// Bins of L, each 1 wide.
const LIGHTNESS_BINS: usize = 100;
/// Temperature of the annealed mean; affects panels and figures only.
const TEMPERATURE: f32 = 0.38;

/// In YAML: `cross_channel: { predict: lightness, loss: regression }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossChannelSpec {
    pub predict: Predicted,
    #[serde(default)]
    pub loss: CrossChannelLoss,
}

/// Lab from Lab by regression, without options. In YAML: `task: autoencoder`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderSpec {}

/// The channels that are predicted from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predicted {
    /// a and b from L.
    Ab,
    /// L from a and b.
    Lightness,
}

/// The loss of cross-channel prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossChannelLoss {
    /// Cross-entropy over the nearest of 313 ab bins, or over 100 lightness bins of width 1.
    #[default]
    Classification,
    /// Half the squared distance in Lab, summed over label pixels.
    Regression,
}

/// Input channels, predicted channels and criterion.
#[derive(Clone, Debug)]
pub struct CrossChannelTarget {
    sees: LabChannels,
    predicts: LabChannels,
    criterion: CrossChannelCriterion,
}

#[derive(Clone, Debug)]
enum CrossChannelCriterion {
    /// Nearest ab bin.
    Ab(Arc<Bins>),
    /// Lightness bin.
    Lightness,
    /// Regression of the values.
    Regression,
}

impl From<CrossChannelSpec> for CrossChannelTarget {
    fn from(spec: CrossChannelSpec) -> Self {
        let (sees, predicts) = match spec.predict {
            Predicted::Ab => (LabChannels::Lightness, LabChannels::Ab),
            Predicted::Lightness => (LabChannels::Ab, LabChannels::Lightness),
        };
        let criterion = match (spec.loss, spec.predict) {
            (CrossChannelLoss::Regression, _) => CrossChannelCriterion::Regression,
            (CrossChannelLoss::Classification, Predicted::Ab) => {
                CrossChannelCriterion::Ab(Arc::new(Bins::new(GRID)))
            }
            (CrossChannelLoss::Classification, Predicted::Lightness) => CrossChannelCriterion::Lightness,
        };
        Self { sees, predicts, criterion }
    }
}

impl From<AutoencoderSpec> for CrossChannelTarget {
    fn from(_: AutoencoderSpec) -> Self {
        Self {
            sees: LabChannels::Lab,
            predicts: LabChannels::Lab,
            criterion: CrossChannelCriterion::Regression,
        }
    }
}

impl CrossChannelTarget {
    /// Input channels of the network.
    pub fn sees(&self) -> LabChannels {
        self.sees
    }

    /// Build options of the network.
    pub fn build(&self) -> Build {
        let outputs = match &self.criterion {
            CrossChannelCriterion::Ab(bins) => bins.len(),
            CrossChannelCriterion::Lightness => LIGHTNESS_BINS,
            CrossChannelCriterion::Regression => self.predicts.count(),
        };
        let input_channels = self.sees.count();
        Build { variant: Variant::Pretext, batch_norm: true, input_channels, outputs: Some(outputs) }
    }

    /// Mean loss over label pixels, from an output map `(B, h, w, Q)` and the true channels `(B, h, w, C)`.
    fn score(&self, map: &Tensor, truth: &Tensor) -> candle_core::Result<Tensor> {
        let (b, h, w, outputs) = map.dims4()?;
        let pixels = b * h * w;
        match self.labels(truth)? {
            Some(labels) => cross_entropy(&map.reshape((pixels, outputs))?, &labels, None),
            None => (self.predicts.to_lab_units(map)? - truth)?.sqr()?.sum_all()? * (0.5 / pixels as f64),
        }
    }

    /// Bin of every label pixel, u32 `(B·h·w)`; None for regression.
    fn labels(&self, truth: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match &self.criterion {
            CrossChannelCriterion::Ab(bins) => nearest_bins(truth, bins).map(Some),
            CrossChannelCriterion::Lightness => lightness_bins(&truth.flatten_all()?).map(Some),
            CrossChannelCriterion::Regression => Ok(None),
        }
    }

    /// Decodes an output map `(B, h, w, Q)` to channels `(B, h, w, C)`, without gradient.
    fn decode_map(&self, map: &Tensor) -> candle_core::Result<Tensor> {
        match &self.criterion {
            CrossChannelCriterion::Ab(bins) => decode(map, bins, Decode::Annealed(TEMPERATURE)),
            CrossChannelCriterion::Lightness => expected_lightness(&map.detach()),
            CrossChannelCriterion::Regression => self.predicts.to_lab_units(&map.detach()),
        }
    }
}

/// L in [n, n + 1) is bin n; white, L = 100, is in the last bin.
fn lightness_bins(l: &Tensor) -> candle_core::Result<Tensor> {
    l.clamp(0f32, LIGHTNESS_BINS as f32 - 1.0)?.to_dtype(DType::U32)
}

/// Annealed mean of the bin centers: logits `(B, h, w, 100)` → L `(B, h, w, 1)`.
fn expected_lightness(logits: &Tensor) -> candle_core::Result<Tensor> {
    let middles: Vec<f32> = (0..LIGHTNESS_BINS).map(|bin| bin as f32 + 0.5).collect();
    let middles = table(&middles, logits.device())?;
    let _layouts = keep_layouts(logits.device());
    let above = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let weights = (above / f64::from(TEMPERATURE))?.exp()?;
    let mean = weights.broadcast_mul(&middles)?.sum_keepdim(D::Minus1)?;
    mean / weights.sum_keepdim(D::Minus1)?
}

/// The cross-channel task: a network and its training state.
pub struct CrossChannel {
    target: CrossChannelTarget,
    net: Network,
    params: Params,
    /// Trained heads with their loss weights; the last one is the network's output.
    heads: Vec<(String, f64)>,
    collapsed: bool,
    /// Whether the images of the newest validation were flat.
    flat: bool,
}

impl CrossChannel {
    /// Names of the metrics.
    pub const METRICS: [&str; 4] = ["loss", "rmse", "psnr", "contrast"];

    /// A new network on `device`.
    ///
    /// # Errors
    /// A tensor cannot be created on the device.
    pub fn new(
        target: CrossChannelTarget,
        backbone: &BackboneSpec,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let mut params = Params::new(device);
        let net = backbone.build(&target.build(), &mut params, &rng.split("init"))?;
        let heads = heads(&net);
        Ok(Self { target, net, params, heads, collapsed: false, flat: false })
    }

    /// The trained network.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// Predicted channels of Lab pictures `(B, H, W, 3)` at the label pixels, `(B, h, w, C)`, and the output map that
    /// they were decoded from.
    fn predicted(&self, lab: &Tensor) -> Result<(Tensor, Tensor)> {
        let head = [self.net.head().label()];
        let input = self.target.sees.input(lab)?;
        let map =
            predict(&self.net, &input, &head, &Mode::Frozen)?.pop().context("a network without a head")?;
        Ok((self.target.decode_map(&map)?, map))
    }

    /// True channels at the label pixels, `(B, h, w, C)`.
    fn truth(&self, lab: &Tensor) -> candle_core::Result<Tensor> {
        subsample(&self.target.predicts.select(lab)?, self.net.grid().stride)
    }

    /// Upsamples the prediction `(B, h, w, C)`, completes it with the true channels, and converts to u8 RGB `(B, H, W,
    /// 3)`.
    fn with_rest_of(&self, predicted: &Tensor, lab: &Tensor) -> candle_core::Result<Tensor> {
        let (_, h, w, _) = lab.dims4()?;
        let whole = upsampled(self.net.grid(), predicted, (h, w))?;
        lab::lab_to_rgb(&self.target.predicts.with_rest_of(&whole, lab)?)
    }
}

impl Task for CrossChannel {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let truth = self.truth(&lab)?;
        // Sum over label pixels, mean over images, as in colorization.
        let pixels = (truth.dim(1)? * truth.dim(2)?) as f64;
        let names: Vec<&str> = self.heads.iter().map(|(name, _)| name.as_str()).collect();
        let input = self.target.sees.input(&lab)?;
        let maps = predict(&self.net, &input, &names, &Mode::Train(training.clone()))?;
        let (mut total, mut scalars) = (None, vec![]);
        for (map, (_, weight)) in maps.iter().zip(&self.heads) {
            let score = self.target.score(map, &truth)?;
            scalars = vec![("loss", score.detach())]; // only the last head's is logged
            let loss = (score * (*weight * pixels))?;
            total = Some(if let Some(sum) = total { (sum + loss)? } else { loss });
        }
        Ok(StepOutput { loss: total.context("a network without a head")?, scalars })
    }

    /// The loss; the Lab distance at label pixels; PSNR of full-size pictures, completed with the true channels; and
    /// the ratio of predicted to true variation within a picture.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut meter = MeanMeter::default();
        while let Some(batch) = val.next_batch()? {
            let lab = lab::rgb_to_lab(&batch.pixels)?;
            let truth = self.truth(&lab)?;
            let (predicted, map) = self.predicted(&lab)?;
            let means = [
                ("loss", scalar(&self.target.score(&map, &truth)?)?),
                ("squared_distance", scalar(&(&predicted - &truth)?.sqr()?.sum(3)?.mean_all()?)?),
                ("squared_bytes", squared_bytes(&self.with_rest_of(&predicted, &lab)?, &batch.pixels)?),
                ("predicted_variation", variation(&predicted)?),
                ("true_variation", variation(&truth)?),
            ];
            let images = truth.dim(0)? as f64;
            meter.add(images, &means);
            meter.images += images;
        }
        let (predicted, truth) = (meter.mean("predicted_variation"), meter.mean("true_variation"));
        self.flat = truth < MIN_VARIATION;
        let contrast = if self.flat { f64::NAN } else { predicted / truth };
        self.collapsed = contrast < COLLAPSE_RATIO;
        let channels = self.target.predicts.count() as f64;
        let psnr = 10.0 * (255.0f64.powi(2) / meter.mean("squared_bytes")).log10();
        let all = [
            (meter.mean("loss"), Better::Lower),
            ((meter.mean("squared_distance") / channels).sqrt(), Better::Lower),
            (psnr, Better::Higher),
            (contrast, Better::Neither),
        ];
        let named = Self::METRICS.into_iter().zip(all);
        let metrics = named.map(|(name, (value, better))| Metric { name: name.into(), value, better });
        // Identical pictures have no PSNR.
        Ok(metrics.filter(|metric| metric.value != f64::INFINITY).collect())
    }

    /// Input, prediction and truth in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PANEL_IMAGES))?.contiguous()?;
        let lab = lab::rgb_to_lab(&pixels)?;
        let predicted = self.with_rest_of(&self.predicted(&lab)?.0, &lab)?;
        let input = lab::lab_to_rgb(&self.target.sees.isolated(&lab)?)?;
        let columns = [("input", &input), ("predicted", &predicted), ("truth", &pixels)];
        Ok(Some(panel::from_columns("cross_channel", &columns)?))
    }

    fn warnings(&self) -> Vec<(String, String)> {
        if self.flat {
            return vec![(
                "the predicted channels do not vary within the validation pictures, so `contrast` is undefined".into(),
                "use pictures in which these channels vary, or ignore this metric".into(),
            )];
        }
        if !self.collapsed {
            return vec![];
        }
        vec![(
            format!(
                "predictions vary by less than {:.0} % of the true variation: the network predicts a constant",
                100.0 * COLLAPSE_RATIO
            ),
            "train longer, or raise the learning rate".into(),
        )]
    }
}

fn scalar(x: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(x.to_scalar::<f32>()?))
}

/// Mean squared difference between u8 pictures `(B, H, W, 3)`.
fn squared_bytes(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    let [a, b] = [a, b].map(|x| x.to_dtype(DType::F32));
    scalar(&(a? - b?)?.sqr()?.mean_all()?)
}

/// Root mean squared deviation of the pixels of an image `(B, h, w, C)` from its mean, averaged over images.
fn variation(x: &Tensor) -> candle_core::Result<f64> {
    let (b, h, w, c) = x.dims4()?;
    let pixels = x.reshape((b, h * w, c))?;
    let away = pixels.broadcast_sub(&pixels.mean_keepdim(1)?)?;
    scalar(&away.sqr()?.sum(2)?.mean(1)?.sqrt()?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lightness_has_a_bin() {
        let cases = [(-0.1, 0), (0.0, 0), (0.99, 0), (1.0, 1), (57.3, 57), (99.5, 99), (100.0, 99)];
        let (l, wanted): (Vec<f32>, Vec<u32>) = cases.into_iter().unzip();
        let bins = lightness_bins(&Tensor::new(l, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(bins.to_vec1::<u32>().unwrap(), wanted);
    }

    #[test]
    fn a_certain_bin_is_read_as_its_middle() {
        let mut logits = vec![0f32; 200];
        logits[42] = 60.0;
        logits[100 + 10] = 60.0;
        logits[100 + 12] = 60.0;
        let logits = Tensor::from_vec(logits, (1, 1, 2, 100), &Device::Cpu).unwrap();
        let l = expected_lightness(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((l[0] - 42.5).abs() < 1e-4 && (l[1] - 11.5).abs() < 1e-4, "{l:?}");
    }

    #[test]
    fn variation_is_the_spread_around_an_images_own_mean() {
        let flat_and_two = Tensor::from_vec(vec![7f32, 7.0, 3.0, 9.0], (2, 1, 2, 1), &Device::Cpu).unwrap();
        assert_eq!(variation(&flat_and_two).unwrap(), 1.5);
    }
}
