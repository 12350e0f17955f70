//! One fit at work: its plan, what was opened for it, where it runs. Kinds of stages take loaders, networks and training
//! from here, so that what they do is what their plan says.

use super::{
    place::Place,
    plan::{Holds, NetworkPlan, Plan, WEIGHTS, given},
    sets::Sets,
};
use crate::{
    atomic_write,
    backbones::BackboneSpec,
    color::{bins::Bins, prior::Prior},
    data::{
        loader::{Loader, LoaderOptions},
        source::{Dataset, Split},
    },
    nn::weights,
    report::{
        Kind,
        results::RESULTS,
        transfer::{TransferResult, TransferRow},
    },
    rng::Rng,
    spec,
    train::{
        fit::{Ended, fit},
        manifest,
        run_dir::RunDir,
        spec::TrainSpec,
        task::{Metric, Task},
        trial::{Trial, trial},
    },
};
use anyhow::{Context, Result};
use candle_core::Device;
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// The entry of a weight file's header that says which channels its network sees; absent: lightness.
pub(super) const INPUT: &str = "input";

/// One fit: a row of a stage, for one seed.
#[derive(Clone)]
pub struct Fit {
    /// For people: `probe-gaussian, seed 0`.
    pub label: String,
    pub experiment: String,
    pub plan: Plan,
    pub sets: Sets,
    pub seed: u64,
    pub rng: Rng,
    pub device: Device,
    /// Run directory of the stage that this one builds on.
    pub upstream: Option<PathBuf>,
    /// Its network.
    pub stands_on: Option<NetworkPlan>,
    /// The weight file that the spec names, on this disk: located once, so that what is loaded is what was hashed.
    pub located: Option<PathBuf>,
    pub place: Place,
    pub hash: String,
    /// What decides its result, as YAML: the run directory's spec.
    pub spec: String,
    /// In a rehearsal, where nothing is kept and no earlier stage has run: what it has measured.
    pub rehearsal: Option<RefCell<Rehearsal>>,
}

/// How far a fit is rehearsed, and what that has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rehearsal {
    /// Whether updates are timed too.
    pub updates: bool,
    pub trial: Trial,
    /// Seconds of all updates and validations that were made.
    pub training: f64,
}

impl Fit {
    /// The name that tables and messages give the pictures.
    pub fn data(&self) -> String {
        self.plan.pictures.source.to_string()
    }

    /// The row of the table.
    pub fn row(&self) -> String {
        self.plan.row.name.clone().unwrap_or_default()
    }

    /// The column of the table, where the stage has several.
    pub fn column(&self) -> Result<&str> {
        self.plan.row.column.as_deref().context("the stage names no layer")
    }

    /// Side of the square pictures that plain ones are cut to, in pixels.
    pub fn crop(&self) -> usize {
        self.plan.pictures.val.framing.side()
    }

    /// The architecture that it trains or measures.
    pub fn backbone(&self) -> Result<&BackboneSpec> {
        Ok(&given(self.plan.network.as_ref(), "backbone")?.backbone)
    }

    /// The layers that its network is read at.
    pub fn reads(&self) -> &[String] {
        self.plan.network.as_ref().map_or(&[], NetworkPlan::reads)
    }

    /// A split as its plan frames it.
    ///
    /// # Errors
    /// An empty split, a training batch larger than it.
    pub fn loader(&self, split: Split) -> Result<Loader> {
        self.loader_of(self.sets.split(split), split)
    }

    /// Other pictures, framed and batched like those of a split.
    ///
    /// # Errors
    /// As [`Self::loader`].
    pub fn loader_of(&self, set: Arc<dyn Dataset>, split: Split) -> Result<Loader> {
        let view = self.plan.pictures.view(split)?;
        let (max_bad, threads) = self.plan.pictures.source.reading();
        let feed = LoaderOptions { batch: view.batch, pass: view.pass, flip: view.flip, max_bad, threads };
        Ok(Loader::with_policy(set, view.framing.clone(), feed, &self.rng, &self.device)?)
    }

    /// Trains as planned; `None` when the user stopped it.
    pub fn train(&self, task: &mut dyn Task, run: &mut RunDir) -> Result<Option<Vec<Metric>>> {
        if let Some(rehearsal) = &self.rehearsal {
            return self.rehearse(task, &mut rehearsal.borrow_mut()).map(|()| None);
        }
        let (mut train, mut val) = (self.loader(Split::Train)?, self.loader(Split::Val)?);
        match fit(task, &mut train, Some(&mut val), self.training()?, &self.rng, run)? {
            Ended::Finished(metrics) => Ok(Some(metrics)),
            Ended::Interrupted { .. } => Ok(None),
        }
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

    fn training(&self) -> Result<&TrainSpec> {
        given(self.plan.train.as_ref(), "train")
    }

    /// The weight file that the spec names, on this disk; if it lies in a run directory, it is what the run has left.
    pub fn weights(&self) -> Result<&Path> {
        let path = self.located.as_deref().context("the weight file was not located")?;
        manifest::ensure_unchanged(path)?;
        Ok(path)
    }

    /// The weights that the stage which this one builds on has left.
    pub fn upstream_weights(&self) -> Result<PathBuf> {
        let run = self.upstream.as_deref();
        let path = run.context("the stage that this one builds on has no run directory")?.join(WEIGHTS);
        manifest::ensure_unchanged(&path)?;
        Ok(path)
    }

    /// Whether the file that the prior is read from holds one of these bins.
    ///
    /// # Errors
    /// A file that cannot be read, of another length, or with impossible values.
    pub fn check_prior(&self, bins: &Bins) -> Result<()> {
        let file = self.plan.files.iter().find(|file| file.holds == Holds::Prior);
        file.map(|file| Prior::read(&file.path, bins)).transpose()?;
        Ok(())
    }

    /// Writes the trained weights with what is needed to build their network again.
    pub fn leave_weights(
        &self,
        ended: Option<Vec<Metric>>,
        task: &dyn Task,
        about: impl IntoIterator<Item = (String, String)>,
        run: &RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        if ended.is_some() {
            let mut metadata = BTreeMap::from([
                ("backbone".to_string(), spec::resolved_yaml(self.backbone()?)?),
                ("run".to_string(), self.spec.clone()),
            ]);
            metadata.extend(about);
            weights::save(task.params(), &metadata, &run.path().join(WEIGHTS))?;
        }
        Ok(ended)
    }

    /// Writes what `report` reads.
    pub fn leave_results(&self, results: &impl Serialize, run: &RunDir) -> Result<()> {
        let path = run.path().join(RESULTS);
        atomic_write::write(&path, &serde_json::to_vec_pretty(results)?)
            .with_context(|| format!("cannot write {}: is the disk full?", path.display()))
    }

    /// The same for the rows of a transfer table.
    pub fn leave_transfer(&self, rows: Vec<TransferRow>, protocol: &str, run: &RunDir) -> Result<()> {
        let result = TransferResult {
            kind: Kind::Transfer,
            experiment: self.experiment.clone(),
            seed: self.seed,
            dataset: self.data(),
            protocol: protocol.into(),
            rows,
            from: PathBuf::new(),
        };
        self.leave_results(&result, run)
    }

    /// How long was trained, for the head of a table.
    pub fn protocol(&self) -> Result<String> {
        let train = self.training()?;
        Ok(format!("{} steps of {}", train.steps, train.batch.get() * train.iter_size.get()))
    }
}
