//! One run directory: its name, state, length, main metric and size, from its manifest and spec.

use super::disk::DiskUsage;
use crate::{
    report::results::RESULTS,
    train::{
        lock::is_in_use,
        manifest::{self, FitName, Manifest, RecordedMetric, Status},
        resolved_spec::ResolvedSpec,
        run_dir::{self, split_run_name},
    },
};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A run directory.
#[derive(Clone, Debug, Serialize)]
pub struct RunRecord {
    #[serde(flatten)]
    pub name: FitName,
    /// Keys in which its spec differs from those of other runs of the same fit: `lr=1e-3`, or a letter of a legend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Kind of the stage: `pretext`, `linear_probe`.
    pub kind: String,
    pub seed: u64,
    pub status: RunState,
    /// Completed updates.
    pub step: usize,
    /// Updates that the spec asks for; None if the stage does not train.
    pub steps: Option<usize>,
    /// The first metric, by which the checkpoints are ranked.
    pub metric: Option<RecordedMetric>,
    /// Size on disk.
    pub bytes: u64,
    /// UTC time of the first start.
    pub started: String,
    #[serde(rename = "directory")]
    pub dir: PathBuf,
    #[serde(skip)]
    pub manifest: Manifest,
    #[serde(skip)]
    pub spec: ResolvedSpec,
}

/// A run directory that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    #[serde(rename = "directory")]
    pub dir: PathBuf,
    pub reason: String,
}

/// State of a run: its status, and whether a process is writing to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Finished,
    /// Its lock is held.
    Running,
    /// Its process ended without recording how.
    Killed,
    Interrupted,
    Failed,
}

impl RunState {
    /// All states, in the order of summaries.
    pub const ALL: [Self; 5] = [Self::Finished, Self::Running, Self::Killed, Self::Interrupted, Self::Failed];

    fn of(status: Status, in_use: bool) -> Self {
        match status {
            _ if in_use => Self::Running,
            Status::Running => Self::Killed,
            Status::Interrupted => Self::Interrupted,
            Status::Failed => Self::Failed,
            Status::Finished => Self::Finished,
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Finished => "finished",
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        })
    }
}

impl RunRecord {
    /// Reads the run directory `dir`.
    ///
    /// # Errors
    /// A manifest or spec that is missing or damaged.
    pub fn read(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(dir)?.with_context(|| {
            format!("{} is missing: the run was killed before it began", dir.join(manifest::FILE).display())
        })?;
        let spec = ResolvedSpec::of(dir)
            .with_context(|| format!("{} is missing or no text", dir.join(run_dir::SPEC).display()))?;
        let kind = spec.kind().map(String::from);
        Ok(Self {
            name: manifest.about.fit.clone().unwrap_or_else(|| name_of(dir)),
            variant: None,
            kind: kind.unwrap_or_else(|| "–".into()),
            seed: manifest.about.seed,
            status: RunState::of(manifest.status, is_in_use(dir)),
            step: manifest.steps,
            steps: spec.steps(),
            metric: manifest.metrics.first().cloned(),
            bytes: DiskUsage::of(dir).bytes(),
            started: manifest.started.clone(),
            dir: dir.into(),
            manifest,
            spec,
        })
    }

    /// Sort key of a list.
    pub(super) fn order(&self) -> (&str, &str, &Path) {
        (&self.name.experiment, &self.started, &self.dir)
    }

    /// `2000 of 2000`; a dash for a stage that does not train.
    pub(super) fn progress(&self) -> String {
        self.steps.map_or_else(|| "–".into(), |steps| format!("{} of {steps}", self.step))
    }
}

/// The name of a run whose manifest does not tell it, from its directory `EXPERIMENT/LABEL-sSEED-HASH`; the row is known if
/// the results name it.
fn name_of(dir: &Path) -> FitName {
    let text = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let dir = &dir.canonicalize().unwrap_or_else(|_| dir.into());
    let own = text(dir).unwrap_or_else(|| dir.display().to_string());
    let label = split_run_name(&own).map_or(own.as_str(), |(label, ..)| label);
    let row = row_in_results(dir);
    // `probe-colorization` → the stage `probe`; a column may follow the row.
    let stage = row.as_ref().and_then(|row| label.split_once(&format!("-{row}")));
    FitName {
        experiment: dir.parent().and_then(text).unwrap_or_default(),
        stage: stage.map_or(label, |(stage, _)| stage).into(),
        row: row.filter(|_| stage.is_some()),
        column: stage.and_then(|(_, column)| column.strip_prefix('-')).map(String::from),
    }
}

fn row_in_results(dir: &Path) -> Option<String> {
    let results: Value = serde_json::from_slice(&fs::read(dir.join(RESULTS)).ok()?).ok()?;
    let row = results["method"].as_str().or_else(|| results["rows"][0]["backbone"].as_str())?;
    Some(row.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_older_runs_come_from_directory_and_results() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("photos/probe-random-fc8-s2-0123456789ab");
        fs::create_dir_all(&dir).unwrap();
        let name = |dir: &Path| {
            let FitName { experiment, stage, row, column } = name_of(dir);
            (experiment, stage, row.unwrap_or_default(), column.unwrap_or_default())
        };
        let expected = |stage: &str, row: &str, column: &str| {
            ("photos".to_string(), stage.to_string(), row.to_string(), column.to_string())
        };
        assert_eq!(name(&dir), expected("probe-random-fc8", "", ""));
        fs::write(dir.join(RESULTS), r#"{ "rows": [{ "backbone": "random" }] }"#).unwrap();
        assert_eq!(name(&dir), expected("probe", "random", "fc8"));
        fs::write(dir.join(RESULTS), r#"{ "method": "gray" }"#).unwrap();
        assert_eq!(name(&dir), expected("probe-random-fc8", "", ""));
    }

    #[test]
    fn a_lock_tells_a_running_run_from_a_killed_one() {
        assert_eq!(RunState::of(Status::Running, true), RunState::Running);
        assert_eq!(RunState::of(Status::Running, false), RunState::Killed);
        assert_eq!(RunState::of(Status::Failed, false), RunState::Failed);
    }
}
