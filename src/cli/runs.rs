//! `runs`: the list of run directories and their differences.

use super::{failure::Usage, output::CommandOutput};
use crate::runs::{self, FoundRuns, diff, list};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Where `run` writes by default.
const RUNS: &str = "results/runs";

#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// List runs: what each is, how far it came, its main metric and its size
    #[command(
        after_help = "Example:\n  hueristic runs list\n  hueristic runs list results/runs/quickstart --json"
    )]
    List(ListArgs),
    /// Show which keys, data, programs and metrics differ between runs
    #[command(
        after_help = "Example:\n  hueristic runs diff results/runs/photos/probe-s0-0123456789ab results/runs/photos/probe-s0-ba9876543210\n  \
                            hueristic runs diff results/runs/photos results/runs/photos-longer\n\n\
                            Runs in two folders are paired by stage, row and seed."
    )]
    Diff(DiffArgs),
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Run directories, or folders that contain them
    #[arg(value_name = "DIR", default_value = RUNS)]
    dirs: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// Run directories, or folders of them: two or more
    #[arg(required = true, num_args = 2..=26, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

pub(super) fn run(verb: Runs) -> Result<CommandOutput> {
    match verb {
        Runs::List(args) => list(&args),
        Runs::Diff(args) => differences(&args),
    }
}

fn list(args: &ListArgs) -> Result<CommandOutput> {
    let found = find(&args.dirs)?;
    let text = if args.json { list::json(&found)? } else { list::text(&found, list::terminal_width()) };
    Ok(CommandOutput::ok(text))
}

fn differences(args: &DiffArgs) -> Result<CommandOutput> {
    ensure_folders(&args.dirs)?;
    Ok(CommandOutput::ok(diff::diff(&args.dirs)?))
}

fn find(dirs: &[PathBuf]) -> Result<FoundRuns> {
    ensure_folders(dirs)?;
    Ok(runs::find(dirs))
}

fn ensure_folders(dirs: &[PathBuf]) -> Result<(), Usage> {
    match dirs.iter().find(|dir| !dir.is_dir()) {
        Some(dir) => Err(Usage(format!(
            "{} is not a folder; give run directories, or the folder that `run` writes to",
            dir.display()
        ))),
        None => Ok(()),
    }
}
