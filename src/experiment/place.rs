//! Chooses the run directory of a fit: that of its hash, if it exists, also below another experiment; for a new run, a
//! shorter run to extend, or a note on how it differs from earlier runs of the same name.

use super::plan::StagePlan;
use crate::train::{
    checkpoint::{self, Checkpoint},
    extend::lineage,
    lock::is_in_use,
    run_dir::RunDir,
    spec::TrainOptions,
    spec_change::differences,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Run directory of a fit.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlace {
    pub dir: PathBuf,
    /// A shorter run of the same lineage to continue from.
    pub extends: Option<(PathBuf, usize)>,
    /// Why no existing run is reused.
    pub note: Option<String>,
    /// An identical fit of the same experiment that runs first, in this directory.
    pub shared: Option<String>,
}

impl RunPlace {
    /// A directory without relation to other runs.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir, extends: None, note: None, shared: None }
    }
}

/// Label, hash and spec of a fit, which determine its directory.
pub struct RunName<'a> {
    /// `probe-gaussian-s0`.
    pub label: &'a str,
    pub hash: &'a str,
    pub spec: &'a str,
}

/// Finds the directory of a fit: in `home`, or below `out` if another experiment has finished the same fit.
pub fn place(out: &Path, home: &Path, run_name: &RunName, plan: &StagePlan) -> RunPlace {
    let dir = home.join(format!("{}-{}", run_name.label, run_name.hash));
    if dir.exists() {
        return RunPlace::at(dir);
    }
    if let Some(dir) = finished_elsewhere(out, run_name.hash) {
        return RunPlace::at(dir);
    }
    let runs = folders(out).into_iter().flat_map(|experiment| folders(&experiment));
    let own = lineage(run_name.spec);
    let kin: Vec<RelatedRun> = runs.filter_map(|dir| RelatedRun::of(dir, own.as_ref())).collect();
    match plan.train.as_ref().and_then(|train| extendable(&kin, train)) {
        Some(Ok(other)) => RunPlace { extends: Some((other.dir.clone(), other.steps)), ..RunPlace::at(dir) },
        Some(Err(note)) => RunPlace { note: Some(note), ..RunPlace::at(dir) },
        None => RunPlace { note: difference_note(home, run_name), ..RunPlace::at(dir) },
    }
}

/// Entries of a folder by name, without those that are being written or removed (`.NAME.removed`).
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let shown = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let mut found: Vec<_> = shown.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// A finished and unmodified run with this hash below `out`.
fn finished_elsewhere(out: &Path, hash: &str) -> Option<PathBuf> {
    let whole = |dir: &PathBuf| {
        let manifest = RunDir::finished(dir).ok().flatten();
        manifest.is_some_and(|manifest| manifest.changed(dir).is_empty())
    };
    let same = |dir: &PathBuf| dir.to_string_lossy().ends_with(&format!("-{hash}")) && whole(dir);
    folders(out).into_iter().flat_map(|experiment| folders(&experiment)).find(same)
}

/// A run of the same lineage, i.e. that differs only in length, and that no process is writing.
struct RelatedRun {
    dir: PathBuf,
    /// Updates in its last checkpoint; 0 if unknown, with the reason in `fault`.
    steps: usize,
    fault: Option<String>,
}

impl RelatedRun {
    fn of(dir: PathBuf, own: Option<&String>) -> Option<Self> {
        lineage(&RunDir::spec_at(&dir)?).filter(|theirs| Some(theirs) == own && !is_in_use(&dir))?;
        let last = checkpoint::last(&dir);
        let state = Checkpoint::read_state(&last).map_err(|error| format!("{error:#}"));
        let fault = state.as_ref().err().filter(|_| last.exists()).cloned();
        Some(Self { dir, steps: state.map_or(0, |state| state.step), fault })
    }
}

/// The longest run of the same lineage that is shorter than the requested one, or why none can be extended.
fn extendable<'a>(kin: &'a [RelatedRun], train: &TrainOptions) -> Option<Result<&'a RelatedRun, String>> {
    if let Some(fault) = kin.iter().find_map(|other| other.fault.clone()).filter(|_| kin.len() == 1) {
        return Some(Err(format!("a shorter run cannot be extended: {fault}; starting from scratch")));
    }
    let kin = || kin.iter().filter(|other| other.steps > 0);
    let longest = kin().max_by_key(|other| other.steps)?;
    let (at, steps) = (longest.dir.display(), train.steps.get());
    if let Some(decay) = train.schedule.decay.over_all_steps() {
        return Some(Err(format!(
            "{at} has {} steps of the same training, but `{decay}` depends on the total of {steps} steps: \
             starting from scratch; a schedule with fixed steps could be extended",
            longest.steps
        )));
    }
    let fitting = kin().filter(|other| other.steps < steps);
    match fitting.max_by_key(|other| other.steps) {
        Some(other) => Some(Ok(other)),
        None => Some(Err(format!(
            "{at} has {} steps of the same training, more than the {steps} requested: starting from scratch",
            longest.steps
        ))),
    }
}

/// Spec differences from the most similar run of the same name.
fn difference_note(home: &Path, run_name: &RunName) -> Option<String> {
    let same = |dir: &PathBuf| {
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let hash =
            name.strip_prefix(run_name.label).and_then(|rest| rest.strip_prefix('-')).map(str::to_owned);
        hash.is_some_and(|hash| {
            hash.len() == run_name.hash.len() && hash.chars().all(|c| c.is_ascii_hexdigit())
        })
    };
    let changed = folders(home).into_iter().filter(same).filter_map(|dir| {
        let changed = differences(&RunDir::spec_at(&dir)?, run_name.spec);
        (!changed.is_empty()).then_some((changed, dir))
    });
    let (changed, dir) = changed.min_by_key(|(changed, _)| changed.len())?;
    let changed: Vec<String> = changed.iter().map(|line| describe_difference(line)).collect();
    Some(format!(
        "its spec differs from that of {}; starting from scratch:\n{}",
        dir.display(),
        changed.join("\n")
    ))
}

/// Formats a difference in the user's terms: hashes are described, and the stage kind is omitted.
fn describe_difference(line: &str) -> String {
    let key = line.trim_start().split(':').next().unwrap_or_default();
    match key.split('.').collect::<Vec<_>>().as_slice() {
        ["upstream"] => "  the stage that it builds on has changed".into(),
        ["data", split] => format!("  the {split} pictures or their labels have changed"),
        ["files", _] => "  the content of a file has changed".into(),
        ["work", _, keys @ ..] => line.replacen(key, &keys.join("."), 1),
        _ => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::describe_difference;

    #[test]
    fn differences_are_told_as_the_spec_says_them() {
        for (line, told) in [
            (
                "  work.pretext.train.optimizer.adam.lr: 0.001 → 0.002",
                "  train.optimizer.adam.lr: 0.001 → 0.002",
            ),
            ("  upstream: aa → bb", "  the stage that it builds on has changed"),
            ("  data.val: aa → bb", "  the val pictures or their labels have changed"),
            ("  seed: 0 → 1", "  seed: 0 → 1"),
        ] {
            assert_eq!(describe_difference(line), told);
        }
    }
}
