//! Run directories side by side: a list of them, their differences, and what may be deleted. Manifests and specs are read;
//! nothing is trained, and only [`clean::Cleaning::carry_out`] changes anything.

pub mod clean; // what may go, and why
mod columns; // tables for a terminal
pub mod diff; // what differs between runs
mod disk; // sizes on disk
pub mod list; // a table of runs
mod record; // one run directory
mod variants; // names of those whose specs differ

pub use record::{RunRecord, RunState, Unreadable};

use crate::train::{lock::LOCK, manifest, removal::is_removed, run_dir};
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// The run directories in or below some folders.
#[derive(Debug, Default)]
pub struct FoundRuns {
    /// By experiment and start.
    pub runs: Vec<RunRecord>,
    /// What letters in the names of variants mean, a line for each.
    pub legend: Vec<String>,
    pub unreadable: Vec<Unreadable>,
    /// Folders that an interrupted removal has left.
    pub remainders: Vec<PathBuf>,
}

/// Finds the run directories in or below `dirs`. Links below them are not followed, and nothing is sought within a run.
pub fn find(dirs: &[PathBuf]) -> FoundRuns {
    let mut found = FoundRuns::default();
    for dir in dirs {
        let mut entries = WalkDir::new(dir).sort_by_file_name().into_iter();
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else { continue };
            if !entry.file_type().is_dir() && entry.depth() > 0 {
                continue;
            }
            if is_hidden(&entry) {
                entries.skip_current_dir();
                found.take_remainder(entry.into_path());
            } else if is_run(entry.path()) {
                entries.skip_current_dir();
                found.take(entry.path());
            }
        }
    }
    found.runs.sort_by(|a, b| a.order().cmp(&b.order()));
    found.legend = variants::name_variants(&mut found.runs);
    found
}

impl FoundRuns {
    fn take(&mut self, dir: &Path) {
        let known = |run: &RunRecord| run.dir == dir;
        if self.runs.iter().any(known) || self.unreadable.iter().any(|run| run.dir == dir) {
            return;
        }
        match RunRecord::read(dir) {
            Ok(run) => self.runs.push(run),
            Err(error) => self.unreadable.push(Unreadable { dir: dir.into(), reason: format!("{error:#}") }),
        }
    }

    fn take_remainder(&mut self, dir: PathBuf) {
        let removed = dir.file_name().is_some_and(|name| is_removed(&name.to_string_lossy()));
        if removed && !self.remainders.contains(&dir) {
            self.remainders.push(dir);
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.unreadable.is_empty()
    }
}

/// A folder below the given ones that programs pass over: `.NAME.partial`, `.NAME.removed`.
fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.')
}

/// Whether a folder is a run directory, perhaps a damaged one: two of three files that only run directories have together.
pub fn is_run(dir: &Path) -> bool {
    let files = [run_dir::SPEC, manifest::FILE, LOCK];
    files.iter().filter(|file| dir.join(file).is_file()).count() >= 2
}
