//! `results.json`: written by finished probe, evaluation and transfer stages and by pretext stages with a monitor into
//! their run directories, and collected by `report`.

use super::{
    class_counts::ClassCounts,
    colors::{ColorResult, EXAMPLES, Histogram},
    kind::ResultKind,
    monitor::MonitorResult,
    transfer::TransferResult,
};
use crate::{
    text,
    train::{
        manifest::{self, RunOutcome},
        removal::is_removed,
    },
};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// File name, next to `manifest.json` in a stage's run directory.
pub const RESULTS: &str = "results.json";
/// Spec of the run, in the same directory.
pub(super) const SPEC: &str = "spec.yaml";

/// Suffix of a row name if its training, or that of its backbone, diverged.
pub(super) const DIVERGED: &str = " (diverged)";

/// Probe accuracies of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    pub kind: ResultKind,
    pub experiment: String,
    pub seed: u64,
    pub protocol: String,
    pub dataset: String,
    /// Name of the run directory of the stage that trained the backbone, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// In the order of the spec, which tables preserve.
    pub rows: Vec<BackboneResult>,
    /// Directory of the results file.
    #[serde(skip)]
    pub from: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackboneResult {
    pub backbone: String,
    pub layers: Vec<LayerResult>,
}

/// Shares of validation images, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerResult {
    pub layer: String,
    pub top1: f64,
    /// None if there are too few classes for it to be meaningful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Of the best layer of a backbone only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassCounts>,
}

/// What a supervised training ended with, for one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupervisedResult {
    pub kind: ResultKind,
    pub experiment: String,
    pub stage: String,
    pub seed: u64,
    pub dataset: String,
    pub classes: ClassCounts,
    /// Directory of the results file.
    #[serde(skip)]
    pub from: PathBuf,
}

/// Results of finished stages by kind, in the order found.
#[derive(Debug, Default)]
pub struct Collected {
    pub probes: Vec<ProbeResult>,
    pub colors: Vec<ColorResult>,
    pub transfers: Vec<TransferResult>,
    pub monitors: Vec<MonitorResult>,
    /// They have no table of their own.
    pub supervised: Vec<SupervisedResult>,
}

impl Collected {
    /// Whether there are no results that a table shows.
    pub fn is_empty(&self) -> bool {
        let Self { probes, colors, transfers, monitors, .. } = self;
        probes.is_empty() && colors.is_empty() && transfers.is_empty() && monitors.is_empty()
    }
}

/// Collects every finished probe, evaluation and transfer stage in or below `dirs` at any depth, in the order of the
/// arguments and then of their start, which is that of the spec. Links are followed; a stage that is reached twice counts once. Diverged results
/// are marked in their name, so that they are not averaged with others.
///
/// # Errors
/// A missing directory; an unreadable or modified file of a finished stage; no results.
pub fn collect(dirs: &[PathBuf]) -> Result<Collected> {
    let (found, unfinished) = find(dirs)?;
    if found.is_empty() {
        bail!("{}", nothing_found(dirs, &unfinished));
    }
    Ok(found)
}

/// As [`collect`], without results too.
///
/// # Errors
/// As [`collect`], but for no results.
pub(super) fn collect_any(dirs: &[PathBuf]) -> Result<Collected> {
    Ok(find(dirs)?.0)
}

/// The results, and the stages that are not finished.
fn find(dirs: &[PathBuf]) -> Result<(Collected, Vec<PathBuf>)> {
    let (mut found, mut visited, mut unfinished) = (Collected::default(), HashSet::new(), Vec::new());
    let mut damaged = vec![];
    for dir in dirs {
        for stage in stages_below(dir)? {
            if !visited.insert(stage.canonicalize().unwrap_or_else(|_| stage.clone())) {
                continue;
            }
            match read(&stage) {
                Ok(Read::Probe(result)) => found.probes.push(result),
                Ok(Read::Color(result)) => found.colors.push(*result),
                Ok(Read::Transfer(result)) => found.transfers.push(result),
                Ok(Read::Monitor(result)) => found.monitors.push(result),
                Ok(Read::Supervised(result)) => found.supervised.push(result),
                Ok(Read::Unfinished) => unfinished.push(stage),
                Ok(Read::OtherKind) => {}
                Err(error) => damaged.push(error),
            }
        }
    }
    refuse(damaged)?;
    Ok((found, unfinished))
}

/// Returns all errors as one, if there are any.
fn refuse(mut damaged: Vec<anyhow::Error>) -> Result<()> {
    match damaged.len() {
        0 => Ok(()),
        1 => Err(damaged.remove(0)),
        n => {
            let lines: Vec<String> = damaged.iter().map(|error| format!("{error:#}")).collect();
            bail!("{n} runs are damaged, nothing is reported:\n  {}", lines.join("\n  "))
        }
    }
}

