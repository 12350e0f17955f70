//! Shared by `classification`, `detection` and `segmentation`: fine-tuning of backbones on an annotated set.
//!
//! ```yaml
//! detection:
//!   detection:
//!     annotated: { source: { catalog: voc2007 } }
//!     backbones: { colorization: { stage: colorization }, gaussian: { init: msra } }
//!     input: gray
//!     task: { frozen: { through: conv1 } }
//!     train: { … }
//! ```

use super::kind::*;
use crate::transfer::Frozen;

/// Fine-tunes several backbones on an annotated set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{T}Stage", bound = "T: JsonSchema + Default + Serialize")]
pub struct TransferStage<T> {
    /// Annotated set; default: the experiment's.
    #[serde(default)]
    pub annotated: Option<AnnotatedSpec>,
    /// Architecture for `init`, `data_dependent` and `file`, unless a row has its own; a `stage` provides its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Weights to compare: the rows of the table, by name and in order.
    pub backbones: NamedMap<OnBackbone<InitSpec>>,
    /// Input of the backbone: lightness only, or color.
    #[serde(default)]
    pub input: InputColors,
    /// Layers that are trained, views of the pictures, and the test.
    #[serde(default)]
    pub task: T,
    /// Length, batches, optimizer and bookkeeping of the training.
    pub train: TrainSpec,
}

/// A task on top of a fine-tuned backbone.
pub trait Transfer {
    const TASK: TransferTask;
    const METRIC: TransferMetric;
    /// Which of the devkit's lists it uses.
    const LISTS: Lists;
    const VARIANT: Variant;
    /// Keys of the size of the network's input, below the section of the stage.
    const SIZE_KEYS: &'static [&'static str];

    /// First trainable layers: one fit per row and layer.
    fn columns(&self) -> &[String] {
        &[]
    }

    fn layers(&self) -> Option<Layers<'_>>;

    /// The task's part of the plan for a column, with training batches of `batch` pictures.
    fn transfer_plan(&self, column: Option<&str>, batch: usize, backbone: &BackboneSpec) -> TransferPlan;

    /// Names of the parameters that it trains beside those of the network.
    ///
    /// # Errors
    /// As [`NetworkPlan::table`].
    fn head_parameters(&self, _: &NetworkPlan) -> Result<Vec<String>> {
        Ok(vec![])
    }

    /// As [`StageKind::check_network`].
    ///
    /// # Errors
    /// A network that the task cannot be trained on.
    fn check_network(&self, _: &NetworkPlan) -> Result<()> {
        Ok(())
    }

    /// As [`StageKind::check_ready`].
    ///
    /// # Errors
    /// Every problem that would stop the fit.
    fn check_ready(&self, fit: &StageRun) -> Result<()>;

    /// Trains and tests; None if the user interrupted it.
    ///
    /// # Errors
    /// Those of the fit.
    fn fine_tune(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<FineTuned>>;
}

/// The task-specific part of a plan.
pub struct TransferPlan {
    /// The new last layer, if the variant has one.
    pub head: Option<HeadPlan>,
    pub trainable: Trainable,
    /// Transforms of training and test pictures.
    pub views: (ViewPlan, ViewPlan),
    /// Height and width of the network's input; None: as stored.
    pub input_size: Option<(usize, usize)>,
    /// Input files other than pictures and weights.
    pub files: Vec<InputFile>,
    pub metrics: Metrics,
}

/// Results of a fine-tuning.
pub struct FineTuned {
    pub metrics: Vec<Metric>,
    /// Table entry, 0 to 1.
    pub value: f64,
    pub per_class: BTreeMap<String, Option<f64>>,
    /// Table column.
    pub variant: String,
}

impl<T: Transfer> StageKind for TransferStage<T> {
    inputs!(annotated, backbone; train);

    fn rows(&self) -> Rows<'_> {
        Rows::Backbones { rows: &self.backbones, columns: self.task.columns() }
    }

    fn layers(&self) -> Option<Layers<'_>> {
        self.task.layers()
    }

    fn size_keys(&self) -> &'static [&'static str] {
        T::SIZE_KEYS
    }

    fn trained_parameters(&self, network: &NetworkPlan) -> Result<Vec<String>> {
        Ok([network.trained_parameters()?, self.task.head_parameters(network)?].concat())
    }

    fn check_network(&self, network: &NetworkPlan) -> Result<()> {
        self.task.check_network(network)
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let source = DataSource::Annotated(required(self.annotated.as_ref(), "annotated")?.clone(), T::LISTS);
        let backbone = required(backbone, "backbone")?;
        let transfer_plan = self.task.transfer_plan(row.column.as_deref(), self.train.batch.get(), backbone);
        let TransferPlan { head, trainable, views: (train, val), input_size, files, metrics } = transfer_plan;
        let trainable = trainable.on(backbone);
        let network = NetworkPlan::on(T::VARIANT, backbone, input_size).with_colors(self.input);
        Ok(StagePlan {
            row,
            pictures: PicturePlan { source, labels: false, train: Some(train), val },
            network: Some(NetworkPlan { head, trainable, ..network }),
            files,
            train: None,
            metrics,
            monitor: None,
            leaves: RESULTS,
        })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        both(self.task.check_ready(fit), fit.check_weights()).map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let Some(tuned) = self.task.fine_tune(fit, run)? else { return Ok(None) };
        let FineTuned { metrics, value, per_class, variant } = tuned;
        let (input, metric, deviation) = (fit.colors()?, T::METRIC, None);
        let found = TransferRow {
            backbone: fit.row(),
            task: T::TASK,
            variant,
            input,
            metric,
            value,
            deviation,
            per_class,
        };
        fit.save_transfer(vec![found], &fit.protocol()?, run)?;
        Ok(Some(metrics))
    }
}

/// Key path and layer of a task's `frozen:`.
pub(super) fn frozen(frozen: Option<&Frozen>) -> Option<Layers<'_>> {
    let names = vec![frozen?.through.as_str()];
    Some(Layers { keys: &["task", "frozen"], names, with_head: false })
}

/// The layers trained above the frozen ones.
pub(super) fn trainable_above(frozen: Option<&Frozen>) -> Trainable {
    frozen.map_or(Trainable::All, |frozen| Trainable::After(frozen.through.clone()))
}
