//! Some channels of Lab from others by the network that learns to color: color from lightness, lightness from
//! color, each by classification or by regression, and the autoencoder, all of Lab from all of Lab (Zhang, Isola and
//! Efros, "Split-Brain Autoencoders", CVPR 2017, section 3: the halves and the baselines, each a network of its own).
//!
//! Classification is of the nearest bin alone: no soft encoding, no class rebalancing, no gray gate, which is what sets
//! `predict: ab` apart from [`super::colorization`]. Does not: join two halves into one split network.

use super::{
    channels::Channels,
    label_grid::{enlarged, heads, predict, sampled},
    sums::Sums,
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
    nn::{Mode, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::{
        panel,
        task::{Better, Metric, Panel, Step, Task},
    },
};
use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Images in a picture panel.
const PICTURES: usize = 8;
/// A prediction that varies by less than this share of what the truth does has collapsed to one color.
const COLLAPSE: f64 = 0.1;
/// True values that vary by less than this within a picture, in Lab units, do not vary to an eye.
const NO_VARIATION: f64 = 0.1;
/// Spacing of the ab bins.
const GRID: f32 = 10.0;
/// Bins of L, each 1 wide.
const LIGHTNESS_BINS: usize = 100;
/// Of the annealed mean, in pictures and figures only.
const TEMPERATURE: f32 = 0.38;

/// In YAML: `cross_channel: { predict: lightness, loss: regression }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossChannelSpec {
    pub predict: Predicted,
    #[serde(default)]
    pub loss: CrossChannelLoss,
}

/// Lab from Lab, by regression: there is nothing to choose. In YAML: `task: autoencoder`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderSpec {}

/// Which half is predicted from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predicted {
    /// a and b from L.
    Ab,
    /// L from a and b.
    Lightness,
}

/// How a prediction is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossChannelLoss {
    /// Cross-entropy of the nearest of 313 ab bins, or of 100 bins of L that are 1 wide.
    #[default]
    Classification,
    /// Half the squared distance in Lab, summed over label pixels.
    Regression,
}

/// What is to be predicted from what.
#[derive(Clone, Debug)]
pub struct Problem {
    sees: Channels,
    predicts: Channels,
    criterion: Criterion,
}

#[derive(Clone, Debug)]
enum Criterion {
    /// Which ab bin.
    Ab(Arc<Bins>),
    /// Which bin of L.
    Lightness,
    /// The values themselves.
    Regression,
}

impl From<CrossChannelSpec> for Problem {
    fn from(spec: CrossChannelSpec) -> Self {
        let (sees, predicts) = match spec.predict {
            Predicted::Ab => (Channels::Lightness, Channels::Ab),
            Predicted::Lightness => (Channels::Ab, Channels::Lightness),
        };
        let criterion = match (spec.loss, spec.predict) {
            (CrossChannelLoss::Regression, _) => Criterion::Regression,
            (CrossChannelLoss::Classification, Predicted::Ab) => Criterion::Ab(Arc::new(Bins::new(GRID))),
            (CrossChannelLoss::Classification, Predicted::Lightness) => Criterion::Lightness,
        };
        Self { sees, predicts, criterion }
    }
}

impl From<AutoencoderSpec> for Problem {
    fn from(_: AutoencoderSpec) -> Self {
        Self { sees: Channels::Lab, predicts: Channels::Lab, criterion: Criterion::Regression }
    }
}

impl Problem {
    /// What the network is shown.
    pub fn sees(&self) -> Channels {
        self.sees
    }

    /// What of a backbone the network is made of.
    pub fn build(&self) -> Build {
        let outputs = match &self.criterion {
            Criterion::Ab(bins) => bins.len(),
            Criterion::Lightness => LIGHTNESS_BINS,
            Criterion::Regression => self.predicts.count(),
        };
        let input_channels = self.sees.count();
        Build { variant: Variant::Pretext, batch_norm: true, input_channels, outputs: Some(outputs) }
    }

    /// The mean over label pixels, from an output map `(B, h, w, Q)` and the true channels `(B, h, w, C)`.
    fn score(&self, map: &Tensor, truth: &Tensor) -> candle_core::Result<Tensor> {
        let (b, h, w, outputs) = map.dims4()?;
        let pixels = b * h * w;
        match self.labels(truth)? {
            Some(labels) => cross_entropy(&map.reshape((pixels, outputs))?, &labels, None),
            None => (self.predicts.in_lab(map)? - truth)?.sqr()?.sum_all()? * (0.5 / pixels as f64),
        }
    }

