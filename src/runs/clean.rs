//! What may be deleted, and why: unfinished runs that a finished one supersedes, runs that a spec no longer asks for,
//! checkpoints of finished runs, and what killed processes have left. Nothing that is being written is touched, no link is
//! followed, and nothing goes that is not a run directory of this program.

use super::{
    FoundRuns, RunRecord, RunState,
    disk::{DiskUsage, size},
};
use crate::{
    atomic_write,
    experiment::CurrentRuns,
    text::counted,
    train::{
        manifest::{self, FitName},
        removal,
        resolved_spec::{ResolvedSpec, SpecIdentity},
        run_dir::{RunDir, is_usual, split_run_name},
    },
};
use anyhow::Result;
use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
};
use walkdir::{DirEntry, WalkDir};

/// What to look for beyond superseded runs and leftovers.
#[derive(Clone, Debug, Default)]
pub struct CleanOptions {
    /// Runs of these experiments that none of them asks for may go.
    pub current: Vec<CurrentRuns>,
    /// Checkpoints of finished runs may go.
    pub checkpoints: bool,
}

/// One thing that may go.
#[derive(Clone, Debug)]
struct Removal {
    path: PathBuf,
    target: RemovalTarget,
    why: String,
    /// Size on disk.
    bytes: u64,
}

#[derive(Clone, Debug)]
enum RemovalTarget {
    Run(Box<RunRecord>),
    Checkpoints(Box<RunRecord>),
    Partials(Box<RunRecord>),
    Remainder,
}

/// Everything that may go.
#[derive(Clone, Debug)]
pub struct Cleaning {
    removals: Vec<Removal>,
    /// Runs that would go if they were not in use.
    kept: Vec<String>,
    /// Bytes that are freed by all removals together.
    freed: u64,
    /// Size of the checkpoints of finished runs that stay.
    checkpoints: u64,
}

impl Cleaning {
    /// Decides what of the `found` runs may go.
    pub fn of(found: FoundRuns, options: &CleanOptions) -> Self {
        let (finished, written) = (finished(&found.runs), written(&found.runs));
        let (mut removals, mut kept, mut checkpoints) = (vec![], vec![], 0);
        for run in found.runs {
            let Some(identity) = run.spec.identity() else { continue };
            let why = superseded(&run, finished.get(&identity)).or_else(|| outdated(&run, options));
            if run.status == RunState::Running {
                kept.extend(
                    why.map(|_| format!("kept, since a process is writing to it: {}", run.dir.display())),
                );
                continue;
            }
            if let Some(why) = why {
                match foreign_file(&run, &written) {
                    _ if !has_own_name(&run) => {
                        kept.push(format!("kept, since no run has this name: {}", run.dir.display()))
                    }
                    Some(file) => kept.push(format!("kept, since no run wrote {}", file.display())),
                    None => removals.push(Removal::of(run.dir.clone(), RemovalTarget::Run(run.into()), why)),
                }
                continue;
            }
            if !atomic_write::partials(&run.dir).is_empty() {
                let why = "temporary files of a killed process".into();
                removals.push(Removal::of(run.dir.clone(), RemovalTarget::Partials(run.clone().into()), why));
            }
            if run.status == RunState::Finished && !removal::checkpoints(&run.dir).is_empty() {
                if options.checkpoints {
                    let why = lost(&run);
                    removals.push(Removal::of(run.dir.clone(), RemovalTarget::Checkpoints(run.into()), why));
                } else {
                    checkpoints += usage(&removal::checkpoints(&run.dir)).bytes();
                }
            }
        }
        for path in found.remainders.into_iter().filter(|path| removal::is_remainder(path)) {
            let why = "left by a removal that was killed".into();
            removals.push(Removal::of(path, RemovalTarget::Remainder, why));
        }
        let all: Vec<PathBuf> = removals.iter().flat_map(Removal::paths).collect();
        Self { removals, kept, freed: usage(&all).freed(), checkpoints }
    }

    /// Deletes all of it; returns the problems. A run that cannot be deleted does not stop the others.
    pub fn carry_out(&self) -> Vec<String> {
        self.removals
            .iter()
            .filter_map(|removal| removal.carry_out().err())
            .map(|error| format!("{error:#}"))
            .collect()
    }

    /// Whether nothing may go.
    pub fn is_empty(&self) -> bool {
        self.removals.is_empty()
    }

    /// `3 entries, 120 MB`.
    pub fn total(&self) -> String {
        let entries = match self.removals.len() {
            1 => "1 entry".into(),
            many => format!("{many} entries"),
        };
        format!("{entries}, {}", size(self.freed))
    }
}

/// Whether the directory has the name that a run gives it, `STAGE-ROW-COLUMN-sSEED-HASH`: a copy under another one is the user's.
fn has_own_name(run: &RunRecord) -> bool {
    let FitName { stage, row, column, .. } = &run.name;
    let parts = [Some(stage), row.as_ref(), column.as_ref()];
    let label = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("-");
    let dir = run.dir.canonicalize().unwrap_or_else(|_| run.dir.clone());
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    split_run_name(&name).is_some_and(|(of, seed, _)| of == label && seed == run.seed)
}

