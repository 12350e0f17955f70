//! Where results come from: the runs with their times, the machines and programs that ran them, the data, and layer tables. A
//! page names no host.

use super::{
    run::{RunFacts, RunRecord},
    table::table,
};
use crate::{
    report::table::TextTable,
    train::{clock, manifest::Status},
};
use maud::{Markup, html};
use serde_yaml::Value;
use std::collections::BTreeMap;

/// Most runs in the table, and most layer tables.
const RUNS: usize = 500;
const NETWORKS: usize = 12;
/// Digits of a fingerprint that tell data apart, and most characters of a commit.
const DIGITS: usize = 16;
const COMMIT: usize = 24;

/// Runs, environments and data.
pub(super) fn lineage(runs: &[RunRecord]) -> Markup {
    html! {
        (table(&run_table(runs)))
        @if runs.len() > RUNS { p.notes { (RUNS) " of " (runs.len()) " runs." } }
        (table(&environments(runs)))
        (table(&data(runs)))
    }
}

fn run_table(runs: &[RunRecord]) -> TextTable {
    let columns = [
        "run",
        "experiment",
        "seed",
        "status",
        "steps",
        "started (UTC)",
        "ended (UTC)",
        "wall time (h:m:s)",
        "peak memory (GB)",
        "resumed",
        "starts from",
    ];
    let row = |run: &RunRecord| {
        let facts = run.facts.clone().unwrap_or_default();
        let time = |time: &str| time.trim_end_matches('Z').replace('T', " ");
        let known = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "–".into());
        let memory = facts.peak_memory_bytes.map(|bytes| format!("{:.2}", bytes as f64 / 1e9));
        vec![
            run.label(),
            run.experiment.clone(),
            known(run.seed.map(|seed| seed.to_string())),
            status(run).into(),
            facts.steps.to_string(),
            known(Some(time(&facts.started))),
            known(facts.ended.as_deref().map(time)),
            clock::span(facts.wall_seconds),
            known(memory),
            facts.resumed.to_string(),
            known(upstream(run, runs)),
        ]
    };
    let title = "Runs in the order of their start".into();
    TextTable { title, ..TextTable::new(columns, runs.iter().take(RUNS).map(row)) }
}

/// The status of a run in words.
pub(super) fn status(run: &RunRecord) -> &'static str {
    match run.facts.as_ref().map(|facts| facts.status) {
        Ok(Some(Status::Finished)) => "finished",
        Ok(Some(Status::Running)) => "not finished",
        Ok(Some(Status::Interrupted)) => "interrupted",
        Ok(Some(Status::Failed)) => "failed",
        Ok(None) | Err(_) => "unknown",
    }
}

/// The run whose hash the spec names; the hash, if that run is not on the page.
fn upstream(run: &RunRecord, runs: &[RunRecord]) -> Option<String> {
    let hash = run.spec.as_ref()?.get("upstream").and_then(Value::as_str)?;
    let found = runs.iter().find(|other| !other.hash.is_empty() && hash.starts_with(&other.hash));
    Some(found.map_or_else(|| hash.chars().take(DIGITS).collect(), RunRecord::name))
}

fn environments(runs: &[RunRecord]) -> TextTable {
    let key = |facts: &RunFacts| {
        let RunFacts { version, commit, features, device, cpu, cores, .. } = facts;
        let commit = commit.as_ref().map_or("–".into(), |commit| commit.chars().take(COMMIT).collect());
        let cores = cores.map_or("–".into(), |cores| cores.to_string());
        vec![version.clone(), commit, features.join(", "), device.clone(), cpu.clone(), cores]
    };
    let mut counts = BTreeMap::<Vec<String>, usize>::new();
    for facts in runs.iter().filter_map(|run| run.facts.as_ref().ok()) {
        *counts.entry(key(facts)).or_default() += 1;
    }
    let columns = ["hueristic", "commit", "features", "device", "processor", "cores", "runs"];
    let rows = counts.into_iter().map(|(key, count)| [key, vec![count.to_string()]].concat());
    TextTable { title: "Programs and machines".into(), ..TextTable::new(columns, rows) }
}

fn data(runs: &[RunRecord]) -> TextTable {
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for facts in runs.iter().filter_map(|run| run.facts.as_ref().ok()) {
        for (name, fingerprint) in &facts.data {
            *counts.entry((name, fingerprint)).or_default() += 1;
        }
    }
    let row = |((name, fingerprint), count): ((&str, &str), usize)| {
        vec![name.into(), fingerprint.chars().take(DIGITS).collect(), count.to_string()]
    };
    let title = "Fingerprints of the data".into();
    TextTable { title, ..TextTable::new(["set", "fingerprint", "runs"], counts.into_iter().map(row)) }
}

/// Every layer table once, with the stages that have it; None without any.
pub(super) fn layers(runs: &[RunRecord]) -> Option<Markup> {
    let mut networks: Vec<(&str, Vec<String>)> = vec![];
    for run in runs {
        let Some(text) = run.layers.as_deref() else { continue };
        let at = networks.iter().position(|(known, _)| *known == text).unwrap_or_else(|| {
            networks.push((text, vec![]));
            networks.len() - 1
        });
        let label = run.label();
        if !networks[at].1.contains(&label) {
            networks[at].1.push(label);
        }
    }
    let omitted = networks.len().saturating_sub(NETWORKS);
    (!networks.is_empty()).then(|| {
        html! {
            @for (text, labels) in networks.iter().take(NETWORKS) {
                details { summary { (few(labels)) } pre { (text) } }
            }
            @if omitted > 0 { p.notes { (omitted) " more layer tables are not shown." } }
        }
    })
}

/// The first of several names.
pub(super) fn few(names: &[String]) -> String {
    const FEW: usize = 6;
    let shown = names.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
