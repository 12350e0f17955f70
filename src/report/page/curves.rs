//! Learning curves: the training loss, the metrics of validations and the measures of monitors by step, a chart for each.

use super::{
    chart::{Across, Chart, Point, Series, legend},
    history::{History, Split, Thinned},
    run::RunRecord,
    table::table,
};
use crate::{
    metrics::accuracy::MeanStd,
    report::{
        monitor::{column, scaled},
        table::TextTable,
    },
    text::counted,
};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Most charts of a page.
const CHARTS: usize = 200;
/// Bytes for all lines of a page, and of one point of a line.
const LINES: usize = 1_400_000;
const POINT: usize = 12;
/// Most entries of a legend.
const ENTRIES: usize = 24;
/// Most metrics in the table of the last values.
const METRICS: usize = 24;

/// The runs of one stage.
struct StageCurves<'a> {
    experiment: &'a str,
    stage: &'a str,
    runs: Vec<(&'a RunRecord, &'a History)>,
}

/// Images of one update of a run; None if its spec does not say.
fn images_per_step(run: &RunRecord) -> Option<u64> {
    let (_, section) = run.spec.as_ref()?["work"].as_mapping()?.iter().next()?;
    let train = &section["train"];
    Some(train["batch"].as_u64()? * train["iter_size"].as_u64().unwrap_or(1))
}

/// One chart to be: its name, and the values of each run with the number of their look.
struct Panel<'a> {
    split: Split,
    measure: &'a str,
    lines: Vec<(usize, &'a Thinned)>,
}

/// The curves of all runs with a log; None without any.
pub(super) fn curves(runs: &[RunRecord], histories: &[History]) -> Option<Markup> {
    let stages = stages(runs, histories);
    let lines: usize = histories.iter().map(|history| history.series.len()).sum();
    let buckets = (LINES / POINT / 2 / lines.max(1)).clamp(4, 180);
    let (mut left, mut drawn, mut omitted) = (CHARTS, vec![], 0);
    for stage in &stages {
        let (looks, mut panels) = stage.panels();
        omitted += panels.len().saturating_sub(left);
        panels.truncate(left);
        left -= panels.len();
        let last = stage.last_values();
        if panels.is_empty() && last.is_none() {
            continue;
        }
        drawn.push(stage.markup(&looks, &panels, buckets, last.as_ref()));
    }
    (!drawn.is_empty()).then(|| html! {
        p.about {
            "A line for each run; the seeds of a run look the same. Where a log holds more steps than a chart can show, the \
             lowest and the highest value of each interval are drawn."
        }
        @for stage in drawn { (stage) }
        @if omitted > 0 { p { (counted(omitted, "more chart")) " not drawn: report on fewer runs to see all." } }
    })
}

/// Runs with a log by experiment and stage, in order of first appearance.
fn stages<'a>(runs: &'a [RunRecord], histories: &'a [History]) -> Vec<StageCurves<'a>> {
    let mut stages: Vec<StageCurves> = vec![];
    for (run, history) in runs.iter().zip(histories).filter(|(_, history)| !history.series.is_empty()) {
        let (experiment, stage) = (run.experiment.as_str(), run.stage.as_str());
        match stages.iter_mut().find(|known| known.experiment == experiment && known.stage == stage) {
            Some(known) => known.runs.push((run, history)),
            None => stages.push(StageCurves { experiment, stage, runs: vec![(run, history)] }),
        }
    }
    stages
}

impl<'a> StageCurves<'a> {
    /// Images of an update, ascending; empty if that is the same in all runs.
    fn batches(&self) -> Vec<u64> {
        let all: BTreeSet<u64> = self.runs.iter().filter_map(|(run, _)| images_per_step(run)).collect();
        if all.len() > 1 { all.into_iter().collect() } else { vec![] }
    }

    /// The horizontal axis: steps and, where their batches differ, how many images they are.
    fn axis(&self) -> String {
        let batches: Vec<String> = self.batches().iter().map(u64::to_string).collect();
        match batches.as_slice() {
            [] => "step".into(),
            [first, .., last] if batches.len() > 3 => format!("step (× {first} to {last} = images seen)"),
            all => format!("step (× {} = images seen)", all.join(" or ")),
        }
    }

    /// The names of all looks, and the charts in the order of splits and names.
    fn panels(&self) -> (Vec<String>, Vec<Panel<'a>>) {
        let (mut looks, mut panels): (Vec<String>, Vec<Panel>) = (vec![], vec![]);
        let differs = !self.batches().is_empty();
        for (run, history) in &self.runs {
            let batch = images_per_step(run).filter(|_| differs);
            let batch = batch.map_or(String::new(), |images| format!("{images} images a step"));
            for ((split, name), values) in &history.series {
                // `conv1/knn`: a measure of a layer.
                let (layer, measure) = name.rsplit_once('/').unwrap_or(("", name));
                let name = [run.row.as_str(), layer].join(" ").trim().to_string();
                let parts = [name, batch.clone()].into_iter().filter(|part| !part.is_empty());
                let label = parts.collect::<Vec<_>>().join(", ");
                let look = looks.iter().position(|known| *known == label).unwrap_or_else(|| {
                    looks.push(label);
                    looks.len() - 1
                });
                let same = |panel: &&mut Panel| panel.split == *split && panel.measure == measure;
                match panels.iter_mut().find(same) {
                    Some(panel) => panel.lines.push((look, values)),
                    None => panels.push(Panel { split: *split, measure, lines: vec![(look, values)] }),
                }
            }
        }
        // A single value is in the table.
        panels.retain(|panel| panel.lines.iter().any(|(_, values)| values.is_curve()));
        panels.sort_by_key(|panel| panel.split);
        (looks, panels)
    }

