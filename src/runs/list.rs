//! The list of runs: a table for people, JSON for programs.

use super::{FoundRuns, RunRecord, RunState, columns::Columns, disk::size};
use crate::{text::counted, train::manifest::RecordedMetric};
use serde::Serialize;

/// Width of stdout; None without a terminal.
pub use super::columns::terminal_width;

const TITLES: [&str; 11] = [
    "experiment",
    "stage",
    "kind",
    "row",
    "seed",
    "status",
    "step",
    "metric",
    "size",
    "started",
    "directory",
];

/// The table of all runs, the unreadable ones with their reasons, and sums; at most `width` characters wide where the names
/// of the directories allow it.
pub fn text(found: &FoundRuns, width: Option<usize>) -> String {
    let table = Columns { titles: TITLES.to_vec(), rows: found.runs.iter().map(row).collect() };
    let (mut lines, hidden) = if found.runs.is_empty() { Default::default() } else { table.fitted(width) };
    lines.extend(
        found.unreadable.iter().map(|run| format!("unreadable: {}: {}", run.dir.display(), run.reason)),
    );
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(found.legend.iter().cloned());
    lines.push(sums(found));
    if !hidden.is_empty() {
        lines.push(format!("not shown for want of width: {}; `--json` has all", hidden.join(", ")));
    }
    lines.join("\n")
}

fn row(run: &RunRecord) -> Vec<String> {
    let row = [row_name(run), run.variant.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    vec![
        run.name.experiment.clone(),
        run.name.stage.clone(),
        run.kind.clone(),
        if row.is_empty() { "–".into() } else { row },
        run.seed.to_string(),
        run.status.to_string(),
        run.progress(),
        run.metric.as_ref().map_or_else(|| "–".into(), metric),
        size(run.bytes),
        run.started.clone(),
        run.dir.display().to_string(),
    ]
}

/// Row and column of a stage with several fits: `colorization`, `colorization fc8`.
pub(super) fn row_name(run: &RunRecord) -> Option<String> {
    let parts: Vec<&str> =
        [&run.name.row, &run.name.column].into_iter().flatten().map(String::as_str).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

pub(super) fn metric(metric: &RecordedMetric) -> String {
    format!("{} {}", metric.name, number(metric.value))
}

/// Four decimals; `NaN` for what is no number.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "NaN".into(), |value| format!("{value:.4}"))
}

/// `3 runs (2 finished, 1 killed), 12 MB; 1 unreadable`.
fn sums(found: &FoundRuns) -> String {
    let number = |state: &RunState| found.runs.iter().filter(|run| run.status == *state).count();
    let states = RunState::ALL.iter().map(|state| (number(state), state)).filter(|(number, _)| *number > 0);
    let states: Vec<String> = states.map(|(number, state)| format!("{number} {state}")).collect();
    let bytes = found.runs.iter().map(|run| run.bytes).sum();
    let mut text = counted(found.runs.len(), "run");
    if !states.is_empty() {
        text += &format!(" ({}), {}", states.join(", "), size(bytes));
    }
    if !found.unreadable.is_empty() {
        text += &format!("; {} unreadable", found.unreadable.len());
    }
    text
}

/// What [`json`] writes.
#[derive(Serialize)]
struct Listing<'a> {
    runs: &'a [RunRecord],
    /// What letters in the names of variants mean.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    legend: &'a [String],
    unreadable: &'a [super::Unreadable],
    /// Sum of the sizes.
    bytes: u64,
}

/// All runs as JSON: `{ "runs": […], "unreadable": […], "bytes": … }`.
///
/// # Errors
/// A path that is not UTF-8.
pub fn json(found: &FoundRuns) -> serde_json::Result<String> {
    let bytes = found.runs.iter().map(|run| run.bytes).sum();
    serde_json::to_string_pretty(&Listing {
        runs: &found.runs,
        legend: &found.legend,
        unreadable: &found.unreadable,
        bytes,
    })
}
