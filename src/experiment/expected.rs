//! Results against what a spec expects of them: the easy worlds of the tiny experiments must be learned.

use super::job::Job;
use crate::spec::Experiment;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs;

/// What is read of a finished run's manifest.
#[derive(Deserialize)]
struct Manifest {
    metrics: Vec<Reached>,
}

#[derive(Deserialize)]
struct Reached {
    name: String,
    value: Option<f64>,
}

/// What a finished job of the stage `name` fell short of, in words.
///
/// # Errors
/// A manifest that cannot be read, a metric that the stage does not have.
pub(super) fn shortfalls(experiment: &Experiment, name: &str, job: &Job) -> Result<Vec<String>> {
    let Some(wanted) = experiment.expected.get(name) else { return Ok(vec![]) };
    let path = job.dir.join("manifest.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Manifest { metrics } =
        serde_json::from_str(&text).with_context(|| format!("{} is not a manifest", path.display()))?;
    let mut short = vec![];
    for (metric, least) in wanted.iter() {
        let reached = metrics.iter().find(|m| m.name == metric).with_context(|| {
            let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
            format!("`expected`: stage `{name}` has no metric `{metric}`; it has {}", names.join(", "))
        })?;
        let value = reached.value.unwrap_or(f64::NAN);
        if value < *least || value.is_nan() {
            short.push(format!("{}: {metric} {value:.4} is below {least}", job.label));
        }
    }
    Ok(short)
}
