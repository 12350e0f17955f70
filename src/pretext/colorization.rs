//! Colorization as a pretext task: from the lightness of a photograph to a distribution over quantised ab colours at
//! every label pixel (paper section 2, equations 1–4), with class rebalancing on the gradient side.
//!
//! Does not: regress colours, or colour files at full size.

use super::color_prior::PriorSpec;
use crate::{
    backbones::{
        BackboneSpec,
        alexnet::{AlexNet, Build, Graph},
    },
    bounded::{Count, Fraction, NonNegative, Positive, Spacing},
    color::{
        bins::Bins,
        encode::{Decode, SoftCode, decode},
        lab,
        prior::rebalance,
    },
    data::{Batch, loader::Loader},
    nn::{Mode, params::Params},
    ops::{
        losses::{SoftCrossEntropy, soft_encoded_cross_entropy},
        resize::resize_bilinear,
    },
    rng::Rng,
    train::{
        panel,
        task::{Better, Metric, Panel, Step, Task},
    },
};
use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Images in a picture panel.
const PICTURES: usize = 8;
/// Predicted chroma below this share of the true one is a collapse to grey.
const COLLAPSE: f64 = 0.1;

/// How colours are quantised, encoded, weighted and gated; the defaults are those of the paper's released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorizationSpec {
    /// Spacing of the ab bins, in ab units; 10 gives the paper's 313 bins.
    pub grid: Spacing,
    /// Bins that a colour is spread over (the paper says 5, its code 10).
    pub neighbours: Count,
    /// Width of that spread, in ab units.
    pub sigma: Positive,
    /// Weights that let rare colours count more (paper, equation 4).
    pub rebalance: RebalanceSpec,
    /// Where the distribution of colours comes from.
    pub prior: PriorSpec,
    /// An image none of whose label pixels has |a| or |b| above this is left out of the gradient; null switches
    /// the gate off.
    pub grey_gate: Option<NonNegative>,
    /// Temperature of the annealed mean (paper, equation 5); used in pictures and the vividness figure only.
    pub temperature: Positive,
}

impl Default for ColorizationSpec {
    fn default() -> Self {
        Self {
            grid: Spacing::of(10.0),
            neighbours: Count::of(10),
            sigma: Positive::of(5.0),
            rebalance: RebalanceSpec::default(),
            prior: PriorSpec::default(),
            grey_gate: Some(NonNegative::of(5.0)),
            temperature: Positive::of(0.38),
        }
    }
}

/// Class rebalancing: `rebalance: off` or `rebalance: { lambda: 0.5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RebalanceSpec {
    /// Every pixel counts the same.
    Off,
    /// Weights ∝ 1 / ((1−λ)·prior + λ·uniform): 0 weighs by the inverse prior alone, 1 weighs every colour the
    /// same.
    Lambda(Fraction),
}

impl Default for RebalanceSpec {
    fn default() -> Self {
        Self::Lambda(Fraction::of(0.5))
    }
}

impl ColorizationSpec {
    /// The bins of this spec's grid.
    pub fn bins(&self) -> Bins {
        Bins::new(self.grid.get() as f32)
    }
}

/// A network that learns to colour.
pub struct Colorization {
    net: AlexNet,
    params: Params,
    code: SoftCode,
    weights: Option<Vec<f32>>,
    grey_gate: Option<f32>,
    temperature: f32,
    collapsed: bool,
}

impl Colorization {
    /// A fresh network on `device`. `prior` is the probability of every bin, needed when the spec rebalances.
    ///
    /// # Errors
    /// A prior of another length than the bins; more neighbours than bins.
    pub fn new(
        spec: &ColorizationSpec,
        backbone: &BackboneSpec,
        prior: Option<&[f64]>,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let bins = Arc::new(spec.bins());
        let build =
            Build { graph: Graph::Pretext, batch_norm: true, input_channels: 1, outputs: Some(bins.len()) };
        let mut params = Params::new(device);
        let net = backbone.build(&build, &mut params, &rng.split("init"))?;
        let weights = match (spec.rebalance, prior) {
            (RebalanceSpec::Off, _) => None,
            (RebalanceSpec::Lambda(lambda), Some(p)) if p.len() == bins.len() => {
                Some(rebalance(p, lambda.get()))
            }
            (RebalanceSpec::Lambda(_), given) => bail!(
                "rebalancing needs a prior of {} bins, got {}",
                bins.len(),
                given.map_or("none".to_string(), |p| p.len().to_string())
            ),
        };
        ensure!(
            spec.neighbours.get() <= bins.len(),
            "a grid of {} has {} bins, fewer than the {} neighbours asked for; use a finer grid or fewer neighbours",
            spec.grid,
            bins.len(),
            spec.neighbours
        );
        let code = SoftCode::new(bins, spec.neighbours.get(), spec.sigma.get() as f32);
        let grey_gate = spec.grey_gate.map(|g| g.get() as f32);
        let temperature = spec.temperature.get() as f32;
        Ok(Self { net, params, code, weights, grey_gate, temperature, collapsed: false })
    }

