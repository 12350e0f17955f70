//! What is missing or doubtful: runs that did not finish, errors, divergence, warnings, damaged files.

use super::{
    history::History,
    lineage::{few, status},
    run::RunRecord,
};
use crate::{report::redact::redact_text, text::counted};
use maud::{Markup, html};
use std::io;

/// Most entries, and most characters of one.
const ENTRIES: usize = 200;
const TEXT: usize = 600;

/// One thing to know, and the runs that it is about.
struct Entry {
    is_missing: bool,
    text: String,
    runs: Vec<String>,
}

/// The entries of all runs, those about missing results first; None without any.
pub(super) fn warnings(runs: &[RunRecord], read: &[io::Result<History>]) -> Option<Markup> {
    let mut entries: Vec<Entry> = vec![];
    for (run, history) in runs.iter().zip(read) {
        for (is_missing, text) in of_run(run).into_iter().chain(of_log(history)) {
            match entries.iter_mut().find(|entry| entry.text == text) {
                Some(entry) => entry.runs.push(run.name()),
                None => entries.push(Entry { is_missing, text, runs: vec![run.name()] }),
            }
        }
    }
    entries.sort_by_key(|entry| !entry.is_missing);
    let omitted = entries.len().saturating_sub(ENTRIES);
    (!entries.is_empty()).then(|| {
        html! {
            ul.warnings {
                @for Entry { is_missing, text, runs } in entries.iter().take(ENTRIES) {
                    li {
                        strong { @if *is_missing { "missing" } @else { "warning" } }
                        " " (few(runs)) ": " (text.chars().take(TEXT).collect::<String>())
                    }
                }
            }
            @if omitted > 0 { p { (omitted) " more are not shown." } }
        }
    })
}

/// Whether a result is missing, and why.
fn of_run(run: &RunRecord) -> Vec<(bool, String)> {
    let facts = match &run.facts {
        Err(error) => return vec![(true, error.clone())],
        Ok(facts) => facts,
    };
    let mut said = vec![];
    if !run.is_finished() {
        let why = facts.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        said.push((true, format!("{} after {}{why}", status(run), counted(facts.steps, "step"))));
    }
    said.extend(facts.diverged.iter().map(|why| (false, format!("diverged: {why}"))));
    said.extend(facts.warnings.iter().map(|warning| (false, warning.clone())));
    said
}

fn of_log(history: &io::Result<History>) -> Option<(bool, String)> {
    match history {
        Err(error) => Some((true, format!("its log cannot be read: {}", redact_text(&error.to_string())))),
        Ok(History { unreadable: 0, .. }) => None,
        Ok(History { unreadable, .. }) => {
            Some((false, format!("{} of its log cannot be read", counted(*unreadable, "line"))))
        }
    }
}
