//! `color_evaluation`: colorizes the validation images by several methods and scores each.

use super::{kind::*, pretext::prior_file};
use crate::{
    atomic_write,
    color::{bins::Bins, gray::Gray},
    data::{
        loader::Loader,
        paired::{RandomPairs, match_by_stem},
    },
    evaluation::{
        color::{
            AbHistogram, ClassifierSpec, ColorEvaluationSpec, ColorizationMethod, Evaluation,
            EvaluationContext, ExampleImage, LabeledClassifier, evaluate as measure, render,
        },
        interpretability::Classifier,
    },
    experiment::sources::ColorizationMethodSpec,
    hub,
    metrics::{
        bootstrap::Bootstrap,
        color::{ColorReplicates, ColorSummary, intervals},
        interpretability::{Interpretability, Record, Renderings},
    },
    nn::params::Params,
    pretext::{color_prior, colorizer::Colorizer, colorizer_file::usual_task},
    progress::{self, Progress},
    report::{
        ResultKind,
        colors::{ColorResult, EXAMPLES},
        interpretability::{InterpretabilityResult, ReportLimits, needed_images, write_interpretability},
    },
    train::{picture, task::ImagePanel},
};
use anyhow::bail;
use std::{path::Path, sync::Arc};

/// Bin spacing of the rebalanced metrics in ab units, as in the paper.
const GRID: f32 = 10.0;

/// Names and directions of the metrics.
const METRICS: [(&str, Better); 6] = [
    ("auc", Better::Higher),
    ("auc_rebalanced", Better::Higher),
    ("auc_rebalanced_by_prior", Better::Higher),
    ("rmse", Better::Lower),
    ("psnr", Better::Higher),
    ("colorfulness", Better::Neither),
];

/// Colorizes the validation images by several methods and scores each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColorEvaluationStage {
    /// Pictures; default: those of the experiment.
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// Methods to compare: the rows of the table, by name and in order.
    pub methods: NamedMap<ColorizationMethodSpec>,
    /// What is measured and shown.
    #[serde(default)]
    pub evaluation: ColorEvaluationSpec,
}

impl StageKind for ColorEvaluationStage {
    inputs!(data);

    fn rows(&self) -> Rows<'_> {
        Rows::Methods(&self.methods)
    }

    fn needs_labels(&self) -> bool {
        self.evaluation.classifier.is_some()
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let pictures = PicturePlan::plain(self.data.as_ref(), None, self.needs_labels())?;
        let mut files = prior_file(&self.evaluation.prior);
        if let Some(classifier) = &self.evaluation.classifier {
            let path = classifier.weights.to_path_buf();
            files.push(InputFile { key: "classifier", path, content: FileContent::Classifier });
        }
        if let Start::Method(ColorizationMethodSpec::Pictures(dir)) = &row.start {
            files.push(InputFile {
                key: "pictures",
                path: dir.to_path_buf(),
                content: FileContent::Pictures,
            });
        }
        let side = pictures.val.framing.side();
        // The task of the weights is not known yet.
        let build = |backbone| usual_task(backbone).build();
        let network = backbone.map(|backbone| NetworkPlan::of_task(backbone, &build(backbone), side));
        let metrics = Metrics::of(METRICS.map(|(name, _)| name));
        Ok(StagePlan { row, pictures, network, files, train: None, metrics, monitor: None, leaves: RESULTS })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        let classifier = self.evaluation.classifier.as_ref().map_or(Ok(()), |spec| {
            open_classifier(fit, spec)
                .and_then(|classifier| check_classifier(&classifier, fit.sets.classes()))
        });
        let weights =
            fit.located.as_ref().map_or(Ok(()), |_| Colorizer::open(fit.weights()?, &fit.device).map(drop));
        all([fit.check_prior(&Bins::new(GRID)), classifier, weights]).map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        evaluate(fit, &self.evaluation, run)
    }
}

