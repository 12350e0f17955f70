//! Cross-channel prediction with the colorization network: color from lightness or lightness from color, each by
//! classification or regression, and the autoencoder, Lab from Lab (Zhang, Isola and Efros, "Split-Brain
//! Autoencoders", CVPR 2017, section 3: the halves and the baselines, each a whole network of its own).
//! [`super::split_brain`] trains both halves as one split network.
//!
//! Classification targets the nearest bin only ([`super::channel_target`]). This distinguishes `predict: ab` from
//! [`super::colorization`].

use super::{
    channel_meter::{ChannelMeter, ChannelResult, Truth},
    channel_target::{ChannelLoss, ChannelTarget},
    label_grid::{heads, maps, predict},
};
use crate::{
    backbones::{BackboneSpec, Build, Variant, network::Network},
    color::lab,
    data::{Batch, loader::Loader},
    nn::{Mode, TrainingPass, params::Params},
    rng::Rng,
    train::{
        panel,
        task::{ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Images in a panel.
const PANEL_IMAGES: usize = 8;
/// Bins of L, each 1 wide.
const LIGHTNESS_BINS: usize = 100;

/// One half of Lab from the other. In YAML: `cross_channel: { predict: lightness, loss: regression }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossChannelSpec {
    /// What is predicted.
    pub predict: Predicted,
    /// The loss.
    #[serde(default)]
    pub loss: ChannelLoss,
}

/// Lab from Lab by regression, without options. In YAML: `task: autoencoder`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderSpec {}

/// The channels that are predicted from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Predicted channels")]
pub enum Predicted {
    /// a and b from L.
    Ab,
    /// L from a and b.
    Lightness,
}

impl From<CrossChannelSpec> for ChannelTarget {
    fn from(spec: CrossChannelSpec) -> Self {
        match spec.predict {
            Predicted::Ab => Self::ab(spec.loss),
            Predicted::Lightness => Self::lightness(spec.loss, LIGHTNESS_BINS),
        }
    }
}

impl From<AutoencoderSpec> for ChannelTarget {
    fn from(_: AutoencoderSpec) -> Self {
        Self::autoencoder()
    }
}

/// The cross-channel task: a network and its training state.
pub struct CrossChannel {
    target: ChannelTarget,
    net: Network,
    params: Params,
    /// Trained heads with their loss weights; the last one is the network's output.
    heads: Vec<(String, f64)>,
    /// The newest validation's.
    result: Option<ChannelResult>,
}

impl CrossChannel {
    /// Names of the metrics.
    pub const METRICS: [&str; 4] = ChannelMeter::METRICS;

    /// Build options of the network of a target.
    pub fn build(target: &ChannelTarget) -> Build {
        let (input_channels, outputs) = (target.sees().count(), Some(target.outputs()));
        Build { variant: Variant::Pretext, batch_norm: true, input_channels, outputs }
    }

    /// A new network on `device`.
    ///
    /// # Errors
    /// A tensor cannot be created on the device.
    pub fn new(target: ChannelTarget, backbone: &BackboneSpec, rng: &Rng, device: &Device) -> Result<Self> {
        let mut params = Params::new(device);
        let net = backbone.build(&Self::build(&target), &mut params, &rng.split("init"))?;
        let heads = heads(&net);
        Ok(Self { target, net, params, heads, result: None })
    }

    /// The trained network.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// Output map of Lab pictures `(B, H, W, 3)` at the label pixels, `(B, h, w, Q)`.
    fn output_map(&self, lab: &Tensor) -> Result<Tensor> {
        let (head, input) = ([self.net.head().label()], self.target.sees().input(lab)?);
        predict(&self.net, &input, &head, &Mode::Frozen)?.pop().context("a network without a head")
    }
}

impl Task for CrossChannel {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let truth = self.target.truth(&lab, self.net.grid())?;
        // Sum over label pixels, mean over images, as in colorization.
        let pixels = (truth.dim(1)? * truth.dim(2)?) as f64;
        let names: Vec<&str> = self.heads.iter().map(|(name, _)| name.as_str()).collect();
        let input = self.target.sees().input(&lab)?;
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

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut meter = ChannelMeter::default();
        let measure = |batch: &Batch, _| {
            let lab = lab::rgb_to_lab(&batch.pixels)?;
            let truth = Truth { pixels: &batch.pixels, lab: &lab, grid: self.net.grid() };
            Ok(ChannelMeter::of_batch(&self.target, &self.output_map(&lab)?, &truth)?)
        };
        val.fold(measure, |batch| {
            meter.merge(&batch);
            Ok(())
        })?;
        let result = meter.finish(self.target.predicts().count());
        let metrics = result.metrics().collect();
        self.result = Some(result);
        Ok(metrics)
    }

    /// Input, prediction and truth in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PANEL_IMAGES))?.contiguous()?;
        let lab = lab::rgb_to_lab(&pixels)?;
        let predicted = self.target.decode_map(&self.output_map(&lab)?)?;
        let predicted = self.target.completed(&predicted, &lab, self.net.grid())?;
        let input = lab::lab_to_rgb(&self.target.sees().isolated(&lab)?)?;
        let columns = [("input", &input), ("predicted", &predicted), ("truth", &pixels)];
        Ok(Some(panel::from_columns("cross_channel", &columns)?))
    }

    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        let input = self.target.sees().input(&lab::rgb_to_lab(pixels)?)?;
        Ok(maps(&self.net, &input, layers)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        self.result.iter().filter_map(|result| result.warning("the predicted channels")).collect()
    }
}
