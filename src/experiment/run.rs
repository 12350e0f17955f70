//! One fit in its run directory: starts, resumes, or skips it if finished.

use super::{fit::StageRun, place::RunPlace, plan::WEIGHTS, stages::Stage};
use crate::{
    atomic_write,
    report::results::RESULTS,
    train::{
        collective::{Command, Ranks},
        extend::extend,
        lock::InUse,
        manifest::{self, Manifest, RunInfo, RunOutcome},
        run_dir::RunDir,
        warning::Warning,
    },
    yaml,
};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use serde_yaml::Value;
use std::path::{Path, PathBuf};

/// File with the plan of a fit, in its run directory.
const PLAN: &str = "plan.txt";
/// File with the layer table of its network.
const LAYERS: &str = "layers.txt";

/// A fit and the stage that runs it.
pub struct PlannedRun {
    pub stage: Stage,
    pub fit: StageRun,
}

/// What became of an attempt to run a fit.
pub enum Attempt {
    /// It is finished, now or before.
    Finished,
    Interrupted,
    /// Another process runs it.
    InUse(InUse),
}

impl PlannedRun {
    /// Whether the fit was finished before.
    pub fn is_finished(&self) -> bool {
        RunDir::finished(&self.fit.place.dir).is_ok_and(|manifest| manifest.is_some())
    }

    /// Checks that a fit's directory can be read, and that a finished one left there what later stages read.
    ///
    /// # Errors
    /// A file of that name; a damaged manifest; weights or results that were modified.
    pub fn check_place(StageRun { place: RunPlace { dir, shared, .. }, .. }: &StageRun) -> Result<()> {
        ensure!(
            !dir.exists() || dir.is_dir(),
            "{} is a file, and the run needs a folder of that name: move it away",
            dir.display()
        );
        match RunDir::finished(dir)? {
            Some(manifest) if shared.is_none() => ensure_undamaged(dir, &manifest.changed(dir)),
            _ => Ok(()),
        }
    }

    /// The same fit for another rank, on its device.
    pub fn seated(&self, device: &Device, ranks: &Ranks) -> Self {
        let fit = StageRun { device: device.clone(), ranks: ranks.clone(), ..self.fit.clone() };
        Self { stage: self.stage.clone(), fit }
    }

    /// Runs or resumes the fit; returns false if the user interrupted it. A finished fit is not run again.
    ///
    /// # Errors
    /// Those of the fit, which are recorded in the run directory; its last checkpoint remains. Damaged outputs of a
    /// finished fit; a process that is writing to the directory.
    pub fn run(&self) -> Result<bool> {
        match self.attempt()? {
            Attempt::Finished => Ok(true),
            Attempt::Interrupted => Ok(false),
            Attempt::InUse(other) => Err(other.into()),
        }
    }

    /// As [`Self::run`], for one of several processes that share the fits.
    ///
    /// # Errors
    /// As [`Self::run`], except for a process that is writing to the directory.
    pub fn attempt(&self) -> Result<Attempt> {
        let fit = &self.fit;
        let dir = &fit.place.dir;
        if let Some(manifest) = RunDir::finished(dir)? {
            return self.keep(&manifest).map(|()| Attempt::Finished);
        }
        let run = match self.open() {
            Ok(run) => run,
            Err(error) => return error.downcast().map(Attempt::InUse),
        };
        if run.was_finished() {
            return Ok(Attempt::Finished);
        }
        self.write_plan()?;
        let done = self.begin(run).with_context(|| format!("{} failed ({})", fit.label, dir.display()))?;
        Ok(if done { Attempt::Finished } else { Attempt::Interrupted })
    }

    /// Opens the run directory, made from that of a shorter run where there is one.
    fn open(&self) -> Result<RunDir> {
        let StageRun { place, label, point, spec, .. } = &self.fit;
        let dir = &place.dir;
        if let Some((from, steps)) = place.extends.as_ref().filter(|_| !dir.exists()) {
            extend(from, dir)?;
            tracing::info!("{label}: continues from step {steps} of {}", from.display());
        }
        let run = RunDir::open(dir, spec)?;
        if !run.was_finished() {
            let point = if point.is_empty() { String::new() } else { format!("{point}: ") };
            tracing::info!("{point}{}", dir.display());
            place.note.iter().for_each(|note| tracing::info!("{label}: {note}"));
        }
        Ok(run)
    }

    /// Verifies a finished fit, and says that it is kept.
    fn keep(&self, manifest: &Manifest) -> Result<()> {
        let place = &self.fit.place;
        verify_outputs(&place.dir, manifest)?;
        let by = &manifest.about.device;
        let by = if *by == self.fit.device() { String::new() } else { format!(" by {by}") };
        let shared = place.shared.as_ref();
        let kept =
            shared.map_or(format!("finished before{by}, kept"), |other| format!("the same as `{other}`"));
        tracing::info!("{kept}: {}", place.dir.display());
        self.warn_of_other_monitor();
        Ok(())
    }

