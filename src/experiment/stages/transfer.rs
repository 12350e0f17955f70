//! What `classification`, `detection` and `segmentation` share: backbones that are fine-tuned on an annotated set.

use super::kind::*;
use crate::transfer::Frozen;

/// Fine-tunes several backbones on an annotated set.
///
/// ```yaml
/// detection:
///   detection:
///     annotated: { source: { catalog: voc2007 } }
///     backbones: { colorization: { stage: colorization }, gaussian: { init: msra } }
///     input: gray
///     task: { frozen: { through: conv1 } }
///     train: { … }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferStage<T> {
    /// The set; by default the experiment's.
    #[serde(default)]
    pub annotated: Option<AnnotatedSpec>,
    /// What `init`, `data_dependent` and `file` build, where a row does not say; a `stage` brings its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The rows of the table, in order.
    pub backbones: Named<OnBackbone<InitSpec>>,
    /// Whether the backbone is shown lightness alone or color too.
    #[serde(default)]
    pub input: Colors,
    #[serde(default)]
    pub task: T,
    pub train: TrainSpec,
}

/// What is built above a backbone, and learned with it.
pub trait Transfer {
    const TASK: TransferTask;
    const METRIC: TransferMetric;
    /// Which of a devkit's lists it reads.
    const LISTS: Lists;
    const VARIANT: Variant;

    /// The fits on every row, by the layer that each begins to train at.
    fn columns(&self) -> &[String] {
        &[]
    }

    fn layers(&self) -> Option<Layers<'_>>;

    /// What its fit of a column does, on training batches of so many pictures.
    fn work(&self, column: Option<&str>, batch: usize, backbone: &BackboneSpec) -> Work;

    /// As [`StageKind::ready`].
    ///
    /// # Errors
    /// What would stop the fit.
    fn ready(&self, fit: &Fit) -> Result<()>;

    /// Trains and tests; None when the user stopped it.
    ///
    /// # Errors
    /// Whatever stops a fit.
    fn tune(&self, fit: &Fit, run: &mut RunDir) -> Result<Option<Tuned>>;
}

/// What of a plan the task decides.
pub struct Work {
    /// The new last layer, where the graph has one.
    pub head: Option<Head>,
    pub learns: Learns,
    /// Pictures in training and in the test.
    pub views: (View, View),
    /// Height and width of what the network is shown; None: pictures as they are stored.
    pub shown: Option<(usize, usize)>,
    /// What it reads beside pictures and weights.
    pub files: Vec<Needed>,
    pub metrics: Metrics,
}

/// What a fine-tuning has found.
pub struct Tuned {
    pub metrics: Vec<Metric>,
    /// Its cell of the table, 0 to 1.
    pub value: f64,
    pub per_class: BTreeMap<String, Option<f64>>,
    /// The column of the table.
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

    fn plan(&self, row: Row, backbone: Option<&BackboneSpec>) -> Result<Plan> {
        let source = Source::Annotated(given(self.annotated.as_ref(), "annotated")?.clone(), T::LISTS);
        let backbone = given(backbone, "backbone")?;
        let work = self.task.work(row.column.as_deref(), self.train.batch.get(), backbone);
        let Work { head, learns, views: (train, val), shown, files, metrics } = work;
        let learns = learns.on(backbone);
        let network = NetworkPlan::on(T::VARIANT, backbone, shown).shown(self.input);
        Ok(Plan {
            row,
            pictures: Pictures { source, labels: false, train: Some(train), val },
            network: Some(NetworkPlan { head, learns, ..network }),
            files,
            train: Some(self.train.clone()),
            metrics,
            leaves: RESULTS,
        })
    }

    fn ready(&self, fit: &Fit) -> Result<()> {
        both(self.task.ready(fit), fit.check_weights()).map(drop)
    }

    fn run(&self, fit: &Fit, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let Some(tuned) = self.task.tune(fit, run)? else { return Ok(None) };
        let Tuned { metrics, value, per_class, variant } = tuned;
        let (input, metric) = (self.input, T::METRIC);
        let found =
            TransferRow { backbone: fit.row(), task: T::TASK, variant, input, metric, value, per_class };
        fit.leave_transfer(vec![found], &fit.protocol()?, run)?;
        Ok(Some(metrics))
    }
}

/// The key and the layer of a task's `frozen:`.
pub(super) fn frozen(frozen: Option<&Frozen>) -> Option<Layers<'_>> {
    let names = vec![frozen?.through.as_str()];
    Some(Layers { keys: &["task", "frozen"], names, with_head: false })
}

/// What learns above the frozen layers.
pub(super) fn above(frozen: Option<&Frozen>) -> Learns {
    frozen.map_or(Learns::All, |frozen| Learns::After(frozen.through.clone()))
}