/// A finished run for each identity.
fn finished(runs: &[RunRecord]) -> HashMap<SpecIdentity, PathBuf> {
    let finished = runs.iter().filter(|run| run.status == RunState::Finished);
    finished.filter_map(|run| Some((run.spec.identity()?, run.dir.clone()))).collect()
}

/// Names that finished runs have written at the top of their directories.
fn written(runs: &[RunRecord]) -> HashSet<String> {
    let outputs = runs.iter().flat_map(|run| run.manifest.outputs.keys());
    outputs.map(|name| top(name).to_string()).collect()
}

/// The first part of a path in a run directory.
fn top(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// A file in a run directory that the run did not write, such as a user's notes. A finished run lists its files; of an
/// unfinished one, the names at the top must be those that runs write.
fn foreign_file(run: &RunRecord, written: &HashSet<String>) -> Option<PathBuf> {
    let partials = atomic_write::partials(&run.dir);
    let is_own = |path: &Path| {
        let name = path.strip_prefix(&run.dir).unwrap_or(path).to_string_lossy().replace('\\', "/");
        match run.status {
            RunState::Finished => run.manifest.outputs.contains_key(&name) || manifest::is_about_run(&name),
            _ => is_usual(top(&name)) || written.contains(top(&name)),
        }
    };
    let files = WalkDir::new(&run.dir).into_iter().flatten().filter(|entry| !entry.file_type().is_dir());
    files.map(DirEntry::into_path).find(|path| !is_own(path) && !partials.contains(path))
}

/// Why an unfinished run may go: the same has been finished elsewhere.
fn superseded(run: &RunRecord, finished: Option<&PathBuf>) -> Option<String> {
    let is_finished = run.manifest.status.is_finished();
    let other = finished.filter(|other| !is_finished && **other != run.dir)?;
    RunDir::finished(other).ok().flatten().filter(|manifest| manifest.changed(other).is_empty())?;
    Some(format!("{} at step {}, and {} has finished the same", run.status, run.progress(), other.display()))
}

/// Why a run of the current experiment may go: the spec does not ask for it.
fn outdated(run: &RunRecord, options: &CleanOptions) -> Option<String> {
    let current = || options.current.iter().filter(|current| current.experiment == run.name.experiment);
    current().next()?;
    let is_used = current().flat_map(|current| &current.used).any(|used| is_same(used, &run.dir));
    let mut specs = current().flat_map(|current| &current.specs);
    let is_asked = specs.any(|spec| ResolvedSpec::parse(spec).identity() == run.spec.identity());
    (!is_used && !is_asked).then(|| format!("{}; the spec no longer asks for it", run.status))
}

fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    real(a) == real(b)
}

/// What is lost with the checkpoints of a finished run.
fn lost(run: &RunRecord) -> String {
    let longer =
        run.steps.map_or(String::new(), |steps| format!("; more than {steps} steps then start from scratch"));
    format!("checkpoints of a finished run{longer}")
}

fn usage(paths: &[PathBuf]) -> DiskUsage {
    let mut usage = DiskUsage::default();
    paths.iter().for_each(|path| usage.add(path));
    usage
}

impl Removal {
    fn of(path: PathBuf, target: RemovalTarget, why: String) -> Self {
        let removal = Self { path, target, why, bytes: 0 };
        let bytes = usage(&removal.paths()).bytes();
        Self { bytes, ..removal }
    }

    /// Files and folders that go.
    fn paths(&self) -> Vec<PathBuf> {
        match self.target {
            RemovalTarget::Run(_) | RemovalTarget::Remainder => vec![self.path.clone()],
            RemovalTarget::Checkpoints(_) => removal::checkpoints(&self.path),
            RemovalTarget::Partials(_) => atomic_write::partials(&self.path),
        }
    }

    fn carry_out(&self) -> Result<()> {
        match &self.target {
            RemovalTarget::Run(run) => removal::remove(&self.path, &run.manifest),
            RemovalTarget::Checkpoints(run) => removal::remove_checkpoints(&self.path, &run.manifest),
            RemovalTarget::Partials(run) => removal::remove_partials(&self.path, &run.manifest),
            RemovalTarget::Remainder => removal::remove_remainder(&self.path),
        }
    }
}

impl Display for Removal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let part = match self.target {
            RemovalTarget::Checkpoints(_) => "/checkpoints",
            RemovalTarget::Run(_) | RemovalTarget::Partials(_) | RemovalTarget::Remainder => "",
        };
        write!(f, "{}{part} ({}): {}", self.path.display(), size(self.bytes), self.why)
    }
}

/// A line for everything that may go, and for what stays although one might expect otherwise.
impl Display for Cleaning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.removals.iter().try_for_each(|removal| writeln!(f, "{removal}"))?;
        self.kept.iter().try_for_each(|kept| writeln!(f, "{kept}"))?;
        if self.checkpoints > 0 {
            writeln!(
                f,
                "kept: {} of checkpoints of finished runs, from which more steps go on; `--checkpoints` removes them",
                size(self.checkpoints)
            )?;
        }
        let runs =
            self.removals.iter().filter(|removal| matches!(removal.target, RemovalTarget::Run(_))).count();
        if runs > 0 {
            writeln!(
                f,
                "experiments that share {} would compute the same again",
                counted(runs, "removed run")
            )?;
        }
        Ok(())
    }
}
