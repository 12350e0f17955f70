//! `pretext`: trains a backbone without labels.

use super::kind::*;
use crate::{
    backbones::{Build, data_init::initialize, exchange, network::Network, table::heads},
    experiment::{fit::INPUT, sources::WeightSource},
    nn::{
        init::Filler,
        params::Params,
        weights::{self, LoadReport},
    },
    pretext::{
        PretextSpec,
        color_prior::{self, PriorSpec},
        colorization::{Colorization, ColorizationSpec},
        colorizer::Colorizer,
        cross_channel::{CrossChannel, CrossChannelTarget},
    },
    spec,
    train::task::Task as _,
};
use std::path::Path;

/// Trains a backbone without labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretextStage {
    #[serde(default)]
    pub data: Option<DataSpec>,
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// Initial weights. Layers of the new network that they lack, such as another head, are randomly initialized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<WeightSource>,
    pub task: PretextSpec,
    pub train: TrainSpec,
}

impl StageKind for PretextStage {
    inputs!(data, backbone; train);

    fn rows(&self) -> Rows<'_> {
        Rows::One(self.init_from.as_ref().map_or(Start::Random, |source| Start::Weights(source.into())))
    }

    fn trained(&self) -> Option<BackboneSpec> {
        let backbone = self.backbone.as_ref()?;
        Some(match self.predicts() {
            Predicts::Color(_) => backbone.clone(),
            Predicts::Other(problem) => backbone.with_input(problem.sees().input_kind()),
        })
    }

    fn predicts_pixels(&self) -> bool {
        true
    }

    fn colorizes(&self) -> bool {
        matches!(self.task, PretextSpec::Colorization(_))
    }

    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan> {
        let pass = (Pass::Train, self.train.batch.get());
        let pictures = PicturePlan::plain(self.data.as_ref(), Some(pass), false)?;
        let side = pictures.val.framing.side();
        let network = NetworkPlan::of_task(required(backbone, "backbone")?, &self.build(), side);
        let (files, metrics) = match self.predicts() {
            Predicts::Color(spec) if spec.needs_prior() => {
                (prior_file(&spec.prior), Metrics::of(spec.metrics()))
            }
            Predicts::Color(spec) => (vec![], Metrics::of(spec.metrics())),
            Predicts::Other(_) => (vec![], Metrics::of(CrossChannel::METRICS)),
        };
        let (network, train) = (Some(network), Some(self.train.clone()));
        Ok(StagePlan { row, pictures, network, files, train, metrics, leaves: WEIGHTS })
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        let prior = match self.predicts() {
            Predicts::Color(spec) => fit.check_prior(&spec.bins()),
            Predicts::Other(_) => Ok(()),
        };
        both(prior, self.check_start(fit)).map(drop)
    }

    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        match self.predicts() {
            Predicts::Color(spec) => colorization(spec, fit, run),
            Predicts::Other(problem) => cross_channel(problem, fit, run),
        }
    }
}

impl PretextStage {
    /// Checks that the initial weights fit the network.
    fn check_start(&self, fit: &StageRun) -> Result<()> {
        let (net, params) = blank(fit.backbone()?, &self.build(), fit)?;
        if fit.located.is_some() {
            load_initial(fit.weights()?, &net, &params)?;
        }
        if let (Some(below), Some(stage)) = (&fit.upstream_network, fit.plan.row.start.stage()) {
            let (_, theirs) = blank(&below.backbone, &below.build(fit.sets.classes()), fit)?;
            let theirs = theirs.state().into_iter().collect();
            load_except_heads(&theirs, &format!("what stage `{stage}` trains"), &net, &params)?;
        }
        Ok(())
    }

    fn predicts(&self) -> Predicts<'_> {
        match &self.task {
            PretextSpec::Colorization(spec) => Predicts::Color(spec),
            PretextSpec::CrossChannel(spec) => Predicts::Other((*spec).into()),
            PretextSpec::Autoencoder(spec) => Predicts::Other((*spec).into()),
        }
    }

    /// Build options of the task's network.
    fn build(&self) -> Build {
        match self.predicts() {
            Predicts::Color(spec) => Colorizer::build(spec),
            Predicts::Other(problem) => problem.build(),
        }
    }
}

/// The task's target: color from lightness, or some channels from others.
enum Predicts<'a> {
    Color(&'a ColorizationSpec),
    Other(CrossChannelTarget),
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
    let about = ("colorization".to_string(), spec::resolved_yaml(spec)?);
    fit.save_weights(ended, &task, [about], run)
}

fn cross_channel(
    problem: CrossChannelTarget,
    fit: &StageRun,
    run: &mut RunDir,
) -> Result<Option<Vec<Metric>>> {
    let input = spec::resolved_yaml(&problem.sees())?;
    let mut task = CrossChannel::new(problem, fit.backbone()?, &fit.rng, &fit.device)?;
    start(fit, task.network(), task.params())?;
    let ended = fit.train(&mut task, run)?;
    fit.save_weights(ended, &task, [(INPUT.to_string(), input)], run)
}

/// Initializes `network` with the stage's initial weights, if any.
fn start(fit: &StageRun, network: &Network, params: &Params) -> Result<()> {
    match &fit.plan.row.start {
        Start::Weights(InitSpec::Stage(_)) if fit.rehearsal.is_some() => Ok(()),
        Start::Weights(InitSpec::Stage(_)) => load_initial(&fit.upstream_weights()?, network, params),
        Start::Weights(InitSpec::File(_)) => load_initial(fit.weights()?, network, params),
        Start::Weights(InitSpec::DataDependent(how)) => {
            let batches = fit.inputs(how.batches.get(), network.input(), fit.crop())?;
            for layer in initialize(how, network, &batches, &fit.rng.split("data_init"))? {
                tracing::info!("{layer}");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A zero-initialized network, to check what fits it.
fn blank(backbone: &BackboneSpec, build: &Build, fit: &StageRun) -> Result<(Network, Params)> {
    let mut params = Params::new(&fit.device);
    let net = backbone.with_init(Filler::Zero).build(build, &mut params, &Rng::new(0))?;
    Ok((net, params))
}

/// Loads trained weights into `params`. Heads of `network` may be missing and then keep their initialization; all
/// other layers must match.
fn load_initial(path: &Path, network: &Network, params: &Params) -> Result<()> {
    let file = exchange::open_finite(path)?;
    let report = load_except_heads(&file.tensors, &path.display().to_string(), network, params)?;
    tracing::info!("{}: {report}", path.display());
    Ok(())
}

/// As [`load_initial`], for tensors from `origin`.
fn load_except_heads(
    tensors: &weights::Named,
    origin: &str,
    network: &Network,
    params: &Params,
) -> Result<LoadReport> {
    let heads: Vec<&str> = heads(network.layers()).collect();
    let report =
        weights::load_into(params, tensors).with_context(|| format!("{origin} does not fit the backbone"))?;
    let left = report.missing.iter().chain(&report.mismatched);
    let of_a_head = |name: &str| name.rsplit_once('.').is_some_and(|(layer, _)| heads.contains(&layer));
    let strange: Vec<&str> = left.map(String::as_str).filter(|name| !of_a_head(name)).collect();
    ensure!(
        strange.is_empty(),
        "{origin} does not fit the backbone: it lacks {}; give the same backbone to both stages",
        strange.join(", ")
    );
    Ok(report)
}