/// Evaluates a method in its run directory.
fn evaluate(fit: &StageRun, spec: &ColorEvaluationSpec, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
    let bins = Bins::new(GRID);
    let (sets, file) = (fit.sets.plain()?, run.path().join("prior.npy"));
    let prior =
        color_prior::load_or_measure(&spec.prior, &bins, &*sets.train, &fit.data(), &file)?.probabilities;
    let mut val = fit.loader(Split::Val)?;
    let images = sets.val.len();
    let (progress, mut seen) = (Progress::new(images, &run.label()), 0);
    let classifier = spec.classifier.as_ref().map(|spec| open_classifier(fit, spec)).transpose()?;
    let names = |index: usize| sets.val.name(index);
    let gray = spec.gray.map(Into::into);
    let context = EvaluationContext { bins: &bins, prior: &prior, classifier, gray, names: &names };
    let mut coloring = method_of(fit, spec)?;
    let evaluation = measure(
        &mut coloring,
        &mut val,
        &context,
        images.div_ceil(spec.pictures.get()).max(1),
        &mut |done| {
            progress.add(done - seen);
            seen = done;
        },
    )?;
    if !fit.ranks.leads() {
        return Ok(None);
    }
    for (name, reason) in val.faults() {
        progress::print(&format!("left out: {name}: {reason}"));
    }
    if fit.rehearsal.is_none() {
        progress.done();
    }
    let summary = evaluation.scores.summary().context("no image was scored")?;
    save_examples(&evaluation.examples, run.path())?;
    if let Some(classifier) = &context.classifier {
        val.rewind();
        coloring.rewind();
        interpret(fit, (classifier, gray), &evaluation, (&mut coloring, &mut val), run.path())?;
    }
    save_results(fit, &evaluation, &summary, spec, run)?;
    Ok(Some(metrics(&summary)))
}

fn method_of(fit: &StageRun, spec: &ColorEvaluationSpec) -> Result<ColorizationMethod> {
    let network = |path: &Path| -> Result<ColorizationMethod> {
        let (colorizer, trained) = Colorizer::open(path, &fit.device)?;
        let decode = spec.decode.map_or_else(|| trained.decode(), Into::into);
        Ok(ColorizationMethod::Network { colorizer: Box::new(colorizer), decode })
    };
    let sets = fit.sets.plain()?;
    let Start::Method(method) = &fit.plan.row.start else { return Ok(ColorizationMethod::Gray) };
    match method {
        ColorizationMethodSpec::Stage(_) if fit.rehearsal.is_some() => {
            let mut params = Params::new(&fit.device);
            let spec = usual_task(fit.backbone()?);
            let colorizer = Colorizer::new(&*spec, fit.backbone()?, &mut params, &fit.rng)?;
            Ok(ColorizationMethod::Network { colorizer: Box::new(colorizer), decode: spec.decode() })
        }
        ColorizationMethodSpec::Stage(_) => network(&fit.upstream_weights()?),
        ColorizationMethodSpec::File(_) => network(fit.weights()?),
        ColorizationMethodSpec::Gray => Ok(ColorizationMethod::Gray),
        ColorizationMethodSpec::Pictures(dir) => {
            let beside = Arc::new(match_by_stem(&*sets.val, dir)?);
            Ok(ColorizationMethod::Pictures(fit.loader_of(beside, Split::Val)?))
        }
        ColorizationMethodSpec::Random => {
            let rng = fit.rng.split("random colors");
            let random = Arc::new(RandomPairs::new(sets.train.clone(), sets.val.len(), &rng));
            Ok(ColorizationMethod::Colors(fit.loader_of(random, Split::Val)?))
        }
    }
}

fn open_classifier(fit: &StageRun, spec: &ClassifierSpec) -> Result<LabeledClassifier> {
    let path = hub::locate(&spec.weights)?;
    let classifier = Classifier::open(&path, spec.vgg16.as_ref(), &fit.device)?;
    Ok(LabeledClassifier { vgg: classifier, classes: spec.classes.clone() })
}

/// Checks that each class of the data maps to one of the classifier's.
fn check_classifier(classifier: &LabeledClassifier, classes: usize) -> Result<()> {
    let known = classifier.vgg.classes();
    if let Some(named) = &classifier.classes {
        ensure!(
            named.len() >= classes,
            "`classes` names {} classes, but the data has {classes}",
            named.len()
        );
    }
    let own: Vec<u32> = (0..classes as u32).collect();
    let unknown = classifier.classes.as_ref().unwrap_or(&own).iter().find(|class| **class as usize >= known);
    if let Some(unknown) = unknown {
        bail!(
            "class {unknown} is none of the classifier's {known}, 0 to {}: map the labels of the data set to them",
            known - 1
        );
    }
    Ok(())
}