/// Run directories in or below `dirs`, finished or not, in the order of [`collect`], each once.
///
/// # Errors
/// A missing or unreadable directory.
pub(super) fn run_dirs(dirs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (mut found, mut visited) = (vec![], HashSet::new());
    for dir in dirs {
        let is_run = |name: &OsStr, run: &Path| {
            name == manifest::FILE && [SPEC, RESULTS].iter().any(|file| run.join(file).is_file())
        };
        for run in folders_below(dir, is_run)? {
            if visited.insert(run.canonicalize().unwrap_or_else(|_| run.clone())) {
                found.push(run);
            }
        }
    }
    Ok(found)
}

/// A finished run and its current name. It may have been created under another name by another spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedRun {
    pub dir: PathBuf,
    pub experiment: String,
    /// Name of its stage.
    pub stage: String,
    /// Row of its table.
    pub row: Option<String>,
    /// Label of the data set that it uses.
    pub dataset: String,
    /// Column of its table, where each is a run.
    pub column: Option<String>,
}

/// The results of the given runs under their current names; runs that only train have none.
///
/// # Errors
/// As [`collect`].
pub fn collect_runs(fits: &[ReportedRun]) -> Result<Collected> {
    let mut found = Collected::default();
    for fit in fits {
        if !fit.dir.join(RESULTS).is_file() && !lacks_results(&fit.dir) {
            continue;
        }
        let rename = |name: &mut String| {
            let mark = if name.ends_with(DIVERGED) { DIVERGED } else { "" };
            fit.row.iter().for_each(|row| *name = format!("{row}{mark}"));
        };
        let (experiment, dataset) = (fit.experiment.clone(), fit.dataset.clone());
        match read(&fit.dir)? {
            Read::Probe(mut result) => {
                result.rows.iter_mut().for_each(|row| rename(&mut row.backbone));
                found.probes.push(ProbeResult { experiment, dataset, ..result });
            }
            Read::Color(mut result) => {
                rename(&mut result.method);
                found.colors.push(ColorResult { experiment, dataset, ..*result });
            }
            Read::Transfer(mut result) => {
                result.rows.iter_mut().for_each(|row| rename(&mut row.backbone));
                found.transfers.push(TransferResult { experiment, dataset, ..result });
            }
            Read::Monitor(mut result) => {
                let mark = if result.stage.ends_with(DIVERGED) { DIVERGED } else { "" };
                result.stage = format!("{}{mark}", fit.stage);
                found.monitors.push(MonitorResult { experiment, ..result });
            }
            Read::Supervised(mut result) => {
                let mark = if result.stage.ends_with(DIVERGED) { DIVERGED } else { "" };
                result.stage = format!("{}{mark}", fit.stage);
                found.supervised.push(SupervisedResult { experiment, dataset, ..result });
            }
            Read::Unfinished | Read::OtherKind => {}
        }
    }
    Ok(found)
}

enum Read {
    Probe(ProbeResult),
    Color(Box<ColorResult>),
    Transfer(TransferResult),
    Monitor(MonitorResult),
    Supervised(SupervisedResult),
    Unfinished,
    OtherKind,
}

/// Directories in or below `dir` with results, or of finished stages whose results are missing.
fn stages_below(dir: &Path) -> Result<Vec<PathBuf>> {
    folders_below(dir, |name, stage| name == RESULTS || (name == manifest::FILE && lacks_results(stage)))
}

/// Directories in or below `dir` with a file that `marks` them, given its name and the directory; sorted by the start of
/// the run and then by path.
fn folders_below(dir: &Path, marks: impl Fn(&OsStr, &Path) -> bool) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        bail!("{} is not a directory: give a run directory, or a folder of them", dir.display());
    }
    let mut stages = Vec::new();
    let is_there = |entry: &walkdir::DirEntry| !is_removed(&entry.file_name().to_string_lossy());
    let entries = WalkDir::new(dir).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(is_there) {
        let entry = match entry {
            Err(error) if is_dangling(&error) => continue,
            entry => entry.with_context(|| format!("cannot list {}", dir.display()))?,
        };
        let Some(stage) = entry.path().parent().filter(|_| entry.file_type().is_file()) else { continue };
        if marks(entry.file_name(), stage) {
            stages.push(stage.into());
        }
    }
    stages.sort_by_cached_key(|stage: &PathBuf| {
        RunOutcome::read(stage).ok().flatten().map_or(String::new(), |outcome| outcome.started)
    });
    Ok(stages)
}

/// Whether the results of a finished stage are missing; [`read`] reports the error.
fn lacks_results(stage: &Path) -> bool {
    let listed = |outcome: RunOutcome| outcome.outputs.contains_key(RESULTS);
    !stage.join(RESULTS).is_file()
        && RunOutcome::finished(stage).is_ok_and(|outcome| outcome.is_some_and(listed))
}

