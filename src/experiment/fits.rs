//! How each kind of stage is built, fitted, and leaves its results behind.

use super::{
    RunOptions,
    job::{Job, Work},
};
use crate::{
    backbones::{
        BackboneSpec,
        alexnet::{AlexNet, Build, Graph, Layer, absorb_batch_norm},
    },
    data::loader::{Loader, Pass},
    nn::{params::Params, weights},
    pretext::{
        PretextSpec, color_prior,
        colorization::{Colorization, RebalanceSpec},
        supervised::Supervised,
    },
    probe::linear::{LayerAccuracy, LinearProbe},
    report::{BackboneResult, Kind, LayerResult, ProbeResult, results::RESULTS},
    rng::Rng,
    spec::{
        self,
        experiment::{InitSpec, LinearProbeStage, PretextStage, SupervisedStage},
    },
    train::{
        atomic,
        fit::{Ended, fit},
        manifest::About,
        run_dir::RunDir,
        spec::TrainSpec,
        task::{Metric, Task},
    },
};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Images in a validation batch.
pub const VAL_BATCH: usize = 64;
/// What a finished stage leaves for others.
pub const WEIGHTS: &str = "weights.safetensors";

/// Fits the job in its run directory; false when the user stopped it.
pub fn run(job: &Job, mut run: RunDir, options: &RunOptions) -> Result<bool> {
    run.begin(About {
        device: format!("{:?}", options.device.location()),
        seed: job.seed,
        data: [("train", &job.train_set), ("val", &job.val_set)]
            .map(|(k, s)| (k.into(), s.fingerprint()))
            .into(),
    })?;
    match fit_work(job, &mut run, &options.device) {
        Ok(Some(metrics)) => run.finish(&metrics).map(|()| true),
        Ok(None) => run.interrupt().map(|()| false),
        Err(error) => {
            run.fail(&error)?;
            Err(error)
        }
    }
}

fn fit_work(job: &Job, run: &mut RunDir, device: &Device) -> Result<Option<Vec<Metric>>> {
    let fit = Fit { job, device, rng: Rng::new(job.seed).split(job.work.kind()) };
    match &job.work {
        Work::Pretext(stage) => fit.pretext(stage, run),
        Work::Supervised(stage) => fit.supervised(stage, run),
        Work::LinearProbe { init, stage } => fit.linear_probe(init, stage, run),
    }
}

/// What every kind of fit is made with.
struct Fit<'a> {
    job: &'a Job,
    device: &'a Device,
    rng: Rng,
}

