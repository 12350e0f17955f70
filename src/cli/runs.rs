//! `runs`: the list of run directories, their differences, and what may be deleted.

use super::{experiment::locations, failure::Usage, out, output::CommandOutput};
use crate::{
    experiment::{self, CurrentRuns, RunOptions, Seeds, SweepPoint},
    runs::{
        self, FoundRuns,
        clean::{CleanOptions, Cleaning},
        diff, list,
    },
    train::collective::Ranks,
};
use anyhow::Result;
use candle_core::Device;
use clap::{Args, Subcommand};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

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
    /// Say which runs may be deleted and why, and delete them with --yes
    #[command(
        after_help = "Example:\n  hueristic runs clean\n  hueristic runs clean results/runs/photos --spec photos.yaml --yes\n\n\
                            Unfinished runs that a finished one supersedes and files of killed processes may go; with --spec also runs \
                            that the spec no longer asks for, with --checkpoints also checkpoints of finished runs. Weights, results \
                            and pictures stay. Runs that a process is writing are not touched."
    )]
    Clean(CleanArgs),
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

#[derive(Args, Debug)]
pub(super) struct CleanArgs {
    /// Run directories, or folders that contain them
    #[arg(value_name = "DIR", default_value = RUNS)]
    dirs: Vec<PathBuf>,
    /// An experiment: its runs, of any seed, that the spec no longer asks for may go
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Override one value of the spec, as for `run`
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", requires = "spec")]
    sets: Vec<String>,
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path(), requires = "spec")]
    data: Option<PathBuf>,
    /// Checkpoints of finished runs may go: a longer run then starts from scratch
    #[arg(long)]
    checkpoints: bool,
    /// Delete
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(verb: Runs) -> Result<CommandOutput> {
    match verb {
        Runs::List(args) => list(&args),
        Runs::Diff(args) => differences(&args),
        Runs::Clean(args) => clean(&args),
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

fn clean(args: &CleanArgs) -> Result<CommandOutput> {
    let found = find(&args.dirs)?;
    let current = args.spec.as_ref().map_or(Ok(vec![]), |spec| current(spec, args, &found))?;
    let cleaning = Cleaning::of(found, &CleanOptions { current, checkpoints: args.checkpoints });
    if cleaning.is_empty() {
        return Ok(CommandOutput::ok(format!("{cleaning}nothing to delete")));
    }
    if !args.yes {
        let total = cleaning.total();
        return Ok(CommandOutput::ok(format!("{cleaning}{total}; nothing was deleted: --yes deletes them")));
    }
    let faults = cleaning.carry_out();
    let outcome = if faults.is_empty() { "deleted" } else { "deleted, except:\n" };
    let text = format!("{cleaning}{}: {outcome}{}", cleaning.total(), faults.join("\n"));
    Ok(CommandOutput { text, exit: u8::from(!faults.is_empty()) })
}

/// The runs that the spec asks for, for its own seeds and for all that have been run.
fn current(spec: &Path, args: &CleanArgs, found: &FoundRuns) -> Result<Vec<CurrentRuns>> {
    let mut points = SweepPoint::load(spec, &args.sets)?;
    let names: BTreeSet<String> = points.iter().map(|point| point.experiment.name.to_string()).collect();
    let own = || found.runs.iter().filter(|run| names.contains(&run.name.experiment));
    for point in &mut points {
        let seeds: BTreeSet<u64> = own().map(|run| run.seed).chain(point.experiment.seeds.to_vec()).collect();
        point.experiment.seeds = Seeds::try_from(Vec::from_iter(seeds)).map_err(Usage)?;
    }
    let locations = locations(args.data.as_ref())?;
    // Each folder of experiments may hold a shorter run to continue from.
    let outs: BTreeSet<PathBuf> =
        own().filter_map(|run| run.dir.canonicalize().ok()?.ancestors().nth(2).map(PathBuf::from)).collect();
    let current = |out: PathBuf| {
        let options =
            RunOptions { out, locations: locations.clone(), device: Device::Cpu, ranks: Ranks::default() };
        experiment::current_runs(&points, &options)
    };
    outs.into_iter().map(current).collect()
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