    /// Logits `(B, h, w, Q)` at the label positions for Lab pixels `(B, H, W, 3)`, and the labels `(B, h, w, 2)`.
    fn predict(&self, lab: &Tensor, mode: &Mode) -> candle_core::Result<(Tensor, Tensor)> {
        let ab = labels(lab, self.net.label_stride())?;
        let (_, h, w, _) = ab.dims4()?;
        let logits = self.net.forward(&lightness(lab)?, &["fc8"], mode)?.remove(0);
        Ok((resize_bilinear(&logits, (h, w), true)?, ab))
    }

    fn loss(&self, logits: &Tensor, ab: &Tensor) -> candle_core::Result<SoftCrossEntropy> {
        soft_encoded_cross_entropy(logits, ab, &self.code, self.weights.as_deref(), self.grey_gate)
    }
}

/// The network's input: L − 50, `(B, H, W, 3)` → `(B, H, W, 1)`.
pub fn lightness(lab: &Tensor) -> candle_core::Result<Tensor> {
    lab.narrow(3, 0, 1)?.contiguous()?.affine(1.0, -50.0)
}

/// Point-sampled labels: ab at every `stride`-th pixel from pixel 0, no averaging. `(B, H, W, 3)` → `(B, h, w, 2)`.
fn labels(lab: &Tensor, stride: usize) -> candle_core::Result<Tensor> {
    let every = |n: usize| Tensor::from_iter((0..n as u32).step_by(stride), lab.device());
    let (_, h, w, _) = lab.dims4()?;
    lab.narrow(3, 1, 2)?.contiguous()?.index_select(&every(h)?, 1)?.index_select(&every(w)?, 2)
}

/// Mean chroma √(a²+b²) of `(…, 2)`.
fn chroma(ab: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(ab.sqr()?.sum(3)?.sqrt()?.mean_all()?.to_scalar::<f32>()?))
}

impl Task for Colorization {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let (logits, ab) = self.predict(&lab, &Mode::Train(rng.clone()))?;
        let loss = self.loss(&logits, &ab)?;
        let pixels = loss.pixels as f64;
        let scalars = vec![
            ("loss", loss.unweighted / pixels),
            ("weighted_loss", loss.weighted / pixels),
            ("kl", (loss.unweighted - loss.target_entropy) / pixels),
        ];
        Ok(Step { loss: loss.loss, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut sums = [0f64; 6]; // images, weighted, unweighted, entropy (per pixel), predicted and true chroma
        while let Some(batch) = val.next_batch()? {
            let lab = lab::rgb_to_lab(&batch.pixels)?;
            let (logits, ab) = self.predict(&lab, &Mode::Frozen)?;
            let loss = self.loss(&logits, &ab)?;
            let predicted = decode(&logits, self.code.bins(), Decode::Annealed(self.temperature))?;
            let (images, pixels) = (ab.dim(0)? as f64, loss.pixels as f64);
            let each = [loss.weighted / pixels, loss.unweighted / pixels, loss.target_entropy / pixels];
            let shares = [1.0, each[0], each[1], each[2], chroma(&predicted)?, chroma(&ab)?];
            sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += images * share);
        }
        let [images, weighted, unweighted, entropy, predicted, truth] = sums;
        let vividness = if truth > 0.0 { predicted / truth } else { 1.0 };
        self.collapsed = vividness < COLLAPSE;
        let metric = |name: &str, value: f64, better| Metric { name: name.into(), value, better };
        Ok(vec![
            metric("weighted_loss", weighted / images, Better::Lower),
            metric("loss", unweighted / images, Better::Lower),
            metric("kl", (unweighted - entropy) / images, Better::Lower),
            metric("vividness", vividness, Better::Neither),
        ])
    }

    /// Grey, prediction and truth, side by side.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<Panel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PICTURES))?.contiguous()?;
        let lab = lab::rgb_to_lab(&pixels)?;
        let (logits, _) = self.predict(&lab, &Mode::Frozen)?;
        let ab = decode(&logits, self.code.bins(), Decode::Annealed(self.temperature))?;
        let (b, h, w, _) = lab.dims4()?;
        let light = lab.narrow(3, 0, 1)?.contiguous()?;
        let colour = Tensor::cat(&[&light, &resize_bilinear(&ab, (h, w), true)?], 3)?;
        let grey = Tensor::cat(&[&light, &lab.narrow(3, 1, 2)?.contiguous()?.zeros_like()?], 3)?;
        let columns = [lab::lab_to_rgb(&grey)?, lab::lab_to_rgb(&colour)?, pixels];
        let tile = |column: &Tensor, i: usize| -> Result<panel::Tile> {
            Ok((w, h, column.get(i)?.flatten_all()?.to_vec1::<u8>()?))
        };
        let rows = (0..b)
            .map(|i| columns.iter().map(|c| tile(c, i)).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        let scale = (96 / w.max(h)).max(1);
        let (width, height, rgb) = panel::panel(&rows, &["input", "predicted", "truth"], scale)?;
        Ok(Some(Panel { name: "colorization".into(), width, height, rgb }))
    }

    fn warnings(&self) -> Vec<(String, String)> {
        if !self.collapsed {
            return vec![];
        }
        vec![(
            format!(
                "predicted colours have under {:.0} % of the true chroma: the network paints grey",
                100.0 * COLLAPSE
            ),
            "train longer, raise the learning rate, or switch rebalancing on".into(),
        )]
    }
}
