//! Initial weights of pretext stages: trained ones of a stage or a file, and those made from the pictures.

use super::kind::*;
use crate::{
    backbones::{
        data_init::{DataInitSpec, initialize},
        exchange::WeightFile,
        input::Input,
        kinds::LayerKind,
        network::Network,
        split::HALVES,
        table::{Layer, Role, tap},
    },
    nn::{
        init::Filler,
        layers::Fillers,
        params::Params,
        weights::{self, LoadReport},
    },
    pretext::{
        channels::LabChannels,
        predicts::{INPUT, THROUGH},
        trained_file,
    },
    text::counted,
    yaml,
};
use anyhow::bail;
use candle_core::Tensor;
use serde_yaml::Value;
use std::path::Path;

/// Checks that the initial weights fit the network.
///
/// # Errors
/// Weights of another network, or that see something else.
pub fn check_start(fit: &StageRun) -> Result<()> {
    let plan = required(fit.plan.network.as_ref(), "backbone")?;
    let (net, params) = blank(plan, fit)?;
    if fit.located.is_some() {
        load_initial(fit.weights()?, plan, (&net, &params))?;
    }
    if let (Some(below), Some(stage)) = (&fit.upstream_network, fit.plan.row.start.stage()) {
        let (_, theirs) = blank(below, fit)?;
        let mut theirs = theirs.state().into_iter().collect();
        if let Some(split) = below.halves()? {
            theirs = split.merged(&theirs)?;
        }
        let sees = (below.input_channels == below.input().channels()).then(|| below.input());
        let task = below.split.map(|_| SPLIT_BRAIN.to_string());
        let (name, through) = (format!("what stage `{stage}` trains"), below.trained_through()?);
        load_except_heads(&theirs, &Origin { name, task, sees, through }, plan, (&net, &params))?;
    }
    Ok(())
}

