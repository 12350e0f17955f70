//! Split-brain autoencoders (Zhang, Isola and Efros, CVPR 2017): of the two halves of a split network, one predicts ab
//! from L and the other L from ab. They share no weights; together they are a backbone that sees Lab
//! ([`crate::backbones::split`]).
//!
//! As in the paper, the labels are at the cells of the output maps (12×12 for an AlexNet on 180 pixels), and
//! classification is over the 313 bins of ab of the colorization network and 50 bins of L, of width 2, without soft
//! encoding or rebalancing. The losses of the halves are added; since no parameter is in both, each learns as if alone.

use super::{
    channel_meter::{ChannelMeter, ChannelResult, Truth},
    channel_target::{ChannelLoss, ChannelTarget},
    channels::LabChannels,
    label_grid::{maps, predict},
};
use crate::{
    backbones::{
        BackboneSpec,
        network::Network,
        split::{HALVES, Half, SplitNetwork},
    },
    color::lab,
    data::{Batch, loader::Loader},
    nn::{Mode, TrainingPass, params::Params, weights::Named},
    rng::Rng,
    train::{
        panel,
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::Result;
use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Images in a panel.
const PANEL_IMAGES: usize = 8;
/// Bins of L, each 2 wide.
const LIGHTNESS_BINS: usize = 50;
/// What each half predicts, in the order of the halves.
const PREDICTED: [&str; 2] = ["ab", "lightness"];

/// Both halves of Lab from one another, by the halves of one network (Zhang, Isola and Efros 2017). In YAML:
/// `split_brain: { loss: regression }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitBrainSpec {
    /// The loss of both halves.
    pub loss: ChannelLoss,
}

impl SplitBrainSpec {
    /// What the halves see and predict, in the order of [`crate::backbones::split::HALVES`].
    pub fn targets(self) -> [ChannelTarget; 2] {
        [ChannelTarget::ab(self.loss), ChannelTarget::lightness(self.loss, LIGHTNESS_BINS)]
    }
}

/// The split-brain task: a split network and its training state.
pub struct SplitBrain {
    targets: [ChannelTarget; 2],
    split: SplitNetwork,
    net: Network,
    params: Params,
    /// The newest validation's, of each half.
    results: Vec<ChannelResult>,
}

impl SplitBrain {
    /// Names of the metrics: the sum of the losses, and those of each half by what it predicts.
    pub fn metrics() -> Vec<String> {
        let own =
            PREDICTED.iter().flat_map(|half| ChannelMeter::METRICS.map(|name| format!("{half}_{name}")));
        std::iter::once("loss".to_string()).chain(own).collect()
    }

    /// A new network on `device`.
    ///
    /// # Errors
    /// A backbone that cannot be split; a tensor cannot be created on the device.
    pub fn new(spec: SplitBrainSpec, backbone: &BackboneSpec, rng: &Rng, device: &Device) -> Result<Self> {
        let (targets, mut params) = (spec.targets(), Params::new(device));
        let split = SplitNetwork::pretext(backbone, targets.each_ref().map(ChannelTarget::outputs))?;
        let net = split.build(backbone, &mut params, &rng.split("init"))?;
        Ok(Self { targets, split, net, params, results: vec![] })
    }

    /// The trained network: both halves.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// Weights of the backbone, from those of the halves.
    ///
    /// # Errors
    /// As [`SplitNetwork::merged`].
    pub fn merged(&self, halves: &Named) -> Result<Named> {
        Ok(self.split.merged(halves)?)
    }

    /// Output maps of Lab pictures `(B, H, W, 3)` at the label pixels, `(B, h, w, Q)`, of each half.
    fn output_maps(&self, lab: &Tensor, mode: &Mode) -> Result<Vec<Tensor>> {
        let heads = self.split.heads();
        Ok(predict(&self.net, &LabChannels::Lab.input(lab)?, &heads.each_ref().map(String::as_str), mode)?)
    }
}

impl Task for SplitBrain {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let (lab, grid) = (lab::rgb_to_lab(&batch.pixels)?, self.net.grid());
        let maps = self.output_maps(&lab, &Mode::Train(training.clone()))?;
        let score = |half: usize| -> Result<Tensor> {
            let target = &self.targets[half];
            Ok(target.score(&maps[half], &target.truth(&lab, grid)?)?)
        };
        let (ab, lightness) = (score(0)?, score(1)?);
        let loss = (&ab + &lightness)?;
        let scalars =
            vec![("loss", loss.detach()), ("ab_loss", ab.detach()), ("lightness_loss", lightness.detach())];
        // Sum over label pixels, mean over images, as in colorization.
        let (_, h, w, _) = maps[0].dims4()?;
        Ok(StepOutput { loss: (loss * (h * w) as f64)?, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut meters = [ChannelMeter::default(), ChannelMeter::default()];
        let measure = |batch: &Batch, _| {
            let lab = lab::rgb_to_lab(&batch.pixels)?;
            let truth = Truth { pixels: &batch.pixels, lab: &lab, grid: self.net.grid() };
            let maps = self.output_maps(&lab, &Mode::Frozen)?;
            let halves = self.targets.iter().zip(&maps);
            Ok(halves
                .map(|(target, map)| ChannelMeter::of_batch(target, map, &truth))
                .collect::<Result<Vec<_>, _>>()?)
        };
        val.fold(measure, |halves: Vec<ChannelMeter>| {
            meters.iter_mut().zip(&halves).for_each(|(meter, batch)| meter.merge(batch));
            Ok(())
        })?;
        let finish =
            |(meter, target): (&ChannelMeter, &ChannelTarget)| meter.finish(target.predicts().count());
        self.results = meters.iter().zip(&self.targets).map(finish).collect();
        let loss = self.results.iter().map(ChannelResult::loss).sum();
        let mut metrics = vec![Metric { name: "loss".into(), value: loss, better: Better::Lower }];
        for (half, result) in PREDICTED.iter().zip(&self.results) {
            let named = |metric: Metric| Metric { name: format!("{half}_{}", metric.name), ..metric };
            metrics.extend(result.metrics().map(named));
        }
        Ok(metrics)
    }

    /// Input and prediction of each half, and the truth, in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PANEL_IMAGES))?.contiguous()?;
        let (lab, grid) = (lab::rgb_to_lab(&pixels)?, self.net.grid());
        let mut columns = vec![];
        for (target, map) in self.targets.iter().zip(self.output_maps(&lab, &Mode::Frozen)?) {
            columns.push(lab::lab_to_rgb(&target.sees().isolated(&lab)?)?);
            columns.push(target.completed(&target.decode_map(&map)?, &lab, grid)?);
        }
        columns.push(pixels);
        let titles = ["L", "ab predicted", "ab", "L predicted", "truth"];
        let columns: Vec<_> = titles.into_iter().zip(&columns).collect();
        Ok(Some(panel::from_columns("split_brain", &columns)?))
    }

    /// Maps of the backbone that the halves form: theirs side by side.
    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        let input = LabChannels::Lab.input(&lab::rgb_to_lab(pixels)?)?;
        let of_half = |half: Half| {
            let names: Vec<String> = layers.iter().map(|layer| half.layer(layer)).collect();
            maps(&self.net, &input, &names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let [first, second] = HALVES.map(of_half);
        let pairs = first?.into_iter().zip(second?);
        Ok(pairs.map(|(a, b)| Tensor::cat(&[a, b], 3)).collect::<candle_core::Result<_>>()?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        let named = PREDICTED.iter().zip(&self.results);
        named
            .filter_map(|(half, result)| result.warning(&format!("the predicted channels ({half})")))
            .collect()
    }
}
