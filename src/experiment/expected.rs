//! Checks results against the spec's `expected` bounds; the tiny experiments use them as smoke tests.

use super::{diagnostics::StageFault, fit::StageRun, plan::StagePlan, spec::Experiment};
use crate::{
    data::source::Split,
    spec::{Diagnostic, On},
    train::{
        manifest::{Manifest, RecordedMetric},
        task::Better,
    },
};
use anyhow::{Context, Result, anyhow};

/// Expected metrics of the stage `name` that its plan does not report, whatever the classes of the data.
pub(super) fn unforeseen(experiment: &Experiment, name: &str, plan: &StagePlan) -> Vec<StageFault> {
    let names = plan.metrics.names_for(&["CLASS".into()]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of_class = |metric: &str| plan.metrics.each_class && metric.starts_with("ap_");
    let wanted = experiment.expected.get(name).into_iter().flat_map(|wanted| wanted.keys());
    let strange = wanted.map(String::as_str).filter(|metric| !names.contains(metric) && !of_class(metric));
    let fault = |metric: &str| {
        StageFault::new(
            name,
            &["expected", name, metric],
            On::Key,
            Diagnostic::unknown("metric", metric, &names),
        )
    };
    strange.map(fault).collect()
}

/// Expected metrics of the stage `name` that its fit does not report.
pub(super) fn unknown_metrics(experiment: &Experiment, name: &str, fit: &StageRun) -> Vec<anyhow::Error> {
    let names = fit.plan.metrics.names_for(fit.sets.split(Split::Train).classes());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = experiment.expected.get(name).into_iter().flat_map(|wanted| wanted.keys());
    let strange = wanted.filter(|metric| !names.contains(&metric.as_str()));
    let fault = |metric: &String| {
        let Diagnostic { message, note, .. } = Diagnostic::unknown("metric", metric, &names);
        let note = if note.is_empty() { note } else { format!("; {note}") };
        anyhow!("`expected`: {message}{note}")
    };
    strange.map(fault).collect()
}

/// Expectations that a finished fit of the stage `name` does not meet, as text. For a diverged training only the
/// divergence counts.
///
/// # Errors
/// An unreadable manifest; a metric without a value.
pub(super) fn shortfalls(experiment: &Experiment, name: &str, fit: &StageRun) -> Result<Vec<String>> {
    let Some(wanted) = experiment.expected.get(name) else { return Ok(vec![]) };
    let manifest = Manifest::read(&fit.place.dir)?
        .with_context(|| format!("{} has no manifest.json: run the stage again", fit.place.dir.display()))?;
    let mut short: Vec<_> =
        manifest.diverged.iter().map(|what| format!("{}: it has diverged: {what}", fit.label)).collect();
    for (metric, bound) in wanted {
        let reached = manifest.metrics.iter().find(|m| m.name == *metric).with_context(|| {
            let names: Vec<&str> = manifest.metrics.iter().map(|m| m.name.as_str()).collect();
            format!(
                "`expected`: `{metric}` of stage `{name}` has no value here; these have: {}",
                names.join(", ")
            )
        })?;
        short.extend(violation(reached, *bound).map(|how| format!("{}: {how}", fit.label)));
    }
    Ok(short)
}

/// How a metric violates its bound: an upper bound if lower is better, else a lower bound. NaN violates any bound.
fn violation(reached: &RecordedMetric, bound: f64) -> Option<String> {
    let name = &reached.name;
    let Some(value) = reached.value.filter(|value| !value.is_nan()) else {
        return Some(format!("{name} is not a number; its bound is {bound}"));
    };
    let (side, within) = match reached.better {
        Better::Lower => ("above", value <= bound),
        Better::Higher | Better::Neither => ("below", value >= bound),
    };
    (!within).then(|| format!("{name} {value:.4} is {side} {bound}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_ceiling_where_lower_is_better() {
        let violation = |value: Option<f64>, better, bound| {
            violation(&RecordedMetric { name: "rmse".into(), value, better }, bound).unwrap_or_default()
        };
        assert_eq!(violation(Some(17.1), Better::Lower, 10.0), "rmse 17.1000 is above 10");
        assert_eq!(violation(Some(9.9), Better::Lower, 10.0), "");
        for better in [Better::Higher, Better::Neither] {
            assert_eq!(violation(Some(9.9), better, 10.0), "rmse 9.9000 is below 10");
            assert_eq!(violation(Some(17.1), better, 10.0), "");
        }
        for better in [Better::Lower, Better::Higher, Better::Neither] {
            assert_eq!(violation(Some(10.0), better, 10.0), "");
            assert_eq!(violation(None, better, 10.0), "rmse is not a number; its bound is 10");
        }
    }
}
