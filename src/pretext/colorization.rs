//! Colorization as a pretext task: from the lightness of a photograph to a distribution over quantized ab colors at
//! every label pixel (paper section 2, equations 1–4), with class rebalancing applied to the gradient; or, for
//! comparison, to the ab values themselves (L2 regression, equation 1).

use super::{
    color_meter::{self, ColorFault, ColorMeter, PANEL_IMAGES, color_panel},
    color_prior::PriorSpec,
    colorizer::{Colorizer, ColorizerSpec, OutputKind, lightness},
    label_grid::{heads, maps, subsample},
};
use crate::{
    backbones::{BackboneSpec, Build, Variant},
    bounded::{Count, Fraction, NonNegative, Positive, Spacing},
    color::{bins::Bins, decode::Decode, encode::SoftCode, lab, prior::rebalance},
    data::{Batch, loader::Loader},
    nn::{Mode, TrainingPass, params::Params},
    old_key::OldKey,
    ops::losses::{SoftCrossEntropy, soft_encoded_cross_entropy, squared_distance},
    rng::Rng,
    train::task::{ImagePanel, Metric, StepOutput, Task},
    yaml,
};
use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Colors of a picture from its lightness (Zhang, Isola and Efros 2016). The defaults are those of the paper's
/// released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(transform = OldKey("neighbours", "neighbors"), transform = OldKey("grey_gate", "gray_gate"))]
pub struct ColorizationSpec {
    /// What the network predicts, and its loss.
    pub loss: ColorizationLoss,
    /// Spacing of the ab bins in ab units; 10 gives the paper's 313 bins.
    pub grid: Spacing,
    /// Nearest bins in the soft encoding of a color (5 in the paper, 10 in its code).
    #[serde(alias = "neighbours")]
    pub neighbors: Count,
    /// Gaussian width of the soft encoding, in ab units.
    pub sigma: Positive,
    /// Class rebalancing, which weighs rare colors more (paper, equation 4).
    pub rebalance: RebalanceSpec,
    /// Source of the color prior.
    pub prior: PriorSpec,
    /// Pictures in which no label pixel has |a| or |b| above this are excluded from the gradient; `~` disables the
    /// gate.
    #[serde(alias = "grey_gate")]
    pub gray_gate: Option<NonNegative>,
    /// Temperature of the annealed mean (paper, equation 5); affects panels and figures only.
    pub temperature: Positive,
}

impl Default for ColorizationSpec {
    fn default() -> Self {
        Self {
            loss: ColorizationLoss::default(),
            grid: Spacing::of(10.0),
            neighbors: Count::of(10),
            sigma: Positive::of(5.0),
            rebalance: RebalanceSpec::default(),
            prior: PriorSpec::default(),
            gray_gate: Some(NonNegative::of(5.0)),
            temperature: Positive::of(0.38),
        }
    }
}

/// What is predicted at a label pixel, and the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColorizationLoss {
    /// A distribution over ab bins; cross-entropy with the soft-encoded color (equation 2).
    #[default]
    Classification,
    /// The ab values; half the squared distance, summed over pixels (equation 1). The fields for bins, weights and the
    /// gate are ignored.
    L2,
}

impl ColorizationLoss {
    /// Names of the losses in a validation; the training loss comes first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Classification => &["weighted_loss", "loss", "kl"],
            Self::L2 => &["loss"],
        }
    }
}

/// Class rebalancing: `rebalance: off` or `rebalance: { lambda: 0.5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Class rebalancing")]
pub enum RebalanceSpec {
    /// All pixels weigh the same.
    Off,
    /// Weights ∝ 1 / ((1−λ)·prior + λ·uniform): λ = 0 weighs by the inverse prior, λ = 1 weighs all colors equally.
    Lambda(Fraction),
}

impl Default for RebalanceSpec {
    fn default() -> Self {
        Self::Lambda(Fraction::of(0.5))
    }
}

impl ColorizationSpec {
    /// The color bins of this spec's grid.
    pub fn bins(&self) -> Bins {
        Bins::new(self.grid.get() as f32)
    }

    /// Whether training needs the color prior.
    pub fn needs_prior(&self) -> bool {
        self.loss == ColorizationLoss::Classification && self.rebalance != RebalanceSpec::Off
    }

