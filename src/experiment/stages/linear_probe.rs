//! `linear_probe`: trains linear classifiers on the layers of several frozen backbones.

use super::kind::*;
use crate::{
    metrics::confusion::Confusion,
    probe::linear::{LayerAccuracy, LinearProbe, LinearProbeSpec},
    report::{BackboneResult, LayerResult, ProbeResult, ResultKind, class_counts::ClassCounts},
};
use std::path::PathBuf;

/// Trains linear classifiers on the layers of several frozen backbones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearProbeStage {
    /// Labeled pictures; default: those of the experiment.
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// Architecture for `init`, `data_dependent` and `file`, unless a row has its own; a `stage` provides its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Weights to compare: the rows of the table, by name and in order.
    pub backbones: NamedMap<OnBackbone<InitSpec>>,
    /// Layers and options of the classifiers.
    #[serde(default)]
    pub probe: LinearProbeSpec,
    /// Length, batches, optimizer and bookkeeping of the training.
    pub train: TrainSpec,
}

impl StageKind for LinearProbeStage {
    inputs!(data, backbone; train);

    fn rows(&self) -> Rows<'_> {
        Rows::Backbones { rows: &self.backbones, columns: &[] }
    }

    fn layers(&self) -> Option<Layers<'_>> {
        Layers::all(&["probe", "layers"], &self.probe.layers)
    }

    fn needs_labels(&self) -> bool {
        true
    }

    fn reads_features(&self) -> bool {
        true
    }

    fn trained_parameters(&self, network: &NetworkPlan) -> Result<Vec<String>> {
        Ok(self.probe.parameters(network.reads()))
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let pass = if self.probe.augment { Pass::Train } else { Pass::Shuffled };
        let pictures = PicturePlan::plain(self.data.as_ref(), Some((pass, self.train.batch.get())), true)?;
        let side = pictures.val.framing.side();
        let network = NetworkPlan::frozen(
            required(backbone, "backbone")?,
            (&["probe", "layers"], &self.probe.layers),
            side,
        )?;
        let metrics = Metrics::of(network.reads().iter().flat_map(|layer| LinearProbe::metrics(layer)));
        Ok(StagePlan {
            row,
            pictures,
            network: Some(network),
            files: vec![],
            train: None,
            metrics,
            monitor: None,
            leaves: RESULTS,
        })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        fit.check_weights()
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let (net, _) = fit.network()?;
        let (classes, images) = (fit.sets.classes(), fit.sets.plain()?.train.len());
        let probe = LinearProbeSpec { layers: fit.reads().to_vec(), ..self.probe.clone() };
        let mut task = LinearProbe::new(&probe, net, classes, fit.crop(), images, &fit.device)?;
        let Some(metrics) = fit.train(&mut task, run)? else { return Ok(None) };
        fit.save_results(&self.result(fit, task.last(), task.confusions())?, run)?;
        Ok(Some(metrics))
    }
}

impl LinearProbeStage {
    fn result(
        &self,
        fit: &StageRun,
        layers: &[LayerAccuracy],
        confusions: &[Confusion],
    ) -> Result<ProbeResult> {
        // With five classes or fewer, top-5 accuracy is always 1.
        let tells = fit.sets.classes() > 5;
        let names = fit.sets.plain()?.val.classes();
        let best = layers.iter().max_by(|a, b| a.top1.total_cmp(&b.top1)).map(|best| &best.layer);
        let layer = |(l, confusion): (&LayerAccuracy, &Confusion)| LayerResult {
            layer: l.layer.clone(),
            top1: l.top1,
            top5: tells.then_some(l.top5),
            classes: (Some(&l.layer) == best).then(|| ClassCounts::of(confusion, names)),
        };
        let layers = layers.iter().zip(confusions).map(layer).collect();
        Ok(ProbeResult {
            kind: ResultKind::LinearProbe,
            experiment: fit.experiment.clone(),
            seed: fit.seed,
            protocol: self.probe.protocol.to_string(),
            dataset: fit.dataset(),
            upstream: fit.upstream_name(),
            rows: vec![BackboneResult { backbone: fit.row(), layers }],
            from: PathBuf::new(),
        })
    }
}
