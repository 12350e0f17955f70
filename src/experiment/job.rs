//! One fit of an experiment: a stage, a seed and, for a probe, one backbone. Its directory's name ends in the hash of
//! all that decides its result, so that nothing is computed twice and nothing stale is taken for new.

use super::{RunOptions, fits, sets::Sets};
use crate::{
    data::{
        annotated_source::{AnnotatedSpec, Lists},
        beside::named_like,
        source::{Dataset as _, Locations},
    },
    hub,
    pretext::{PretextSpec, color_prior::PriorSpec},
    probe::{knn::KnnSpec, low_shot::LowShotSpec, svm::SvmSpec},
    spec::{
        self,
        experiment::{
            ColorEvaluationStage, Experiment, InitSpec, LinearProbeStage, MethodSpec, PretextStage, Stage,
            SupervisedStage, WeightSource,
        },
        names::Named,
        transfer::{NonlinearProbeStage, ReadoutStage, TransferStage},
    },
    train::{manifest, run_dir::RunDir},
    transfer::{
        classification::ClassificationSpec, detection::DetectionSpec, segmentation::SegmentationSpec,
    },
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What a job does, with all that it needs from the spec.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Pretext(PretextStage),
    Supervised(SupervisedStage),
    LinearProbe {
        init: InitSpec,
        #[serde(flatten)]
        stage: LinearProbeStage,
    },
    ColorEvaluation {
        method: MethodSpec,
        #[serde(flatten)]
        stage: ColorEvaluationStage,
    },
    NonlinearProbe {
        init: InitSpec,
        #[serde(flatten)]
        stage: NonlinearProbeStage,
    },
    Svm {
        init: InitSpec,
        #[serde(flatten)]
        stage: ReadoutStage<SvmSpec>,
    },
    LowShot {
        init: InitSpec,
        #[serde(flatten)]
        stage: ReadoutStage<LowShotSpec>,
    },
    Knn {
        init: InitSpec,
        #[serde(flatten)]
        stage: ReadoutStage<KnnSpec>,
    },
    Classification {
        init: InitSpec,
        #[serde(flatten)]
        stage: TransferStage<ClassificationSpec>,
    },
    Detection {
        init: InitSpec,
        #[serde(flatten)]
        stage: Box<TransferStage<DetectionSpec>>,
    },
    Segmentation {
        init: InitSpec,
        #[serde(flatten)]
        stage: TransferStage<SegmentationSpec>,
    },
}