    /// The bin of every label pixel, u32 `(B·h·w)`; None where values are regressed.
    fn labels(&self, truth: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match &self.criterion {
            Criterion::Ab(bins) => nearest_bins(truth, bins).map(Some),
            Criterion::Lightness => lightness_bins(&truth.flatten_all()?).map(Some),
            Criterion::Regression => Ok(None),
        }
    }

    /// The channels that an output map `(B, h, w, Q)` means, `(B, h, w, C)`. No gradient.
    fn decoded(&self, map: &Tensor) -> candle_core::Result<Tensor> {
        match &self.criterion {
            Criterion::Ab(bins) => decode(map, bins, Decode::Annealed(TEMPERATURE)),
            Criterion::Lightness => expected_lightness(&map.detach()),
            Criterion::Regression => self.predicts.in_lab(&map.detach()),
        }
    }
}

/// L in [n, n + 1) is bin n; white, 100, belongs to the last.
fn lightness_bins(l: &Tensor) -> candle_core::Result<Tensor> {
    l.clamp(0f32, LIGHTNESS_BINS as f32 - 1.0)?.to_dtype(DType::U32)
}

/// The annealed mean of the middles of the bins: logits `(B, h, w, 100)` → L `(B, h, w, 1)`.
fn expected_lightness(logits: &Tensor) -> candle_core::Result<Tensor> {
    let middles = Tensor::from_iter((0..LIGHTNESS_BINS).map(|bin| bin as f32 + 0.5), logits.device())?;
    let above = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let weights = (above / f64::from(TEMPERATURE))?.exp()?;
    let mean = weights.broadcast_mul(&middles)?.sum_keepdim(D::Minus1)?;
    mean / weights.sum_keepdim(D::Minus1)?
}

/// A network that learns to predict channels.
pub struct CrossChannel {
    problem: Problem,
    net: Network,
    params: Params,
    /// Heads that are trained, with the weights of their losses; the last one is the network's output.
    heads: Vec<(String, f64)>,
    collapsed: bool,
    /// Whether the newest validation had nothing that varies to compare with.
    flat: bool,
}

impl CrossChannel {
    /// The names of what it measures.
    pub const METRICS: [&str; 4] = ["loss", "rmse", "psnr", "contrast"];

    /// A fresh network on `device`.
    ///
    /// # Errors
    /// When a tensor cannot be made on the device.
    pub fn new(problem: Problem, backbone: &BackboneSpec, rng: &Rng, device: &Device) -> Result<Self> {
        let mut params = Params::new(device);
        let net = backbone.build(&problem.build(), &mut params, &rng.split("init"))?;
        let heads = heads(&net);
        Ok(Self { problem, net, params, heads, collapsed: false, flat: false })
    }

    /// The network that is trained.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// Predicted channels of pictures in Lab `(B, H, W, 3)` at the label pixels, `(B, h, w, C)`, with the map that they
    /// were read from.
    fn predicted(&self, lab: &Tensor) -> Result<(Tensor, Tensor)> {
        let head = [self.net.head().label()];
        let input = self.problem.sees.input(lab)?;
        let map =
            predict(&self.net, &input, &head, &Mode::Frozen)?.pop().context("a network without a head")?;
        Ok((self.problem.decoded(&map)?, map))
    }

    /// True channels at the label pixels, `(B, h, w, C)`.
    fn truth(&self, lab: &Tensor) -> candle_core::Result<Tensor> {
        sampled(&self.problem.predicts.of(lab)?, self.net.grid().stride)
    }

    /// Pictures u8 RGB `(B, H, W, 3)` of the prediction `(B, h, w, C)` and, where nothing was predicted, the truth.
    fn completed(&self, predicted: &Tensor, lab: &Tensor) -> candle_core::Result<Tensor> {
        let (_, h, w, _) = lab.dims4()?;
        let whole = enlarged(self.net.grid(), predicted, (h, w))?;
        lab::lab_to_rgb(&self.problem.predicts.completed(&whole, lab)?)
    }
}

