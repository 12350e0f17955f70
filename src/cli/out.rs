//! Where run directories go when the command does not say: to the project that the spec belongs to, wherever the command
//! is given.

use crate::spec::{at_home, relative};
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::{
    env, fs,
    path::{self, Component, Path, PathBuf},
};

/// The folder for run directories, in a project.
const RUNS: &str = "results/runs";
/// The folder of a project that its specs lie in.
const SPECS: &str = "experiments";
/// What only the root of a project has.
const MARKS: [&str; 2] = [".git", "Cargo.toml"];

/// An argument that is a path, whose leading `~` is the home folder.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(at_home)
}

/// The folder for the runs of the experiment `name`, whose file is `spec`. They once went to the working directory: where
/// only that has some, they go on there, with a notice.
pub(super) fn runs(spec: &Path, name: &str) -> PathBuf {
    let (runs, once) = (project(spec).join(RUNS), Path::new(RUNS));
    if runs == once || runs.join(name).exists() || !once.join(name).exists() {
        return runs;
    }
    tracing::warn!(
        "{} is taken, since the runs of `{name}` are there; without them, the spec's go to {}: say --out {} to keep to it, \
         or move them",
        once.display(),
        runs.display(),
        once.display()
    );
    once.into()
}

/// The root of the spec's project, as it is seen from the working directory where there is a way.
fn project(spec: &Path) -> PathBuf {
    let folder = folder(spec);
    let root = root(&folder);
    let way = env::current_dir().ok().and_then(|here| relative(&here, root));
    way.unwrap_or_else(|| root.into())
}

/// The absolute folder of a file. Links are followed only where `..` might lead out of one.
fn folder(spec: &Path) -> PathBuf {
    let spec = path::absolute(spec).unwrap_or_else(|_| spec.into());
    let folder = spec.parent().unwrap_or(&spec);
    let leads_out = folder.components().any(|part| part == Component::ParentDir);
    let real = fs::canonicalize(folder).ok().filter(|_| leads_out);
    real.unwrap_or_else(|| folder.into())
}

/// What holds the folder of specs, else what has the mark of a project, else the folder itself.
fn root(folder: &Path) -> &Path {
    let specs = folder.ancestors().find(|folder| folder.ends_with(SPECS));
    let marked = || folder.ancestors().find(|folder| MARKS.iter().any(|mark| folder.join(mark).exists()));
    specs.and_then(Path::parent).or_else(marked).unwrap_or(folder)
}
