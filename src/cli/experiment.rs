//! `run`, `check` and `show`: the commands that take a spec.

use super::{device::DeviceArgs, failure::Usage, out, output::CommandOutput, threads};
use crate::{
    data::source::Locations,
    experiment::{self, Experiment, JobShard, Outcome, RunOptions, Seat, Seeds, SweepPoint},
    spec,
    train::{
        collective::{self, Launcher, RankOptions, Ranks, WireFormat},
        interrupt,
    },
};
use anyhow::{Context, Result};
use candle_core::Device;
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// A spec and its command-line overrides.
#[derive(Args, Debug)]
pub(super) struct SpecArgs {
    /// The experiment, a YAML file
    spec: PathBuf,
    /// Override one value: a stage and its keys (`probe.train.steps=10`), or a full key path. File paths are relative
    /// to the working directory here, and to the spec's folder in the spec
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    sets: Vec<String>,
    /// Seeds that replace the spec's: a range, `0..3` for 0, 1, 2, or a list, `0,1,2`
    #[arg(long, value_parser = seeds)]
    seeds: Option<Seeds>,
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    data: Option<PathBuf>,
    /// Folder for run directories, relative to the working directory [default: `results/runs` in the spec's project:
    /// the parent of its `experiments` folder, else the root of its repository or crate, else the spec's folder]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compute threads [default: one per core]; `data.threads` in the spec sets the decoding threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// A spec, the part of it to run, and the processes that run it.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Share the stages, seeds, and points of a sweep with the other jobs of an array, which run the same command with the
    /// same --out: this is job I of N, from 0. In an array of Slurm with `--array=0-7`: `$SLURM_ARRAY_TASK_ID/8`
    #[arg(long, value_name = "I/N")]
    shard_jobs: Option<JobShard>,
    /// Refuse to run unless so many ranks train together: processes of a launcher (mpirun, srun), or GPUs of `--device cuda:0-7`.
    /// They share every batch: `train.batch` is that of all together [default: as many as there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Option<u32>,
    /// Of several ranks, end all when a process was not heard of for so many seconds, or when a rank did not bring its part of a
    /// sum for ten times as long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..))]
    rank_timeout: u32,
    /// Numbers in which gradients travel between ranks: all bits, or half the bytes and sums that differ from those of one rank
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    wire: WireFormat,
}

/// A spec and the depth of its check.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Skip the rehearsal that estimates time and memory
    #[arg(long)]
    no_estimate: bool,
}

/// Maximum number of seeds per command; more is probably a typing error.
const MAX_SEEDS: u64 = 1000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number =
        |t: &str| t.trim().parse::<u64>().map_err(|_| format!("`{t}` is not a whole number of at least 0"));
    let list: Vec<u64> = match text.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if to.saturating_sub(from) > MAX_SEEDS {
                return Err(format!("that is more than {MAX_SEEDS} seeds"));
            }
            (from..to).collect()
        }
        None => text.split(',').map(number).collect::<Result<_, _>>()?,
    };
    Seeds::try_from(list).map_err(|e| format!("{e}; `0..3` means 0, 1, 2"))
}

/// Locations of local data: `--data`, else `HUERISTIC_DATA`, else none.
///
/// # Errors
/// A `--data` that is not a folder; data would otherwise be downloaded.
pub(super) fn locations(data: Option<&PathBuf>) -> Result<Locations, Usage> {
    if let Some(folder) = data.filter(|folder| !folder.is_dir()) {
        return Err(Usage(format!(
            "--data {} is not a folder; give the one with local copies of data sets, or leave --data out",
            folder.display()
        )));
    }
    let fallback = || std::env::var_os("HUERISTIC_DATA").map(PathBuf::from);
    Ok(Locations { data: data.cloned().or_else(fallback), ..Locations::default() })
}

impl SpecArgs {
    /// The experiment, or those of all points of its sweep.
    fn points(&self) -> Result<Vec<SweepPoint>> {
        let mut points = SweepPoint::load(&self.spec, &self.sets)?;
        if let Some(seeds) = &self.seeds {
            points.iter_mut().for_each(|point| point.experiment.seeds = seeds.clone());
        }
        Ok(points)
    }

    /// Options for points, which have name and device in common.
    fn options(&self, points: &[SweepPoint], device: Device, ranks: Ranks) -> Result<RunOptions> {
        let name = &first(points)?.name;
        Ok(RunOptions {
            out: self.out.clone().unwrap_or_else(|| out::runs(&self.spec, name)),
            locations: locations(self.data.as_ref())?,
            device,
            ranks,
        })
    }
}

