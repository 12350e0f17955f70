//! `pretext`: trains a backbone without labels.

use super::{
    initial_weights::{check_start, start},
    kind::*,
};
use crate::{
    backbones::{
        Build,
        input::Input,
        split::SplitNetwork,
        table::{check_size, sizes, taps},
        task_head::TaskHead,
    },
    experiment::sources::WeightSource,
    key_error::KeyError,
    pretext::{
        PretextSpec,
        channel_target::ChannelTarget,
        color_prior::{self, PriorSpec},
        colorization::{Colorization, ColorizationSpec},
        colorizer::ColorizerSpec,
        colorizer_task::{ColorizerTask, ColorizerTaskSpec},
        cross_channel::CrossChannel,
        headed::HeadedTaskSpec,
        predicts::Predicts,
        split_brain::{SplitBrain, SplitBrainSpec},
    },
    spec::Diagnostic,
    text::counted,
    train::{task::Task as _, tensors::NamedTensors},
};

/// Trains a backbone without labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PretextStage {
    /// Pictures; default: those of the experiment.
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// Network to train; default: that of the experiment.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Initial weights. Layers of the new network that they lack, such as another head, are randomly initialized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<WeightSource>,
    /// What is learned instead of labels.
    pub task: PretextSpec,
    /// Length, batches, optimizer and bookkeeping of the training.
    pub train: TrainSpec,
    /// Measures the representation during training. Not part of the stage's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Box<MonitorSpec>>,
}

impl StageKind for PretextStage {
    inputs!(data, backbone; train);

    fn rows(&self) -> Rows<'_> {
        Rows::One(self.init_from.as_ref().map_or(Start::Random, |source| Start::Weights(source.into())))
    }

    fn layers(&self) -> Option<Layers<'_>> {
        Layers::all(&["monitor", "layers"], self.monitor.as_ref()?.layers.as_ref()?)
    }

    fn monitor(&self) -> Option<&MonitorSpec> {
        self.monitor.as_deref()
    }

    fn trained(&self) -> Option<BackboneSpec> {
        let backbone = self.backbone.as_ref()?;
        Some(match self.predicts() {
            Predicts::Color(_) | Predicts::Colorizer(_) | Predicts::Headed(_) => backbone.clone(),
            Predicts::Other(problem) => backbone.with_input(problem.sees().input_kind()),
            Predicts::Halves(_) => backbone.with_input(Input::Lab),
        })
    }

    fn needs_labels(&self) -> bool {
        matches!(self.predicts(), Predicts::Colorizer(spec) if spec.needs_labels())
    }

    fn predicts_pixels(&self) -> bool {
        !matches!(self.predicts(), Predicts::Headed(_))
    }

    fn colorizes(&self) -> bool {
        matches!(self.predicts(), Predicts::Color(_) | Predicts::Colorizer(_))
    }

    fn splits(&self) -> bool {
        matches!(self.predicts(), Predicts::Halves(_))
    }

    fn size_keys(&self) -> &'static [&'static str] {
        match self.predicts() {
            Predicts::Headed(spec) => spec.size_keys(),
            _ => &["data", "crop"],
        }
    }

    fn network(&self) -> Option<&'static str> {
        match self.predicts() {
            Predicts::Colorizer(spec) => spec.network(),
            _ => None,
        }
    }

    fn notes(&self) -> Vec<String> {
        let ignored = match self.predicts() {
            Predicts::Color(spec) => spec.ignored(),
            _ => vec![],
        };
        let ignored = ignored.iter().map(|key| format!("`{key}` has no effect with `loss: l2`"));
        let accumulates = matches!(self.task, PretextSpec::Simclr(_)) && self.train.iter_size.get() > 1;
        let few = accumulates.then(|| {
            "`iter_size` gives `simclr` no more negatives: pictures are compared within a `batch`".to_string()
        });
        ignored.chain(few).collect()
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let pass = (Pass::Train, self.train.batch.get());
        let pictures = PicturePlan::plain(self.data.as_ref(), Some(pass), self.needs_labels())?;
        let (side, backbone) = (pictures.val.framing.side(), required(backbone, "backbone")?);
        if !matches!(self.predicts(), Predicts::Color(_)) {
            check_branches(backbone)?;
        }
        let of_task = |build: &Build| NetworkPlan::of_task(backbone, build, side);
        let network = match self.predicts() {
            Predicts::Color(spec) => {
                check_gray(spec, backbone)?;
                of_task(&spec.build())
            }
            Predicts::Colorizer(spec) => {
                spec.check_crop(side)?;
                check_gray(spec, backbone)?;
                let network = NetworkPlan::of_task(&spec.adapted(backbone), &spec.build(), side);
                let classes = HeadPlan { outputs: Outputs::Classes, fillers: None };
                NetworkPlan {
                    head: if spec.needs_labels() { Some(classes) } else { network.head },
                    ..network
                }
            }
            Predicts::Other(problem) => of_task(&CrossChannel::build(&problem)),
            Predicts::Halves(spec) => {
                let outputs = spec.targets().map(|target| target.outputs());
                check_split(backbone, outputs)?;
                NetworkPlan::of_halves(backbone, outputs, side)
            }
            Predicts::Headed(spec) => {
                let head = spec.task_head(side)?;
                check_batch(&head, self.train.batch.get())?;
                check_head(spec, &head, backbone)?;
                NetworkPlan { beside: spec.beside(side)?, ..NetworkPlan::headed(backbone, head) }
            }
        };
        let (files, metrics) = match self.predicts() {
            Predicts::Color(spec) if spec.needs_prior() => {
                (prior_file(&spec.prior), Metrics::of(spec.metrics()))
            }
            Predicts::Color(spec) => (vec![], Metrics::of(spec.metrics())),
            Predicts::Colorizer(spec) => (vec![], Metrics::of(ColorizerTask::metrics(spec))),
            Predicts::Other(_) => (vec![], Metrics::of(CrossChannel::METRICS)),
            Predicts::Halves(_) => (vec![], Metrics::of(SplitBrain::metrics())),
            Predicts::Headed(spec) => (vec![], Metrics::of(spec.metrics().iter().copied())),
        };
        let monitor =
            self.monitor.as_ref().map(|monitor| self.monitor_plan(monitor, &network)).transpose()?;
        let network = Some(network);
        Ok(StagePlan { row, pictures, network, files, train: None, metrics, monitor, leaves: WEIGHTS })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        let prior = match self.predicts() {
            Predicts::Color(spec) => fit.check_prior(&spec.bins()),
            Predicts::Colorizer(_) | Predicts::Other(_) | Predicts::Halves(_) | Predicts::Headed(_) => Ok(()),
        };
        all([prior, check_start(fit), self.check_pictures(fit)]).map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let ended = match self.predicts() {
            Predicts::Color(spec) => colorization(spec, fit, run),
            Predicts::Colorizer(spec) => colorizer(spec, fit, run),
            Predicts::Other(problem) => cross_channel(problem, fit, run),
            Predicts::Halves(spec) => split_brain(spec, fit, run),
            Predicts::Headed(spec) => headed(spec, fit, run),
        }?;
        fit.save_monitored(&ended, run)?;
        Ok(ended)
    }
}

