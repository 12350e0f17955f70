//! The weights that there are, as text: `weights list`, and `colorize` without `--weights`.

use super::{out, output::CommandOutput};
use crate::{
    released::{self, Release, WeightCache},
    weight_source::{self, LocalRun},
};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most runs listed for `colorize`.
const RUNS: usize = 5;
/// The release in the example: the paper's network.
const EXAMPLE: &str = "eccv16";

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Print everything as JSON: descriptions, addresses, checksums, sizes, paths in the cache
    #[arg(long)]
    json: bool,
}

/// A release and its file in the cache.
#[derive(Serialize)]
struct ListedRelease {
    name: &'static str,
    #[serde(flatten)]
    release: &'static Release,
    path: PathBuf,
    cached: bool,
}

impl ListedRelease {
    fn all() -> Result<Vec<Self>> {
        let cache = WeightCache::from_env();
        let listed = |(name, release): (&'static String, &'static Release)| {
            let path = cache.path(release);
            Self { name, release, cached: path.exists(), path }
        };
        Ok(released::releases()?.iter().map(listed).collect())
    }

    fn row(&self) -> Vec<String> {
        let Release { architecture, license, .. } = self.release;
        let state = if self.cached { "in the cache" } else { "not downloaded" };
        [self.name, architecture, license, &self.release.size(), state].map(String::from).into()
    }
}

pub(super) fn list(args: &ListArgs) -> Result<CommandOutput> {
    let listed = ListedRelease::all()?;
    if args.json {
        let text = serde_json::to_string_pretty(&listed).context("cannot write the catalog as JSON")?;
        return Ok(CommandOutput::ok(text));
    }
    let rows = columns(listed.iter().map(ListedRelease::row).collect());
    let about = listed.iter().map(|listed| format!("    {}", listed.release.description));
    let mut lines: Vec<String> = rows.into_iter().zip(about).flat_map(|(row, about)| [row, about]).collect();
    lines.push(format!("cache: {}", WeightCache::from_env().folder.display()));
    lines.push(format!("for example: hueristic colorize old.jpg --weights {EXAMPLE}{}", download_note()));
    Ok(CommandOutput::ok(lines.join("\n")))
}

/// What to say where weights for `input` are missing.
///
/// # Errors
/// A damaged catalog.
pub(super) fn choices(input: &Path) -> Result<String> {
    let mut lines =
        vec!["give --weights: a released colorizer by its name, a run, or a weight file\n".to_string()];
    let rows = columns(ListedRelease::all()?.iter().map(ListedRelease::row).collect());
    lines.push(format!("released colorizers{}", download_note()));
    lines.extend(rows.into_iter().map(|row| format!("  {row}")));
    let folders = out::run_folders();
    let runs = weight_source::colorizers(&folders);
    let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let found = if runs.is_empty() { "no runs of colorizers" } else { "runs of colorizers, newest first," };
    lines.push(format!("\n{found} in {}", looked.join(", ")));
    let rows = columns(runs.iter().take(RUNS).map(run_row).collect());
    lines.extend(rows.into_iter().map(|row| format!("  {row}")));
    if runs.len() > RUNS {
        lines.push(format!("  and {} more", runs.len() - RUNS));
    }
    let run = runs.first().filter(|_| cfg!(not(feature = "hub")));
    let weights = run.map_or(EXAMPLE.into(), |run| run.path.display().to_string());
    lines.push(format!("\nfor example: hueristic colorize {} --weights {weights}", quoted(input)));
    Ok(lines.join("\n"))
}

fn run_row(run: &LocalRun) -> Vec<String> {
    let metric = run.metric.as_ref().map(|(name, value)| format!(", {name} {value:.3}"));
    let state = if run.finished { "finished" } else { "not finished: its best checkpoint" };
    let about = format!("{}, step {}{}", run.task, run.steps, metric.unwrap_or_default());
    vec![run.path.display().to_string(), about, state.into()]
}

/// The rows with aligned cells.
fn columns(rows: Vec<Vec<String>>) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

fn download_note() -> &'static str {
    if cfg!(feature = "hub") {
        ""
    } else {
        " (this program was built without downloads: `--features hub` adds them)"
    }
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=@%:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
