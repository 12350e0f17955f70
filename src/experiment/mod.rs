//! Runs a resolved experiment: all stages in order, for each seed. A stage whose inputs hash to a finished run is not
//! run again. YAML is parsed in [`crate::spec`], tables are made in [`crate::report`].

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

mod identity; // hash of a fit's inputs
mod run; // a fit in its run directory

mod expected; // checks of `expected:`

mod preflight; // checks before the first step

mod check; // the dry run
mod current; // what an experiment asks for
mod estimate; // cost of a fit

pub mod draft; // a first spec for a folder of pictures

pub mod publish; // preparing a finished run for the hub

pub use check::{check, check_and_estimate};
pub use current::{CurrentRuns, current_runs};
pub use network::{TrainedWeights, read_as_stored, read_trained};
pub use preflight::RunOptions;
pub use sources::{ColorizationMethodSpec, InitSpec, WeightSource};
pub use spec::{Experiment, Seeds};

use crate::report::{self, ReportPaths, ReportedRun};
use anyhow::{Result, ensure};
use fit::StageRun;
use preflight::{Downloads, StageRuns, preflight};
use stages::Stage;
use std::path::PathBuf;

/// How an experiment ended.
#[derive(Debug)]
pub enum Outcome {
    /// All stages are finished. If the experiment evaluates nothing, the report is a page.
    Finished { report: Option<ReportPaths>, pictures: Vec<PathBuf> },
    /// Interrupted by the user; the same command resumes.
    Interrupted,
}

/// Runs every stage of a resolved experiment for every seed, then writes `out/NAME/report/`. A stage whose inputs hash
/// to a finished run is not run again.
///
/// # Errors
/// All problems that can be detected before the first step; later, unreadable data, a run directory that is in use or
/// not writable, a non-finite loss, and results that do not meet `expected` (after the report is written).
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<Outcome> {
    let (mut done, mut pictures, mut short) = (vec![], vec![], vec![]);
    let seeds = preflight(experiment, options, Downloads::Made)?;
    for stage in seeds.iter().take(1).flatten() {
        stage.notes().iter().for_each(|note| tracing::warn!("stage `{}`: {note}", stage.name));
    }
    for StageRuns { name, fits, .. } in seeds.into_iter().flatten() {
        for planned in fits {
            if !planned.run()? {
                return Ok(Outcome::Interrupted);
            }
            pictures.extend(planned.picture());
            short.extend(expected::shortfalls(experiment, &name, &planned.fit)?);
            let dataset = planned.fit.dataset();
            let StageRun { place, experiment, plan, .. } = planned.fit;
            let (dir, stage) = (place.dir, name.clone());
            let (row, column) = (plan.row.name, plan.row.column);
            done.push(ReportedRun { dir, experiment, stage, row, column, dataset });
        }
    }
    let out = options.out.join(&*experiment.name).join("report");
    let reports = |stage: &Stage| !stage.trains_backbone() || stage.kind().monitor().is_some();
    let reported = experiment.stages.iter().any(|(_, stage)| reports(stage));
    let mut report = reported.then(|| report::write_report_of(&done, &out)).transpose()?;
    match report::write_page_of(&done, &out) {
        Ok(page) => report.get_or_insert_default().page = Some(page),
        Err(error) => tracing::warn!("the results are complete, but there is no page of them: {error:#}"),
    }
    ensure!(short.is_empty(), "the results do not meet `expected` in the spec:\n  {}", short.join("\n  "));
    Ok(Outcome::Finished { report, pictures })
}