impl PretextStage {
    /// Checks that there are as many validation pictures as the task compares with one another.
    fn check_pictures(&self, fit: &StageRun) -> Result<()> {
        let (key, fewest) = match self.predicts() {
            Predicts::Headed(spec) => (spec.key(), spec.fewest_pictures()),
            _ => return Ok(()),
        };
        let pictures = fit.sets.split(Split::Val).len();
        ensure!(
            pictures >= fewest,
            "`{key}` tells validation pictures from one another, and {} has {}: give at least {fewest}",
            fit.data(),
            counted(pictures, "validation picture")
        );
        Ok(())
    }

    fn monitor_plan(&self, spec: &MonitorSpec, network: &NetworkPlan) -> Result<MonitorPlan> {
        let multiple = if self.predicts_pixels() { network.backbone.grid().multiple } else { 1 };
        // Of a split network the layers of the backbone that its halves form.
        let table = match network.split {
            Some(_) => {
                network.backbone.table(&Build { variant: network.variant, ..network.backbone.plain() })
            }
            None => network.table(1)?,
        };
        MonitorPlan::new(spec, &table, required(self.data.as_ref(), "data")?, multiple)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::of(&self.task)
    }
}

/// Checks that batch normalization has more than one example to normalize, and a comparison more than one picture.
fn check_batch(head: &TaskHead, batch: usize) -> Result<()> {
    let wrong = |reason: &str| KeyError::new(["train", "batch"], reason);
    ensure!(
        batch > 1 || !head.compares_pictures(),
        wrong("the views of a batch of one picture have no others to be told from")
            .advice("use a `batch` of at least 2, better of hundreds (`iter_size` does not replace it)")
    );
    ensure!(
        !head.normalizes_one_example(batch),
        wrong(
            "a batch of one picture gives the head one example, of which batch normalization leaves nothing"
        )
        .advice("use a `batch` of at least 2, or `batch_norm: false` in the task or its `head`")
    );
    Ok(())
}

/// Checks that the backbone has the layer that the head reads, and that the head fits it.
fn check_head(spec: &dyn HeadedTaskSpec, head: &TaskHead, backbone: &BackboneSpec) -> Result<()> {
    let (task, rows) = (["task", spec.key()], backbone.table(&head.build(backbone)));
    let known: Vec<&str> = taps(&rows).collect();
    if let Some(strange) = head.reads().filter(|layer| !known.contains(layer)) {
        let Diagnostic { message, note, .. } = Diagnostic::unknown("layer", strange, &known);
        let keys = task.into_iter().chain(spec.tap_keys().iter().copied());
        return Err(KeyError::new(keys, message).advice(note).at_value().into());
    }
    let (last, side) = (head.last(&rows)?, (head.side(), head.side()));
    let misfit = |reason: String| KeyError::new(spec.size_keys().iter().copied(), reason);
    sizes(&rows[..=last], 0, side).map_err(|error| misfit(error.to_string()))?;
    let attached = head.attach(rows).map_err(|error| error.to_string());
    let checked = attached.and_then(|rows| check_size(&rows));
    checked.map_err(|reason| KeyError::new(task.into_iter().chain(["head"]), reason).into())
}

