//! `nonlinear_probe`: freezes the first layers of several backbones and trains new ones on top.

use super::kind::*;
use crate::{pretext::supervised::Supervised, probe::nonlinear::NonlinearProbeSpec};

/// Freezes the first layers of several backbones and trains new ones on top.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NonlinearProbeStage {
    /// Labeled pictures; default: those of the experiment.
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// Architecture for `init`, `data_dependent` and `file`, unless a row has its own; a `stage` provides its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Weights to compare: the rows of the table, by name and in order.
    pub backbones: NamedMap<OnBackbone<InitSpec>>,
    /// Last frozen layers, one fit each: the columns of the table.
    #[serde(default = "conv4")]
    pub through: Vec<String>,
    /// Batch normalization in the new layers.
    #[serde(default = "yes")]
    pub batch_norm: bool,
    /// Length, batches, optimizer and bookkeeping of the training.
    pub train: TrainSpec,
}

fn conv4() -> Vec<String> {
    vec!["conv4".into()]
}
fn yes() -> bool {
    true
}

impl StageKind for NonlinearProbeStage {
    inputs!(data, backbone; train);

    fn rows(&self) -> Rows<'_> {
        Rows::Backbones { rows: &self.backbones, columns: &self.through }
    }

    fn layers(&self) -> Option<Layers<'_>> {
        Layers::all(&["through"], &self.through)
    }

    fn needs_labels(&self) -> bool {
        true
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let pass = (Pass::Train, self.train.batch.get());
        let pictures = PicturePlan::plain(self.data.as_ref(), Some(pass), true)?;
        let side = pictures.val.framing.side();
        let network = NetworkPlan {
            batch_norm: self.batch_norm,
            head: Some(HeadPlan { outputs: Outputs::Classes, fillers: None }),
            trainable: Trainable::After(row.column.clone().context("no layer to keep")?),
            ..NetworkPlan::on(Variant::Transfer, required(backbone, "backbone")?, Some((side, side)))
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
            leaves: RESULTS,
        })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        // Only weights of a file can be checked now; other sources do not exist yet.
        fit.located.as_ref().map(|_| self.build(fit)).transpose().map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let mut task = self.build(fit)?;
        let ended = fit.train(&mut task, run)?;
        if let Some(metrics) = &ended {
            let top1 = metrics.iter().find(|m| m.name == "top1");
            let found = TransferRow {
                backbone: fit.row(),
                task: TransferTask::Nonlinear,
                variant: fit.column()?.into(),
                input: fit.colors()?,
                metric: TransferMetric::Top1,
                value: top1.context("the fit ended without a validation")?.value,
                deviation: None,
                per_class: BTreeMap::new(),
            };
            fit.save_transfer(vec![found], &fit.protocol()?, run)?;
        }
        Ok(ended)
    }
}

impl NonlinearProbeStage {
    fn build(&self, fit: &StageRun) -> Result<Supervised> {
        let (spec, trained) = fit.prepare_weights()?;
        let probe = NonlinearProbeSpec { through: fit.column()?.into(), batch_norm: self.batch_norm };
        probe.build(&spec, trained.as_ref(), fit.sets.classes(), &fit.rng, &fit.device)
    }
}
