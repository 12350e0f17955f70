//! Transfer results in the layout of the paper's Table 2: classification with one layer, the fully connected layers or
//! all layers trained, detection, segmentation and further tasks, averaged over seeds, with published results below
//! where asked for.

use super::{
    kind::ResultKind,
    published::{Benchmark, PublishedBlock},
    table::{TextTable, cell_text, csv_cells, csv_names, spread},
};
use crate::metrics::accuracy::MeanStd;
pub use crate::transfer::InputColors;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

/// Result of one transfer stage with one seed: the `results.json` of its run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferResult {
    /// [`ResultKind::Transfer`].
    pub kind: ResultKind,
    pub experiment: String,
    pub seed: u64,
    pub dataset: String,
    /// Short description of training and evaluation.
    pub protocol: String,
    /// In the order of the spec, which the table preserves.
    pub rows: Vec<TransferRow>,
    /// Directory of the results file.
    #[serde(skip)]
    pub from: PathBuf,
}

/// One backbone on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferRow {
    pub backbone: String,
    pub task: TransferTask,
    /// Layers used or trained: `fc8`, `fc6-8`, `all`, `conv5`; empty if there is no choice.
    #[serde(default)]
    pub variant: String,
    #[serde(default)]
    pub input: InputColors,
    pub metric: TransferMetric,
    /// A share, 0 to 1.
    pub value: f64,
    /// Standard deviation of the value over the draws of one seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Value by class; None for absent classes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_class: BTreeMap<String, Option<f64>>,
}

/// Tasks in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferTask {
    Classification,
    Detection,
    Segmentation,
    Svm,
    LowShot,
    Knn,
    Nonlinear,
}

/// Metric of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TransferMetric {
    #[serde(rename = "mAP")]
    MeanAveragePrecision,
    #[serde(rename = "mean IU")]
    MeanIu,
    #[serde(rename = "top-1")]
    Top1,
}

impl TransferTask {
    /// Column title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Classification => "Class.",
            Self::Detection => "Det.",
            Self::Segmentation => "Seg.",
            Self::Svm => "SVM",
            Self::LowShot => "low-shot",
            Self::Knn => "kNN",
            Self::Nonlinear => "nonlinear",
        }
    }
}

impl TransferMetric {
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanAveragePrecision => "mAP",
            Self::MeanIu => "mean IU",
            Self::Top1 => "top-1",
        }
    }
}

/// Key of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransferColumn {
    pub task: TransferTask,
    pub variant: String,
    pub metric: TransferMetric,
    pub dataset: String,
    pub protocol: String,
}

/// Key of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransferLine {
    pub experiment: String,
    pub backbone: String,
    pub input: InputColors,
}

/// Rows are backbones, columns are tasks; values in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferTable {
    pub columns: Vec<TransferColumn>,
    pub lines: Vec<TransferLine>,
    /// One row per line, one cell per column; None without a result.
    pub cells: Vec<Vec<Option<MeanStd>>>,
    /// All seeds of the results, ascending.
    pub seeds: Vec<u64>,
    published: Vec<PublishedBlock>,
}

/// One value with its row and column.
pub(super) struct TransferEntry<'a> {
    pub column: TransferColumn,
    pub line: TransferLine,
    result: &'a TransferResult,
    pub row: &'a TransferRow,
}

pub(super) fn entries(results: &[TransferResult]) -> Vec<TransferEntry<'_>> {
    let of = |result: &'_ TransferResult, row: &'_ TransferRow| {
        let column = TransferColumn {
            task: row.task,
            variant: row.variant.clone(),
            metric: row.metric,
            dataset: result.dataset.clone(),
            protocol: result.protocol.clone(),
        };
        let (experiment, backbone) = (result.experiment.clone(), row.backbone.clone());
        (column, TransferLine { experiment, backbone, input: row.input })
    };
    let all = results.iter().flat_map(|result| result.rows.iter().map(move |row| (result, row)));
    let entry = |(result, row)| {
        let (column, line) = of(result, row);
        TransferEntry { column, line, result, row }
    };
    all.map(entry).collect()
}

