//! Comparison of colorization methods in the layout of the paper's Table 1: a table of metrics, histograms of the
//! colors that each method uses, and example pictures.

use super::{
    kind::ResultKind,
    published::{Benchmark, PublishedBlock},
    score::{COLUMNS, ScoreColumn, in_display_units},
    table::TextTable,
};
use crate::{
    color::lab::lab_to_srgb8,
    evaluation::color::GraySpec,
    metrics::{
        accuracy::MeanStd,
        bootstrap::Interval,
        color::{ColorMeasure, ColorReplicates, ColorSummary},
        interpretability::{Accuracy, Renderings},
    },
    text::counted,
    train::{
        panel::{RgbTile, panel},
        picture,
        task::ImagePanel,
    },
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Folder of example pictures in a run directory.
pub const EXAMPLES: &str = "examples";

/// Result of one method with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColorResult {
    pub kind: ResultKind,
    pub experiment: String,
    pub seed: u64,
    pub dataset: String,
    /// Side of the colorized pictures.
    pub pixels: usize,
    /// Gray picture that all networks saw, if it was not that which each was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gray: Option<GraySpec>,
    pub method: String,
    pub summary: ColorSummary,
    /// Bootstrap intervals over images.
    pub intervals: BTreeMap<ColorMeasure, Interval>,
    /// What the intervals are of, for differences between methods.
    #[serde(default, skip_serializing_if = "ColorReplicates::is_empty")]
    pub replicates: ColorReplicates,
    /// Histograms of the predicted and the true ab colors: square, a by b, gray in the middle.
    pub histogram: Histogram,
    pub truth: Histogram,
    /// Classifier accuracy on original, gray and recolored pictures, if a classifier was given.
    #[serde(default, alias = "recognised", skip_serializing_if = "Option::is_none")]
    pub recognized: Option<Renderings<Accuracy>>,
    /// Side of a histogram cell in ab units.
    pub cell: f32,
    /// Directory of the results file.
    #[serde(skip)]
    pub from: PathBuf,
}

/// Histogram over ab cells.
pub type Histogram = crate::evaluation::color::AbHistogram;

/// Methods evaluated on one data set at one size, from one gray picture.
#[derive(Debug)]
pub struct ColorTable<'a> {
    pub(super) dataset: &'a str,
    pub(super) pixels: usize,
    gray: Option<GraySpec>,
    /// Methods in order of first appearance, with one result per seed.
    pub(super) methods: Vec<(String, Vec<&'a ColorResult>)>,
    published: Option<PublishedBlock>,
}

/// One table per data set, size and gray picture, in order of first appearance.
///
/// # Errors
/// Two results for the same method and seed.
pub fn tables(results: &[ColorResult]) -> Result<Vec<ColorTable<'_>>> {
    let mut tables: Vec<ColorTable> = vec![];
    for result in results {
        let key = (result.dataset.as_str(), result.pixels, result.gray);
        let same = |t: &&mut ColorTable| (t.dataset, t.pixels, t.gray) == key;
        match tables.iter_mut().find(same) {
            Some(table) => table.add(result)?,
            None => {
                let (dataset, pixels, gray) = key;
                let mut table = ColorTable { dataset, pixels, gray, methods: vec![], published: None };
                table.add(result)?;
                tables.push(table);
            }
        }
    }
    Ok(tables)
}

/// As [`tables`], with the paper's Table 1 below each if `published`.
///
/// # Errors
/// As [`tables`] and [`ColorTable::with_published`].
pub fn tables_with(results: &[ColorResult], published: bool) -> Result<Vec<ColorTable<'_>>> {
    let tables = tables(results)?.into_iter();
    tables.map(|table| if published { table.with_published() } else { Ok(table) }).collect()
}

impl<'a> ColorTable<'a> {
    fn add(&mut self, result: &'a ColorResult) -> Result<()> {
        let Some((_, known)) = self.methods.iter_mut().find(|(name, _)| *name == result.method) else {
            self.methods.push((result.method.clone(), vec![result]));
            return Ok(());
        };
        if let Some(first) = known.iter().find(|other| other.seed == result.seed) {
            bail!(
                "two results for {} with seed {}: in {} and in {}; report on one of them",
                result.method,
                result.seed,
                first.from.display(),
                result.from.display()
            );
        }
        known.push(result);
        Ok(())
    }

    pub(super) fn seeds(&self) -> usize {
        self.methods.iter().map(|(_, results)| results.len()).max().unwrap_or(0)
    }

    /// One-line title of the table.
    pub fn header(&self) -> String {
        let images = self.methods.first().map_or(0, |(_, results)| results[0].summary.images);
        let spread = match self.seeds() {
            1 => "± standard error by bootstrap over images".into(),
            seeds => format!("mean ± std over {seeds} seeds"),
        };
        let images = counted(images, "image");
        let from = self.gray.map_or(String::new(), |gray| format!(", seen as {}", gray.formula()));
        format!("Colorization of {images} of {} at {} pixels{from}, {spread}", self.dataset, self.pixels)
    }

