//! An evaluation of one method of colouring as a fit: what it leaves in its run directory.

use super::fits::{Fit, VAL_BATCH};
use crate::{
    color::bins::Bins,
    data::{
        beside::{RandomOf, named_like},
        loader::{Loader, Pass},
        source::Dataset,
    },
    evaluation::{
        color::{
            AbHistogram, ClassifierSpec, Evaluation, Example, Judge, Method, Setting, evaluate as measure,
            render,
        },
        interpretability::Classifier,
    },
    hub,
    metrics::{
        bootstrap::Bootstrap,
        color::{ColorSummary, intervals},
        interpretability::{Interpretability, Record, Renderings},
    },
    pretext::{color_prior, colorizer::Colorizer},
    report::{
        Kind,
        colors::{ColorResult, EXAMPLES},
        interpretability::{InterpretabilityResult, Shown, pictured, write_interpretability},
        results::RESULTS,
    },
    spec::experiment::{ColorEvaluationStage, MethodSpec},
    train::{
        atomic, picture,
        progress::Progress,
        run_dir::RunDir,
        task::{Better, Metric, Panel},
    },
};
use anyhow::{Context, Result};
use std::{path::Path, sync::Arc};

/// Spacing of the bins that pixels are weighed by, in ab units: the paper's.
const GRID: f32 = 10.0;

/// Measures `method` in its run directory.
pub(super) fn evaluate(
    fit: &Fit,
    method: &MethodSpec,
    stage: &ColorEvaluationStage,
    run: &mut RunDir,
) -> Result<Option<Vec<Metric>>> {
    let bins = Bins::new(GRID);
    let (job, spec) = (fit.job, &stage.evaluation);
    let sets = job.sets.plain_sets()?;
    let (name, file) = (sets.spec.source.to_string(), run.path().join("prior.npy"));
    let prior = color_prior::obtain(&spec.prior, &bins, &*sets.train, &name, &file)?.probabilities;
    let mut val = loader(fit, sets.val.clone())?;
    let images = sets.val.len();
    let mut progress = Progress::new(run.name(), 0, images, fit.device);
    let judge = spec.classifier.as_ref().map(|spec| judge_of(fit, spec)).transpose()?;
    let names = |index: usize| sets.val.name(index);
    let setting = Setting { bins: &bins, prior: &prior, judge, names: &names };
    let mut coloring = method_of(fit, method, stage)?;
    let evaluation = measure(
        &mut coloring,
        &mut val,
        &setting,
        images.div_ceil(spec.pictures.get()).max(1),
        &mut |done| progress.draw(done, format!("{done}/{images} images")),
    )?;
    for (name, reason) in val.faults() {
        progress.say(&format!("left out: {name}: {reason}"));
    }
    progress.print(&format!("{}  {images} images measured", run.name()));
    let summary = evaluation.scores.summary().context("no image was scored")?;
    keep(&evaluation.examples, run.path())?;
    if let Some(judge) = &setting.judge {
        val.rewind();
        coloring.rewind();
        interpret(fit, judge, &evaluation, (&mut coloring, &mut val), run.path())?;
    }
    leave_results(fit, &evaluation, &summary, spec.bootstrap.get(), run.path())?;
    Ok(Some(metrics(&summary)))
}

fn loader(fit: &Fit, set: Arc<dyn Dataset>) -> Result<Loader> {
    Ok(Loader::new(set, &fit.job.sets.plain_sets()?.spec, Pass::Once, VAL_BATCH, &fit.rng, fit.device)?)
}

fn method_of(fit: &Fit, method: &MethodSpec, stage: &ColorEvaluationStage) -> Result<Method> {
    let network = |path: &Path| -> Result<Method> {
        let (colorizer, spec) = Colorizer::open(path, fit.device)?;
        let decode = stage.evaluation.decode.map_or_else(|| spec.decode(), Into::into);
        Ok(Method::Network { colorizer: Box::new(colorizer), decode })
    };
    let sets = fit.job.sets.plain_sets()?;
    let (train, val) = (&sets.train, &sets.val);
    match method {
        MethodSpec::Stage(_) => network(&fit.upstream_weights()?),
        MethodSpec::File(_) => network(fit.weights()?),
        MethodSpec::Gray => Ok(Method::Gray),
        MethodSpec::Pictures(dir) => Ok(Method::Pictures(loader(fit, Arc::new(named_like(&**val, dir)?))?)),
        MethodSpec::Random => {
            let set = RandomOf::new(train.clone(), val.len(), &fit.rng.split("random colors"));
            Ok(Method::Colors(loader(fit, Arc::new(set))?))
        }
    }
}

