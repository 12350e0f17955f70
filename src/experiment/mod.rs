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

mod expected; // checks of `expected:`

mod readiness; // checks of a fit

mod preflight; // checks before the first step

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
pub use sources::{ColorizationMethodSpec, InitSpec, WeightSource};
pub use spec::{Experiment, Seeds};
pub use summary::Outcome;

use anyhow::Result;
use preflight::{Downloads, preflight};

/// Runs every stage of a resolved experiment for every seed, then writes `out/NAME/report/`. A stage whose inputs hash
/// to a finished run is not run again.
///
/// # Errors
/// All problems that can be detected before the first step; later, unreadable data, a run directory that is in use or
/// not writable, a non-finite loss, and results that do not meet `expected` (after the report is written).
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<Outcome> {
    run_points(&[SweepPoint::whole(experiment.clone())], options)
}

/// As [`run`], for all points of a sweep, with one report.
///
/// # Errors
/// As [`run`].
pub fn run_points(points: &[SweepPoint], options: &RunOptions) -> Result<Outcome> {
    let planned = preflight(points, options, Downloads::Made)?;
    preflight::warn_of_mistakes(&planned);
    let stages = planned.iter().flat_map(|point| &point.seeds).flatten();
    for planned in stages.flat_map(|stage| &stage.fits) {
        if !planned.run()? {
            return Ok(Outcome::Interrupted);
        }
    }
    summary::summarize(points, &planned, options)
}