impl Task for CrossChannel {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let truth = self.truth(&lab)?;
        // A sum over label pixels and a mean over images, as in colorization.
        let pixels = (truth.dim(1)? * truth.dim(2)?) as f64;
        let names: Vec<&str> = self.heads.iter().map(|(name, _)| name.as_str()).collect();
        let input = self.problem.sees.input(&lab)?;
        let maps = predict(&self.net, &input, &names, &Mode::Train(rng.clone()))?;
        let (mut total, mut scalars) = (None, vec![]);
        for (map, (_, weight)) in maps.iter().zip(&self.heads) {
            let score = self.problem.score(map, &truth)?;
            scalars = vec![("loss", score.detach())]; // that of the last head is logged
            let loss = (score * (*weight * pixels))?;
            total = Some(if let Some(sum) = total { (sum + loss)? } else { loss });
        }
        Ok(Step { loss: total.context("a network without a head")?, scalars })
    }

    /// The loss; the distance in Lab at label pixels; PSNR of whole pictures, with the true channels where none were
    /// predicted; and how much the predictions vary within a picture, as a share of what the truth does.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut sums = Sums::default();
        while let Some(batch) = val.next_batch()? {
            let lab = lab::rgb_to_lab(&batch.pixels)?;
            let truth = self.truth(&lab)?;
            let (predicted, map) = self.predicted(&lab)?;
            let means = [
                ("loss", number(&self.problem.score(&map, &truth)?)?),
                ("squared_distance", number(&(&predicted - &truth)?.sqr()?.sum(3)?.mean_all()?)?),
                ("squared_bytes", squared_bytes(&self.completed(&predicted, &lab)?, &batch.pixels)?),
                ("predicted_variation", variation(&predicted)?),
                ("true_variation", variation(&truth)?),
            ];
            let images = truth.dim(0)? as f64;
            sums.add(images, &means);
            sums.images += images;
        }
        let (predicted, truth) = (sums.mean("predicted_variation"), sums.mean("true_variation"));
        self.flat = truth < NO_VARIATION;
        let contrast = if self.flat { f64::NAN } else { predicted / truth };
        self.collapsed = contrast < COLLAPSE;
        let channels = self.problem.predicts.count() as f64;
        let psnr = 10.0 * (255.0f64.powi(2) / sums.mean("squared_bytes")).log10();
        let all = [
            (sums.mean("loss"), Better::Lower),
            ((sums.mean("squared_distance") / channels).sqrt(), Better::Lower),
            (psnr, Better::Higher),
            (contrast, Better::Neither),
        ];
        let named = Self::METRICS.into_iter().zip(all);
        let metrics = named.map(|(name, (value, better))| Metric { name: name.into(), value, better });
        // Equal pictures have no PSNR.
        Ok(metrics.filter(|metric| metric.value != f64::INFINITY).collect())
    }

    /// What the network sees, what it makes of it, and the picture.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<Panel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PICTURES))?.contiguous()?;
        let lab = lab::rgb_to_lab(&pixels)?;
        let predicted = self.completed(&self.predicted(&lab)?.0, &lab)?;
        let input = lab::lab_to_rgb(&self.problem.sees.alone(&lab)?)?;
        let columns = [("input", &input), ("predicted", &predicted), ("truth", &pixels)];
        Ok(Some(panel::of_columns("cross_channel", &columns)?))
    }

    fn warnings(&self) -> Vec<(String, String)> {
        if self.flat {
            return vec![(
                "what is to be predicted does not vary within the validation pictures, so `contrast` has no value".into(),
                "give pictures that hold these channels, or leave the measure aside".into(),
            )];
        }
        if !self.collapsed {
            return vec![];
        }
        vec![(
            format!(
                "predictions vary by under {:.0} % of what the pictures do: the network paints one tone",
                100.0 * COLLAPSE
            ),
            "train longer, or raise the learning rate".into(),
        )]
    }
}

fn number(x: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(x.to_scalar::<f32>()?))
}

/// Mean squared difference of two sets of pictures u8 `(B, H, W, 3)`.
fn squared_bytes(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    let [a, b] = [a, b].map(|x| x.to_dtype(DType::F32));
    number(&(a? - b?)?.sqr()?.mean_all()?)
}

/// How far the pixels of an image `(B, h, w, C)` lie from its mean, root mean squared; the mean over images.
fn variation(x: &Tensor) -> candle_core::Result<f64> {
    let (b, h, w, c) = x.dims4()?;
    let pixels = x.reshape((b, h * w, c))?;
    let away = pixels.broadcast_sub(&pixels.mean_keepdim(1)?)?;
    number(&away.sqr()?.sum(2)?.mean(1)?.sqrt()?.mean_all()?)
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