fn judge_of(fit: &Fit, spec: &ClassifierSpec) -> Result<Judge> {
    let path = hub::locate(&spec.weights)?;
    let classifier = Classifier::open(&path, spec.vgg16.as_ref(), fit.device)?;
    Ok(Judge { classifier, classes: spec.classes.clone() })
}

/// The pages on what the classifier answered, in the run directory's folder `interpretability`.
fn interpret(
    fit: &Fit,
    judge: &Judge,
    evaluation: &Evaluation,
    (method, val): (&mut Method, &mut Loader),
    run: &Path,
) -> Result<()> {
    let (job, shown) = (fit.job, Shown::default());
    let result = InterpretabilityResult {
        dataset: job.sets.name(),
        colorizer: job.row.clone().unwrap_or_default(),
        classifier: "VGG-16".into(),
        classes: class_names(fit.plain()?.train.classes(), judge),
        records: evaluation.records.clone(),
    };
    let rendered = render(method, val, &pictured(&result, &shown)?)?;
    let pictures = |record: &Record| {
        let found = rendered.iter().find(|example| example.index == record.image as usize);
        let Example { truth, grey, result, .. } = found.context("it was not rendered")?;
        Ok(Renderings { original: truth.clone(), grey: grey.clone(), recoloured: result.clone() })
    };
    write_interpretability(&result, &shown, &pictures, &run.join("interpretability")).map(drop)
}

/// The data set's names at the classifier's places, `class N` elsewhere.
fn class_names(names: &[String], judge: &Judge) -> Vec<String> {
    let mut all: Vec<String> = (0..judge.classifier.classes()).map(|i| format!("class {i}")).collect();
    for (label, name) in names.iter().enumerate() {
        let class =
            judge.classes.as_ref().map_or(label, |c| c.get(label).map_or(usize::MAX, |c| *c as usize));
        if let Some(place) = all.get_mut(class) {
            place.clone_from(name);
        }
    }
    all
}

fn leave_results(
    fit: &Fit,
    evaluation: &Evaluation,
    summary: &ColorSummary,
    replicates: usize,
    run: &Path,
) -> Result<()> {
    let job = fit.job;
    let bootstrap = Bootstrap { replicates, seed: job.seed };
    let result = ColorResult {
        kind: Kind::ColorEvaluation,
        experiment: job.experiment.clone(),
        seed: job.seed,
        dataset: job.sets.name(),
        pixels: fit.plain()?.spec.crop.get(),
        method: job.row.clone().unwrap_or_default(),
        summary: summary.clone(),
        intervals: intervals(&evaluation.scores.replicates(&bootstrap)),
        histogram: evaluation.histogram.clone(),
        truth: evaluation.truth.clone(),
        recognised: Interpretability::of(&evaluation.records).map(|found| found.accuracy),
        cell: AbHistogram::CELL,
        from: run.into(),
    };
    let path = run.join(RESULTS);
    atomic::write_bytes(&path, &serde_json::to_vec_pretty(&result)?)
        .with_context(|| format!("cannot write {}: is the disk full?", path.display()))
}

/// Each example as three pictures: `examples/00012-truth.png`, `-grey`, `-result`.
fn keep(examples: &[Example], run: &Path) -> Result<()> {
    let folder = run.join(EXAMPLES);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for example in examples {
        let kinds = [("truth", &example.truth), ("grey", &example.grey), ("result", &example.result)];
        for (kind, (width, height, rgb)) in kinds {
            let name = format!("{:05}-{kind}.png", example.index);
            let png = picture::encode(&Panel {
                name: name.clone(),
                width: *width,
                height: *height,
                rgb: rgb.clone(),
            })?;
            let path = folder.join(name);
            atomic::write_bytes(&path, &png)
                .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        }
    }
    Ok(())
}

fn metrics(summary: &ColorSummary) -> Vec<Metric> {
    let metric = |(name, value, better): (&str, Option<f64>, Better)| {
        Some(Metric { name: name.into(), value: value?, better })
    };
    let all = [
        ("auc", Some(summary.auc), Better::Higher),
        ("auc_rebalanced", Some(summary.auc_empirical), Better::Higher),
        ("auc_rebalanced_by_prior", summary.auc_prior, Better::Higher),
        ("rmse", Some(summary.rmse), Better::Lower),
        ("psnr", summary.psnr, Better::Higher),
        ("colorfulness", summary.colorfulness, Better::Neither),
    ];
    all.into_iter().filter_map(metric).collect()
}
