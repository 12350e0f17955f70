//! From a resolved experiment to finished run directories: the stages in order, for each seed; a stage whose inputs hash
//! to a finished one is not run again.
//!
//! Does not: parse YAML (see [`crate::spec`]), or make tables (see [`crate::report`]).

mod anonymous;
mod backbones; // from what a spec calls an initialisation to a network
mod check;
mod colors;
mod expected; // results against what the spec expects
mod fits;
mod job;
pub mod publish; // a finished run made ready for the hub
mod readouts; // SVMs, nearest neighbours, non-linear probes
mod sets;
mod transfer; // classification, detection, segmentation
mod work; // stages taken apart into fits

pub use check::check;

use crate::{
    data::source::Locations,
    report::{self, ReportPaths},
    spec::experiment::Experiment,
};
use anyhow::{Result, ensure};
use candle_core::Device;
use job::{Finished, Job};
use std::path::PathBuf;

/// What the surface decides and a spec does not.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder of run directories; an experiment's lie in `out/NAME/`.
    pub out: PathBuf,
    /// Where local copies of data sets lie.
    pub locations: Locations,
    pub device: Device,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All stages are finished. The report is absent when the experiment measures nothing.
    Finished { report: Option<ReportPaths>, pictures: Vec<PathBuf> },
    /// Stopped by the user; the same command goes on from here.
    Interrupted,
}

/// Runs every stage of a resolved experiment for every seed, then writes `out/NAME/report/`.
///
/// # Errors
/// Data that cannot be read, a run directory in use or unwritable, a loss that is not finite, results short of what
/// the spec expects (after the report was written).
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<Outcome> {
    let (mut dirs, mut pictures, mut short) = (vec![], vec![], vec![]);
    for &seed in experiment.seeds.iter() {
        let mut finished = Finished::default();
        for (name, stage) in experiment.stages.iter() {
            for job in Job::of_stage(experiment, name, stage, seed, &finished, options)? {
                if !job.run(options)? {
                    return Ok(Outcome::Interrupted);
                }
                pictures.extend(job.picture());
                short.extend(expected::shortfalls(experiment, name, &job)?);
                dirs.push(job.dir.clone());
                finished.add(name, &job);
            }
        }
    }
    let out = options.out.join(&*experiment.name).join("report");
    let reported = experiment.stages.iter().any(|(_, stage)| stage.reports());
    let report = reported.then(|| report::write_report(&dirs, &out)).transpose()?;
    ensure!(
        short.is_empty(),
        "the experiment falls short of what its spec expects:\n  {}",
        short.join("\n  ")
    );
    Ok(Outcome::Finished { report, pictures })
}
