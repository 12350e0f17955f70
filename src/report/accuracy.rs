//! Accuracy tables by backbone and layer, averaged over seeds, as CSV, Markdown and aligned text.

use super::{
    published::{Benchmark, PublishedBlock},
    results::{LayerResult, ProbeResult},
    table::{TextTable, cell_text, csv_cells, csv_names, spread},
};
use crate::metrics::accuracy::MeanStd;
use anyhow::{Result, bail};
use std::path::Path;

/// Metric of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Top1,
    Top5,
}

impl Measure {
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top-1",
            Self::Top5 => "top-5",
        }
    }

    fn of(self, layer: &LayerResult) -> Option<f64> {
        match self {
            Self::Top1 => Some(layer.top1),
            Self::Top5 => layer.top5,
        }
    }
}

/// Results on one data set with one protocol: a row per backbone, a column per layer, in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyTable {
    pub dataset: String,
    pub protocol: String,
    pub measure: Measure,
    pub layers: Vec<String>,
    pub rows: Vec<AccuracyRow>,
    /// All seeds of the results, ascending.
    pub seeds: Vec<u64>,
    /// Published results for these layers, where asked for.
    published: Option<PublishedBlock>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyRow {
    pub experiment: String,
    pub backbone: String,
    /// One per layer of the table; None without a result.
    pub cells: Vec<Option<MeanStd>>,
}

/// One table per data set and protocol, with rows and columns in order of first appearance, without published results.
/// Errors: two results for the same cell and seed.
pub fn tables(results: &[ProbeResult], measure: Measure) -> Result<Vec<AccuracyTable>> {
    refuse_duplicates(results)?;
    let mut groups: Vec<Vec<&ProbeResult>> = Vec::new();
    for result in results {
        let same = |r: &ProbeResult| r.dataset == result.dataset && r.protocol == result.protocol;
        match groups.iter_mut().find(|group| same(group[0])) {
            Some(group) => group.push(result),
            None => groups.push(vec![result]),
        }
    }
    Ok(groups.iter().map(|group| AccuracyTable::of(group, measure)).collect())
}

/// As [`tables`], with published results below if `published`.
///
/// # Errors
/// As [`tables`] and [`AccuracyTable::with_published`].
pub(super) fn tables_with(
    results: &[ProbeResult],
    measure: Measure,
    published: bool,
) -> Result<Vec<AccuracyTable>> {
    let tables = tables(results, measure)?.into_iter();
    tables.map(|table| if published { table.with_published() } else { Ok(table) }).collect()
}

/// One layer of one backbone in one result.
struct LayerEntry<'a> {
    result: &'a ProbeResult,
    backbone: &'a str,
    layer: &'a LayerResult,
}

fn entries<'a>(results: impl IntoIterator<Item = &'a ProbeResult>) -> impl Iterator<Item = LayerEntry<'a>> {
    results.into_iter().flat_map(|result| {
        result.rows.iter().flat_map(move |row| {
            row.layers.iter().map(move |layer| LayerEntry { result, backbone: &row.backbone, layer })
        })
    })
}

/// Counting a seed twice would understate the spread over seeds.
fn refuse_duplicates(results: &[ProbeResult]) -> Result<()> {
    let mut seen = std::collections::HashMap::<_, &Path>::new();
    for LayerEntry { result, backbone, layer } in entries(results) {
        let place = (&result.dataset, &result.protocol, &result.experiment, backbone, &layer.layer);
        if let Some(first) = seen.insert((place, result.seed), &result.from) {
            bail!(
                "two results for {backbone} {} of experiment {}, seed {}: in {} and in {}; report on one of them",
                layer.layer,
                result.experiment,
                result.seed,
                first.display(),
                result.from.display()
            );
        }
    }
    Ok(())
}

