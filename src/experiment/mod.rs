//! From a resolved experiment to finished run directories: the stages in order, for each seed; a stage whose inputs hash
//! to a finished one is not run again.
//!
//! Does not: parse YAML (see [`crate::spec`]), or make tables (see [`crate::report`]).

mod plan; // what a fit will do
mod sources; // what it starts from

mod faults; // what would stop it

mod place; // where it runs
mod sets; // what it is trained and measured on

mod fit; // what it works with
mod network; // from what a spec calls an initialization to a network

pub mod stages; // one file a kind

mod references; // what ties the stages of a spec together
mod spec; // the YAML

mod identity; // what decides a result
mod run; // a fit in its run directory

mod expected; // results against what the spec expects

mod preflight; // all of them, before the first step

mod check; // the dry run
mod estimate; // what a fit would cost

mod anonymous; // no word of whose machine it was
pub mod publish; // a finished run made ready for the hub

pub use check::{check, check_and_estimate};
pub use preflight::RunOptions;
pub use sources::{InitSpec, MethodSpec, WeightSource};
pub use spec::{Experiment, Seeds};

use crate::report::{self, Called, ReportPaths};
use anyhow::{Result, ensure};
use fit::Fit;
use preflight::{StageFits, preflight};
use std::path::PathBuf;

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All stages are finished. The report is absent when the experiment measures nothing.
    Finished { report: Option<ReportPaths>, pictures: Vec<PathBuf> },
    /// Stopped by the user; the same command goes on from here.
    Interrupted,
}

/// Runs every stage of a resolved experiment for every seed, then writes `out/NAME/report/`. A stage whose inputs hash to a
/// finished one is not run again.
///
/// # Errors
/// Before the first step whatever can be known then; data that cannot be read, a run directory in use or unwritable, a loss
/// that is not finite, results short of what the spec expects (after the report was written).
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<Outcome> {
    let (mut done, mut pictures, mut short) = (vec![], vec![], vec![]);
    let seeds = preflight(experiment, options)?;
    for stage in seeds.iter().take(1).flatten() {
        stage.notes().iter().for_each(|note| tracing::warn!("stage `{}`: {note}", stage.name));
    }
    for StageFits { name, fits } in seeds.into_iter().flatten() {
        for planned in fits {
            if !planned.run()? {
                return Ok(Outcome::Interrupted);
            }
            pictures.extend(planned.picture());
            short.extend(expected::shortfalls(experiment, &name, &planned.fit)?);
            let Fit { place, experiment, plan, .. } = planned.fit;
            done.push(Called { dir: place.dir, experiment, row: plan.row.name });
        }
    }
    let out = options.out.join(&*experiment.name).join("report");
    let reported = experiment.stages.iter().any(|(_, stage)| !stage.trains_backbone());
    let report = reported.then(|| report::write_report_of(&done, &out)).transpose()?;
    ensure!(
        short.is_empty(),
        "the experiment falls short of what its spec expects:\n  {}",
        short.join("\n  ")
    );
    Ok(Outcome::Finished { report, pictures })
}