/// Initializes `network` with the stage's initial weights, if any.
///
/// # Errors
/// As [`check_start`]; pictures that cannot be read.
pub fn start(fit: &StageRun, network: &Network, params: &Params) -> Result<()> {
    let plan = required(fit.plan.network.as_ref(), "backbone")?;
    match &fit.plan.row.start {
        Start::Weights(InitSpec::Stage(_)) if fit.rehearsal.is_some() => Ok(()),
        Start::Weights(InitSpec::Stage(_)) => load_initial(&fit.upstream_weights()?, plan, (network, params)),
        Start::Weights(InitSpec::File(_)) => load_initial(fit.weights()?, plan, (network, params)),
        Start::Weights(InitSpec::DataDependent(how)) => {
            let mut batches = fit.inputs(how.batches.get(), network.input(), fit.crop())?;
            if let Some(head) = &plan.task_head {
                batches = batches.iter().map(|batch| center(batch, head.side())).collect::<Result<_>>()?;
            }
            for how in each_half(how, plan, fit.sets.classes())? {
                initialize(&how, network, &batches, &fit.rng.split("data_init"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Initialization of the planned network: of a split one, of each half up to the same layer.
fn each_half(how: &DataInitSpec, plan: &NetworkPlan, classes: usize) -> Result<Vec<DataInitSpec>> {
    if plan.split.is_none() {
        return Ok(vec![how.clone()]);
    }
    let whole = NetworkPlan { split: None, ..plan.clone() }.table(classes)?;
    let last = whole[how.last(&whole)?].label().to_string();
    Ok(HALVES.map(|half| DataInitSpec { through: Some(half.layer(&last)), ..how.clone() }).into())
}

/// The central squares of `side` pixels of pictures `(B, H, W, C)`.
fn center(pictures: &Tensor, side: usize) -> Result<Tensor> {
    let (_, height, width, _) = pictures.dims4()?;
    let square = pictures.narrow(1, (height - side) / 2, side)?.narrow(2, (width - side) / 2, side)?;
    Ok(square.contiguous()?)
}

/// The planned network with ones for weights, to check what fits it. A split network takes nothing that is not zero between
/// its halves.
fn blank(plan: &NetworkPlan, fit: &StageRun) -> Result<(Network, Params)> {
    let (mut params, mut rows) = (Params::new(&fit.device), plan.table(fit.sets.classes())?);
    let one = Filler::Constant { value: 1.0 };
    for row in &mut rows {
        row.kind.fill(Fillers { weight: one, bias: Some(one).filter(|_| row.kind.has_bias()) });
    }
    let net = Network::new(plan.backbone.interface(), rows, &mut params, &Rng::new(0))?;
    for network in &plan.beside {
        Network::new(plan.backbone.interface(), network.rows.clone(), &mut params, &Rng::new(0))?;
    }
    Ok((net, params))
}

/// Loads trained weights into `params`. Heads of the network may be missing and then keep their initialization, and so
/// may layers after those that the file's task trained; all other layers must match.
fn load_initial(path: &Path, plan: &NetworkPlan, built: (&Network, &Params)) -> Result<()> {
    let file = trained_file::open_finite(path)?;
    let report = load_except_heads(&file.tensors, &Origin::of(&file, path)?, plan, built)?;
    tracing::info!("{}: {report}", path.display());
    Ok(())
}

/// Where trained weights come from.
struct Origin {
    /// For messages.
    name: String,
    /// The task that trained them, if that is known.
    task: Option<String>,
    /// What their network sees, if that is known.
    sees: Option<Input>,
    /// The last layer that they hold, if not all.
    through: Option<String>,
}

/// Name of the task that trains two halves.
const SPLIT_BRAIN: &str = "split_brain";

impl Origin {
    /// As the header of a file says.
    fn of(file: &WeightFile, path: &Path) -> Result<Self> {
        let run = file.metadata.get("run").and_then(|yaml| yaml::read::<Value>(yaml).ok());
        let sees = file.metadata.get(INPUT).map(|yaml| weights::section::<LabChannels>(yaml)).transpose()?;
        let backbone = file.backbone(None)?;
        Ok(Self {
            name: path.display().to_string(),
            task: run.as_ref().and_then(|run| name_of(&run["work"]["pretext"]["task"])),
            sees: sees.map(LabChannels::input_kind).or(backbone.map(|backbone| backbone.input())),
            through: file.metadata.get(THROUGH).map(|layer| layer.trim().to_string()),
        })
    }

    /// The name and the task.
    fn describe(&self) -> String {
        let Self { name, task, .. } = self;
        task.as_ref().map_or_else(|| name.clone(), |task| format!("{name}, by the task `{task}`,"))
    }

    /// What to do if the halves of a split network cannot be taken of it.
    fn unsplit(&self) -> String {
        match self.task.as_deref() {
            Some(SPLIT_BRAIN) => format!("{} does not fit the backbone", self.name),
            _ => format!(
                "{} is of one network, and `{SPLIT_BRAIN}` trains two: start from weights of `{SPLIT_BRAIN}` or from the \
                 images (`data_dependent`), or leave `init_from` out",
                self.describe()
            ),
        }
    }

    /// Refuses weights of a network that sees something else.
    fn check_input(&self, plan: &NetworkPlan) -> Result<()> {
        let Some(sees) = self.sees.filter(|sees| sees.channels() != plan.input_channels) else {
            return Ok(());
        };
        let advice = match (sees, plan.task_head.is_some()) {
            (Input::Lab, true) => "give `input: lab` to the backbone of this stage",
            (Input::Lab, false) => "start it from weights of another task, or leave `init_from` out",
            _ => "start it from weights of a network with the same input, or leave `init_from` out",
        };
        let channels = counted(plan.input_channels, "channel");
        bail!(
            "{} is of a network that sees {}, and that of this stage sees {channels}: {advice}",
            self.describe(),
            sees.describe()
        )
    }
}

/// The name in a section that is keyed by name.
fn name_of(section: &Value) -> Option<String> {
    let first = section.as_mapping().and_then(|section| section.keys().next());
    first.unwrap_or(section).as_str().map(String::from)
}

/// As [`load_initial`], for tensors from `origin`. A split network takes its halves of them.
fn load_except_heads(
    tensors: &weights::Named,
    origin: &Origin,
    plan: &NetworkPlan,
    (network, params): (&Network, &Params),
) -> Result<LoadReport> {
    let halves = plan.halves()?.map(|split| split.split(tensors)).transpose();
    let halves = halves.with_context(|| origin.unsplit())?;
    if halves.is_none() {
        origin.check_input(plan)?;
    }
    let tensors = halves.as_ref().unwrap_or(tensors);
    let rows = network.layers();
    let trained = origin.through.as_deref().and_then(|layer| tap(rows, layer));
    let trained = trained.map_or(rows.len(), |last| last + 1);
    let wanted: Vec<&str> =
        rows[..trained].iter().filter(|row| row.role != Role::Head).map(|row| row.name.as_str()).collect();
    let misfit = || format!("{} does not fit the backbone", origin.name);
    let report = weights::load_into(params, tensors).with_context(misfit)?;
    let left = report.missing.iter().chain(&report.mismatched);
    let is_wanted = |name: &&str| name.rsplit_once('.').is_some_and(|(layer, _)| wanted.contains(&layer));
    let strange: Vec<&str> = left.map(String::as_str).filter(is_wanted).collect();
    let normalizes = |name: &&str| {
        let is_of = |row: &&Layer| name.strip_prefix(&row.name).is_some_and(|rest| rest.starts_with('.'));
        rows.iter().find(is_of).is_some_and(|row| matches!(row.kind, LayerKind::BatchNorm(_)))
    };
    let advice = match strange.iter().all(normalizes) {
        true => "batch normalization was absorbed into its layers: give the weights of the run itself",
        false => "give the same backbone to both stages",
    };
    let lacks = || format!("{}: it lacks {}; {advice}", misfit(), strange.join(", "));
    ensure!(strange.is_empty(), lacks());
    Ok(report)
}