    /// Table of metrics, one row per method; the last row has the metrics of the true colors that are meaningful.
    pub(super) fn table(&self) -> TextTable {
        let judged = self.methods.iter().any(|(_, results)| recognized(results).is_some());
        let titles = COLUMNS.map(|(_, title, _)| title);
        let titles = std::iter::once("method").chain(titles).chain(judged.then_some(RECOGNIZED));
        let row = |(method, results): &(String, Vec<&ColorResult>)| {
            let cells = COLUMNS.map(|column| cell(results, column));
            let top1 = recognized(results).map_or("–".into(), |(recolored, _)| format!("{recolored:.1}"));
            std::iter::once(method.clone()).chain(cells).chain(judged.then_some(top1)).collect()
        };
        let rows = self.methods.iter().map(row).chain(self.truth());
        let groups = self.published.iter().map(PublishedBlock::rows).collect();
        let notes = self.published.iter().map(|block| format!("\n{}", block.notes())).collect();
        TextTable { title: self.header(), groups, notes, ..TextTable::new(titles, rows) }
    }

    /// With the paper's Table 1 below, if this is on ImageNet.
    ///
    /// # Errors
    /// An invalid compiled-in file of published results.
    pub fn with_published(self) -> Result<Self> {
        if self.dataset != "imagenet" {
            return Ok(self);
        }
        let judged = self.methods.iter().any(|(_, results)| recognized(results).is_some());
        let columns = COLUMNS.into_iter().map(|(measure, ..)| match measure {
            ColorMeasure::Auc => Some("AuC"),
            ColorMeasure::AucPrior => Some("AuC rebal."),
            _ => None,
        });
        let columns: Vec<_> = columns.chain(judged.then_some(Some("VGG top-1"))).collect();
        Ok(Self { published: PublishedBlock::of(Benchmark::Colorization, &columns)?, ..self })
    }

    fn truth(&self) -> Option<Vec<String>> {
        let truth = self.methods.first().and_then(|(_, results)| results[0].summary.truth_colorfulness)?;
        let mut row = vec!["–".to_string(); COLUMNS.len() + 1];
        row[0] = "ground truth".into();
        row[COLUMNS.len()] = format!("{truth:.1}");
        let original = self.methods.iter().find_map(|(_, results)| recognized(results));
        row.extend(original.map(|(_, original)| format!("{original:.1}")));
        Some(row)
    }

    /// Color histograms: one tile per method, ground truth first. a increases to the right, b upwards; saturation
    /// shows the frequency on a logarithmic scale.
    pub fn map(&self) -> Result<RgbTile> {
        let Some((_, first)) = self.methods.first() else { bail!("no method to draw") };
        let mut tiles = vec![map_tile(&first[0].truth)];
        let mut titles = vec!["ground truth"];
        for (method, results) in &self.methods {
            tiles.push(map_tile(&results[0].histogram));
            titles.push(method);
        }
        panel(&[tiles], &titles, 3)
    }

    /// Input, each method and the truth in columns, one row per example image; None without examples.
    pub fn comparison(&self) -> Result<Option<RgbTile>> {
        self.comparison_of(&self.examples()?)
    }

    /// Numbers of the example images.
    pub(super) fn examples(&self) -> Result<Vec<String>> {
        self.methods.first().map_or(Ok(vec![]), |(_, first)| examples(&first[0].from))
    }

    /// As [`Self::comparison`], of the example images with these numbers.
    pub(super) fn comparison_of(&self, numbers: &[String]) -> Result<Option<RgbTile>> {
        let Some((_, first)) = self.methods.first() else { return Ok(None) };
        let mut titles = vec!["input"];
        titles.extend(self.methods.iter().map(|(method, _)| method.as_str()));
        titles.push("truth");
        let row = |number: &String| -> Result<Vec<RgbTile>> {
            let mut row = vec![tile(&first[0].from, number, "gray")?];
            for (_, results) in &self.methods {
                row.push(tile(&results[0].from, number, "result")?);
            }
            row.push(tile(&first[0].from, number, "truth")?);
            Ok(row)
        };
        let rows = numbers.iter().map(row).collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(panel(&rows, &titles, (112 / self.pixels.max(1)).max(1))?))
    }
}

/// Title of the classifier column.
const RECOGNIZED: &str = "VGG top-1 %";