    /// Settings of bins, weights and gate that a regression ignores, if any was changed.
    pub fn ignored(&self) -> Vec<&'static str> {
        if self.loss == ColorizationLoss::Classification {
            return vec![];
        }
        let usual = Self::default();
        let weighs = self.rebalance != RebalanceSpec::Off && self.rebalance != usual.rebalance;
        let gates = self.gray_gate.is_some() && self.gray_gate != usual.gray_gate;
        let all = [
            ("grid", self.grid != usual.grid),
            ("neighbors", self.neighbors != usual.neighbors),
            ("sigma", self.sigma != usual.sigma),
            ("rebalance", weighs),
            ("prior", self.prior != usual.prior),
            ("gray_gate", gates),
            ("temperature", self.temperature != usual.temperature),
        ];
        all.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }

    /// Names of the metrics, losses first.
    pub fn metrics(&self) -> impl Iterator<Item = &'static str> {
        self.loss.names().iter().copied().chain(color_meter::METRICS)
    }
}

impl ColorizerSpec for ColorizationSpec {
    fn name(&self) -> &'static str {
        "colorization"
    }

    fn section(&self) -> Result<String, serde_yaml::Error> {
        yaml::write(self)
    }

    fn build(&self) -> Build {
        let outputs = match self.loss {
            ColorizationLoss::Classification => self.bins().len(),
            ColorizationLoss::L2 => 2,
        };
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(outputs) }
    }

    fn output(&self, _: &BackboneSpec) -> OutputKind {
        match self.loss {
            ColorizationLoss::Classification => OutputKind::Distribution(Arc::new(self.bins())),
            ColorizationLoss::L2 => OutputKind::Ab,
        }
    }

    fn decode(&self) -> Decode {
        Decode::Annealed(self.temperature.get() as f32)
    }
}

/// The training criterion.
enum ColorizationCriterion {
    SoftEncoded { code: SoftCode, weights: Option<Vec<f32>>, gray_gate: Option<f32> },
    L2,
}

impl ColorizationCriterion {
    fn loss(&self) -> ColorizationLoss {
        match self {
            Self::SoftEncoded { .. } => ColorizationLoss::Classification,
            Self::L2 => ColorizationLoss::L2,
        }
    }

    fn new(spec: &ColorizationSpec, output: &OutputKind, prior: Option<&[f64]>) -> Result<Self> {
        let OutputKind::Distribution(bins) = output else { return Ok(Self::L2) };
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
            spec.neighbors.get() <= bins.len(),
            "a grid of {} has {} bins, fewer than the {} neighbors asked for; use a finer grid or fewer neighbors",
            spec.grid,
            bins.len(),
            spec.neighbors
        );
        let code = SoftCode::new(bins.clone(), spec.neighbors.get(), spec.sigma.get() as f32);
        Ok(Self::SoftEncoded { code, weights, gray_gate: spec.gray_gate.map(|g| g.get() as f32) })
    }
}

/// Loss of one head, plus the scalars to log, each a mean over label pixels.
struct HeadLoss {
    /// The training loss: a sum over pixels, a mean over the batch.
    loss: Tensor,
    scalars: Vec<(&'static str, Tensor)>,
}

impl HeadLoss {
    fn soft_encoded(scored: SoftCrossEntropy) -> candle_core::Result<Self> {
        let SoftCrossEntropy { loss, unweighted, weighted, target_entropy, pixels } = scored;
        let pixels = Tensor::full(pixels as f64, (), loss.device())?;
        let scalars = vec![
            ("loss", (&unweighted / &pixels)?),
            ("weighted_loss", (weighted / &pixels)?),
            ("kl", ((unweighted - target_entropy)? / &pixels)?),
        ];
        Ok(Self { loss, scalars })
    }

    /// Equation 1, for predicted and true ab `(B, h, w, 2)`.
    fn l2(predicted: &Tensor, ab: &Tensor) -> candle_core::Result<Self> {
        let (batch, h, w, _) = ab.dims4()?;
        let loss = squared_distance(predicted, ab, None, 2.0 * batch as f64)?;
        let pixels = Tensor::full((h * w) as f64, (), loss.device())?;
        let value = (loss.detach().to_dtype(DType::F64)? / pixels)?;
        Ok(Self { loss, scalars: vec![("loss", value)] })
    }

