//! `run`, `check` and `show`: the verbs that take a spec.

use super::{Done, device::DeviceArgs, failure::Usage, out, threads};
use crate::{
    data::source::Locations,
    experiment::{self, Experiment, Outcome, RunOptions, Seeds},
    spec,
    train::interrupt,
};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// A spec and what the command line changes about it.
#[derive(Args, Debug)]
pub(super) struct SpecArgs {
    /// The experiment, a YAML file
    spec: PathBuf,
    /// Override one value: a stage, then its keys (`probe.train.steps=10`), or all keys; files are named from the working
    /// directory here, from the spec's folder in the spec
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    sets: Vec<String>,
    /// Seeds instead of the spec's: `0..3` means 0, 1, 2; or a list, `0,1,2`
    #[arg(long, value_parser = seeds)]
    seeds: Option<Seeds>,
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    data: Option<PathBuf>,
    /// Folder for run directories, from the working directory [default: `results/runs` in the project of the spec: where the
    /// folder `experiments` that it lies in is, else the root of its repository or crate, else the spec's folder]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Computing threads [default: one per core]; `data.threads` in the spec sets those that decode
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// A spec, and how closely it is looked at.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Do not rehearse the stages for their time and memory
    #[arg(long)]
    no_estimate: bool,
}

/// Seeds that one command may ask for; more is a slip of the finger.
const MOST_SEEDS: u64 = 1000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number =
        |t: &str| t.trim().parse::<u64>().map_err(|_| format!("`{t}` is not a whole number of at least 0"));
    let list: Vec<u64> = match text.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if to.saturating_sub(from) > MOST_SEEDS {
                return Err(format!("that is more than {MOST_SEEDS} seeds"));
            }
            (from..to).collect()
        }
        None => text.split(',').map(number).collect::<Result<_, _>>()?,
    };
    Seeds::try_from(list).map_err(|e| format!("{e}; `0..3` means 0, 1, 2"))
}

/// Where local copies of data lie: `--data`, else `HUERISTIC_DATA`, else nowhere.
///
/// # Errors
/// A `--data` that is no folder: without it the data would be fetched.
pub(super) fn locations(data: Option<&PathBuf>) -> Result<Locations, Usage> {
    if let Some(folder) = data.filter(|folder| !folder.is_dir()) {
        return Err(Usage(format!(
            "--data {} is not a folder; give the one with local copies of data sets, or leave --data out",
            folder.display()
        )));
    }
    let fallback = || std::env::var_os("HUERISTIC_DATA").map(PathBuf::from);
    Ok(Locations { data: data.cloned().or_else(fallback) })
}

impl SpecArgs {
    fn experiment(&self) -> Result<Experiment> {
        let mut experiment = Experiment::load(&self.spec, &self.sets)?;
        if let Some(seeds) = &self.seeds {
            experiment.seeds = seeds.clone();
        }
        Ok(experiment)
    }

    fn options(&self, experiment: &Experiment) -> Result<RunOptions> {
        threads::set(self.threads)?;
        Ok(RunOptions {
            out: self.out.clone().unwrap_or_else(|| out::runs(&self.spec, &experiment.name)),
            locations: locations(self.data.as_ref())?,
            device: self.device.open(experiment.compute)?,
        })
    }
}

/// Runs the experiment; prints where the table, the plot and the pictures are.
pub(super) fn run(args: &SpecArgs) -> Result<Done> {
    let experiment = args.experiment()?;
    let options = args.options(&experiment)?;
    match experiment::run(&experiment, &options)? {
        Outcome::Finished { report, pictures } => {
            let report = report.map(|paths| paths.to_string());
            let pictures = pictures.iter().map(|p| format!("picture  {}", p.display()));
            let lines: Vec<String> = report.into_iter().chain(pictures).collect();
            Ok(Done::ok(lines.join("\n")))
        }
        Outcome::Interrupted => Ok(Done {
            text: "stopped; the same command goes on from the last checkpoint".into(),
            exit: u8::try_from(interrupt::EXIT_CODE).unwrap_or(u8::MAX),
        }),
    }
}

/// Prints what the run would do; fails where it would.
pub(super) fn check(args: &CheckArgs) -> Result<Done> {
    let experiment = args.spec.experiment()?;
    let options = args.spec.options(&experiment)?;
    let outlook = match args.no_estimate {
        true => experiment::check(&experiment, &options)?,
        false => experiment::check_and_estimate(&experiment, &options)?,
    };
    Ok(Done { text: outlook.to_string(), exit: u8::from(outlook.failing() > 0) })
}

/// Prints YAML that is itself a spec, and the hash in a comment.
pub(super) fn show(args: &SpecArgs) -> Result<Done> {
    let experiment = args.experiment()?;
    let (yaml, hash) = (spec::resolved_yaml(&experiment)?, spec::hash(&experiment)?);
    Ok(Done::ok(format!("# sha256 {hash}\n{yaml}")))
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