    /// Trains and measures with rank 0, which alone keeps what is found: nothing is stored.
    ///
    /// # Errors
    /// Those of the fit.
    pub fn follow(&self) -> Result<()> {
        let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
        let mut run = RunDir::open(&scratch.path().join("run"), &self.fit.spec)?;
        self.stage.kind().run(&self.fit, &mut run).map(drop).with_context(|| self.fit.label.clone())
    }

    /// Writes the plan, and the layer table of a network that has one for the size of its pictures.
    fn write_plan(&self) -> Result<()> {
        let StageRun { plan, sets, place, .. } = &self.fit;
        let summary = plan
            .network
            .as_ref()
            .and_then(|network| network.summary(sets.classes(), sets.first_size().unwrap_or_default()).ok());
        let layers = summary.map(|summary| (LAYERS, format!("{summary}\n")));
        for (name, text) in [(PLAN, format!("{plan}\n"))].into_iter().chain(layers) {
            let path = place.dir.join(name);
            atomic_write::write(&path, text.as_bytes())
                .with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        }
        Ok(())
    }

    /// Warns that the spec measures a finished fit in another way than when it ran, which has no effect on it.
    fn warn_of_other_monitor(&self) {
        let StageRun { label, place, spec, .. } = &self.fit;
        let monitor =
            |spec: &str| yaml::read::<Value>(spec).map(|spec| spec["work"]["pretext"]["monitor"].clone());
        let before = RunDir::spec_at(&place.dir).unwrap_or_default();
        if let (Ok(before), Ok(now)) = (monitor(&before), monitor(spec))
            && !now.is_null()
            && before != now
        {
            tracing::warn!(
                "{label}: its `monitor:` was another one, or none, when it ran, and nothing is measured again; to measure, \
                 delete {} and run it again",
                place.dir.display()
            );
        }
    }

    fn begin(&self, mut run: RunDir) -> Result<bool> {
        let fit = &self.fit;
        let device = fit.device();
        let data = fit.sets.fingerprints();
        let about = RunInfo { device, seed: fit.seed, data, fit: Some(fit.name()) };
        let longer = fit.place.extends.as_ref().filter(|_| run.steps() == 0);
        let shorter = longer.map(|(from, _)| Manifest::read(from)).transpose()?.flatten();
        run.begin(about.after(shorter.as_ref().map_or("", |shorter| &shorter.about.device)))?;
        if let Some(warning) = self.inherited_divergence()? {
            tracing::warn!("{}: {warning}", fit.label);
            run.set_diverged(Some(warning.to_string()));
            run.warn(warning.to_string());
        }
        fit.ranks.tell(&Command::Fit(fit.hash.clone()))?;
        match self.stage.kind().run(fit, &mut run) {
            Ok(Some(metrics)) => run.finish(&metrics).map(|()| true),
            Ok(None) => run.interrupt().map(|()| false),
            Err(error) => {
                run.fail(&error)?;
                Err(error)
            }
        }
    }

    /// The divergence warning inherited from the run that this one starts from.
    fn inherited_divergence(&self) -> Result<Option<Warning>> {
        let beside = self.fit.located.as_deref().and_then(manifest::run_dir_of);
        for run in self.fit.upstream.as_deref().into_iter().chain(beside) {
            if let Some(what) = RunOutcome::read(run)?.and_then(|outcome| outcome.diverged) {
                let name = run.file_name();
                let stage = name.map_or_else(|| "a run".into(), |name| name.to_string_lossy().into_owned());
                return Ok(Some(Warning::StartsFromDiverged { stage, what }));
            }
        }
        Ok(None)
    }

    /// The newest panel.
    pub fn picture(&self) -> Option<PathBuf> {
        Some(self.fit.place.dir.join("pictures/latest.png")).filter(|p| p.exists())
    }
}

/// Refuses outputs that other stages read if they are among those that have `changed`.
fn ensure_undamaged(run: &Path, changed: &[&str]) -> Result<()> {
    for name in [WEIGHTS, RESULTS].iter().filter(|name| changed.contains(name) && run.join(name).exists()) {
        RunOutcome::read(run)?.map_or(Ok(()), |outcome| outcome.ensure_unchanged(run, name))?;
    }
    Ok(())
}

/// Verifies a finished run against its manifest. Damaged outputs that other stages read are an error, other changes a
/// warning.
fn verify_outputs(run: &Path, manifest: &Manifest) -> Result<()> {
    let changed = manifest.changed(run);
    ensure_undamaged(run, &changed)?;
    if let Some(first) = changed.first() {
        tracing::warn!(
            "{}: {} output files of this finished run are modified or missing, first {first}; they are not \
             written again: to rerun, delete the directory",
            run.display(),
            changed.len()
        );
    }
    Ok(())
}
