//! Shared by `svm`, `low_shot` and `knn`: classifiers on frozen features of several backbones. Annotated pictures are
//! scored by mean average precision, pictures with one label each by top-1 accuracy.
//!
//! ```yaml
//! svm:
//!   svm:
//!     annotated: { source: { catalog: voc2007 } }
//!     backbones: { colorization: { stage: colorization } }
//!     features: { layers: [conv4, conv5] }
//!     classifier: { costs: fair }
//! ```

use super::kind::*;
use crate::{
    bounded::Pixels,
    key_error::KeyError,
    metrics::accuracy::by_class,
    probe::features::{Examples, FeatureSpec, Features, Labeled, extract},
};

/// Batch size of feature extraction.
const BATCH: usize = 32;

/// Classifies frozen features of several backbones. The pictures are `annotated`, or `data` with one label each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "{C}Stage", bound = "C: JsonSchema + Default + Serialize")]
pub struct ReadoutStage<C> {
    /// Annotated set; default: the experiment's, unless the stage has `data`.
    #[serde(default)]
    pub annotated: Option<AnnotatedSpec>,
    /// Labeled pictures, cropped as it says; default: the experiment's, if there is no annotated set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSpec>,
    /// Architecture for `init`, `data_dependent` and `file`, unless a row has its own; a `stage` provides its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Weights to compare: the rows of the table, by name and in order.
    pub backbones: NamedMap<OnBackbone<InitSpec>>,
    /// How features are computed; `squash` is for annotated pictures.
    #[serde(default)]
    pub features: FeatureSpec,
    /// Side of the square that annotated pictures are squashed to; absent: the backbone's native size.
    #[serde(default)]
    pub side: Option<Pixels>,
    /// Options of the classifier.
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

    /// Checks that so many training and validation pictures can be compared in memory.
    ///
    /// # Errors
    /// Too many.
    fn fits(&self, _train: usize, _val: usize) -> Result<()> {
        Ok(())
    }

    /// Names of the results for a layer, in order.
    fn variants(&self, layer: &str) -> Vec<String>;

    /// Fits and evaluates on the features of one layer: mean average precision.
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

    /// As [`Self::read`], for pictures with one label each: top-1 accuracy.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn classify(
        &self,
        train: &Labeled,
        val: &Labeled,
        classes: &[String],
        rng: &Rng,
    ) -> Result<Vec<ReadoutResult>>;
}

/// One result of a classifier.
pub struct ReadoutResult {
    /// Mean average precision or top-1 accuracy, 0 to 1.
    pub value: f64,
    /// Standard deviation over the draws of one seed.
    pub deviation: Option<f64>,
    pub per_class: BTreeMap<String, Option<f64>>,
}

impl ReadoutResult {
    /// A value without a deviation or values by class.
    pub fn of(value: f64) -> Self {
        Self { value, deviation: None, per_class: BTreeMap::new() }
    }

    /// Accuracy of predicted classes.
    pub fn top1(predicted: &[u32], val: &Labeled, classes: &[String]) -> Self {
        let right =
            predicted.iter().zip(val.labels()).filter(|(predicted, label)| predicted == label).count();
        let per_class = classes.iter().cloned().zip(by_class(predicted, val.labels(), classes.len()));
        Self { per_class: per_class.collect(), ..Self::of(right as f64 / val.labels().len() as f64) }
    }
}

