//! Shared by `svm`, `low_shot` and `knn`: classifiers on frozen features of several backbones.

use super::kind::*;
use crate::{
    bounded::Pixels,
    probe::features::{Examples, FeatureSpec, extract},
};

/// Batch size of feature extraction.
const BATCH: usize = 32;

/// Classifies frozen features of several backbones.
///
/// ```yaml
/// svm:
///   svm:
///     annotated: { source: { catalog: voc2007 } }
///     backbones: { colorization: { stage: colorization } }
///     features: { layers: [conv4, conv5] }
///     classifier: { costs: fair }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadoutStage<C> {
    /// Annotated set; default: the experiment's.
    #[serde(default)]
    pub annotated: Option<AnnotatedSpec>,
    /// Architecture for `init`, `data_dependent` and `file`, unless a row has its own; a `stage` provides its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Rows of the table, in order.
    pub backbones: NamedMap<OnBackbone<InitSpec>>,
    #[serde(default)]
    pub features: FeatureSpec,
    /// Side of the square that pictures are squashed to; absent: the backbone's native size.
    #[serde(default)]
    pub side: Option<Pixels>,
    #[serde(default)]
    pub classifier: C,
}

/// A classifier on frozen features.
pub trait FeatureClassifier {
    const TASK: TransferTask;
    /// Protocol in table headers.
    const PROTOCOL: &'static str;

    /// Checks that it can be fitted, given the presence of each class in the training pictures.
    ///
    /// # Errors
    /// Invalid options; a class that cannot be learned.
    fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()>;

    /// Names of the results for a layer, in order.
    fn variants(&self, layer: &str) -> Vec<String>;

    /// Fits and evaluates on the features of one layer.
    ///
    /// # Errors
    /// Features that cannot be separated or compared.
    fn read(
        &self,
        train: &Examples,
        val: &Examples,
        classes: &[String],
        rng: &Rng,
    ) -> Result<Vec<ReadoutResult>>;
}

/// One result of a classifier.
pub struct ReadoutResult {
    /// Mean average precision, 0 to 1.
    pub value: f64,
    pub per_class: BTreeMap<String, Option<f64>>,
}

impl<C: FeatureClassifier> StageKind for ReadoutStage<C> {
    inputs!(annotated, backbone);

    fn rows(&self) -> Rows<'_> {
        Rows::Backbones { rows: &self.backbones, columns: &[] }
    }

    fn layers(&self) -> Option<Layers<'_>> {
        Layers::all(&["features", "layers"], &self.features.layers)
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let backbone = required(backbone, "backbone")?;
        let side = self.side.map_or(backbone.crop(), |side| side.get());
        let network = NetworkPlan::frozen(backbone, &self.features.layers, side)?;
        let variants = network.reads().iter().flat_map(|layer| self.classifier.variants(layer));
        let metrics = Metrics::of(variants);
        let view =
            ViewPlan { framing: self.features.policy(side), pass: Pass::Once, batch: BATCH, flip: false };
        let source =
            DataSource::Annotated(required(self.annotated.as_ref(), "annotated")?.clone(), Lists::Main);
        Ok(StagePlan {
            row,
            pictures: PicturePlan { source, labels: false, train: Some(view.clone()), val: view },
            network: Some(network),
            files: vec![],
            train: None,
            metrics,
            leaves: RESULTS,
        })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        let sets = fit.sets.annotated()?;
        let of_class = |class: usize| (0..sets.train.len()).map(|i| sets.train.presence(i)[class]).collect();
        let feasible = check_objects(sets, &fit.data())
            .and_then(|()| self.classifier.feasible(sets.train.classes(), &of_class));
        both(feasible, fit.check_weights()).map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let classes = fit.sets.annotated()?.train.classes().to_vec();
        let mut rows = vec![];
        for (layer, train, val) in self.features(fit)? {
            let rng = fit.rng.split(&layer);
            let found = self.classifier.read(&train, &val, &classes, &rng);
            let found = found.with_context(|| format!("layer {layer}"))?;
            let named = self.classifier.variants(&layer).into_iter().zip(found);
            rows.extend(named.map(|(variant, found)| Self::row(fit, variant, found)));
        }
        let metric = |row: &TransferRow| Metric {
            name: row.variant.clone(),
            value: row.value,
            better: Better::Higher,
        };
        let metrics = rows.iter().map(metric).collect();
        fit.save_transfer(rows, C::PROTOCOL, run)?;
        Ok(Some(metrics))
    }
}

impl<C: FeatureClassifier> ReadoutStage<C> {
    /// Features of both splits for each layer of the stage.
    fn features(&self, fit: &StageRun) -> Result<Vec<(String, Examples, Examples)>> {
        let (net, _) = fit.network()?;
        let sets = fit.sets.annotated()?;
        let spec = FeatureSpec { layers: fit.reads().to_vec(), ..self.features.clone() };
        let of = |split, what| extract(&net, &mut fit.loader(split)?, &spec, what);
        let train = of(Split::Train, "training features")?;
        let val = of(Split::Val, "validation features")?;
        let pairs = spec.layers.iter().zip(train).zip(val);
        pairs
            .map(|((layer, t), v)| {
                let t = Examples::annotated(t, &*sets.train)?;
                Ok((layer.clone(), t, Examples::annotated(v, &*sets.val)?))
            })
            .collect()
    }

    fn row(
        fit: &StageRun,
        variant: String,
        ReadoutResult { value, per_class }: ReadoutResult,
    ) -> TransferRow {
        let (input, metric) = (InputColors::Gray, TransferMetric::MeanAveragePrecision);
        TransferRow { backbone: fit.row(), task: C::TASK, variant, input, metric, value, per_class }
    }
}
