//! One fit of an experiment: a stage, a seed and, for a probe, one backbone. Its directory's name ends in the hash of
//! all that decides its result, so that nothing is computed twice and nothing stale is taken for new.

use super::{
    RunOptions,
    fits::{self, WEIGHTS},
    sets::Sets,
    work::{Piece, Work, pieces},
};
use crate::{
    data::{beside::named_like, source::Dataset as _},
    hub,
    nn::weights,
    report::results::RESULTS,
    spec::{
        self,
        experiment::{Experiment, Stage},
    },
    train::{
        manifest::{self, Ending, Manifest},
        run_dir::RunDir,
    },
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
        let job = |Piece { row, variant, work }| {
            let parts = [Some(name), row.as_deref(), variant.as_deref()];
            let label = parts.into_iter().flatten().collect::<Vec<_>>().join("-");
            let job = Self::new(experiment, &label, row.as_deref(), seed, work, finished, options);
            job.with_context(|| format!("stage `{name}` cannot start"))
        };
        pieces(stage).into_iter().map(job).collect()
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
        let located = work.weights().map(hub::locate).transpose()?;
        let files = located.as_deref().into_iter().chain(work.prior()).chain(work.proposals());
        let mut files = files.map(|path| content(&weights::split(path).0)).collect::<Result<Vec<_>>>()?;
        if let Some(path) = work.classifier() {
            files.push(content(&weights::split(&hub::locate(path)?).0)?);
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
            work: &work.alone(),
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
            weights: located,
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
    /// Whatever stops a fit; the run directory then says so and keeps its last checkpoint. What a finished one has left
    /// for others, if it is damaged.
    pub fn run(&self, options: &RunOptions) -> Result<bool> {
        if let Some(manifest) = RunDir::finished(&self.dir)? {
            look_over(&self.dir, &manifest)?;
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

/// Holds the files of a finished run against its manifest: damage to what others read is an error, what else has changed
/// or gone is said.
fn look_over(run: &Path, manifest: &Manifest) -> Result<()> {
    let changed = manifest.changed(run);
    for name in [WEIGHTS, RESULTS].iter().filter(|name| changed.contains(name) && run.join(name).exists()) {
        Ending::read(run)?.map_or(Ok(()), |ending| ending.ensure_unchanged(run, name))?;
    }
    if let Some(first) = changed.first() {
        tracing::warn!(
            "{}: {} of the files that this finished run has left are changed or gone, the first being {first}; nothing \
             of it is written again: to run it anew, delete the directory",
            run.display(),
            changed.len()
        );
    }
    Ok(())
}

fn content(path: &Path) -> Result<String> {
    manifest::sha256(path)
        .with_context(|| format!("cannot read {}: give the path of a file that is there", path.display()))
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
    let whole = |dir: &PathBuf| {
        let manifest = RunDir::finished(dir).ok().flatten();
        manifest.is_some_and(|manifest| manifest.changed(dir).is_empty())
    };
    let same = |dir: &PathBuf| dir.to_string_lossy().ends_with(&format!("-{hash}")) && whole(dir);
    elsewhere.find(same).unwrap_or(here)
}
