//! The runs that an experiment asks for now, for telling them from those of earlier specs.

use super::{
    load::SweepPoint,
    preflight::{Downloads, RunOptions, preflight},
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

/// Plans all fits of an experiment, or of all points of its sweep, as [`super::run`] does, and runs none.
///
/// # Errors
/// Those that stop [`super::run`] before its first step.
pub fn current_runs(points: &[SweepPoint], options: &RunOptions) -> Result<CurrentRuns> {
    let name = points.first().map(|point| point.experiment.name.to_string());
    let mut current = CurrentRuns { experiment: name.unwrap_or_default(), ..CurrentRuns::default() };
    let planned = preflight(points, options, Downloads::Made)?;
    let stages = planned.into_iter().flat_map(|point| point.seeds).flatten();
    for planned in stages.flat_map(|stage| stage.fits) {
        current.specs.push(planned.fit.spec);
        current.used.push(planned.fit.place.dir);
        current.used.extend(planned.fit.place.extends.map(|(shorter, _)| shorter));
    }
    Ok(current)
}
