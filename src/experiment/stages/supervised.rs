//! `supervised`: trains a backbone on labels, as the supervised baseline.

use super::kind::*;
use crate::{
    metrics::confusion::Confusion,
    pretext::supervised::Supervised,
    report::{ResultKind, SupervisedResult, class_counts::ClassCounts},
};
use std::path::PathBuf;

/// Trains a backbone on labels: the supervised baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SupervisedStage {
    /// Labeled pictures; default: those of the experiment.
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// Network to train; default: that of the experiment.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The transfer variant is AlexNet itself, for crops of 227 (small stem: 29) pixels; the pretext variant accepts
    /// any crop and averages its logits over positions.
    #[serde(default)]
    pub graph: Variant,
    /// Length, batches, optimizer and bookkeeping of the training.
    pub train: TrainSpec,
}

impl StageKind for SupervisedStage {
    inputs!(data, backbone; train);

    fn needs_labels(&self) -> bool {
        true
    }

    fn trained(&self) -> Option<BackboneSpec> {
        self.backbone.clone()
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let pass = (Pass::Train, self.train.batch.get());
        let pictures = PicturePlan::plain(self.data.as_ref(), Some(pass), true)?;
        let side = pictures.val.framing.side();
        check_branches(required(backbone, "backbone")?)?;
        let network = NetworkPlan {
            batch_norm: true,
            head: Some(HeadPlan { outputs: Outputs::Classes, fillers: None }),
            ..NetworkPlan::on(self.graph, required(backbone, "backbone")?, Some((side, side)))
        };
        let metrics = Metrics::of(Supervised::METRICS);
        Ok(StagePlan {
            row,
            pictures,
            network: Some(network),
            files: vec![],
            train: None,
            metrics,
            monitor: None,
            leaves: WEIGHTS,
        })
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let classes = fit.sets.classes();
        let mut task = Supervised::new(fit.backbone()?, self.graph, classes, &fit.rng, &fit.device)?;
        let ended = fit.train(&mut task, run)?;
        if ended.is_some() {
            fit.save_results(&result(fit, task.confusion())?, run)?;
        }
        fit.save_weights(ended, &task, [], run)
    }
}

fn result(fit: &StageRun, confusion: &Confusion) -> Result<SupervisedResult> {
    Ok(SupervisedResult {
        kind: ResultKind::Supervised,
        experiment: fit.experiment.clone(),
        stage: fit.stage.clone(),
        seed: fit.seed,
        dataset: fit.dataset(),
        classes: ClassCounts::of(confusion, fit.sets.plain()?.val.classes()),
        from: PathBuf::new(),
    })
}
