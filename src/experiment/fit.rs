//! A fit at run time: its plan, opened data and run directory. Stage kinds obtain loaders, networks and training from
//! it, so that they follow their plan.

use super::{
    monitor::MonitorPlan,
    place::RunPlace,
    plan::{FileContent, NetworkPlan, RAW_WEIGHTS, StagePlan, WEIGHTS, required},
    sets::DataSets,
};
use crate::{
    atomic_write,
    backbones::{BackboneSpec, summary::Summary, table::tap},
    color::{bins::Bins, prior::Prior},
    data::{
        loader::{Loader, LoaderOptions},
        source::{Dataset, Split},
    },
    device,
    evaluation::monitor::{MonitorSets, MonitorSpec, RepresentationMonitor},
    nn::weights,
    report::{
        ResultKind,
        monitor::MonitorResult,
        results::RESULTS,
        transfer::{TransferResult, TransferRow},
    },
    rng::Rng,
    spec,
    train::{
        checkpoint::{self, Checkpoint},
        collective::{Ranks, WireFormat},
        fit::{FitOptions, FitOutcome, fit},
        follow::follow,
        log,
        manifest::{self, FitName},
        monitor::Monitoring,
        run_dir::RunDir,
        spec::TrainOptions,
        task::{Metric, Task},
        tensors::NamedTensors,
        trial::{Trial, trial},
    },
    transfer::InputColors,
};
use anyhow::{Context, Result};
use candle_core::Device;
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

/// Decoding threads of each of several ranks in one process; None: as many as the loader takes.
fn part_of_cores(ranks: usize) -> Option<usize> {
    let cores = thread::available_parallelism().ok().filter(|_| ranks > 1)?;
    Some((cores.get() / ranks).max(1))
}

/// One fit: a row of a stage, for one seed.
#[derive(Clone)]
pub struct StageRun {
    /// Display name: `probe-gaussian, seed 0`, `probe-gaussian, lr=1e-3, seed 0`.
    pub label: String,
    /// Label of the sweep's point; empty without a sweep.
    pub point: String,
    /// Name of the stage.
    pub stage: String,
    pub experiment: String,
    pub plan: StagePlan,
    pub sets: DataSets,
    /// Pictures of the plan's monitor.
    pub monitored: Option<MonitorSets>,
    pub seed: u64,
    pub rng: Rng,
    pub device: Device,
    /// The processes that train together.
    pub ranks: Ranks,
    /// Run directory of the stage that this one starts from.
    pub upstream: Option<PathBuf>,
    /// The network of that stage.
    pub upstream_network: Option<NetworkPlan>,
    /// Local path of the weight file in the spec. It is located once, so that the file that is loaded is the one that
    /// was hashed.
    pub located: Option<PathBuf>,
    pub place: RunPlace,
    pub hash: String,
    /// The inputs that determine the result, as YAML: the run directory's spec.
    pub spec: String,
    /// Set in a rehearsal, in which nothing is stored and earlier stages have not run: its measurements.
    pub rehearsal: Option<RefCell<Rehearsal>>,
}

/// Options and measurements of a rehearsal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rehearsal {
    /// Whether updates are timed too.
    pub updates: bool,
    pub trial: Trial,
    /// Seconds of the timed updates and validations.
    pub training: f64,
}

impl StageRun {
    /// Name of the data set in tables and plots.
    pub fn dataset(&self) -> String {
        self.plan.pictures.source.label()
    }

    /// Name of the data in messages.
    pub fn data(&self) -> String {
        self.plan.pictures.source.to_string()
    }

    /// Its name in the manifest.
    pub fn name(&self) -> FitName {
        let (experiment, stage) = (self.experiment.clone(), self.stage.clone());
        FitName { experiment, stage, row: self.plan.row.name.clone(), column: self.plan.row.column.clone() }
    }

    /// The device, and how many processes share the work.
    pub fn device(&self) -> String {
        let (device, size) = (device::describe(&self.device), self.ranks.size());
        let each = if self.device.is_cuda() { "GPUs" } else { "processes" };
        let rounded =
            if self.ranks.wire() == WireFormat::Bf16 { ", gradients in bf16 between them" } else { "" };
        if size > 1 { format!("{device}, {size} {each}{rounded}") } else { device }
    }

    /// Name of the table row.
    pub fn row(&self) -> String {
        self.plan.row.name.clone().unwrap_or_default()
    }

    /// Name of the table column, if the stage has several.
    pub fn column(&self) -> Result<&str> {
        self.plan.row.column.as_deref().context("the stage names no layer")
    }

    /// Side of the square crops of plain pictures, in pixels.
    pub fn crop(&self) -> usize {
        self.plan.pictures.val.framing.side()
    }

    /// Architecture of the trained or evaluated network.
    pub fn backbone(&self) -> Result<&BackboneSpec> {
        Ok(&required(self.plan.network.as_ref(), "backbone")?.backbone)
    }