/// The table of all results: rows in order of first appearance; columns by task, then in order of first appearance,
/// layers by number; without published results.
///
/// # Errors
/// Two results for the same cell and seed.
pub fn table(results: &[TransferResult]) -> Result<TransferTable> {
    let entries = entries(results);
    refuse_duplicates(&entries)?;
    let (mut columns, mut lines, mut seeds) = (vec![], vec![], vec![]);
    for entry in &entries {
        seeds.push(entry.result.seed);
        add_new(&mut columns, &entry.column);
        add_new(&mut lines, &entry.line);
    }
    seeds.sort_unstable();
    seeds.dedup();
    columns.sort_by_key(|column| (column.task, depth(column)));
    let cell = |line: &TransferLine, column: &TransferColumn| {
        let here: Vec<_> = entries.iter().filter(|e| e.line == *line && e.column == *column).collect();
        let mean = MeanStd::of(&here.iter().map(|e| e.row.value).collect::<Vec<_>>())?;
        // Of one seed the only spread is that over its draws.
        let std = mean.std.or(here[0].row.deviation);
        Some(MeanStd { std, ..mean }.percent())
    };
    let cells = lines.iter().map(|line| columns.iter().map(|column| cell(line, column)).collect()).collect();
    Ok(TransferTable { columns, lines, cells, seeds, published: vec![] })
}

/// Counting a seed twice would understate the spread over seeds.
fn refuse_duplicates(entries: &[TransferEntry]) -> Result<()> {
    let mut seen = HashMap::<_, &Path>::new();
    for TransferEntry { column, line, result, .. } in entries {
        if let Some(first) = seen.insert((column, line, result.seed), &result.from) {
            bail!(
                "two results for {} ({}) at {} on {} of experiment {}, seed {}: in {} and in {}; report on one of them",
                line.backbone,
                line.input.name(),
                column.name(),
                column.dataset,
                line.experiment,
                result.seed,
                first.display(),
                result.from.display()
            );
        }
    }
    Ok(())
}

fn add_new<T: Clone + PartialEq>(all: &mut Vec<T>, one: &T) {
    if !all.contains(one) {
        all.push(one.clone());
    }
}

/// Classification columns in the paper's order, by increasing number of trained layers.
const TRAINED: [&str; 3] = ["fc8", "fc6-8", "all"];

/// Sort key of a column within its task: known variants first, in order; `conv1` before `conv5`, and for the same
/// layer 5 neighbors before 20.
fn depth(column: &TransferColumn) -> (usize, Vec<u64>) {
    let known = TRAINED.iter().position(|known| *known == column.variant);
    let numbers = column.variant.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    known.map_or_else(|| (TRAINED.len(), numbers.collect()), |place| (place, vec![]))
}

/// Published results for these columns.
fn published(columns: &[TransferColumn]) -> Result<Vec<PublishedBlock>> {
    let mut blocks: Vec<PublishedBlock> = vec![];
    for (benchmark, name) in [
        (Benchmark::Pascal, pascal as fn(&TransferColumn) -> Option<&str>),
        (Benchmark::ImagenetNonlinear, imagenet_nonlinear),
    ] {
        if let Some(block) = PublishedBlock::of(benchmark, &columns.iter().map(name).collect::<Vec<_>>())? {
            let above = blocks.iter().map(|block| block.footnotes.len()).sum();
            blocks.push(PublishedBlock { above, ..block });
        }
    }
    Ok(blocks)
}

/// Layer of a non-linear probe on ImageNet.
fn imagenet_nonlinear(column: &TransferColumn) -> Option<&str> {
    let TransferColumn { task, variant, metric, dataset, .. } = column;
    let same = *task == TransferTask::Nonlinear && *metric == TransferMetric::Top1 && dataset == "imagenet";
    same.then_some(variant)
}

/// Name of the column in the paper's Table 2; None unless data (VOC) and training match.
fn pascal(column: &TransferColumn) -> Option<&str> {
    let TransferColumn { task, variant, metric, dataset, .. } = column;
    if !dataset.to_lowercase().contains("voc") {
        return None;
    }
    let all = variant.is_empty() || variant == "all";
    match (task, metric) {
        (TransferTask::Classification, TransferMetric::MeanAveragePrecision) => {
            TRAINED.contains(&variant.as_str()).then_some(variant)
        }
        (TransferTask::Detection, TransferMetric::MeanAveragePrecision) => all.then_some("Det."),
        (TransferTask::Segmentation, TransferMetric::MeanIu) => all.then_some("Seg."),
        _ => None,
    }
}

impl TransferColumn {
    /// `Class. fc6-8`, `Det.`, `SVM conv5`, `kNN conv5 k=20`.
    pub fn name(&self) -> String {
        let whole = self.task != TransferTask::Classification && self.variant == "all";
        if self.variant.is_empty() || whole {
            return self.task.title().into();
        }
        let title = self.task.title();
        match (self.task, self.variant.split_once(", ")) {
            (TransferTask::Knn, Some((layer, k))) => format!("{title} {layer} k={k}"),
            (TransferTask::LowShot, Some((layer, shots))) => format!("{title} {layer} n={shots}"),
            _ => format!("{title} {}", self.variant),
        }
    }

    /// Description of the column's values.
    fn meaning(&self) -> String {
        format!("{} in % on {} (protocol {})", self.metric.name(), self.dataset, self.protocol)
    }
}

