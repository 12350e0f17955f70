//! Measurements of representations during training: a table of the last ones, all of them as CSV, and curves.

use super::{
    curves::{CurvePanel, LayerCurve, StageCurves},
    kind::ResultKind,
    table::{TextTable, cell_text, spread},
};
use crate::{evaluation::monitor::MEASURES, metrics::accuracy::MeanStd};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Measures that are shares, written in percent: nearest neighbors and the probe.
pub(super) const SHARES: [&str; 2] = [MEASURES[0], MEASURES[1]];

/// Measurements of one stage with one seed: the `results.json` of its run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorResult {
    /// [`ResultKind::Monitor`].
    pub kind: ResultKind,
    pub experiment: String,
    pub stage: String,
    pub seed: u64,
    /// Pictures that were measured on.
    pub dataset: String,
    /// In the order of the steps.
    pub steps: Vec<MonitoredStep>,
    /// Time of all measurements as a share of that of the updates.
    pub share: f64,
    /// Number of measurements left out for lack of time.
    pub left_out: usize,
    /// Directory of the results file.
    #[serde(skip)]
    pub from: PathBuf,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitoredStep {
    /// Number of updates before it.
    pub step: usize,
    pub layers: Vec<MonitoredLayer>,
}

/// The measures of one layer by name; None where there is no number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitoredLayer {
    pub layer: String,
    pub values: BTreeMap<String, Option<f64>>,
}

impl MonitorResult {
    /// Measurements from values named `LAYER/MEASURE`.
    pub fn steps(measurements: &[(usize, BTreeMap<String, Option<f64>>)]) -> Vec<MonitoredStep> {
        let of_layers = |values: &BTreeMap<String, Option<f64>>| {
            let mut layers = BTreeMap::<String, BTreeMap<String, Option<f64>>>::new();
            for (name, value) in values {
                if let Some((layer, measure)) = name.rsplit_once('/') {
                    layers.entry(layer.into()).or_default().insert(measure.into(), *value);
                }
            }
            layers.into_iter().map(|(layer, values)| MonitoredLayer { layer, values }).collect()
        };
        measurements
            .iter()
            .map(|(step, values)| MonitoredStep { step: *step, layers: of_layers(values) })
            .collect()
    }

    /// The last value of a measure.
    pub(super) fn last(&self, layer: &str, measure: &str) -> Option<f64> {
        let layer = self.steps.last()?.layers.iter().find(|found| found.layer == layer)?;
        layer.values.get(measure).copied().flatten()
    }

    /// Values of a measure by step.
    fn curve(&self, layer: &str, measure: &str) -> Vec<(f64, f64)> {
        let value = |step: &MonitoredStep| {
            let layer = step.layers.iter().find(|found| found.layer == layer)?;
            Some((step.step as f64, scaled(measure, layer.values.get(measure).copied().flatten()?)))
        };
        self.steps.iter().filter_map(value).collect()
    }

    fn layers(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| &step.layers).map(|layer| layer.layer.as_str())
    }
}

/// A value in the unit of its title.
pub(super) fn scaled(measure: &str, value: f64) -> f64 {
    if SHARES.contains(&measure) { 100.0 * value } else { value }
}

/// The seeds of one stage.
pub struct MonitoredStage<'a> {
    results: Vec<&'a MonitorResult>,
    layers: Vec<String>,
    measures: Vec<&'static str>,
}

/// Results by stage, in order of first appearance.
///
/// # Errors
/// Two results for the same stage and seed, which would be averaged as two seeds.
pub fn stages(results: &[MonitorResult]) -> Result<Vec<MonitoredStage<'_>>> {
    let mut groups: Vec<Vec<&MonitorResult>> = vec![];
    for result in results {
        let same = |r: &MonitorResult| r.experiment == result.experiment && r.stage == result.stage;
        let Some(group) = groups.iter_mut().find(|group| same(group[0])) else {
            groups.push(vec![result]);
            continue;
        };
        if let Some(first) = group.iter().find(|first| first.seed == result.seed) {
            bail!(
                "two results for the monitor of {} of experiment {}, seed {}: in {} and in {}; report on one of them",
                result.stage,
                result.experiment,
                result.seed,
                first.from.display(),
                result.from.display()
            );
        }
        group.push(result);
    }
    Ok(groups.into_iter().map(MonitoredStage::of).collect())
}

impl<'a> MonitoredStage<'a> {
    fn of(results: Vec<&'a MonitorResult>) -> Self {
        let mut layers: Vec<String> = results.iter().flat_map(|r| r.layers()).map(String::from).collect();
        layers.sort();
        layers.dedup();
        let has = |measure: &&str| {
            let steps = results.iter().flat_map(|result| &result.steps);
            steps.flat_map(|step| &step.layers).any(|layer| layer.values.contains_key(*measure))
        };
        let measures = MEASURES.into_iter().filter(has).collect();
        Self { results, layers, measures }
    }

    fn title(&self) -> String {
        format!("Monitor of {}", self.results[0].stage)
    }

    /// Data, seeds and cost.
    fn about(&self) -> String {
        let mut seeds: Vec<u64> = self.results.iter().map(|result| result.seed).collect();
        seeds.sort_unstable();
        let share = self.results.iter().map(|result| result.share).fold(0.0, f64::max);
        let left_out: usize = self.results.iter().map(|result| result.left_out).sum();
        let left_out = if left_out == 0 { String::new() } else { format!(", {left_out} left out") };
        format!(
            "{}, {}; measured in {:.1} % of the time of the steps{left_out}",
            self.results[0].dataset,
            spread(&seeds),
            100.0 * share
        )
    }

