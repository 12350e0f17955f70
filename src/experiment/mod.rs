//! Runs a resolved experiment: all stages in order, for each point of a sweep and each seed. A stage whose inputs hash to a
//! finished run is not run again. YAML is parsed in [`crate::spec`], tables are made in [`crate::report`].

mod monitor; // measurements during training
mod plan; // plan of a fit
mod plan_text; // and what is printed of it
mod sources; // initial weights and colorization methods

mod faults; // error collection

mod place; // run directory of a fit
mod sets; // training and validation data

mod fit; // a fit at run time
mod network; // initialization of networks

pub mod stages; // one file per kind

mod diagnostics; // mistakes at the keys that they are about
mod key_errors; // errors of plans, at their keys
mod references; // references between stages
mod spec; // the YAML format
mod sweep; // `sweep:`

mod load; // specs, with the points of a sweep

mod identity; // hash of a fit's inputs
mod run; // a fit in its run directory

mod queue; // fits in turn, or shared with other processes

mod expected; // checks of `expected:`

mod readiness; // checks of a fit

mod preflight; // checks before the first step

mod agreement; // what several processes compare
mod ranks; // several processes, or threads

mod summary; // report, pictures, and checks of what has run

mod check; // the dry run
mod current; // what an experiment asks for
mod estimate; // cost of a fit

pub mod draft; // a first spec for a folder of pictures

pub mod publish; // preparing a finished run for the hub

pub use check::{check, check_and_estimate, check_and_estimate_points, check_points};
pub use current::{CurrentRuns, current_runs};
pub use load::SweepPoint;
pub use network::{TrainedWeights, read_as_stored, read_trained};
pub use preflight::RunOptions;
pub use queue::JobShard;
pub use ranks::Seat;
pub use sources::{ColorizationMethodSpec, InitSpec, WeightSource};
pub use spec::{Experiment, Seeds};
pub use summary::Outcome;

use crate::train::{collective::Command, interrupt};
use anyhow::Result;
use preflight::{Downloads, preflight};
use run::PlannedRun;

/// Runs every stage of a resolved experiment for every seed, then writes `out/NAME/report/`. A stage whose inputs hash
/// to a finished run is not run again. Of several processes, the first does so, and the others train with it.
///
/// # Errors
/// All problems that can be detected before the first step; later, unreadable data, a run directory that is in use or
/// not writable, a non-finite loss, and results that do not meet `expected` (after the report is written).
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<Outcome> {
    run_points(&[SweepPoint::whole(experiment.clone())], options, None)
}

/// As [`run`], for all points of a sweep, with one report. The jobs of an array share the fits and the report: each is given
/// its `shard`.
///
/// # Errors
/// As [`run`]; a stage that has failed in another job.
pub fn run_points(points: &[SweepPoint], options: &RunOptions, shard: Option<JobShard>) -> Result<Outcome> {
    run_seated(points, options, shard, vec![])
}

/// As [`run_points`], with the ranks of other threads, which train with this one: each on its device.
///
/// # Errors
/// As [`run_points`]; those of another thread, with its rank.
pub fn run_seated(
    points: &[SweepPoint],
    options: &RunOptions,
    shard: Option<JobShard>,
    others: Vec<Seat>,
) -> Result<Outcome> {
    let ranks = &options.ranks;
    let planned = preflight(points, options, Downloads::Made)?;
    let stages = || planned.iter().flat_map(|point| &point.seeds).flatten();
    let fits: Vec<&PlannedRun> = stages().flat_map(|stage| &stage.fits).collect();
    // Threads have the plan of the first.
    if others.is_empty() && ranks.are_many() {
        interrupt::set_together();
        agreement::agree(options, points, &fits)?;
    }
    let lead = || {
        ranks.connect()?;
        if !ranks.leads() {
            ranks::follow(ranks, &fits)?;
            return ranks.disconnect().map(|()| Outcome::Followed);
        }
        preflight::warn_of_mistakes(&planned);
        let finished = match &shard {
            None => queue::run_all(&fits)?,
            Some(shard) => queue::share(&fits, shard)?,
        };
        let outcome = match finished {
            true => summary::summarize(points, &planned, options, shard.is_some())?,
            false => Outcome::Interrupted,
        };
        ranks.tell(&Command::End)?;
        ranks.disconnect()?;
        Ok(outcome)
    };
    ranks::seated(ranks, &fits, others, lead)
}
