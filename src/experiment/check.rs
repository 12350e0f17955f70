//! The dry run: what each stage would build, read and cost. Opens the data and times the loader; takes no step.

use super::{
    RunOptions,
    fits::{self, VAL_BATCH},
};
use crate::{
    backbones::{Build, Graph, summary::Summary, table::Layer},
    data::{
        beside::named_like,
        loader::{Loader, Pass},
        source::{self, DataSpec, Dataset, Split},
    },
    hub,
    pretext::{PretextSpec, colorizer::Colorizer, cross_channel::Problem},
    rng::Rng,
    spec::experiment::{
        ColorEvaluationStage, Experiment, InitSpec, LinearProbeStage, MethodSpec, Stage, WeightSource,
    },
    train::spec::TrainSpec,
};
use anyhow::{Context, Result, ensure};
use std::{
    fmt::{self, Display, Formatter},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the loader is timed.
const LOADER_TRIAL: Duration = Duration::from_millis(1500);

/// What an experiment would do.
#[derive(Debug)]
pub struct Plan {
    name: String,
    seeds: usize,
    stages: Vec<StagePlan>,
}

/// What one stage would do for one seed.
#[derive(Debug)]
struct StagePlan {
    name: String,
    kind: &'static str,
    data: String,
    fits: usize,
    /// Absent where nothing is trained.
    training: Option<TrainingPlan>,
}

/// What training takes.
#[derive(Debug)]
struct TrainingPlan {
    train: TrainSpec,
    images: usize,
    loader: f64,
    network: Summary,
    memory: f64,
}

/// Checks a resolved experiment against its data and weight files, and says what it would cost.
///
/// # Errors
/// Whatever would stop the run before its first step.
pub fn check(experiment: &Experiment, options: &RunOptions) -> Result<Plan> {
    let stages = experiment.stages.iter().map(|(name, stage)| {
        plan(name, stage, options).with_context(|| format!("stage `{name}` would not start"))
    });
    Ok(Plan {
        name: experiment.name.to_string(),
        seeds: experiment.seeds.len(),
        stages: stages.collect::<Result<_>>()?,
    })
}

fn plan(name: &str, stage: &Stage, options: &RunOptions) -> Result<StagePlan> {
    let data = fits::given(stage.data(), "data")?;
    let train_set = source::open(data, Split::Train, &options.locations)?;
    let val_set = source::open(data, Split::Val, &options.locations)?;
    let labelled = train_set.classes().len();
    ensure!(
        matches!(stage, Stage::Pretext(_) | Stage::ColorEvaluation(_)) || labelled > 1,
        "it needs labels and {} has none; use class folders or a label column",
        data.source
    );
    Loader::new(val_set.clone(), data, Pass::Once, VAL_BATCH, &Rng::new(0), &options.device)?;
    let training = stage.train().map(|train| -> Result<_> {
        let network = network(stage, data, labelled)?;
        Ok(TrainingPlan {
            train: train.clone(),
            images: train_set.len(),
            loader: loader_speed(&train_set, data, train, options)?,
            memory: memory(stage, &network, train.batch.get()),
            network,
        })
    });
    let fits = match stage {
        Stage::LinearProbe(s) => s.backbones.len(),
        Stage::ColorEvaluation(s) => {
            look_up_methods(s, &*val_set)?;
            s.methods.len()
        }
        Stage::Pretext(_) | Stage::Supervised(_) => 1,
    };
    let training = training.transpose()?;
    let data = format!(
        "{}: {} training and {} validation images, {} classes, crop {}",
        data.source,
        train_set.len(),
        val_set.len(),
        labelled,
        data.crop
    );
    Ok(StagePlan { name: name.into(), kind: stage.kind(), data, fits, training })
}

/// The layer table at the stage's crop; a probe's layers and weight files are looked up in passing.
fn network(stage: &Stage, data: &DataSpec, classes: usize) -> Result<Summary> {
    let backbone = fits::given(stage.backbone(), "backbone")?;
    let build = |graph, batch_norm, outputs| Build { graph, batch_norm, input_channels: 1, outputs };
    let build = match stage {
        Stage::Pretext(s) => {
            if let Some(WeightSource::File(path)) = &s.init_from {
                there("`init_from`", path)?;
            }
            match &s.task {
                PretextSpec::Colorization(spec) => Colorizer::build(spec),
                PretextSpec::CrossChannel(spec) => Problem::from(*spec).build(),
                PretextSpec::Autoencoder(spec) => Problem::from(*spec).build(),
            }
        }
        Stage::Supervised(s) => build(s.graph, true, Some(classes)),
        Stage::LinearProbe(_) | Stage::ColorEvaluation(_) => build(Graph::Transfer, false, None),
    };
    let mut table = backbone.table(&build);
    if let Stage::LinearProbe(probe) = stage {
        look_up(probe, &table)?;
        // Nothing beyond the last probed layer is computed, so it need not fit the crop either.
        let last = table.iter().rposition(|layer| probe.probe.layers.contains(&layer.name));
        table.truncate(last.map_or(0, |at| at + 1));
    }
    let crop = data.crop.get();
    Ok(Summary::of(&table, (crop, crop))?)
}

/// Whether a weight file is there, fetched if it lies on the hub.
fn there(who: &str, path: &Path) -> Result<()> {
    let local = hub::locate(path).with_context(|| format!("{who} has no weights"))?;
    ensure!(local.exists(), "{who}: {} does not exist", path.display());
    Ok(())
}

/// Whether the weight files and folders of pictures are there.
fn look_up_methods(stage: &ColorEvaluationStage, val_set: &dyn Dataset) -> Result<()> {
    if let Some(classifier) = &stage.evaluation.classifier {
        there("`classifier`", &classifier.weights)?;
    }
    for (row, method) in stage.methods.iter() {
        match method {
            MethodSpec::File(path) => {
                there(&format!("method `{row}`"), path)?;
            }
            MethodSpec::Pictures(dir) => {
                named_like(val_set, dir).with_context(|| format!("method `{row}`"))?;
            }
            MethodSpec::Stage(_) | MethodSpec::Gray | MethodSpec::Random => {}
        }
    }
    Ok(())
}

fn look_up(stage: &LinearProbeStage, table: &[Layer]) -> Result<()> {
    let names: Vec<&str> = table.iter().map(|l| l.name.as_str()).collect();
    for layer in &stage.probe.layers {
        ensure!(
            names.contains(&layer.as_str()),
            "there is no layer `{layer}`; there are {}",
            names.join(", ")
        );
    }
    for (row, init) in stage.backbones.iter() {
        if let InitSpec::File(path) = init {
            there(&format!("backbone `{row}`"), path)?;
        }
    }
    Ok(())
}

/// Images a second that the loader gives when nothing else runs.
fn loader_speed(
    set: &Arc<dyn Dataset>,
    data: &DataSpec,
    train: &TrainSpec,
    options: &RunOptions,
) -> Result<f64> {
    let batch = train.batch.get();
    let mut loader = Loader::new(set.clone(), data, Pass::Train, batch, &Rng::new(0), &options.device)?;
    loader.next_batch()?;
    let (start, mut images) = (Instant::now(), 0);
    while start.elapsed() < LOADER_TRIAL {
        images += loader.next_batch()?.map_or(0, |b| b.indices.len());
    }
    Ok(images as f64 / start.elapsed().as_secs_f64())
}

/// A rough bound on what training holds, bytes: four copies of the parameters (values, gradients, two moments), and each
/// activation three times (before and after its normalisation, and a gradient). A frozen backbone keeps one copy.
fn memory(stage: &Stage, network: &Summary, batch: usize) -> f64 {
    let copies = if matches!(stage, Stage::LinearProbe(_)) { (1, 1) } else { (4, 3) };
    4.0 * (copies.0 * network.parameters() + copies.1 * batch * activations(network)) as f64
}

/// Numbers that the layers put out for one image.
fn activations(network: &Summary) -> usize {
    network.rows.iter().map(|row| row.map.0 * row.map.1 * row.layer.outputs).sum()
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for stage in &self.stages {
            writeln!(f, "{stage}")?;
        }
        let fits: usize = self.stages.iter().map(|s| s.fits).sum();
        write!(
            f,
            "{}: {} stages, {} seeds, {} fits; nothing was trained",
            self.name,
            self.stages.len(),
            self.seeds,
            fits * self.seeds
        )
    }
}

impl Display for StagePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "stage {} ({})", self.name, self.kind)?;
        let Some(TrainingPlan { train, images, loader, network, memory }) = &self.training else {
            writeln!(f, "  data     {}", self.data)?;
            return writeln!(f, "  methods  {} to be measured", self.fits);
        };
        let seen = train.steps.get() * train.batch.get() * train.iter_size.get();
        writeln!(f, "{network}")?;
        writeln!(f, "  data     {}", self.data)?;
        writeln!(
            f,
            "  training {} fit(s) of {} steps × {} × {} images = {:.1} epochs",
            self.fits,
            train.steps,
            train.batch,
            train.iter_size,
            seen as f64 / *images as f64
        )?;
        writeln!(f, "  loader   {loader:.0} images/s on its own")?;
        writeln!(f, "  memory   about {:.2} GB", memory / 1e9)
    }
}
