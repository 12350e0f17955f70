//! How each kind of stage is built, fitted, and leaves its results behind.

use super::{RunOptions, backbones::Wanted, colors, job::Job, sets::Plain, work::Work};
use crate::{
    backbones::{BackboneSpec, data_init::initialize, exchange, network::Network},
    data::loader::{Loader, Pass},
    device,
    nn::{params::Params, weights},
    pretext::{
        PretextSpec, color_prior,
        colorization::{Colorization, ColorizationSpec},
        cross_channel::{CrossChannel, Problem},
        supervised::Supervised,
    },
    probe::linear::{LayerAccuracy, LinearProbe},
    report::{BackboneResult, Kind, LayerResult, ProbeResult, results::RESULTS},
    rng::Rng,
    spec::{
        self,
        experiment::{InitSpec, LinearProbeStage, PretextStage, SupervisedStage, WeightSource},
    },
    train::{
        atomic,
        fit::{Ended, fit},
        manifest::{self, About, Ending},
        run_dir::RunDir,
        spec::TrainSpec,
        task::{Metric, Task},
        warning::Warning,
    },
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Images in a validation batch.
pub const VAL_BATCH: usize = 64;
/// The entry of a weight file's header that says which channels its network sees; absent: lightness.
pub(super) const INPUT: &str = "input";
/// What a finished stage leaves for others.
pub const WEIGHTS: &str = "weights.safetensors";

/// Fits the job in its run directory; false when the user stopped it.
pub fn run(job: &Job, mut run: RunDir, options: &RunOptions) -> Result<bool> {
    run.begin(About {
        device: device::words(&options.device),
        seed: job.seed,
        data: job.sets.fingerprints().into_iter().map(|(split, print)| (split.into(), print)).collect(),
    })?;
    if let Some(warning) = inherited(job)? {
        tracing::warn!("{}: {warning}", job.label);
        run.set_diverged(Some(warning.to_string()));
        run.warn(warning.to_string());
    }
    match fit_work(job, &mut run, &options.device) {
        Ok(Some(metrics)) => run.finish(&metrics).map(|()| true),
        Ok(None) => run.interrupt().map(|()| false),
        Err(error) => {
            run.fail(&error)?;
            Err(error)
        }
    }
}

/// What is wrong with the training that the job starts from.
fn inherited(job: &Job) -> Result<Option<Warning>> {
    let beside = job.weights.as_deref().and_then(manifest::run_of);
    for run in job.upstream.as_deref().into_iter().chain(beside) {
        if let Some(what) = Ending::read(run)?.and_then(|ending| ending.diverged) {
            let stage =
                run.file_name().map_or_else(|| "a run".into(), |name| name.to_string_lossy().into_owned());
            return Ok(Some(Warning::StandsOnDiverged { stage, what }));
        }
    }
    Ok(None)
}

fn fit_work(job: &Job, run: &mut RunDir, device: &Device) -> Result<Option<Vec<Metric>>> {
    let fit = Fit { job, device, rng: Rng::new(job.seed).split(job.work.kind()) };
    match &job.work {
        Work::Pretext(stage) => fit.pretext(stage, run),
        Work::Supervised(stage) => fit.supervised(stage, run),
        Work::LinearProbe { init, stage } => fit.linear_probe(init, stage, run),
        Work::ColorEvaluation { method, stage } => colors::evaluate(&fit, method, stage, run),
        Work::NonlinearProbe { init, stage } => fit.nonlinear_probe(init, stage, run),
        Work::Svm { init, stage } => fit.svm(init, stage, run),
        Work::LowShot { init, stage } => fit.low_shot(init, stage, run),
        Work::Knn { init, stage } => fit.knn(init, stage, run),
        Work::Classification { init, stage } => fit.classification(init, stage, run),
        Work::Detection { init, stage } => fit.detection(init, stage, run),
        Work::Segmentation { init, stage } => fit.segmentation(init, stage, run),
    }
}

/// What every kind of fit is made with.
pub(super) struct Fit<'a> {
    pub job: &'a Job,
    pub device: &'a Device,
    pub rng: Rng,
}