/// Whether the entry is a link into one of its own parents, or a dangling link.
fn is_dangling(error: &walkdir::Error) -> bool {
    error.loop_ancestor().is_some() || error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// The outcome of a finished stage whose results and examples are as it left them; None if it is not finished.
fn outcome_of(stage: &Path) -> Result<Option<RunOutcome>> {
    let outcome = match RunOutcome::finished(stage) {
        Err(_) if !stage.join(SPEC).exists() => None, // manifest.json of another program
        read => read?,
    };
    let Some(outcome) = outcome else { return Ok(None) };
    let examples = outcome.outputs.keys().filter(|name| name.starts_with(&format!("{EXAMPLES}/")));
    for name in examples.map(String::as_str).chain([RESULTS]) {
        outcome.ensure_unchanged(stage, name)?;
    }
    Ok(Some(outcome))
}

fn read(stage: &Path) -> Result<Read> {
    let Some(outcome) = outcome_of(stage)? else { return Ok(Read::Unfinished) };
    let path = stage.join(RESULTS);
    let advice = || {
        format!(
            "{} is not a results file: delete {} and run the stage again",
            path.display(),
            stage.display()
        )
    };
    let text = text::read(&path).with_context(advice)?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(advice)?;
    let mark = |name: &mut String| {
        if outcome.diverged.is_some() {
            name.push_str(DIVERGED);
        }
    };
    // Parse the text, not the value, so that errors contain line and column.
    match serde_json::from_value(value["kind"].clone()) {
        Ok(ResultKind::LinearProbe) => {
            let mut result: ProbeResult = serde_json::from_str(&text).with_context(advice)?;
            let layers = || result.rows.iter().flat_map(|row| &row.layers);
            let mut shares = layers().flat_map(|l| [Some(l.top1), l.top5]);
            ensure!(shares.all(|s| s.is_none_or(is_share)), "{}: {NO_SHARE}", advice());
            let mut counts = layers().filter_map(|l| l.classes.as_ref());
            ensure!(counts.all(ClassCounts::is_consistent), "{}: {NO_COUNTS}", advice());
            result.rows.iter_mut().for_each(|row| mark(&mut row.backbone));
            Ok(Read::Probe(ProbeResult { from: stage.into(), ..result }))
        }
        Ok(ResultKind::ColorEvaluation) => {
            let mut result: ColorResult = serde_json::from_str(&text).with_context(advice)?;
            let cells = [&result.histogram, &result.truth].map(|histogram| histogram.counts.len());
            ensure!(cells == [Histogram::SIDE.pow(2); 2], "{}: its histograms have other cells", advice());
            mark(&mut result.method);
            Ok(Read::Color(Box::new(ColorResult { from: stage.into(), ..result })))
        }
        Ok(ResultKind::Transfer) => {
            let mut result: TransferResult = serde_json::from_str(&text).with_context(advice)?;
            let mut shares = result.rows.iter().flat_map(|row| [Some(row.value), row.deviation]);
            ensure!(shares.all(|share| share.is_none_or(is_share)), "{}: {NO_SHARE}", advice());
            result.rows.iter_mut().for_each(|row| mark(&mut row.backbone));
            Ok(Read::Transfer(TransferResult { from: stage.into(), ..result }))
        }
        Ok(ResultKind::Monitor) => {
            let mut result: MonitorResult = serde_json::from_str(&text).with_context(advice)?;
            mark(&mut result.stage);
            Ok(Read::Monitor(MonitorResult { from: stage.into(), ..result }))
        }
        Ok(ResultKind::Supervised) => {
            let mut result: SupervisedResult = serde_json::from_str(&text).with_context(advice)?;
            ensure!(result.classes.is_consistent(), "{}: {NO_COUNTS}", advice());
            mark(&mut result.stage);
            Ok(Read::Supervised(SupervisedResult { from: stage.into(), ..result }))
        }
        Err(_) => Ok(Read::OtherKind),
    }
}

/// Values out of range would make the plots unbounded.
const NO_SHARE: &str = "it holds a share that is not between 0 and 1";

/// Tables of classes would not fit together.
const NO_COUNTS: &str = "its counts of classes do not fit one another";

fn is_share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn nothing_found(dirs: &[PathBuf], unfinished: &[PathBuf]) -> String {
    let places: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let mut message = format!(
        "no results below {}: looked at any depth for {RESULTS} of a linear probe, a color evaluation, a \
         transfer stage or a monitor beside a manifest.json with status finished",
        places.join(", ")
    );
    if let Some(first) = unfinished.first() {
        let (count, first) = (unfinished.len(), first.display());
        message += &format!("; {count} unfinished, first {first}: run the experiment again to finish it");
    } else {
        message += "; run an experiment with such a stage first, or give its run directory";
    }
    message
}
