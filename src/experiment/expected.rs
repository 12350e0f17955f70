//! Results against what a spec expects of them: the easy worlds of the tiny experiments must be learned.

use super::job::Job;
use crate::{spec::Experiment, train::manifest::Manifest};
use anyhow::{Context, Result};

/// What a finished job of the stage `name` fell short of, in words. Nothing is expected of a training that diverged but
/// that it should not have.
///
/// # Errors
/// A manifest that cannot be read, a metric that the stage does not have.
pub(super) fn shortfalls(experiment: &Experiment, name: &str, job: &Job) -> Result<Vec<String>> {
    let Some(wanted) = experiment.expected.get(name) else { return Ok(vec![]) };
    let manifest = Manifest::read(&job.dir)?
        .with_context(|| format!("{} has no manifest.json: run the stage again", job.dir.display()))?;
    let mut short: Vec<_> =
        manifest.diverged.iter().map(|what| format!("{}: it has diverged: {what}", job.label)).collect();
    for (metric, least) in wanted.iter() {
        let reached = manifest.metrics.iter().find(|m| m.name == metric).with_context(|| {
            let names: Vec<&str> = manifest.metrics.iter().map(|m| m.name.as_str()).collect();
            format!("`expected`: stage `{name}` has no metric `{metric}`; it has {}", names.join(", "))
        })?;
        let value = reached.value.unwrap_or(f64::NAN);
        if value < *least || value.is_nan() {
            short.push(format!("{}: {metric} {value:.4} is below {least}", job.label));
        }
    }
    Ok(short)
}
