//! Default location of run directories: the project of the spec, independent of the working directory.

use crate::spec::{expand_home, relative};
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::{
    env, fs,
    path::{self, Component, Path, PathBuf},
};

/// Folder for run directories within a project.
const RUNS: &str = "results/runs";
/// Folder for specs within a project.
const SPECS: &str = "experiments";
/// Entries that mark the root of a project.
const MARKS: [&str; 2] = [".git", "Cargo.toml"];

/// A path argument; a leading `~` is expanded to the home folder.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(expand_home)
}

/// Folder for the runs of the experiment `name` in the file `spec`. Earlier versions used the working directory: if
/// only that has runs, it is used, with a notice.
pub(super) fn runs(spec: &Path, name: &str) -> PathBuf {
    let (runs, once) = (project(spec).join(RUNS), Path::new(RUNS));
    if runs == once || runs.join(name).exists() || !once.join(name).exists() {
        return runs;
    }
    tracing::warn!(
        "using {} because it contains the runs of `{name}`; the default for this spec is {}: give --out {} to \
         keep using it, or move the runs",
        once.display(),
        runs.display(),
        once.display()
    );
    once.into()
}

/// Folders of runs for a command without a spec: that of the working directory's project, and the working directory's own.
pub(super) fn run_folders() -> Vec<PathBuf> {
    let mut folders = vec![project(Path::new("spec.yaml")).join(RUNS), RUNS.into()];
    folders.dedup();
    folders
}

/// Root of the spec's project, relative to the working directory if possible.
fn project(spec: &Path) -> PathBuf {
    let folder = folder(spec);
    let root = root(&folder);
    let way = env::current_dir().ok().and_then(|here| relative(&here, root));
    way.unwrap_or_else(|| root.into())
}

/// Absolute folder of a file. Links are resolved only if the path contains `..`.
fn folder(spec: &Path) -> PathBuf {
    let spec = path::absolute(spec).unwrap_or_else(|_| spec.into());
    let folder = spec.parent().unwrap_or(&spec);
    let leads_out = folder.components().any(|part| part == Component::ParentDir);
    let real = fs::canonicalize(folder).ok().filter(|_| leads_out);
    real.unwrap_or_else(|| folder.into())
}

/// The parent of the folder `experiments`, else the nearest folder with a project marker, else the folder itself.
fn root(folder: &Path) -> &Path {
    let specs = folder.ancestors().find(|folder| folder.ends_with(SPECS));
    let marked = || folder.ancestors().find(|folder| MARKS.iter().any(|mark| folder.join(mark).exists()));
    specs.and_then(Path::parent).or_else(marked).unwrap_or(folder)
}