    fn markup(&self, looks: &[String], panels: &[Panel], buckets: usize, last: Option<&TextTable>) -> Markup {
        let seeds = self.runs.iter().filter_map(|(run, _)| run.seed);
        let seeds = counted(seeds.collect::<BTreeSet<_>>().len().max(1), "seed");
        let named = || looks.iter().enumerate().filter(|(_, label)| !label.is_empty());
        html! {
            h3 {
                @if !self.experiment.is_empty() { (self.experiment) ": " }
                (self.stage)
                span.about { " (" (counted(self.runs.len(), "run")) ", " (seeds) ")" }
            }
            div.charts { @for panel in panels { (panel.chart(looks, buckets, self.axis()).svg()) } }
            (legend(named().take(ENTRIES).map(|(look, label)| (look, label.clone()))))
            @if named().count() > ENTRIES { p.about { "and " (named().count() - ENTRIES) " more" } }
            @if let Some(last) = last { (table(last)) }
        }
    }

    /// The metrics of finished runs, over seeds.
    fn last_values(&self) -> Option<TextTable> {
        let finished = || self.runs.iter().map(|(run, _)| *run).filter(|run| run.is_finished());
        let metrics = |run: &'a RunRecord| run.facts.iter().flat_map(|facts| &facts.metrics);
        let (mut names, mut rows): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
        for run in finished() {
            rows.push(&run.row);
            names.extend(metrics(run).map(|metric| metric.name.as_str()));
        }
        let is_one_each = distinct(rows.clone()).len() == rows.len();
        let [names, rows] = [names, rows].map(distinct);
        let cell = |row: &str, name: &str| {
            let of_row = finished().filter(|run| run.row == row).flat_map(metrics);
            let values: Vec<f64> =
                of_row.filter(|metric| metric.name == name).filter_map(|metric| metric.value).collect();
            MeanStd::of(&values).map_or("–".into(), |value| format!("{value:.4}"))
        };
        let shown = &names[..names.len().min(METRICS)];
        let row = |row: &&str| {
            let label = if row.is_empty() { self.stage } else { row };
            std::iter::once(label.to_string()).chain(shown.iter().map(|name| cell(row, name))).collect()
        };
        let omitted = names.len() - shown.len();
        let more =
            if omitted > 0 { format!("; {} left out", counted(omitted, "metric")) } else { String::new() };
        let mean = if is_one_each { "" } else { ", mean ± std over seeds" };
        let title = format!("{}: metrics of finished runs{mean}{more}", self.stage);
        let columns = std::iter::once("run").chain(shown.iter().copied());
        (!shown.is_empty()).then(|| TextTable { title, ..TextTable::new(columns, rows.iter().map(row)) })
    }
}

/// Each once, in order of first appearance.
fn distinct(names: Vec<&str>) -> Vec<&str> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().filter(|name| seen.insert(*name)).collect()
}

impl Panel<'_> {
    fn chart(&self, looks: &[String], buckets: usize, axis: String) -> Chart {
        let title = match self.split {
            Split::Train => "training loss".to_string(),
            Split::Val => format!("validation {}", self.measure),
            Split::Monitor => format!("monitor: {}", column(self.measure)),
        };
        let unit = |value| if self.split == Split::Monitor { scaled(self.measure, value) } else { value };
        let series = |(look, values): &(usize, &Thinned)| Series {
            label: looks[*look].clone(),
            look: *look,
            joined: true,
            points: values
                .coarsened(buckets)
                .points()
                .into_iter()
                .map(|(x, y)| Point { x, y: unit(y), spread: None })
                .collect(),
        };
        let series = self.lines.iter().map(series).collect();
        Chart { title, across: Across::Numbers(axis), series, marks: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(train: &str) -> RunRecord {
        let spec = format!("work: {{ pretext: {{ train: {train} }} }}");
        RunRecord { spec: serde_yaml::from_str(&spec).ok(), ..RunRecord::named("e") }
    }

    #[test]
    fn images_are_told_where_batches_differ() {
        let mut history = History::default();
        let mut loss = Thinned::default();
        [(1, 2.0), (9, 1.0)].into_iter().for_each(|(step, value)| loss.add(step, value));
        history.series.insert((Split::Train, "loss".into()), loss);
        let page = |runs: &[RunRecord]| {
            curves(runs, &vec![history.clone(); runs.len()]).map(Markup::into_string).unwrap_or_default()
        };
        let same = page(&[run("{ batch: 8 }"), run("{ batch: 4, iter_size: 2 }")]);
        assert!(same.contains(">step<") && !same.contains("images"), "{same}");
        let two = page(&[run("{ batch: 8 }"), run("{ batch: 16 }")]);
        assert!(two.contains(">step (× 8 or 16 = images seen)<"), "{two}");
        assert!(two.contains("8 images a step") && two.contains("16 images a step"), "{two}");
        let batches = [1, 2, 3, 4].map(|batch| run(&format!("{{ batch: {batch} }}")));
        assert!(page(&batches).contains(">step (× 1 to 4 = images seen)<"));
    }
}