impl Work {
    /// Names the random streams; jobs of one kind and seed see the same batches.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pretext(_) => "pretext",
            Self::Supervised(_) => "supervised",
            Self::LinearProbe { .. } => "linear_probe",
            Self::ColorEvaluation { .. } => "color_evaluation",
            Self::NonlinearProbe { .. } => "nonlinear_probe",
            Self::Svm { .. } => "svm",
            Self::LowShot { .. } => "low_shot",
            Self::Knn { .. } => "knn",
            Self::Classification { .. } => "classification",
            Self::Detection { .. } => "detection",
            Self::Segmentation { .. } => "segmentation",
        }
    }

    /// The backbone that it measures.
    fn init(&self) -> Option<&InitSpec> {
        match self {
            Self::LinearProbe { init, .. }
            | Self::NonlinearProbe { init, .. }
            | Self::Svm { init, .. }
            | Self::LowShot { init, .. }
            | Self::Knn { init, .. }
            | Self::Classification { init, .. }
            | Self::Detection { init, .. }
            | Self::Segmentation { init, .. } => Some(init),
            Self::Pretext(_) | Self::Supervised(_) | Self::ColorEvaluation { .. } => None,
        }
    }

    /// The weight file that it starts from, as the spec names it.
    fn weights(&self) -> Option<&Path> {
        match self {
            Self::Pretext(PretextStage { init_from: Some(WeightSource::File(path)), .. }) => Some(path),
            Self::ColorEvaluation { method: MethodSpec::File(path), .. } => Some(path),
            _ => self.init().and_then(InitSpec::file),
        }
    }

    /// The weight file of the classifier that judges it.
    fn classifier(&self) -> Option<&Path> {
        match self {
            Self::ColorEvaluation { stage, .. } => {
                stage.evaluation.classifier.as_ref().map(|classifier| classifier.weights.as_path())
            }
            _ => None,
        }
    }

    /// The folder of finished pictures that it measures.
    fn pictures(&self) -> Option<&Path> {
        match self {
            Self::ColorEvaluation { method: MethodSpec::Pictures(dir), .. } => Some(dir),
            _ => None,
        }
    }

    /// The file that its prior is read from.
    fn prior(&self) -> Option<&Path> {
        match self {
            Self::Pretext(PretextStage { task: PretextSpec::Colorization(spec), .. }) => {
                prior_file(&spec.prior).filter(|_| spec.needs_prior())
            }
            Self::ColorEvaluation { stage, .. } => prior_file(&stage.evaluation.prior),
            _ => None,
        }
    }

    /// The files of boxes that it reads.
    fn proposals(&self) -> Vec<&Path> {
        match self {
            Self::Detection { stage, .. } => stage.task.proposals.files(),
            _ => vec![],
        }
    }

    /// The stage that it builds on.
    fn upstream(&self) -> Option<&str> {
        match self {
            Self::Pretext(PretextStage { init_from: Some(WeightSource::Stage(stage)), .. }) => Some(stage),
            Self::ColorEvaluation { method: MethodSpec::Stage(stage), .. } => Some(stage),
            _ => self.init().and_then(InitSpec::stage),
        }
    }

    /// Opens what it trains and is measured on.
    ///
    /// # Errors
    /// Data that cannot be opened.
    fn open(&self, at: &Locations) -> Result<Sets> {
        let annotated = |spec: Option<&AnnotatedSpec>, lists| Sets::annotated(spec, lists, at);
        match self {
            Self::Pretext(s) => Sets::plain(s.data.as_ref(), at),
            Self::Supervised(s) => Sets::plain(s.data.as_ref(), at),
            Self::LinearProbe { stage, .. } => Sets::plain(stage.data.as_ref(), at),
            Self::ColorEvaluation { stage, .. } => Sets::plain(stage.data.as_ref(), at),
            Self::NonlinearProbe { stage, .. } => Sets::plain(stage.data.as_ref(), at),
            Self::Svm { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::LowShot { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Knn { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Classification { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Detection { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Segmentation { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Segmentation),
        }
    }
}

/// One fit.
pub struct Job {
    /// For people: `probe gaussian, seed 0`.
    pub label: String,
    pub experiment: String,
    /// The row of a probe's or an evaluation's table.
    pub row: Option<String>,
    pub seed: u64,
    pub work: Work,
    pub sets: Sets,
    /// Run directory of the stage that this one builds on.
    pub upstream: Option<PathBuf>,
    /// The weight file that the spec names, on this disk: located once, so that what is loaded is what was hashed.
    pub weights: Option<PathBuf>,
    pub dir: PathBuf,
    pub hash: String,
    /// What was hashed, as YAML: the run directory's spec.
    pub spec: String,
}

/// All that decides a job's result.
#[derive(Serialize)]
struct Inputs<'a> {
    version: &'static str,
    seed: u64,
    data: BTreeMap<&'static str, String>,
    upstream: Option<&'a str>,
    /// SHA-256 of the weight and prior files that the work reads, fingerprints of its folders of pictures: their paths
    /// alone would not tell of new content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    work: &'a Work,
}

/// The stages that this seed has finished, by name.
#[derive(Default)]
pub struct Finished(BTreeMap<String, (PathBuf, String)>);

impl Finished {
    /// Notes where the stage called `name` lies and what it hashes to.
    pub fn add(&mut self, name: &str, job: &Job) {
        self.0.insert(name.into(), (job.dir.clone(), job.hash.clone()));
    }
}

impl Job {
    /// The fits of one stage: one, or one for each backbone of a probe and each method of an evaluation.
    ///
    /// # Errors
    /// Data that cannot be opened.
    pub fn of_stage(
        experiment: &Experiment,
        name: &str,
        stage: &Stage,
        seed: u64,
        finished: &Finished,
        options: &RunOptions,
    ) -> Result<Vec<Self>> {
        let labelled = |row: Option<&str>, variant: Option<&str>, work| {
            let label = std::iter::once(name).chain(row).chain(variant).collect::<Vec<_>>().join("-");
            let job = Self::new(experiment, &label, row, seed, work, finished, options);
            job.with_context(|| format!("stage `{name}` cannot start"))
        };
        let job = |row: Option<&str>, work| labelled(row, None, work);
        let named = |row: &str, layer: &str, work| labelled(Some(row), Some(layer), work);
        let each = |rows: &Named<InitSpec>, work: &dyn Fn(InitSpec) -> Work| -> Result<Vec<Self>> {
            rows.iter().map(|(row, init)| job(Some(row), work(init.clone()))).collect()
        };
        match stage {
            Stage::Pretext(s) => Ok(vec![job(None, Work::Pretext(s.clone()))?]),
            Stage::Supervised(s) => Ok(vec![job(None, Work::Supervised(s.clone()))?]),
            Stage::LinearProbe(s) => each(&s.backbones, &|init| Work::LinearProbe { init, stage: s.clone() }),
            Stage::ColorEvaluation(s) => {
                let evaluation = |(row, method): (&str, &MethodSpec)| {
                    job(Some(row), Work::ColorEvaluation { method: method.clone(), stage: s.clone() })
                };
                s.methods.iter().map(evaluation).collect()
            }
            Stage::NonlinearProbe(s) => {
                let jobs = s.through.iter().map(|layer| {
                    let stage = NonlinearProbeStage { through: vec![layer.clone()], ..s.clone() };
                    let work = |init| Work::NonlinearProbe { init, stage: stage.clone() };
                    s.backbones.iter().map(|(row, init)| named(row, layer, work(init.clone()))).collect()
                });
                jobs.collect::<Result<Vec<Vec<Self>>>>().map(|jobs| jobs.into_iter().flatten().collect())
            }
            Stage::Svm(s) => each(&s.backbones, &|init| Work::Svm { init, stage: s.clone() }),
            Stage::LowShot(s) => each(&s.backbones, &|init| Work::LowShot { init, stage: s.clone() }),
            Stage::Knn(s) => each(&s.backbones, &|init| Work::Knn { init, stage: s.clone() }),
            Stage::Classification(s) => {
                let jobs = s.task.train_from.iter().map(|layer| {
                    let task = ClassificationSpec { train_from: vec![layer.clone()], ..s.task.clone() };
                    let stage = TransferStage { task, ..s.clone() };
                    let work = |init| Work::Classification { init, stage: stage.clone() };
                    s.backbones.iter().map(|(row, init)| named(row, layer, work(init.clone()))).collect()
                });
                jobs.collect::<Result<Vec<Vec<Self>>>>().map(|jobs| jobs.into_iter().flatten().collect())
            }
            Stage::Detection(s) => each(&s.backbones, &|init| Work::Detection { init, stage: s.clone() }),
            Stage::Segmentation(s) => {
                each(&s.backbones, &|init| Work::Segmentation { init, stage: s.clone() })
            }
        }
    }

    fn new(
        experiment: &Experiment,
        label: &str,
        row: Option<&str>,
        seed: u64,
        work: Work,
        finished: &Finished,
        options: &RunOptions,
    ) -> Result<Self> {
        let sets = work.open(&options.locations)?;
        let upstream = work
            .upstream()
            .map(|stage| finished.0.get(stage).with_context(|| format!("stage `{stage}` has not run")));
        let upstream = upstream.transpose()?;
        let weights = work.weights().map(hub::locate).transpose()?;
        let files = weights.as_deref().into_iter().chain(work.prior()).chain(work.proposals());
        let mut files = files.map(content).collect::<Result<Vec<_>>>()?;
        if let Some(path) = work.classifier() {
            files.push(content(&hub::locate(path)?)?);
        }
        if let Some(dir) = work.pictures() {
            files.push(named_like(&*sets.plain_sets()?.val, dir)?.fingerprint());
        }
        let inputs = Inputs {
            version: env!("CARGO_PKG_VERSION"),
            seed,
            data: sets.fingerprints(),
            upstream: upstream.map(|(_, hash)| hash.as_str()),
            files,
            work: &only_row(work.clone()),
        };
        let hash = spec::hash(&inputs)?;
        let spec = spec::resolved_yaml(&inputs)?;
        let home = options.out.join(&*experiment.name);
        let dir = place(&options.out, &home, &format!("{label}-s{seed}"), &hash[..12]);
        Ok(Self {
            label: format!("{label}, seed {seed}"),
            experiment: experiment.name.to_string(),
            row: row.map(str::to_string),
            seed,
            upstream: upstream.map(|(dir, _)| dir.clone()),
            weights,
            work,
            sets,
            dir,
            hash,
            spec,
        })
    }

    /// Runs or resumes the fit; false when the user stopped it. A finished one is left alone.
    ///
    /// # Errors
    /// Whatever stops a fit; the run directory then says so and keeps its last checkpoint.
    pub fn run(&self, options: &RunOptions) -> Result<bool> {
        if RunDir::is_finished(&self.dir) {
            tracing::info!("{}: finished before, kept ({})", self.label, self.dir.display());
            return Ok(true);
        }
        tracing::info!("{}: {}", self.label, self.dir.display());
        let run = RunDir::open(&self.dir, &self.spec)?;
        fits::run(self, run, options)
            .with_context(|| format!("{} failed ({})", self.label, self.dir.display()))
    }

    /// The last picture that the fit drew.
    pub fn picture(&self) -> Option<PathBuf> {
        Some(self.dir.join("pictures/latest.png")).filter(|p| p.exists())
    }
}

fn prior_file(prior: &PriorSpec) -> Option<&Path> {
    match prior {
        PriorSpec::File(path) => Some(path),
        PriorSpec::Measured { .. } => None,
    }
}

fn content(path: &Path) -> Result<String> {
    manifest::sha256(path)
        .with_context(|| format!("cannot read {}: give the path of a file that is there", path.display()))
}

/// A probe of one backbone does not depend on which others the table has, nor a method's evaluation on other methods.
fn only_row(mut work: Work) -> Work {
    match &mut work {
        Work::LinearProbe { stage, .. } => stage.backbones = Default::default(),
        Work::ColorEvaluation { stage, .. } => stage.methods = Default::default(),
        Work::NonlinearProbe { stage, .. } => stage.backbones = Default::default(),
        Work::Svm { stage, .. } => stage.backbones = Default::default(),
        Work::LowShot { stage, .. } => stage.backbones = Default::default(),
        Work::Knn { stage, .. } => stage.backbones = Default::default(),
        Work::Classification { stage, .. } => stage.backbones = Default::default(),
        Work::Detection { stage, .. } => stage.backbones = Default::default(),
        Work::Segmentation { stage, .. } => stage.backbones = Default::default(),
        Work::Pretext(_) | Work::Supervised(_) => {}
    }
    work
}

/// Where the fit with this hash lies: in `home`, or wherever below `out` another experiment has finished it.
fn place(out: &Path, home: &Path, label: &str, hash: &str) -> PathBuf {
    let here = home.join(format!("{label}-{hash}"));
    if here.exists() {
        return here;
    }
    let folders = |dir: &Path| -> Vec<PathBuf> {
        let mut found: Vec<_> =
            std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
        found.sort();
        found
    };
    let mut elsewhere = folders(out).into_iter().flat_map(|experiment| folders(&experiment));
    let same =
        |dir: &PathBuf| dir.to_string_lossy().ends_with(&format!("-{hash}")) && RunDir::is_finished(dir);
    elsewhere.find(same).unwrap_or(here)
}