    /// What the network sees, for tables.
    ///
    /// # Errors
    /// As [`Self::backbone`].
    pub fn colors(&self) -> Result<InputColors> {
        let network = required(self.plan.network.as_ref(), "backbone")?;
        Ok(InputColors::seen(network.colors.input(network.backbone.input())))
    }

    /// Layers whose features are read.
    pub fn reads(&self) -> &[String] {
        self.plan.network.as_ref().map_or(&[], NetworkPlan::reads)
    }

    /// Loader of a split with the plan's transforms.
    ///
    /// # Errors
    /// An empty split; a training batch larger than the split.
    pub fn loader(&self, split: Split) -> Result<Loader> {
        self.loader_of(self.sets.split(split), split)
    }

    /// Loader of another data set with the transforms and batches of a split.
    ///
    /// # Errors
    /// As [`Self::loader`].
    pub fn loader_of(&self, set: Arc<dyn Dataset>, split: Split) -> Result<Loader> {
        self.loader_with(set, split, 1)
    }

    /// As [`Self::loader_of`], with batches that `parts` share.
    fn loader_with(&self, set: Arc<dyn Dataset>, split: Split, parts: usize) -> Result<Loader> {
        let view = self.plan.pictures.view(split)?;
        let (max_bad, threads) = self.plan.pictures.source.reading_options();
        let threads = threads.or_else(|| part_of_cores(self.ranks.beside()));
        let feed =
            LoaderOptions { batch: view.batch / parts, pass: view.pass, flip: view.flip, max_bad, threads };
        let mut loader = Loader::with_policy(set, view.framing.clone(), feed, &self.rng, &self.device)?;
        if self.ranks.are_many() {
            loader.share_with(Arc::new(self.ranks.clone()));
        }
        Ok(loader)
    }

    /// Loader of this process's share of the training batches.
    fn share(&self) -> Result<Loader> {
        let mut loader = self.loader_with(self.sets.split(Split::Train), Split::Train, self.ranks.size())?;
        loader.take_share(self.ranks.rank(), self.ranks.size());
        Ok(loader)
    }

    /// Trains as planned; `None` if the user interrupted it, and on processes that follow another.
    pub fn train(&self, task: &mut dyn Task, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        if let Some(rehearsal) = &self.rehearsal {
            return self.rehearse(task, &mut rehearsal.borrow_mut()).map(|()| None);
        }
        let (mut train, mut val) = (self.share()?, self.loader(Split::Val)?);
        if !self.ranks.leads() {
            follow(task, &mut train, &mut val, self.training()?, &self.rng, &self.ranks)?;
            return Ok(None);
        }
        let monitoring = self.monitoring();
        let options = FitOptions { spec: self.training()?, rng: &self.rng, ranks: &self.ranks };
        match fit(task, &mut train, Some(&mut val), options, run, monitoring)? {
            FitOutcome::Finished(metrics) => Ok(Some(metrics)),
            FitOutcome::Interrupted { .. } => Ok(None),
        }
    }

    /// The plan's monitor.
    fn monitoring(&self) -> Option<Monitoring> {
        let (plan, sets) = (self.plan.monitor.as_ref()?, self.monitored.clone()?);
        let scale = self.plan.train.as_ref()?.scale;
        let MonitorSpec { every, budget, .. } = plan.spec;
        let updates = self.updates_per_measurement(plan, &sets).unwrap_or_default();
        let monitor = RepresentationMonitor::new(plan.spec.clone(), plan.layers.clone(), sets);
        let monitoring = Monitoring::new(Box::new(monitor), scale.steps(every).get(), budget.get());
        Some(monitoring.foretold(updates))
    }

    /// How many updates take about as long as a measurement, by multiplications: an update has three passes, a measurement
    /// one up to its last layer, and about as much for neighbors and probe.
    fn updates_per_measurement(&self, monitor: &MonitorPlan, sets: &MonitorSets) -> Option<f64> {
        let (train, network) = (self.plan.train.as_ref()?, self.plan.network.as_ref()?);
        let (classes, stored) = (self.sets.classes(), self.sets.first_size().unwrap_or_default());
        let rows = network.table(classes).ok()?;
        let last = monitor.layers.iter().filter_map(|layer| tap(&rows, layer)).max();
        let read = &rows[..last.map_or(rows.len(), |last| last + 1)];
        let pass = Summary::of(read, (sets.side(), sets.side())).ok()?.macs();
        let inputs = train.batch.get() * train.iter_size.get() * network.views_per_picture();
        let update = 3 * inputs * network.summary(classes, stored).ok()?.macs();
        Some((2 * sets.passes() * pass) as f64 / update.max(1) as f64)
    }

    fn rehearse(&self, task: &mut dyn Task, rehearsal: &mut Rehearsal) -> Result<()> {
        let began = Instant::now();
        if rehearsal.updates {
            let (mut train, mut val) = (self.loader(Split::Train)?, self.loader(Split::Val)?);
            rehearsal.trial = trial(task, &mut train, &mut val, self.training()?, &self.rng)?;
        }
        rehearsal.training = began.elapsed().as_secs_f64();
        Ok(())
    }