impl TransferTable {
    /// With published results below that compare with its columns.
    ///
    /// # Errors
    /// An invalid compiled-in file of published results.
    pub fn with_published(self) -> Result<Self> {
        Ok(Self { published: published(&self.columns)?, ..self })
    }

    /// One-line title of the table.
    pub fn header(&self) -> String {
        let drawn =
            self.seeds.len() == 1 && self.cells.iter().flatten().flatten().any(|cell| cell.std.is_some());
        let over = if drawn { "; ± over the draws of a seed" } else { "" };
        format!("Transfer, {}{over}", spread(&self.seeds))
    }

    /// Column titles; ambiguous ones include data set and protocol.
    pub fn titles(&self) -> Vec<String> {
        let names: Vec<String> = self.columns.iter().map(TransferColumn::name).collect();
        let title = |(column, name): (&TransferColumn, &String)| {
            if names.iter().filter(|other| *other == name).count() == 1 {
                return name.clone();
            }
            format!("{name} ({}, {}, {})", column.dataset, column.protocol, column.metric.name())
        };
        self.columns.iter().zip(&names).map(title).collect()
    }

    /// Label of a row: the backbone, with experiment and input if the table has several.
    pub fn label(&self, line: &TransferLine) -> String {
        let mut label = line.backbone.clone();
        if self.lines.iter().any(|other| other.experiment != line.experiment) {
            label = format!("{}: {label}", line.experiment);
        }
        if self.lines.iter().any(|other| other.input != line.input) {
            label += &format!(" ({})", line.input.name());
        }
        label
    }

    pub(super) fn table(&self) -> TextTable {
        let row = |(line, cells): (&TransferLine, &Vec<Option<MeanStd>>)| {
            let cells = cells.iter().map(|cell| cell_text(cell.as_ref(), self.seeds.len()));
            std::iter::once(self.label(line)).chain(cells).collect()
        };
        let columns = std::iter::once("backbone".to_string()).chain(self.titles());
        let table = TextTable::new(columns, self.lines.iter().zip(&self.cells).map(row));
        let groups = self.published.iter().map(PublishedBlock::rows).collect();
        let sources: String = self.published.iter().map(|block| format!("\n{}", block.notes())).collect();
        TextTable { title: self.header(), groups, notes: format!("\n{}{sources}", self.meanings()), ..table }
    }

    /// Descriptions of the columns; columns with the same description share a line.
    fn meanings(&self) -> String {
        let mut lines: Vec<(String, Vec<String>)> = vec![];
        for (column, title) in self.columns.iter().zip(self.titles()) {
            let meaning = column.meaning();
            match lines.iter_mut().find(|(known, _)| *known == meaning) {
                Some((_, titles)) => titles.push(title),
                None => lines.push((meaning, vec![title])),
            }
        }
        let line = |(meaning, titles): &(String, Vec<String>)| format!("{}: {meaning}", titles.join(", "));
        lines.iter().map(line).collect::<Vec<_>>().join("  \n") + "\n"
    }

    /// Aligned columns for a terminal, with descriptions below.
    pub fn text(&self) -> String {
        self.table().text()
    }

    /// Markdown.
    pub fn markdown(&self) -> String {
        self.table().markdown()
    }

    /// CSV: mean, sample standard deviation and number of seeds of each column in percent, empty if unknown; published
    /// rows name their source.
    pub fn csv(&self) -> String {
        let about = ["experiment", "backbone", "input"].map(String::from);
        let figures = self.titles().into_iter().flat_map(|title| csv_names(&title));
        let columns = about.into_iter().chain(figures).chain(["source".into()]);
        let row = |(line, cells): (&TransferLine, &Vec<Option<MeanStd>>)| {
            let about = [&line.experiment, &line.backbone, line.input.name()].map(str::to_string);
            let figures = cells.iter().flat_map(|cell| csv_cells(cell.as_ref()));
            about.into_iter().chain(figures).chain(["measured".into()]).collect()
        };
        let measured = self.lines.iter().zip(&self.cells).map(row);
        TextTable::new(columns, measured.chain(self.published.iter().flat_map(published_rows))).csv()
    }
}

fn published_rows(block: &PublishedBlock) -> impl Iterator<Item = Vec<String>> {
    block.figures.iter().map(|(method, values, footnote)| {
        let figure = |v: &Option<f64>| [v.map_or(String::new(), |v| v.to_string()), "".into(), "".into()];
        let about = ["published".to_string(), method.clone(), String::new()];
        let source = block.footnotes.get(*footnote).cloned();
        about.into_iter().chain(values.iter().flat_map(figure)).chain(source).collect()
    })
}
