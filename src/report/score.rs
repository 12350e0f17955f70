//! Table of color metrics of several methods over picture folders, as text, Markdown, CSV and JSON. The values come
//! from `metrics::color`.

use super::table::TextTable;
use crate::metrics::{
    bootstrap::{Bootstrap, Interval},
    color::{ColorMeasure, ColorSummary},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Maximum number of left-out images that are listed.
const NAMED: usize = 20;

/// Methods scored against the same ground truth. JSON holds areas as shares, 0 to 1; the other formats use percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreTable {
    /// Ground truth: a folder or a data set.
    pub dataset: String,
    /// Source of the prior of the rebalanced AuC.
    #[serde(default)]
    pub prior: Option<String>,
    /// Bootstrap options of the intervals; None without intervals.
    #[serde(default)]
    pub bootstrap: Option<Bootstrap>,
    pub rows: Vec<ScoreRow>,
    /// All pairs of methods compared by area, over the images that both were scored on.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

/// Results of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    pub method: String,
    pub summary: ColorSummary,
    /// Bootstrap intervals of the metrics that every resample has.
    #[serde(default)]
    pub intervals: BTreeMap<ColorMeasure, Interval>,
}

/// Comparison of two methods by paired bootstrap replicates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub measure: ColorMeasure,
    pub a: String,
    pub b: String,
    /// Share of replicates in which `a` is below `b`: the one-sided p-value of "`a` is better".
    pub a_below_b: f64,
    /// Number of images that both were scored on.
    pub images: usize,
}

/// An image that was not scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// None for all methods.
    pub method: Option<String>,
    pub path: String,
    pub reason: String,
}

/// Definition of the metrics that have several forms in publications.
const FORMS: &str = "Integral: over thresholds from 0 to 150. Pooled: over the pixels of all images. --csv and --json also hold \
                     AuC as the mean over thresholds 0, 1, …, 150, as published (up to 0.3 points off), and the mean of PSNR \
                     over images.";