fn first(points: &[SweepPoint]) -> Result<&Experiment> {
    Ok(&points.first().context("a spec has an experiment")?.experiment)
}

impl RunArgs {
    /// The ranks of this process with their devices, the one that is not another thread's first.
    fn seats(
        &self,
        points: &[SweepPoint],
        processes: Ranks,
        options: RankOptions,
    ) -> Result<(Seat, Vec<Seat>)> {
        let (device, spec) = (&self.spec.device, first(points)?.compute);
        let devices = device.open_all(spec, Launcher::from_env())?;
        let ranks = collective::on_devices(processes, options, &devices, device.compute(spec).device)?;
        let mut seats = devices.into_iter().zip(ranks).map(|(device, ranks)| Seat { device, ranks });
        let own = seats.next().context("a process has a device")?;
        Ok((own, seats.collect()))
    }
}

/// Runs the experiment and prints the paths of tables, plots and pictures.
pub(super) fn run(args: &RunArgs) -> Result<CommandOutput> {
    let size = args.ranks.map(|ranks| ranks as usize);
    let silence = Duration::from_secs(args.rank_timeout.into());
    let together = RankOptions { size, silence, wire: args.wire };
    let processes = collective::start(together)?;
    let points = args.spec.points()?;
    threads::set(args.spec.threads)?;
    let (Seat { device, ranks }, others) = args.seats(&points, processes, together)?;
    let options = args.spec.options(&points, device, ranks)?;
    match experiment::run_seated(&points, &options, args.shard_jobs, others)? {
        Outcome::Finished { report, pictures } => {
            let report = report.map(|paths| paths.to_string());
            let pictures = pictures.iter().map(|p| format!("picture  {}", p.display()));
            let lines: Vec<String> = report.into_iter().chain(pictures).collect();
            Ok(CommandOutput::ok(lines.join("\n")))
        }
        Outcome::ReportedElsewhere { report } => Ok(CommandOutput::ok(format!(
            "all is finished; another job has written the report: {}",
            report.display()
        ))),
        Outcome::Interrupted => Ok(CommandOutput {
            text: "stopped; the same command resumes from the last checkpoint".into(),
            exit: u8::try_from(interrupt::EXIT_CODE).unwrap_or(u8::MAX),
        }),
        Outcome::Followed => Ok(CommandOutput::ok("")),
    }
}

/// Prints what a run would do; the exit code is 1 if it would fail.
pub(super) fn check(args: &CheckArgs) -> Result<CommandOutput> {
    let points = args.spec.points()?;
    threads::set(args.spec.threads)?;
    let devices = args.spec.device.open_all(first(&points)?.compute, None)?;
    let device = devices.into_iter().next().context("a process has a device")?;
    let options = args.spec.options(&points, device, Ranks::default())?;
    let outlook = match args.no_estimate {
        true => experiment::check_points(&points, &options)?,
        false => experiment::check_and_estimate_points(&points, &options)?,
    };
    Ok(CommandOutput { text: outlook.to_string(), exit: u8::from(outlook.failing() > 0) })
}

/// Prints the resolved spec as YAML, with its hash in a comment; of a sweep a document for each point, which is a spec of
/// that point alone.
pub(super) fn show(args: &SpecArgs) -> Result<CommandOutput> {
    let document = |SweepPoint { label, experiment }: &SweepPoint| {
        let (yaml, hash) = (spec::resolved_yaml(experiment)?, spec::hash(experiment)?);
        let point = if label.is_empty() { String::new() } else { format!("# point {label}\n") };
        Ok(format!("{point}# sha256 {hash}\n{yaml}"))
    };
    let documents = args.points()?.iter().map(document).collect::<Result<Vec<_>>>()?;
    Ok(CommandOutput::ok(documents.join("---\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_ranges_or_lists() {
        let read = |text: &str| seeds(text).map(|s| s.to_vec());
        assert_eq!(read("0..3"), Ok(vec![0, 1, 2]));
        assert_eq!(read("4,1"), Ok(vec![4, 1]));
        assert_eq!(read("7"), Ok(vec![7]));
        for bad in ["", "3..3", "a", "1,1", "0..99999999", "1..b", "-1"] {
            assert!(read(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