    /// The last measurements, averaged over the seeds.
    pub(super) fn table(&self) -> TextTable {
        let last = self.results.iter().filter_map(|result| result.steps.last()).map(|step| step.step).max();
        let cell = |layer: &str, measure: &str| {
            let values = self.results.iter().filter_map(|result| result.last(layer, measure));
            let values: Vec<f64> = values.map(|value| scaled(measure, value)).collect();
            let found = MeanStd::of(&values);
            match (found, SHARES.contains(&measure)) {
                (Some(found), false) => match found.std {
                    Some(std) => format!("{:.3} ± {std:.3}", found.mean),
                    None => format!("{:.3}", found.mean),
                },
                (found, _) => cell_text(found.as_ref(), self.results.len()),
            }
        };
        let row = |layer: &String| {
            let cells = self.measures.iter().map(|measure| cell(layer, measure));
            std::iter::once(layer.clone()).chain(cells).collect()
        };
        let columns =
            std::iter::once("layer".to_string()).chain(self.measures.iter().map(|m| column(m).into()));
        let title = format!("{} after step {}: {}", self.title(), last.unwrap_or_default(), self.about());
        TextTable { title, ..TextTable::new(columns, self.layers.iter().map(row)) }
    }

    fn curves(&self) -> StageCurves {
        let panel = |measure: &&'static str| {
            let curve = |(index, layer): (usize, &String)| {
                let of_seed = move |result: &&MonitorResult| LayerCurve {
                    layer: index,
                    points: result.curve(layer, measure),
                };
                self.results.iter().map(of_seed).collect::<Vec<_>>()
            };
            let curves = self.layers.iter().enumerate().flat_map(curve).collect();
            CurvePanel { title: column(measure).into(), curves }
        };
        StageCurves {
            title: self.title(),
            under: self.about(),
            layers: self.layers.clone(),
            panels: self.measures.iter().map(panel).collect(),
        }
    }
}

/// Title of a measure.
pub(super) fn column(measure: &str) -> &str {
    match measure {
        "knn" => "kNN top-1 (%)",
        "probe" => "probe top-1 (%)",
        "rankme" => "RankMe",
        "std" => "spread (std)",
        other => other,
    }
}

/// Curves of all stages.
pub(super) fn curves(stages: &[MonitoredStage]) -> Vec<StageCurves> {
    stages.iter().map(MonitoredStage::curves).collect()
}

/// Every value: a line for each layer of a measurement; empty where there is no number.
pub fn csv(results: &[MonitorResult]) -> String {
    let about = ["experiment", "stage", "dataset", "seed", "step", "layer"];
    let lines = results.iter().flat_map(|result| {
        result.steps.iter().flat_map(move |step| {
            step.layers.iter().map(move |layer| {
                let value = |measure: &&str| layer.values.get(*measure).copied().flatten();
                let values =
                    MEASURES.iter().map(|m| value(m).map_or(String::new(), |value| value.to_string()));
                let about = [result.experiment.clone(), result.stage.clone(), result.dataset.clone()];
                let place = [result.seed.to_string(), step.step.to_string(), layer.layer.clone()];
                about.into_iter().chain(place).chain(values).collect()
            })
        })
    });
    TextTable::new(about.into_iter().chain(MEASURES), lines).csv()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(dir: &str, seed: u64, values: &[(usize, &[(&str, f64)])]) -> MonitorResult {
        let measured: Vec<_> = values
            .iter()
            .map(|(step, values)| {
                let named = |(name, value): &(&str, f64)| (name.to_string(), Some(*value));
                (*step, values.iter().map(named).collect())
            })
            .collect();
        MonitorResult {
            kind: ResultKind::Monitor,
            experiment: "e".into(),
            stage: "rotation".into(),
            seed,
            dataset: "scenes".into(),
            steps: MonitorResult::steps(&measured),
            share: 0.04,
            left_out: 2,
            from: format!("runs/e/{dir}").into(),
        }
    }

    #[test]
    fn the_table_holds_the_last_values_over_seeds() {
        let values = |knn, rank| vec![("conv1/knn", knn), ("conv1/rankme", rank)];
        let (zero, one) = (values(0.2, 3.0), values(0.4, 5.0));
        let results = [monitor("a", 0, &[(0, &one), (9, &zero)]), monitor("b", 1, &[(9, &one)])];
        let twice = stages(&[&results[..], &results[..1]].concat()).err().unwrap().to_string();
        assert!(twice.contains("seed 0: in runs/e/a and in runs/e/a"), "{twice}");
        let stages = stages(&results).unwrap();
        let text = stages[0].table().text();
        assert!(
            text.starts_with("Monitor of rotation after step 9: scenes, mean ± std over 2 seeds (0, 1)"),
            "{text}"
        );
        assert!(
            text.contains("4 left out") && text.contains("30.0 ± 14.1") && text.contains("4.000 ± 1.414"),
            "{text}"
        );
        assert!(!text.contains("uniformity"), "what was not measured has no column: {text}");
        let csv = csv(&results);
        assert!(csv.starts_with("experiment,stage,dataset,seed,step,layer,knn,probe,rankme,"), "{csv}");
        assert!(csv.contains("\ne,rotation,scenes,1,9,conv1,0.4,,5,,,\n"), "{csv}");
    }
}