impl Fit<'_> {
    fn pretext(&self, stage: &PretextStage, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let backbone = given(stage.backbone.as_ref(), "backbone")?;
        let PretextSpec::Colorization(spec) = &stage.task;
        let prior = (spec.rebalance != RebalanceSpec::Off).then(|| {
            let (name, out) = (self.job.data.source.to_string(), run.path().join("prior.npy"));
            color_prior::obtain(&spec.prior, &spec.bins(), &*self.job.train_set, &name, &out)
        });
        let prior = prior.transpose()?.map(|p| p.probabilities);
        let mut task = Colorization::new(spec, backbone, prior.as_deref(), &self.rng, self.device)?;
        let ended = self.fit(&mut task, Pass::Train, &stage.train, run)?;
        self.leave_weights(ended, &task, backbone, run)
    }

    fn supervised(&self, stage: &SupervisedStage, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        let backbone = given(stage.backbone.as_ref(), "backbone")?;
        let mut task = Supervised::new(backbone, stage.graph, self.classes()?, &self.rng, self.device)?;
        let ended = self.fit(&mut task, Pass::Train, &stage.train, run)?;
        self.leave_weights(ended, &task, backbone, run)
    }

    fn linear_probe(
        &self,
        init: &InitSpec,
        stage: &LinearProbeStage,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let backbone = self.frozen(init, stage)?;
        let (crop, images) = (self.job.data.crop.get(), self.job.train_set.len());
        let mut task = LinearProbe::new(&stage.probe, backbone, self.classes()?, crop, images, self.device)?;
        let pass = if stage.probe.augment { Pass::Train } else { Pass::Shuffled };
        let Some(metrics) = self.fit(&mut task, pass, &stage.train, run)? else { return Ok(None) };
        let result = self.probe_result(&stage.probe.protocol.to_string(), task.last());
        let path = run.path().join(RESULTS);
        atomic::write_bytes(&path, &serde_json::to_vec_pretty(&result)?)
            .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        Ok(Some(metrics))
    }

    fn probe_result(&self, protocol: &str, layers: &[LayerAccuracy]) -> ProbeResult {
        // Of five classes or fewer, a top-5 would always hold.
        let tells = self.job.train_set.classes().len() > 5;
        let layer = |l: &LayerAccuracy| LayerResult {
            layer: l.layer.clone(),
            top1: l.top1,
            top5: tells.then_some(l.top5),
        };
        ProbeResult {
            kind: Kind::LinearProbe,
            experiment: self.job.experiment.clone(),
            seed: self.job.seed,
            protocol: protocol.into(),
            dataset: self.job.data.source.to_string(),
            rows: vec![BackboneResult {
                backbone: self.job.backbone.clone().unwrap_or_default(),
                layers: layers.iter().map(layer).collect(),
            }],
            from: PathBuf::new(),
        }
    }

    fn fit(
        &self,
        task: &mut dyn Task,
        pass: Pass,
        spec: &TrainSpec,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let (data, rng) = (&self.job.data, &self.rng);
        let loader =
            |set: &_, pass, batch| Loader::new(Clone::clone(set), data, pass, batch, rng, self.device);
        let mut train = loader(&self.job.train_set, pass, spec.batch.get())?;
        let mut val = loader(&self.job.val_set, Pass::Once, VAL_BATCH)?;
        match fit(task, &mut train, Some(&mut val), spec, rng, run)? {
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
        run: &RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        if ended.is_some() {
            let metadata = BTreeMap::from([
                ("backbone".to_string(), spec::resolved_yaml(backbone)?),
                ("run".to_string(), self.job.spec.clone()),
            ]);
            weights::save(task.params(), &metadata, &run.path().join(WEIGHTS))?;
        }
        Ok(ended)
    }

    fn classes(&self) -> Result<usize> {
        let classes = self.job.train_set.classes().len();
        ensure!(
            classes > 1,
            "this stage needs labels; {} has none: use class folders or a label column",
            self.job.data.source
        );
        Ok(classes)
    }

    /// The backbone to be probed, on the transfer graph, batch normalisation absorbed into its weights.
    fn frozen(&self, init: &InitSpec, stage: &LinearProbeStage) -> Result<AlexNet> {
        match init {
            InitSpec::Init(filler) => {
                let spec = given(stage.backbone.as_ref(), "backbone")?.with_init(*filler);
                self.transfer_graph(&spec, &mut Params::new(self.device))
            }
            InitSpec::Stage(_) => {
                let dir = self.job.upstream.as_deref().context("the probed stage has no run directory")?;
                self.loaded(&dir.join(WEIGHTS), stage.backbone.as_ref())
            }
            InitSpec::File(_) => {
                let path = self.job.weights.as_deref().context("the weight file was not located")?;
                self.loaded(path, stage.backbone.as_ref())
            }
        }
    }

    fn transfer_graph(&self, spec: &BackboneSpec, params: &mut Params) -> Result<AlexNet> {
        let build = Build { graph: Graph::Transfer, batch_norm: false, input_channels: 1, outputs: None };
        Ok(spec.build(&build, params, &self.rng.split("init"))?)
    }

    /// The architecture comes from the file when it says one, else from the spec.
    fn loaded(&self, path: &Path, fallback: Option<&BackboneSpec>) -> Result<AlexNet> {
        let (tensors, metadata) = weights::read(path)?;
        let spec = match metadata.get("backbone") {
            Some(yaml) => backbone_of(yaml)
                .with_context(|| format!("{}: the backbone in its header", path.display()))?,
            None => {
                fallback.context("the weight file names no backbone; give `backbone:` in the spec")?.clone()
            }
        };
        let mut params = Params::new(self.device);
        let net = self.transfer_graph(&spec, &mut params)?;
        let report = weights::load_into(&params, &without_batch_norm(&spec, tensors)?)
            .with_context(|| format!("{} does not fit the backbone", path.display()))?;
        tracing::info!("{}: {report}", path.display());
        ensure!(
            report.missing.is_empty() && report.mismatched.is_empty(),
            "{} does not fit the backbone: {report}",
            path.display()
        );
        Ok(net)
    }
}

/// The tensors of the net without batch normalisation, whichever kind the file holds.
fn without_batch_norm(
    spec: &BackboneSpec,
    tensors: BTreeMap<String, Tensor>,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let build = Build { graph: Graph::Pretext, batch_norm: true, input_channels: 1, outputs: None };
    let layers = spec.table(&build);
    let normalised = layers.iter().filter_map(Layer::batch_norm_name);
    let held = normalised.filter(|norm| tensors.contains_key(&format!("{norm}.running_mean"))).count();
    if held == 0 { Ok(tensors) } else { absorb_batch_norm(&layers, &tensors) }
}

fn backbone_of(yaml: &str) -> Result<BackboneSpec> {
    let value: serde_json::Value = serde_yaml::from_str(yaml)?;
    Ok(serde_json::from_value(value)?)
}

/// A section that resolving has filled in.
pub fn given<'a, T>(section: Option<&'a T>, name: &str) -> Result<&'a T> {
    section.with_context(|| format!("no {name}: give `{name}:` to the stage or to the experiment"))
}
