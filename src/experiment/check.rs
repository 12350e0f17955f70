//! The dry run: what each stage would build, read and cost. Opens the data and times the loader; takes no step.

use super::{
    RunOptions,
    fits::{self, VAL_BATCH},
    sets::{AnnotatedSets, Plain, Sets},
};
use crate::{
    backbones::{Build, Graph, summary::Summary, table::Layer},
    data::{
        annotated_source::Lists,
        beside::named_like,
        framing::Framing,
        loader::{Feed, Loader, Pass},
        source::Dataset,
    },
    hub,
    nn::weights,
    pretext::{PretextSpec, colorizer::Colorizer, cross_channel::Problem},
    rng::Rng,
    spec::experiment::{
        ColorEvaluationStage, Experiment, InitSpec, LinearProbeStage, MethodSpec, PretextStage, Stage,
        WeightSource,
    },
    train::spec::TrainSpec,
    transfer::Colors,
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
    look_up_files(stage)?;
    let (view, fits) = (View::of(stage, options)?, fits_of(stage));
    let training = stage.train().map(|train| -> Result<_> {
        let network = network(stage, &view)?;
        Ok(TrainingPlan {
            train: train.clone(),
            images: view.train.len(),
            loader: loader_speed(&view, train, options)?,
            memory: memory(stage, &network, train.batch.get()),
            network,
        })
    });
    let training = training.transpose()?;
    let data = format!(
        "{}: {} training and {} validation images, {} classes, {}",
        view.name,
        view.train.len(),
        view.val.len(),
        view.train.classes().len(),
        view.framed()
    );
    Ok(StagePlan { name: name.into(), kind: stage.kind(), data, fits, training })
}

/// Fits of a stage for one seed.
fn fits_of(stage: &Stage) -> usize {
    let rows = stage.backbones().map_or(1, |rows| rows.len());
    match stage {
        Stage::ColorEvaluation(s) => s.methods.len(),
        Stage::Classification(s) => rows * s.task.train_from.len(),
        Stage::NonlinearProbe(s) => rows * s.through.len(),
        _ => rows,
    }
}

/// The pictures of a stage, and how it sees them.
struct View {
    name: String,
    train: Arc<dyn Dataset>,
    val: Arc<dyn Dataset>,
    framing: Framing,
    flip: bool,
    max_bad: f64,
    threads: Option<usize>,
    /// Height and width that the network is summarised at.
    size: (usize, usize),
}

impl View {
    /// Opens the pictures of a stage; a loader of them is made and dropped, so that what would stop it does so here.
    fn of(stage: &Stage, options: &RunOptions) -> Result<Self> {
        let view = match stage.needs_annotations() {
            true => Self::annotated(stage, options)?,
            false => Self::plain(stage, options)?,
        };
        view.loader(view.val.clone(), Pass::Once, VAL_BATCH, options)?;
        Ok(view)
    }

    fn plain(stage: &Stage, options: &RunOptions) -> Result<Self> {
        let sets = Sets::plain(stage.data(), &options.locations)?;
        let sets = sets.plain_sets()?;
        if stage.needs_labels() {
            sets.classes()?;
        }
        let Plain { spec, train, val } = sets.clone();
        // As the loader itself refuses it.
        Loader::new(val.clone(), &spec, Pass::Once, VAL_BATCH, &Rng::new(0), &options.device)?;
        if let Stage::ColorEvaluation(stage) = stage {
            look_up_methods(stage, &*val)?;
        }
        let (crop, resize) = (spec.crop.get(), spec.resize.map(|short| short.get()));
        Ok(Self {
            name: spec.source.to_string(),
            train,
            val,
            framing: Framing::Crop { resize, crop },
            flip: spec.flip,
            max_bad: spec.max_bad.get(),
            threads: spec.threads.map(|n| n.get()),
            size: (crop, crop),
        })
    }

    fn annotated(stage: &Stage, options: &RunOptions) -> Result<Self> {
        let lists = if matches!(stage, Stage::Segmentation(_)) { Lists::Segmentation } else { Lists::Main };
        let sets = Sets::annotated(stage.annotated(), lists, &options.locations)?;
        let AnnotatedSets { spec, train, val } = sets.annotated_sets()?.clone();
        let side = stage.backbone().map_or(227, |backbone| backbone.crop());
        let (framing, size) = match stage {
            Stage::Classification(s) => {
                let side = s.task.crop.get();
                (Framing::RandomScale { side }, (side, side))
            }
            Stage::Detection(s) => {
                let short = s.task.test_scale.get();
                (s.task.training(), (short, (short * 4 / 3).min(s.task.test_longest.get())))
            }
            Stage::Segmentation(_) => {
                let (width, height) = if train.is_empty() { (side, side) } else { train.size(0) };
                (Framing::Whole { scales: vec![], longest: None }, (height, width))
            }
            _ => (Framing::Squash { short: side, side }, (side, side)),
        };
        Ok(Self {
            name: spec.source.to_string(),
            train,
            val,
            framing,
            flip: true,
            max_bad: spec.max_bad.get(),
            threads: spec.threads.map(|n| n.get()),
            size,
        })
    }