impl AccuracyTable {
    /// `group` must not be empty.
    fn of(group: &[&ProbeResult], measure: Measure) -> Self {
        let (mut layers, mut keys) = (Vec::new(), Vec::new());
        for result in group {
            for row in &result.rows {
                let key = (result.experiment.as_str(), row.backbone.as_str());
                if !keys.contains(&key) {
                    keys.push(key);
                }
                merge_in_order(&mut layers, row.layers.iter().map(|l| l.layer.as_str()));
            }
        }
        let mut seeds: Vec<u64> = group.iter().map(|result| result.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let cells = |key: (&str, &str)| layers.iter().map(|l| cell(group, measure, key, l)).collect();
        let row = |key: &(&str, &str)| AccuracyRow {
            experiment: key.0.into(),
            backbone: key.1.into(),
            cells: cells(*key),
        };
        Self {
            dataset: group[0].dataset.clone(),
            protocol: group[0].protocol.clone(),
            measure,
            rows: keys.iter().map(row).collect(),
            layers: layers.iter().map(|l| l.to_string()).collect(),
            seeds,
            published: None,
        }
    }

    /// With published results for its layers below, if there are some for its data set and measure.
    ///
    /// # Errors
    /// An invalid compiled-in file of published results.
    pub fn with_published(self) -> Result<Self> {
        Ok(Self { published: published(&self.dataset, self.measure, &self.layers)?, ..self })
    }

    /// Published rows: method, values in percent by layer, footnote.
    pub(super) fn published_rows(&self) -> &[(String, Vec<Option<f64>>, usize)] {
        self.published.as_ref().map_or(&[], |block| &block.figures)
    }

    /// One-line title of the table.
    pub fn header(&self) -> String {
        format!(
            "Linear probe on {} (protocol {}): {} accuracy in %, {}",
            self.dataset,
            self.protocol,
            self.measure.name(),
            self.spread()
        )
    }

    /// `mean ± std over 3 seeds (0, 1, 2)`.
    pub fn spread(&self) -> String {
        spread(&self.seeds)
    }

    /// Label of a row: the backbone, prefixed by its experiment if the table has several.
    pub fn label(&self, row: &AccuracyRow) -> String {
        if self.rows.iter().all(|other| other.experiment == row.experiment) {
            return row.backbone.clone();
        }
        format!("{}: {}", row.experiment, row.backbone)
    }

    /// The table as text, with published results below. Cells with fewer seeds than the table are marked.
    pub(super) fn table(&self) -> TextTable {
        let cells = |row: &AccuracyRow| {
            row.cells.iter().map(|cell| cell_text(cell.as_ref(), self.seeds.len())).collect()
        };
        let row = |row: &AccuracyRow| [vec![self.label(row)], cells(row)].concat();
        let columns = std::iter::once("backbone").chain(self.layers.iter().map(String::as_str));
        let table = TextTable::new(columns, self.rows.iter().map(row));
        let notes = self.published.as_ref().map_or(String::new(), |block| format!("\n{}", block.notes()));
        let groups = self.published.iter().map(PublishedBlock::rows).collect();
        TextTable { title: self.header(), groups, notes, ..table }
    }

    /// Aligned columns for a terminal.
    pub fn text(&self) -> String {
        self.table().text()
    }

    /// Markdown.
    pub fn markdown(&self) -> String {
        self.table().markdown()
    }
}

/// Published linear-probe results on a data set; None if there are none.
fn published(dataset: &str, measure: Measure, layers: &[String]) -> Result<Option<PublishedBlock>> {
    let benchmark = match (dataset, measure) {
        ("imagenet", Measure::Top1) => Benchmark::ImagenetLinear,
        ("places205", Measure::Top1) => Benchmark::PlacesLinear,
        _ => return Ok(None),
    };
    PublishedBlock::of(benchmark, &layers.iter().map(|layer| Some(layer.as_str())).collect::<Vec<_>>())
}

fn cell(group: &[&ProbeResult], measure: Measure, key: (&str, &str), layer: &str) -> Option<MeanStd> {
    let here = |e: &LayerEntry| (e.result.experiment.as_str(), e.backbone) == key && e.layer.layer == layer;
    let values = entries(group.iter().copied()).filter(here).filter_map(|e| measure.of(e.layer));
    MeanStd::of(&values.collect::<Vec<_>>()).map(MeanStd::percent)
}

/// Inserts the new entries of `more` after their predecessors, so that conv1 … conv5 stay in order even if the first
/// backbone lacks some.
fn merge_in_order<'a>(all: &mut Vec<&'a str>, more: impl Iterator<Item = &'a str>) {
    let mut place = 0;
    for name in more {
        match all.iter().position(|known| *known == name) {
            Some(known) => place = known + 1,
            None => {
                all.insert(place, name);
                place += 1;
            }
        }
    }
}

/// All tables as one CSV sheet: accuracy in percent, with mean, sample standard deviation and number of seeds per
/// layer; empty if unknown.
pub fn csv(tables: &[AccuracyTable]) -> String {
    let mut layers = Vec::new();
    tables.iter().for_each(|table| merge_in_order(&mut layers, table.layers.iter().map(String::as_str)));
    let about = ["dataset", "protocol", "experiment", "measure", "backbone"].map(String::from);
    let columns = about.into_iter().chain(layers.iter().flat_map(|layer| csv_names(layer)));
    let rows = tables.iter().flat_map(|table| table.rows.iter().map(|row| sheet_row(table, row, &layers)));
    TextTable::new(columns, rows).csv()
}

fn sheet_row(table: &AccuracyTable, row: &AccuracyRow, layers: &[&str]) -> Vec<String> {
    let measure = format!("{} %", table.measure.name());
    let about =
        [&table.dataset, &table.protocol, &row.experiment, &measure, &row.backbone].map(String::clone);
    let figures = layers.iter().flat_map(|layer| {
        let column = table.layers.iter().position(|l| l == layer);
        csv_cells(column.and_then(|column| row.cells[column]).as_ref())
    });
    about.into_iter().chain(figures).collect()
}
