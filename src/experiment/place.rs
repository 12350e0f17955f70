//! Where a fit runs: in the directory of its hash, which may be there already, also below another experiment; and, where it
//! is to be new, what it has in common with the runs of the same name.

use super::plan::Plan;
use crate::train::{
    checkpoint::{self, Checkpoint},
    extend::lineage,
    run_dir::RunDir,
    spec::TrainSpec,
    spec_change::differences,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A fit's directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub dir: PathBuf,
    /// The shorter run of the same lineage that it goes on from.
    pub extends: Option<(PathBuf, usize)>,
    /// Why nothing that is there could be taken.
    pub note: Option<String>,
}

/// What a directory is called: what it is a run of, and the hash of what decides it.
pub struct Called<'a> {
    /// `probe-gaussian-s0`.
    pub label: &'a str,
    pub hash: &'a str,
    pub spec: &'a str,
}

/// Where the fit that is called so lies: in `home`, or wherever below `out` another experiment has finished it.
pub fn place(out: &Path, home: &Path, called: &Called, plan: &Plan) -> Place {
    let dir = home.join(format!("{}-{}", called.label, called.hash));
    if dir.exists() {
        return Place { dir, extends: None, note: None };
    }
    if let Some(dir) = elsewhere(out, called.hash) {
        return Place { dir, extends: None, note: None };
    }
    let others: Vec<Other> = folders(home).into_iter().filter_map(|dir| Other::of(dir, called)).collect();
    match plan.train.as_ref().and_then(|train| shorter(&others, called, train)) {
        Some(Ok(other)) => Place { dir, extends: Some((other.dir.clone(), other.steps)), note: None },
        Some(Err(note)) => Place { dir, extends: None, note: Some(note) },
        None => Place { dir, extends: None, note: nearest(&others, called) },
    }
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

/// A finished and whole run of this hash below `out`.
fn elsewhere(out: &Path, hash: &str) -> Option<PathBuf> {
    let whole = |dir: &PathBuf| {
        let manifest = RunDir::finished(dir).ok().flatten();
        manifest.is_some_and(|manifest| manifest.changed(dir).is_empty())
    };
    let same = |dir: &PathBuf| dir.to_string_lossy().ends_with(&format!("-{hash}")) && whole(dir);
    folders(out).into_iter().flat_map(|experiment| folders(&experiment)).find(same)
}

/// A run of the same name.
struct Other {
    dir: PathBuf,
    spec: String,
    /// Updates that its last checkpoint holds.
    steps: usize,
}

impl Other {
    fn of(dir: PathBuf, called: &Called) -> Option<Self> {
        let name = dir.file_name()?.to_string_lossy().into_owned();
        let hash = name.strip_prefix(called.label)?.strip_prefix('-')?;
        if hash.len() != called.hash.len() || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let spec = RunDir::spec_at(&dir)?;
        let steps = Checkpoint::read_state(&checkpoint::last(&dir)).map_or(0, |state| state.step);
        Some(Self { dir, spec, steps })
    }
}

/// The longest run of the same lineage that is shorter than what is asked for, or why it cannot be gone on with.
fn shorter<'a>(others: &'a [Other], called: &Called, train: &TrainSpec) -> Option<Result<&'a Other, String>> {
    let own = lineage(called.spec)?;
    let kin = |other: &&Other| other.steps > 0 && lineage(&other.spec).as_ref() == Some(&own);
    let longest = others.iter().filter(kin).max_by_key(|other| other.steps)?;
    let (at, steps) = (longest.dir.display(), train.steps.get());
    if let Some(decay) = train.schedule.decay.over_all_steps() {
        return Some(Err(format!(
            "{at} has {} steps of the same training, but `{decay}` spreads its rates over all {steps}: it starts anew; \
             a schedule of fixed steps could have gone on",
            longest.steps
        )));
    }
    let fitting = others.iter().filter(kin).filter(|other| other.steps < steps);
    match fitting.max_by_key(|other| other.steps) {
        Some(other) => Some(Ok(other)),
        None => Some(Err(format!(
            "{at} has {} steps of the same training, more than the {steps} asked for: it starts anew",
            longest.steps
        ))),
    }
}

/// What the spec changes of the run that is most like it.
fn nearest(others: &[Other], called: &Called) -> Option<String> {
    let changed = others.iter().map(|other| (differences(&other.spec, called.spec), &other.dir));
    let (changed, dir) = changed.filter(|(c, _)| !c.is_empty()).min_by_key(|(changed, _)| changed.len())?;
    Some(format!("its spec is not that of {}; it starts anew:\n{}", dir.display(), changed.join("\n")))
}
