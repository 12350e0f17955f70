//! The runs that an experiment asks for now, for telling them from those of earlier specs.

use super::{
    preflight::{Downloads, RunOptions, preflight},
    spec::Experiment,
};
use anyhow::Result;
use std::path::PathBuf;

/// The runs that an experiment asks for.
#[derive(Clone, Debug, Default)]
pub struct CurrentRuns {
    /// Name of the experiment.
    pub experiment: String,
    /// `spec.yaml` of each fit, as it is or would be written.
    pub specs: Vec<String>,
    /// Run directories that fits have, would have, or would continue from.
    pub used: Vec<PathBuf>,
}

/// Plans all fits as [`super::run`] does, and runs none.
///
/// # Errors
/// Those that stop [`super::run`] before its first step.
pub fn current_runs(experiment: &Experiment, options: &RunOptions) -> Result<CurrentRuns> {
    let mut current = CurrentRuns { experiment: experiment.name.to_string(), ..CurrentRuns::default() };
    let planned = preflight(experiment, options, Downloads::Made)?;
    for planned in planned.into_iter().flatten().flat_map(|stage| stage.fits) {
        current.specs.push(planned.fit.spec);
        current.used.push(planned.fit.place.dir);
        current.used.extend(planned.fit.place.extends.map(|(shorter, _)| shorter));
    }
    Ok(current)
}