    fn loader(
        &self,
        set: Arc<dyn Dataset>,
        pass: Pass,
        batch: usize,
        options: &RunOptions,
    ) -> Result<Loader> {
        let Self { flip, max_bad, threads, .. } = *self;
        let feed = Feed { batch, pass, flip, max_bad, threads };
        Ok(Loader::framed(set, self.framing.clone(), feed, &Rng::new(0), &options.device)?)
    }

    /// For people: what a picture becomes.
    fn framed(&self) -> String {
        match &self.framing {
            Framing::Crop { crop, .. } => format!("crop {crop}"),
            Framing::RandomScale { side } => format!("crops of {side} pixels at random scales"),
            Framing::Squash { side, .. } => format!("squashed to {side} pixels"),
            Framing::Whole { scales, .. } if scales.is_empty() => "whole".into(),
            Framing::Whole { scales, .. } => {
                let scales: Vec<String> = scales.iter().map(ToString::to_string).collect();
                format!("whole, short side {}", scales.join(", "))
            }
        }
    }
}

/// The layer table at the size that the stage sees; the layers of a probe are looked up in passing.
fn network(stage: &Stage, view: &View) -> Result<Summary> {
    let backbone = fits::given(stage.backbone(), "backbone")?;
    let classes = view.train.classes().len();
    let build = |graph, batch_norm, outputs| Build {
        graph,
        batch_norm,
        input_channels: backbone.input().channels(),
        outputs,
    };
    let coloured = |colors: Colors, graph, outputs| Build {
        input_channels: colors.input(backbone.input()).channels(),
        ..build(graph, false, outputs)
    };
    let build = match stage {
        Stage::Pretext(s) => match &s.task {
            PretextSpec::Colorization(spec) => Colorizer::build(spec),
            PretextSpec::CrossChannel(spec) => Problem::from(*spec).build(),
            PretextSpec::Autoencoder(spec) => Problem::from(*spec).build(),
        },
        Stage::Supervised(s) => build(s.graph, true, Some(classes)),
        Stage::Classification(s) => coloured(s.input, Graph::Transfer, Some(classes)),
        Stage::Detection(s) => coloured(s.input, Graph::Regions, None),
        Stage::Segmentation(s) => coloured(s.input, Graph::Dense, Some(classes + 1)),
        Stage::NonlinearProbe(s) => build(Graph::Transfer, s.batch_norm, Some(classes)),
        _ => build(Graph::Transfer, false, None),
    };
    let mut table = backbone.table(&build);
    if let Stage::LinearProbe(probe) = stage {
        look_up(probe, &table)?;
        // Nothing beyond the last probed layer is computed, so it need not fit the crop either.
        let last = table.iter().rposition(|layer| probe.probe.layers.contains(&layer.name));
        table.truncate(last.map_or(0, |at| at + 1));
    }
    if matches!(stage, Stage::Detection(_)) {
        // The fully connected layers read regions, not the picture.
        table.retain(|layer| !layer.name.starts_with("fc"));
    }
    Ok(Summary::of(&table, view.size)?)
}

/// Whether the files that the stage names are there.
fn look_up_files(stage: &Stage) -> Result<()> {
    if let Stage::Pretext(PretextStage { init_from: Some(WeightSource::File(path)), .. }) = stage {
        there("`init_from`", path)?;
    }
    for (row, init) in stage.backbones().into_iter().flat_map(|rows| rows.iter()) {
        if let Some(path) = init.file() {
            there(&format!("backbone `{row}`"), path)?;
        }
    }
    for (row, init) in stage.backbones().into_iter().flat_map(|rows| rows.iter()) {
        let mut source = init;
        while let InitSpec::Rescaled(inner) = source {
            source = inner;
        }
        if let InitSpec::DataDependent(how) = source {
            let backbone = fits::given(stage.backbone(), "backbone")?;
            let input_channels = backbone.input().channels();
            let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels, outputs: None };
            how.last(&backbone.table(&build)).with_context(|| format!("backbone `{row}`"))?;
        }
    }
    if let Stage::Detection(stage) = stage {
        for path in stage.task.proposals.files() {
            ensure!(path.exists(), "`proposals`: {} does not exist", path.display());
        }
    }
    Ok(())
}

/// Whether a weight file is there, fetched if it lies on the hub.
fn there(who: &str, path: &Path) -> Result<()> {
    let local = hub::locate(path).with_context(|| format!("{who} has no weights"))?;
    ensure!(weights::split(&local).0.exists(), "{who}: {} does not exist", path.display());
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
    Ok(())
}

/// Images a second that the loader gives when nothing else runs.
fn loader_speed(view: &View, train: &TrainSpec, options: &RunOptions) -> Result<f64> {
    let mut loader = view.loader(view.train.clone(), Pass::Train, train.batch.get(), options)?;
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