    /// Reads the scalars. Synchronizes with the device.
    fn read(&self) -> candle_core::Result<Vec<(&'static str, f64)>> {
        self.scalars.iter().map(|(name, value)| Ok((*name, value.to_scalar()?))).collect()
    }
}

/// The colorization task: a network and its training state.
pub struct Colorization {
    colorizer: Colorizer,
    params: Params,
    criterion: ColorizationCriterion,
    /// Trained heads with their loss weights; the last one is the network's output.
    heads: Vec<(String, f64)>,
    decode: Decode,
    fault: ColorFault,
}

impl Colorization {
    /// A new network on `device`. `prior` is the probability of every bin, required if the spec rebalances.
    ///
    /// # Errors
    /// A prior whose length is not the number of bins; more neighbors than bins.
    pub fn new(
        spec: &ColorizationSpec,
        backbone: &BackboneSpec,
        prior: Option<&[f64]>,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let mut params = Params::new(device);
        let colorizer = Colorizer::new(spec, backbone, &mut params, &rng.split("init"))?;
        let criterion = ColorizationCriterion::new(spec, colorizer.output(), prior)?;
        let heads = heads(colorizer.network());
        Ok(Self { colorizer, params, criterion, heads, decode: spec.decode(), fault: ColorFault::default() })
    }

    /// The trained network.
    pub fn colorizer(&self) -> &Colorizer {
        &self.colorizer
    }

    fn score(&self, map: &Tensor, ab: &Tensor) -> candle_core::Result<HeadLoss> {
        match &self.criterion {
            ColorizationCriterion::L2 => HeadLoss::l2(&self.colorizer.decode_map(map, self.decode)?, ab),
            ColorizationCriterion::SoftEncoded { code, weights, gray_gate } => {
                let scored = soft_encoded_cross_entropy(map, ab, code, weights.as_deref(), *gray_gate)?;
                HeadLoss::soft_encoded(scored)
            }
        }
    }

    /// True ab at the label pixels, `(B, h, w, 2)`.
    fn labels(&self, lab: &Tensor) -> candle_core::Result<Tensor> {
        subsample(&lab.narrow(3, 1, 2)?, self.colorizer.network().grid().stride)
    }
}

impl Task for Colorization {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let ab = self.labels(&lab)?;
        let names: Vec<&str> = self.heads.iter().map(|(name, _)| name.as_str()).collect();
        let maps = self.colorizer.predict(&lightness(&lab)?, &names, &Mode::Train(training.clone()))?;
        let (mut total, mut scalars) = (None, vec![]);
        for (map, (_, weight)) in maps.iter().zip(&self.heads) {
            let scored = self.score(map, &ab)?;
            let loss = if *weight == 1.0 { scored.loss } else { (scored.loss * *weight)? };
            total = Some(if let Some(sum) = total { (sum + loss)? } else { loss });
            scalars = scored.scalars; // only the last head's are logged
        }
        let Some(loss) = total else { bail!("a colorizer without a head") };
        Ok(StepOutput { loss, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut meter = ColorMeter::default();
        let measure = |batch: &Batch, _| {
            let lab = lab::rgb_to_lab(&batch.pixels)?;
            let ab = self.labels(&lab)?;
            let map = self.colorizer.output_map(&lightness(&lab)?, None)?;
            let predicted = self.colorizer.decode_map(&map, self.decode)?;
            ColorMeter::of_batch(&self.score(&map, &ab)?.read()?, &predicted, &ab)
        };
        val.fold(measure, |batch| {
            meter.merge(&batch);
            Ok(())
        })?;
        let (metrics, fault) = meter.metrics(self.criterion.loss().names());
        self.fault = fault;
        Ok(metrics)
    }

    /// Input (gray), prediction and truth in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PANEL_IMAGES))?.contiguous()?;
        let ab = self.colorizer.color(&lightness(&lab::rgb_to_lab(&pixels)?)?, self.decode)?;
        Ok(Some(color_panel("colorization", &pixels, &ab)?))
    }

    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        let lightness = lightness(&lab::rgb_to_lab(pixels)?)?;
        Ok(maps(self.colorizer.network(), &lightness, layers)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        self.fault.warnings("train longer, raise the learning rate, or switch rebalancing on")
    }
}