/// A column: metric, title, decimals.
pub(super) type ScoreColumn = (ColorMeasure, &'static str, usize);

/// Columns in order.
pub(super) const COLUMNS: [ScoreColumn; 6] = [
    (ColorMeasure::Auc, "AuC %, integral", 2),
    (ColorMeasure::AucEmpirical, "AuC rebal. (empirical) %, integral", 2),
    (ColorMeasure::AucPrior, "AuC rebal. (prior) %, integral", 2),
    (ColorMeasure::Rmse, "RMSE ab", 2),
    (ColorMeasure::Psnr, "PSNR dB, pooled", 2),
    (ColorMeasure::Colorfulness, "colorfulness", 1),
];

impl ScoreTable {
    /// A table without rows.
    pub fn new(dataset: String, prior: Option<String>, bootstrap: Option<Bootstrap>) -> Self {
        Self { dataset, prior, bootstrap, rows: Vec::new(), comparisons: Vec::new(), left_out: Vec::new() }
    }

    /// One-line title of the table.
    pub fn header(&self) -> String {
        let spread = self.bootstrap.map_or(String::new(), |b| {
            format!("; ± bootstrap over images ({} replicates, seed {})", b.replicates, b.seed)
        });
        format!("Color scores against {}{spread}", self.dataset)
    }

    /// Notes below the table.
    fn notes(&self) -> String {
        let mut notes = format!("\n{FORMS}\n");
        let truth = self.rows.iter().find_map(|row| row.summary.truth_colorfulness);
        if let Some(colorfulness) = truth {
            notes += &format!("\nColorfulness of the truth: {colorfulness:.1}\n");
        }
        let images: HashSet<usize> = self.rows.iter().map(|row| row.summary.images).collect();
        if images.len() > 1 {
            notes += "\nThe rows are over different images: compare them with care.\n";
        }
        notes
    }

    /// Aligned columns for a terminal.
    pub fn text(&self) -> String {
        self.table().text()
    }

    pub fn markdown(&self) -> String {
        self.table().markdown()
    }

    /// Every metric with the standard deviation and the 95 % interval of its replicates; empty if unknown. Areas in
    /// percent.
    pub fn csv(&self) -> String {
        let measures = ColorMeasure::ALL.into_iter().flat_map(|measure| {
            ["", " std", " low", " high"].map(|part| format!("{}{part}", csv_name(measure)))
        });
        let columns = ["dataset", "method", "images", "pixels"].map(String::from).into_iter().chain(measures);
        let columns = columns.chain(["effective_empirical", "effective_prior"].map(String::from));
        TextTable::new(columns, self.rows.iter().map(|row| self.csv_row(row))).csv()
    }

    fn csv_row(&self, row: &ScoreRow) -> Vec<String> {
        let summary = &row.summary;
        let mut fields = vec![self.dataset.clone(), row.method.clone()];
        fields.extend([summary.images.to_string(), summary.pixels.to_string()]);
        for measure in ColorMeasure::ALL {
            let number = |value: Option<f64>| {
                value.map_or(String::new(), |v| format!("{:.4}", in_display_units(measure, v)))
            };
            let interval = row.intervals.get(&measure);
            fields.push(number(summary.get(measure)));
            fields.extend(
                [interval.map(|i| i.std), interval.map(|i| i.low), interval.map(|i| i.high)].map(number),
            );
        }
        let effective = [Some(summary.effective_empirical), summary.effective_prior];
        fields.extend(effective.map(|n| n.map_or(String::new(), |n| format!("{n:.1}"))));
        fields
    }

    /// Columns without any value are omitted.
    fn table(&self) -> TextTable {
        let has_values = |(measure, ..): &ScoreColumn| self.rows.iter().any(|row| row.has(*measure));
        let columns: Vec<ScoreColumn> = COLUMNS.into_iter().filter(has_values).collect();
        let row = |row: &ScoreRow| {
            let cells = columns.iter().map(|column| row.cell(*column));
            let images = row.summary.images.to_string();
            std::iter::once(row.method.clone()).chain(cells).chain([images]).collect()
        };
        let titles = columns.iter().map(|(_, title, _)| *title);
        let titles = std::iter::once("method").chain(titles).chain(["images"]);
        let table = TextTable::new(titles, self.rows.iter().map(row));
        TextTable { title: self.header(), notes: self.notes(), ..table }
    }

    /// The left-out images, one per line; None if there are none.
    pub fn omissions(&self) -> Option<String> {
        if self.left_out.is_empty() {
            return None;
        }
        let mut text = format!("left out: {}", self.left_out.len());
        for left_out in self.left_out.iter().take(NAMED) {
            let method = left_out.method.as_ref().map_or(String::new(), |method| format!("{method}: "));
            text += &format!("\n  {method}{}: {}", left_out.path, left_out.reason);
        }
        if self.left_out.len() > NAMED {
            text += &format!("\n  and {} more; --json names all", self.left_out.len() - NAMED);
        }
        Some(text)
    }
}

impl ScoreRow {
    /// Whether a cell has a value; the infinite PSNR of identical pictures counts.
    fn has(&self, measure: ColorMeasure) -> bool {
        let pictured = measure == ColorMeasure::Psnr && self.summary.colorfulness.is_some();
        pictured || self.summary.get(measure).is_some()
    }

    fn cell(&self, (measure, _, decimals): ScoreColumn) -> String {
        let Some(value) = self.summary.get(measure) else {
            return if self.has(measure) { "∞".into() } else { "–".into() };
        };
        let value = in_display_units(measure, value);
        match self.intervals.get(&measure) {
            Some(i) => format!("{value:.decimals$} ± {:.decimals$}", in_display_units(measure, i.std)),
            None => format!("{value:.decimals$}"),
        }
    }
}

/// Converts areas to percent.
pub(super) fn in_display_units(measure: ColorMeasure, value: f64) -> f64 {
    if measure.is_area() { 100.0 * value } else { value }
}

/// The metric's JSON name, with the unit where it differs from JSON.
fn csv_name(measure: ColorMeasure) -> String {
    let name = measure.name();
    if measure.is_area() { format!("{name} %") } else { name.into() }
}