impl Fit<'_> {
    fn pretext(&self, stage: &PretextStage, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        match &stage.task {
            PretextSpec::Colorization(spec) => self.colorization(spec, stage, run),
            PretextSpec::CrossChannel(spec) => self.cross_channel((*spec).into(), stage, run),
            PretextSpec::Autoencoder(spec) => self.cross_channel((*spec).into(), stage, run),
        }
    }

    fn colorization(
        &self,
        spec: &ColorizationSpec,
        stage: &PretextStage,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let backbone = given(stage.backbone.as_ref(), "backbone")?;
        let prior = spec.needs_prior().then(|| {
            let (name, out) = (self.job.sets.name(), run.path().join("prior.npy"));
            color_prior::obtain(&spec.prior, &spec.bins(), &*self.plain()?.train, &name, &out)
        });
        let prior = prior.transpose()?.map(|p| p.probabilities);
        let mut task = Colorization::new(spec, backbone, prior.as_deref(), &self.rng, self.device)?;
        self.start(stage, task.colorizer().network(), task.params())?;
        let ended = self.fit(&mut task, Pass::Train, &stage.train, run)?;
        let colorization = ("colorization".to_string(), spec::resolved_yaml(spec)?);
        self.leave_weights(ended, &task, backbone, [colorization], run)
    }

    fn cross_channel(
        &self,
        problem: Problem,
        stage: &PretextStage,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let backbone = given(stage.backbone.as_ref(), "backbone")?;
        let input = spec::resolved_yaml(&problem.sees())?;
        let mut task = CrossChannel::new(problem, backbone, &self.rng, self.device)?;
        self.start(stage, task.network(), task.params())?;
        let ended = self.fit(&mut task, Pass::Train, &stage.train, run)?;
        self.leave_weights(ended, &task, backbone, [(INPUT.to_string(), input)], run)
    }

    /// Sets the parameters of `network` to the weights that the stage starts from, if it says any.
    fn start(&self, stage: &PretextStage, network: &Network, params: &Params) -> Result<()> {
        let Some(source) = &stage.init_from else { return Ok(()) };
        if let WeightSource::DataDependent(how) = source {
            let batches = self.inputs(how.batches.get(), network.input(), self.plain()?.spec.crop.get())?;
            for layer in initialize(how, network, params, &batches, &self.rng.split("data_init"))? {
                tracing::info!("{layer}");
            }
            return Ok(());
        }
        let branches = network.layers().iter().filter(|layer| layer.branch);
        let heads: Vec<&str> = branches.chain([network.head()]).map(|layer| layer.name.as_str()).collect();
        self.start_from(source, params, &heads)
    }

    /// Sets `params` to trained weights; the layers `heads` may differ and then start afresh, nothing else may.
    fn start_from(&self, source: &WeightSource, params: &Params, heads: &[&str]) -> Result<()> {
        let path = match source {
            WeightSource::Stage(_) => self.upstream_weights()?,
            WeightSource::File(_) => self.weights()?.to_path_buf(),
            WeightSource::DataDependent(_) => bail!("weights made from data lie in no file"),
        };
        let file = exchange::open_finite(&path)?;
        let report = weights::load_into(params, &file.tensors)
            .with_context(|| format!("{} does not fit the backbone", path.display()))?;
        tracing::info!("{}: {report}", path.display());
        let left = report.missing.iter().chain(&report.mismatched);
        let of_a_head = |name: &str| name.split_once('.').is_some_and(|(layer, _)| heads.contains(&layer));
        let strange: Vec<&str> = left.map(String::as_str).filter(|name| !of_a_head(name)).collect();
        ensure!(
            strange.is_empty(),
            "{} does not fit the backbone: it lacks {}; give the same backbone to both stages",
            path.display(),
            strange.join(", ")
        );
        Ok(())
    }

    /// The weight file that the spec names, on this disk; if it lies in a run directory, it is what the run has left.
    pub fn weights(&self) -> Result<&Path> {
        let path = self.job.weights.as_deref().context("the weight file was not located")?;
        manifest::ensure_unchanged(path)?;
        Ok(path)
    }

    /// The weights that the stage which this one builds on has left.
    pub fn upstream_weights(&self) -> Result<PathBuf> {
        let path = self.upstream()?.join(WEIGHTS);
        manifest::ensure_unchanged(&path)?;
        Ok(path)
    }

    /// The run directory of the stage that this one builds on.
    fn upstream(&self) -> Result<&Path> {
        self.job.upstream.as_deref().context("the stage that this one builds on has no run directory")
    }

    fn supervised(&self, stage: &SupervisedStage, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let backbone = given(stage.backbone.as_ref(), "backbone")?;
        let mut task = Supervised::new(backbone, stage.graph, self.classes()?, &self.rng, self.device)?;
        let ended = self.fit(&mut task, Pass::Train, &stage.train, run)?;
        self.leave_weights(ended, &task, backbone, [], run)
    }

    fn linear_probe(
        &self,
        init: &InitSpec,
        stage: &LinearProbeStage,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let wanted = Wanted::frozen(&stage.probe.layers);
        let (backbone, _) = self.backbone(init, stage.backbone.as_ref(), &wanted)?;
        let (crop, images) = (self.plain()?.spec.crop.get(), self.plain()?.train.len());
        let mut task = LinearProbe::new(&stage.probe, backbone, self.classes()?, crop, images, self.device)?;
        let pass = if stage.probe.augment { Pass::Train } else { Pass::Shuffled };
        let Some(metrics) = self.fit(&mut task, pass, &stage.train, run)? else { return Ok(None) };
        self.leave_results(&self.probe_result(&stage.probe.protocol.to_string(), task.last())?, run)?;
        Ok(Some(metrics))
    }

    /// Writes what `report` reads.
    pub fn leave_results(&self, results: &impl Serialize, run: &RunDir) -> Result<()> {
        let path = run.path().join(RESULTS);
        atomic::write_bytes(&path, &serde_json::to_vec_pretty(results)?)
            .with_context(|| format!("cannot write {}: is the disk full?", path.display()))
    }

    fn probe_result(&self, protocol: &str, layers: &[LayerAccuracy]) -> Result<ProbeResult> {
        // Of five classes or fewer, a top-5 would always hold.
        let tells = self.plain()?.train.classes().len() > 5;
        let layer = |l: &LayerAccuracy| LayerResult {
            layer: l.layer.clone(),
            top1: l.top1,
            top5: tells.then_some(l.top5),
        };
        Ok(ProbeResult {
            kind: Kind::LinearProbe,
            experiment: self.job.experiment.clone(),
            seed: self.job.seed,
            protocol: protocol.into(),
            dataset: self.job.sets.name(),
            rows: vec![BackboneResult {
                backbone: self.job.row.clone().unwrap_or_default(),
                layers: layers.iter().map(layer).collect(),
            }],
            from: PathBuf::new(),
        })
    }

    /// Plain pictures to train and be measured on.
    pub fn plain(&self) -> Result<&Plain> {
        self.job.sets.plain_sets()
    }

    pub fn fit(
        &self,
        task: &mut dyn Task,
        pass: Pass,
        spec: &TrainSpec,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let (sets, rng) = (self.plain()?, &self.rng);
        let loader =
            |set: &_, pass, batch| Loader::new(Clone::clone(set), &sets.spec, pass, batch, rng, self.device);
        let mut train = loader(&sets.train, pass, spec.batch.get())?;
        let mut val = loader(&sets.val, Pass::Once, VAL_BATCH)?;
        self.fit_on(task, (&mut train, &mut val), spec, run)
    }

    /// Trains on loaders of any kind; `None` when the user stopped it.
    pub fn fit_on(
        &self,
        task: &mut dyn Task,
        (train, val): (&mut Loader, &mut Loader),
        spec: &TrainSpec,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        match fit(task, train, Some(val), spec, &self.rng, run)? {
            Ended::Finished(metrics) => Ok(Some(metrics)),
            Ended::Interrupted { .. } => Ok(None),
        }
    }

    /// Writes the trained weights with what is needed to build their network again.
    fn leave_weights(
        &self,
        ended: Option<Vec<Metric>>,
        task: &dyn Task,
        backbone: &BackboneSpec,
        about: impl IntoIterator<Item = (String, String)>,
        run: &RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        if ended.is_some() {
            let mut metadata = BTreeMap::from([
                ("backbone".to_string(), spec::resolved_yaml(backbone)?),
                ("run".to_string(), self.job.spec.clone()),
            ]);
            metadata.extend(about);
            weights::save(task.params(), &metadata, &run.path().join(WEIGHTS))?;
        }
        Ok(ended)
    }

    pub fn classes(&self) -> Result<usize> {
        self.plain()?.classes()
    }
}

/// A section that resolving has filled in.
pub fn given<'a, T>(section: Option<&'a T>, name: &str) -> Result<&'a T> {
    section.with_context(|| format!("no {name}: give `{name}:` to the stage or to the experiment"))
}