/// Checks that a colorizer sees gray pictures, in as many channels as its task gives.
fn check_gray(spec: &dyn ColorizerSpec, backbone: &BackboneSpec) -> Result<()> {
    let (name, input, channels) = (backbone.name(), backbone.input(), spec.build().input_channels);
    let (wanted, fitting) = if channels == Input::Hints.channels() {
        ("lightness and hints", "hints")
    } else {
        ("one gray channel", "lightness")
    };
    ensure!(
        !input.has_color() && input.channels() == channels,
        KeyError::new(
            ["backbone", name, "input"],
            format!("`{}` reads {wanted}, and this network sees {}", spec.name(), input.describe())
        )
        .advice(format!("give `input: {fitting}`, or leave it out"))
    );
    Ok(())
}

/// Checks that the backbone can be split, and that no input is asked of it: both halves together see Lab.
fn check_split(backbone: &BackboneSpec, outputs: [usize; 2]) -> Result<()> {
    let (name, input) = (backbone.name(), backbone.input());
    SplitNetwork::pretext(backbone, outputs)
        .map_err(|error| KeyError::new(["backbone", name], error.to_string()))?;
    ensure!(
        matches!(input, Input::Lightness | Input::Lab),
        KeyError::new(
            ["backbone", name, "input"],
            "the halves of a split network see L, and a and b, of Lab"
        )
        .advice("give `input: lab`, or leave it out")
    );
    Ok(())
}

/// The file of the prior, if any.
pub(super) fn prior_file(prior: &PriorSpec) -> Vec<InputFile> {
    match prior {
        PriorSpec::File(path) => {
            vec![InputFile { key: "prior", path: path.to_path_buf(), content: FileContent::Prior }]
        }
        PriorSpec::Measured { .. } => vec![],
    }
}

fn colorization(spec: &ColorizationSpec, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
    let prior = spec.needs_prior().then(|| {
        let out = run.path().join("prior.npy");
        color_prior::load_or_measure(&spec.prior, &spec.bins(), &*fit.sets.plain()?.train, &fit.data(), &out)
    });
    let prior = prior.transpose()?.map(|p| p.probabilities);
    let mut task = Colorization::new(spec, fit.backbone()?, prior.as_deref(), &fit.rng, &fit.device)?;
    start(fit, task.colorizer().network(), task.params())?;
    let ended = fit.train(&mut task, run)?;
    fit.save_weights(ended, &task, Predicts::Color(spec).header(fit.backbone()?, fit.crop())?, run)
}

fn colorizer(spec: &dyn ColorizerTaskSpec, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
    let network = (fit.backbone()?, fit.sets.classes());
    let mut task = ColorizerTask::new(spec, network, &fit.rng, &fit.device)?;
    start(fit, task.colorizer().network(), task.params())?;
    let ended = fit.train(&mut task, run)?;
    fit.save_weights(ended, &task, Predicts::Colorizer(spec).header(fit.backbone()?, fit.crop())?, run)
}

fn cross_channel(problem: ChannelTarget, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
    let header = Predicts::Other(problem.clone()).header(fit.backbone()?, fit.crop())?;
    let mut task = CrossChannel::new(problem, fit.backbone()?, &fit.rng, &fit.device)?;
    start(fit, task.network(), task.params())?;
    let ended = fit.train(&mut task, run)?;
    fit.save_weights(ended, &task, header, run)
}

/// Checkpoints hold the halves; the weight file holds the backbone that they form.
fn split_brain(spec: SplitBrainSpec, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
    let mut task = SplitBrain::new(spec, fit.backbone()?, &fit.rng, &fit.device)?;
    start(fit, task.network(), task.params())?;
    let ended = fit.train(&mut task, run)?;
    let header = Predicts::Halves(spec).header(fit.backbone()?, fit.crop())?;
    let merged = |halves| Ok(task.merged(&NamedTensors::into_iter(halves).collect())?.into_iter().collect());
    fit.save_converted(ended, &task, header, run, merged)
}

fn headed(spec: &dyn HeadedTaskSpec, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
    let plan = required(fit.plan.network.as_ref(), "backbone")?;
    let mut task = spec.task(&plan.backbone, fit.crop(), &fit.rng, &fit.device)?;
    start(fit, task.network(), task.params())?;
    let ended = fit.train(&mut *task, run)?;
    fit.save_weights(ended, &*task, Predicts::Headed(spec).header(&plan.backbone, fit.crop())?, run)
}