/// Top-1 accuracy in percent on recolored and on original pictures, averaged over seeds; None without a classifier.
fn recognized(results: &[&ColorResult]) -> Option<(f64, f64)> {
    let all: Option<Vec<_>> = results.iter().map(|r| r.recognized.as_ref()).collect();
    let all = all?;
    let mean = |top1: fn(&Renderings<Accuracy>) -> f64| {
        100.0 * all.iter().map(|r| top1(r)).sum::<f64>() / all.len() as f64
    };
    Some((mean(|r| r.recolored.top1), mean(|r| r.original.top1)))
}

/// Encodes a panel as PNG.
pub fn png((width, height, rgb): RgbTile, name: &str) -> Result<Vec<u8>> {
    picture::encode(&ImagePanel { name: name.into(), width, height, rgb })
}

/// Mean and spread of a metric over seeds; for one seed, the value and its bootstrap error.
fn cell(results: &[&ColorResult], (measure, _, decimals): ScoreColumn) -> String {
    let Some((mean, spread)) = value(results, measure) else { return "–".into() };
    match spread {
        Some(spread) => format!("{mean:.decimals$} ± {spread:.decimals$}"),
        None => format!("{mean:.decimals$}"),
    }
}

fn value(results: &[&ColorResult], measure: ColorMeasure) -> Option<(f64, Option<f64>)> {
    let values: Option<Vec<f64>> = results.iter().map(|r| r.summary.get(measure)).collect();
    let cell_text = MeanStd::of(&values?)?;
    let spread = match results {
        [one] => one.intervals.get(&measure).map(|interval| interval.std),
        _ => cell_text.std,
    };
    Some((in_display_units(measure, cell_text.mean), spread.map(|spread| in_display_units(measure, spread))))
}

/// All tables as one CSV sheet: mean and spread of every metric; a separate column defines the spread.
pub fn csv(tables: &[ColorTable]) -> String {
    let about = ["dataset", "pixels", "images", "method", "seeds", "spread"].map(String::from);
    let measures = COLUMNS.into_iter().flat_map(|(_, name, _)| [name.to_string(), format!("{name} spread")]);
    let columns = about.into_iter().chain(measures).chain([RECOGNIZED.into()]);
    let rows = tables
        .iter()
        .flat_map(|table| table.methods.iter().map(|(method, results)| sheet_row(table, method, results)));
    TextTable::new(columns, rows).csv()
}

fn sheet_row(table: &ColorTable, method: &str, results: &[&ColorResult]) -> Vec<String> {
    let spread = if results.len() == 1 { "bootstrap over images" } else { "std over seeds" };
    let (pixels, images) = (table.pixels.to_string(), results[0].summary.images.to_string());
    let seeds = results.len().to_string();
    let mut fields = vec![table.dataset.into(), pixels, images, method.into(), seeds, spread.into()];
    for (measure, ..) in COLUMNS {
        let (mean, spread) = value(results, measure).map_or((None, None), |(m, s)| (Some(m), s));
        fields.extend([mean, spread].map(|v| v.map_or(String::new(), |v| format!("{v:.4}"))));
    }
    fields.push(recognized(results).map_or(String::new(), |(top1, _)| format!("{top1:.4}")));
    fields
}

/// Lightness of the histogram's colors.
const MAP_LIGHTNESS: f32 = 62.0;

fn map_tile(histogram: &Histogram) -> RgbTile {
    let side = Histogram::SIDE;
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1) as f32;
    let mut pixels = vec![255u8; 3 * side * side];
    for (cell, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let [a, b] = Histogram::color(cell);
        let (color, _) = lab_to_srgb8([MAP_LIGHTNESS, a, b]);
        // From a single count to the most frequent color.
        let share = 0.15 + 0.85 * (1.0 + *count as f32).ln() / (1.0 + most).ln();
        let (x, y) = (cell / side, side - 1 - cell % side);
        let at = 3 * (y * side + x);
        for (to, from) in pixels[at..at + 3].iter_mut().zip(color) {
            *to = (255.0 + share * (f32::from(from) - 255.0)).round() as u8;
        }
    }
    (side, side, pixels)
}

/// Numbers of the examples in a run directory.
fn examples(run: &Path) -> Result<Vec<String>> {
    let folder = run.join(EXAMPLES);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(vec![]) };
    let mut numbers = vec![];
    for entry in entries {
        let name = entry.with_context(|| format!("cannot list {}", folder.display()))?.file_name();
        numbers.extend(name.to_string_lossy().strip_suffix("-truth.png").map(String::from));
    }
    numbers.sort();
    Ok(numbers)
}

fn tile(run: &Path, number: &str, kind: &str) -> Result<RgbTile> {
    let path = run.join(EXAMPLES).join(format!("{number}-{kind}.png"));
    let image = image::open(&path).with_context(|| {
        format!("cannot read {}: run the evaluation again to draw it anew", path.display())
    })?;
    let image = image.into_rgb8();
    Ok((image.width() as usize, image.height() as usize, image.into_raw()))
}