    fn training(&self) -> Result<&TrainOptions> {
        required(self.plan.train.as_ref(), "train")
    }

    /// Local path of the weight file in the spec. If it is in a run directory, it is verified against the manifest.
    pub fn weights(&self) -> Result<&Path> {
        let path = self.located.as_deref().context("the weight file was not located")?;
        manifest::ensure_unchanged(path)?;
        Ok(path)
    }

    /// Name of the run directory of the stage that this one starts from.
    pub fn upstream_name(&self) -> Option<String> {
        Some(self.upstream.as_ref()?.file_name()?.to_string_lossy().into_owned())
    }

    /// Path of the verified weights of the stage that this one starts from.
    pub fn upstream_weights(&self) -> Result<PathBuf> {
        let run = self.upstream.as_deref();
        let path = run.context("the stage that this one builds on has no run directory")?.join(WEIGHTS);
        manifest::ensure_unchanged(&path)?;
        Ok(path)
    }

    /// Checks that the prior file, if any, has one entry per bin.
    ///
    /// # Errors
    /// A file that cannot be read, has another length or invalid values.
    pub fn check_prior(&self, bins: &Bins) -> Result<()> {
        let file = self.plan.files.iter().find(|file| file.content == FileContent::Prior);
        file.map(|file| Prior::read(&file.path, bins)).transpose()?;
        Ok(())
    }

    /// Writes the trained weights with the metadata needed to rebuild their network. If they are averages, the last
    /// checkpoint's weights are written too.
    pub fn save_weights(
        &self,
        ended: Option<Vec<Metric>>,
        task: &dyn Task,
        about: impl IntoIterator<Item = (String, String)>,
        run: &RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        self.save_converted(ended, task, about, run, Ok)
    }

    /// As [`Self::save_weights`], for weights that `convert` makes of those that were trained.
    pub fn save_converted(
        &self,
        ended: Option<Vec<Metric>>,
        task: &dyn Task,
        about: impl IntoIterator<Item = (String, String)>,
        run: &RunDir,
        convert: impl Fn(NamedTensors) -> Result<NamedTensors>,
    ) -> Result<Option<Vec<Metric>>> {
        if ended.is_some() {
            let mut metadata = BTreeMap::from([
                ("backbone".to_string(), spec::resolved_yaml(self.backbone()?)?),
                ("run".to_string(), self.spec.clone()),
            ]);
            metadata.extend(about);
            let save = |trained: NamedTensors, file: &str| {
                let tensors = convert(trained)?;
                let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
                weights::write(&tensors, &metadata, &run.path().join(file))
            };
            save(task.params().state(), WEIGHTS)?;
            if self.training()?.ema.is_some() {
                save(Checkpoint::read_params(&checkpoint::last(run.path()), &Device::Cpu)?, RAW_WEIGHTS)?;
            }
        }
        Ok(ended)
    }

    /// Writes the results for `report`.
    pub fn save_results(&self, results: &impl Serialize, run: &RunDir) -> Result<()> {
        let path = run.path().join(RESULTS);
        atomic_write::write(&path, &serde_json::to_vec_pretty(results)?)
            .with_context(|| format!("cannot write {}: is the disk full?", path.display()))
    }

    /// Writes the measurements of the plan's monitor for `report`, once the training has `ended`.
    pub fn save_monitored(&self, ended: &Option<Vec<Metric>>, run: &RunDir) -> Result<()> {
        let (Some(plan), Some(_)) = (&self.plan.monitor, ended) else { return Ok(()) };
        let kept = Checkpoint::read_state(&checkpoint::last(run.path()))?.monitor.unwrap_or_default();
        let result = MonitorResult {
            kind: ResultKind::Monitor,
            experiment: self.experiment.clone(),
            stage: self.stage.clone(),
            seed: self.seed,
            dataset: plan.data.label.clone().unwrap_or_else(|| plan.data.source.label()),
            steps: MonitorResult::steps(&log::measurements(run.path())?),
            share: kept.share().unwrap_or_default(),
            left_out: kept.left_out,
            from: PathBuf::new(),
        };
        self.save_results(&result, run)
    }

    /// Writes the rows of a transfer table for `report`.
    pub fn save_transfer(&self, rows: Vec<TransferRow>, protocol: &str, run: &RunDir) -> Result<()> {
        let result = TransferResult {
            kind: ResultKind::Transfer,
            experiment: self.experiment.clone(),
            seed: self.seed,
            dataset: self.dataset(),
            protocol: protocol.into(),
            rows,
            from: PathBuf::new(),
        };
        self.save_results(&result, run)
    }

    /// Training length, for table headers.
    pub fn protocol(&self) -> Result<String> {
        let train = self.training()?;
        Ok(format!("{} steps of {}", train.steps, train.batch.get() * train.iter_size.get()))
    }
}