/// Writes the classifier's results to the folder `interpretability` of the run directory.
fn interpret(
    fit: &StageRun,
    (classifier, gray): (&LabeledClassifier, Option<Gray>),
    evaluation: &Evaluation,
    (method, val): (&mut ColorizationMethod, &mut Loader),
    run: &Path,
) -> Result<()> {
    let shown = ReportLimits::default();
    let result = InterpretabilityResult {
        dataset: fit.dataset(),
        colorizer: fit.row(),
        classifier: "VGG-16".into(),
        classes: class_names(fit.sets.plain()?.train.classes(), classifier),
        records: evaluation.records.clone(),
    };
    let rendered = render(method, val, gray, &needed_images(&result, &shown)?)?;
    let pictures = |record: &Record| {
        let found = rendered.iter().find(|example| example.index == record.image as usize);
        let ExampleImage { truth, gray, result, .. } = found.context("it was not rendered")?;
        Ok(Renderings { original: truth.clone(), gray: gray.clone(), recolored: result.clone() })
    };
    write_interpretability(&result, &shown, &pictures, &run.join("interpretability")).map(drop)
}

/// Names of the classifier's classes: the data set's where mapped, else `class N`.
fn class_names(names: &[String], classifier: &LabeledClassifier) -> Vec<String> {
    let mut all: Vec<String> = (0..classifier.vgg.classes()).map(|i| format!("class {i}")).collect();
    for (label, name) in names.iter().enumerate() {
        let class =
            classifier.classes.as_ref().map_or(label, |c| c.get(label).map_or(usize::MAX, |c| *c as usize));
        if let Some(place) = all.get_mut(class) {
            place.clone_from(name);
        }
    }
    all
}

fn save_results(
    fit: &StageRun,
    evaluation: &Evaluation,
    summary: &ColorSummary,
    spec: &ColorEvaluationSpec,
    run: &RunDir,
) -> Result<()> {
    let bootstrap = Bootstrap { replicates: spec.bootstrap.get(), seed: fit.seed };
    let replicates = evaluation.scores.replicates(&bootstrap);
    let result = ColorResult {
        kind: ResultKind::ColorEvaluation,
        experiment: fit.experiment.clone(),
        seed: fit.seed,
        dataset: fit.dataset(),
        pixels: fit.crop(),
        gray: spec.gray,
        method: fit.row(),
        summary: summary.clone(),
        intervals: intervals(&replicates),
        replicates: ColorReplicates::of(&evaluation.scores, &replicates),
        histogram: evaluation.histogram.clone(),
        truth: evaluation.truth.clone(),
        recognized: Interpretability::of(&evaluation.records).map(|found| found.accuracy),
        cell: AbHistogram::CELL,
        from: run.path().into(),
    };
    fit.save_results(&result, run)
}

/// Writes each example as three pictures: `examples/00012-truth.png`, `-gray`, `-result`.
fn save_examples(examples: &[ExampleImage], run: &Path) -> Result<()> {
    let folder = run.join(EXAMPLES);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for example in examples {
        let kinds = [("truth", &example.truth), ("gray", &example.gray), ("result", &example.result)];
        for (kind, (width, height, rgb)) in kinds {
            let name = format!("{:05}-{kind}.png", example.index);
            let png = picture::encode(&ImagePanel {
                name: name.clone(),
                width: *width,
                height: *height,
                rgb: rgb.clone(),
            })?;
            let path = folder.join(name);
            atomic_write::write(&path, &png)
                .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        }
    }
    Ok(())
}

fn metrics(summary: &ColorSummary) -> Vec<Metric> {
    let values = [
        Some(summary.auc),
        Some(summary.auc_empirical),
        summary.auc_prior,
        Some(summary.rmse),
        summary.psnr,
        summary.colorfulness,
    ];
    let named = METRICS.into_iter().zip(values);
    named
        .filter_map(|((name, better), value)| Some(Metric { name: name.into(), value: value?, better }))
        .collect()
}