impl<C: FeatureClassifier> StageKind for ReadoutStage<C> {
    fn inputs(&self) -> StageSections<'_> {
        StageSections {
            data: Some(&self.data),
            annotated: Some(&self.annotated),
            backbone: Some(&self.backbone),
        }
    }

    fn fill(&mut self, top: StageSections<'_>) {
        if self.data.is_none() {
            self.annotated = self.annotated.take().or_else(|| top.annotated.cloned().flatten());
        }
        if self.annotated.is_none() {
            self.data = self.data.take().or_else(|| top.data.cloned().flatten());
        }
        self.backbone = self.backbone.take().or_else(|| top.backbone.cloned().flatten());
    }

    fn needs_labels(&self) -> bool {
        true
    }

    fn rows(&self) -> Rows<'_> {
        Rows::Backbones { rows: &self.backbones, columns: &[] }
    }

    fn layers(&self) -> Option<Layers<'_>> {
        Layers::all(&["features", "layers"], &self.features.layers)
    }

    fn reads_features(&self) -> bool {
        true
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let backbone = required(backbone, "backbone")?;
        let (pictures, side) = match &self.annotated {
            Some(annotated) => self.annotated_pictures(annotated, backbone),
            None => self.labeled_pictures()?,
        };
        let network = NetworkPlan::frozen(backbone, (&["features", "layers"], &self.features.layers), side)?;
        let variants: Vec<String> =
            network.reads().iter().flat_map(|layer| self.classifier.variants(layer)).collect();
        let twice = (1..variants.len()).find(|at| variants[..*at].contains(&variants[*at]));
        if let Some(at) = twice {
            let reason = format!("the result `{}` is there twice", variants[at]);
            return Err(KeyError::new(["classifier"], reason).advice("give each number once").into());
        }
        let metrics = Metrics::of(variants);
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
        let (train, val) = (fit.sets.split(Split::Train), fit.sets.split(Split::Val));
        let feasible = match &self.annotated {
            Some(_) => {
                let sets = fit.sets.annotated()?;
                let of_class =
                    |class: usize| (0..sets.train.len()).map(|i| sets.train.presence(i)[class]).collect();
                let feasible = || self.classifier.feasible(train.classes(), &of_class);
                check_objects(sets, &fit.data()).and_then(|()| feasible())
            }
            None => {
                let of_class =
                    |class: usize| (0..train.len()).map(|i| presence(train.label(i), class)).collect();
                self.classifier.feasible(train.classes(), &of_class)
            }
        };
        all([feasible, self.classifier.fits(train.len(), val.len()), fit.check_weights()]).map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let classes = fit.sets.split(Split::Train).classes().to_vec();
        let (mut rows, features) = (vec![], self.features(fit)?);
        if !fit.ranks.leads() {
            return Ok(None);
        }
        for (layer, train, val) in features {
            let rng = fit.rng.split(&layer);
            let found = self.results(fit, (train, val), &classes, &rng);
            let (metric, found) = found.with_context(|| format!("layer {layer}"))?;
            let named = self.classifier.variants(&layer).into_iter().zip(found);
            let of_layer = named.map(|(variant, found)| Self::row(fit, variant, metric, found));
            rows.extend(of_layer.collect::<Result<Vec<_>>>()?);
        }
        let metric = |row: &TransferRow| Metric {
            name: row.variant.clone(),
            value: row.value,
            better: Better::Higher,
        };
        let metrics = rows.iter().map(metric).collect();
        let protocol = match &self.annotated {
            Some(_) => C::PROTOCOL.into(),
            None => format!("{}, {} features", C::PROTOCOL, self.features.protocol),
        };
        fit.save_transfer(rows, &protocol, run)?;
        Ok(Some(metrics))
    }
}

/// What one label says about a class.
fn presence(label: Option<u32>, class: usize) -> Presence {
    if label.is_some_and(|label| label as usize == class) { Presence::Present } else { Presence::Absent }
}

impl<C: FeatureClassifier> ReadoutStage<C> {
    /// Annotated pictures as squares, and their side.
    fn annotated_pictures(&self, annotated: &AnnotatedSpec, backbone: &BackboneSpec) -> (PicturePlan, usize) {
        let side = self.side.map_or(backbone.crop(), |side| side.get());
        let view =
            ViewPlan { framing: self.features.policy(side), pass: Pass::Once, batch: BATCH, flip: false };
        let source = DataSource::Annotated(annotated.clone(), Lists::Main);
        (PicturePlan { source, labels: false, train: Some(view.clone()), val: view }, side)
    }

    /// Labeled pictures as in a linear probe without augmentation, and their side.
    fn labeled_pictures(&self) -> Result<(PicturePlan, usize)> {
        ensure!(
            self.side.is_none(),
            KeyError::new(["side"], "it is for annotated pictures").advice("give the `crop` of `data`")
        );
        let data = self.data.as_ref().context("no annotated and no data: give one of them to the stage")?;
        let pictures = PicturePlan::plain(Some(data), Some((Pass::Once, BATCH)), true)?;
        let side = pictures.val.framing.side();
        Ok((pictures, side))
    }

    /// Features of both splits for each layer of the stage.
    fn features(&self, fit: &StageRun) -> Result<Vec<(String, Features, Features)>> {
        let (net, _) = fit.network()?;
        let spec = FeatureSpec { layers: fit.reads().to_vec(), ..self.features.clone() };
        let of = |split, what| extract(&net, &mut fit.loader(split)?, &spec, what);
        let train = of(Split::Train, "training features")?;
        let val = of(Split::Val, "validation features")?;
        let pairs = spec.layers.into_iter().zip(train).zip(val);
        Ok(pairs.map(|((layer, train), val)| (layer, train, val)).collect())
    }

    /// What the classifier finds in the features of one layer.
    fn results(
        &self,
        fit: &StageRun,
        (train, val): (Features, Features),
        classes: &[String],
        rng: &Rng,
    ) -> Result<(TransferMetric, Vec<ReadoutResult>)> {
        if self.annotated.is_some() {
            let sets = fit.sets.annotated()?;
            let (train, val) =
                (Examples::annotated(train, &*sets.train)?, Examples::annotated(val, &*sets.val)?);
            let found = self.classifier.read(&train, &val, classes, rng)?;
            return Ok((TransferMetric::MeanAveragePrecision, found));
        }
        let sets = fit.sets.plain()?;
        let (train, val) = (Labeled::of(train, &*sets.train)?, Labeled::of(val, &*sets.val)?);
        Ok((TransferMetric::Top1, self.classifier.classify(&train, &val, classes, rng)?))
    }

    fn row(
        fit: &StageRun,
        variant: String,
        metric: TransferMetric,
        ReadoutResult { value, deviation, per_class }: ReadoutResult,
    ) -> Result<TransferRow> {
        let (backbone, task, input) = (fit.row(), C::TASK, fit.colors()?);
        Ok(TransferRow { backbone, task, variant, input, metric, value, deviation, per_class })
    }
}
