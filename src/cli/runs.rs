//! `runs`: the list of run directories.

use super::{failure::Usage, output::CommandOutput};
use crate::runs::{self, FoundRuns, list};
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

pub(super) fn run(verb: Runs) -> Result<CommandOutput> {
    match verb {
        Runs::List(args) => list(&args),
    }
}

fn list(args: &ListArgs) -> Result<CommandOutput> {
    let found = find(&args.dirs)?;
    let text = if args.json { list::json(&found)? } else { list::text(&found, list::terminal_width()) };
    Ok(CommandOutput::ok(text))
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
