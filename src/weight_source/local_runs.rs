//! Runs on this machine whose colorizers can be used: finished ones, and those with a best checkpoint. Damaged and foreign
//! folders are passed over.

use crate::{
    pretext::colorizer_file::TASKS,
    train::{
        checkpoint::{self, Checkpoint},
        manifest::Manifest,
        run_dir::{RunDir, WEIGHTS},
    },
    yaml,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A run that trained a colorizer.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRun {
    pub path: PathBuf,
    /// Name of its task: `colorization`.
    pub task: String,
    /// Updates behind its weights.
    pub steps: usize,
    /// The validation's first metric, with its value.
    pub metric: Option<(String, f64)>,
    /// Whether its weights are final.
    pub finished: bool,
    /// UTC time of its end, else of its start.
    time: String,
}

/// The colorizers among the runs `FOLDER/EXPERIMENT/RUN`, newest first.
pub fn colorizers(folders: &[PathBuf]) -> Vec<LocalRun> {
    let runs = folders.iter().flat_map(|folder| entries(folder)).flat_map(|experiment| entries(&experiment));
    let mut found: Vec<LocalRun> = runs.filter_map(colorizer).collect();
    found.sort_by(|a, b| (&b.time, &a.path).cmp(&(&a.time, &b.path)));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn colorizer(path: PathBuf) -> Option<LocalRun> {
    let spec: Value = yaml::read(&RunDir::spec_at(&path)?).ok()?;
    let tasks = spec.pointer("/work/pretext/task")?.as_object()?;
    let task = TASKS.iter().find(|task| tasks.contains_key(**task))?.to_string();
    let manifest = Manifest::read(&path).ok()??;
    let time = manifest.ended.unwrap_or(manifest.started);
    if manifest.status.is_finished() && path.join(WEIGHTS).is_file() {
        let metric = manifest.metrics.into_iter().find_map(|metric| Some((metric.name, metric.value?)));
        return Some(LocalRun { path, task, steps: manifest.steps, metric, finished: true, time });
    }
    let state = Checkpoint::read_state(&checkpoint::best(&path)).ok()?;
    let best = *state.best.first()?;
    let name = state.validated.and_then(|(_, metrics)| Some(metrics.into_iter().next()?.name));
    let metric = name.map(|name| (name, best.value));
    Some(LocalRun { path, task, steps: best.step, metric, finished: false, time })
}
