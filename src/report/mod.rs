//! Tables and plots from run directories only; nothing is trained or evaluated. [`collect`] finds the `results.json`
//! of finished probes, evaluations and transfer stages, [`tables`] averages over seeds, [`write_report`] writes tables
//! (CSV, Markdown), the accuracy-by-layer plot (SVG, PNG), comparisons of colorization methods (PNG), transfer results,
//! where asked for with [`published`] ones, and [`page`], all of it in one file. A [`ScoreTable`] holds color metrics of
//! picture folders, [`interpretability`] a classifier's results on recolored pictures.

pub mod accuracy; // linear probes
pub(crate) mod axis;
pub(crate) mod canvas;
pub mod class_counts; // of a classifier
mod kind; // kinds of results.json
pub mod published; // results from the literature
pub mod score;

pub mod colors;
mod differences; // between colorization methods
pub mod differing; // keys in which specs differ
pub mod interpretability;
pub mod model_card;
pub mod plot;
pub(crate) mod redact; // no host, no absolute path
pub mod results;
mod scatter;
pub(crate) mod table; // text, Markdown and CSV output
pub mod transfer;
mod variants; // variants of a stage

mod bars; // plot of a transfer table
pub mod classes; // its values by class

pub mod dataset_labels; // labels instead of paths

mod agreement;
mod curves; // plot of measurements during training
pub mod monitor; // these measurements // compared with linear probes

pub mod page; // all of it in one HTML file

pub use accuracy::{AccuracyRow, AccuracyTable, Measure, tables};
pub use kind::ResultKind;
pub use results::{
    BackboneResult, Collected, LayerResult, ProbeResult, ReportedRun, SupervisedResult, collect, collect_runs,
};
pub use score::{Comparison, LeftOut, ScoreRow, ScoreTable};
pub use transfer::{InputColors, TransferMetric, TransferResult, TransferRow, TransferTable, TransferTask};

use crate::atomic_write;
use anyhow::{Context, Result};
use colors::{ColorResult, ColorTable};
use monitor::MonitorResult;
use page::{PageOptions, RunRecord};
use std::{
    fs,
    path::{Path, PathBuf},
};
use table::TextTable;

/// What a report holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReportOptions {
    /// Published results below the measured ones that they compare with.
    pub published: bool,
    /// The seed of the page's samples; None for no page.
    pub page: Option<u64>,
}

/// Files written by [`write_report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPaths {
    /// Probes: `table.csv`, `table.md`, `table_top5.csv`, `table_top5.md`; evaluations: `colors.csv`, `colors.md`,
    /// `colors_differences.csv`;
    /// transfer stages: `table2.csv`, `table2.md`, `transfer_classes.csv`; monitors: `monitor.csv`, `monitor.md`.
    pub tables: Vec<PathBuf>,
    /// `accuracy.svg`, `accuracy.png`; `colors.png`, `comparison.png`; `transfer.svg`, `transfer.png`; `monitor.svg`,
    /// `monitor.png`, and beside a linear probe `monitor_probe.svg`, `monitor_probe.png`.
    pub plots: Vec<PathBuf>,
    /// `report.html`.
    pub page: Option<PathBuf>,
    /// The main tables, aligned for a terminal.
    pub text: String,
}

/// The tables, then the paths of all files.
impl std::fmt::Display for ReportPaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.text.is_empty() {
            writeln!(f, "{}", self.text)?;
        }
        let lines = |what: &'static str, paths: &[PathBuf]| {
            paths.iter().map(|p| format!("{what:8} {}", p.display())).collect::<Vec<_>>()
        };
        let page = self.page.as_slice();
        let all = [lines("table", &self.tables), lines("plot", &self.plots), lines("page", page)].concat();
        f.write_str(&all.join("\n"))
    }
}

/// Reports on every finished probe, evaluation and transfer stage in or below `dirs`, into folder `out`. Each file is
/// written atomically.
///
/// # Errors
/// Those of [`collect`]; a page needs no results, only runs. Those of [`page::write`]; a folder that cannot be written.
pub fn write_report(dirs: &[PathBuf], out: &Path, options: &ReportOptions) -> Result<ReportPaths> {
    let runs = options.page.map(|_| results::run_dirs(dirs)).transpose()?.unwrap_or_default();
    let mut found = if runs.is_empty() { collect(dirs)? } else { results::collect_any(dirs)? };
    let mut paths = write(&mut found, out, options.published)?;
    if let Some(seed) = options.page {
        let runs = RunRecord::of_folders(&runs, &found);
        let page = PageOptions { published: options.published, seed };
        paths.page = Some(page::write(&runs, &found, &page, out)?);
    }
    Ok(paths)
}

/// As [`write_report`], for given runs with their current names, without a page.
pub fn write_report_of(fits: &[ReportedRun], out: &Path) -> Result<ReportPaths> {
    write(&mut collect_runs(fits)?, out, false)
}

/// The page of given runs with their current names, in folder `out`.
///
/// # Errors
/// Those of [`collect`] and of [`page::write`].
pub fn write_page_of(fits: &[ReportedRun], out: &Path) -> Result<PathBuf> {
    let (runs, mut found) = (fits.iter().map(RunRecord::of).collect::<Vec<_>>(), collect_runs(fits)?);
    dataset_labels::label_datasets(&mut found);
    variants::name_variants(&mut found);
    page::write(&runs, &found, &PageOptions::default(), out)
}

fn write(found: &mut Collected, out: &Path, published: bool) -> Result<ReportPaths> {
    dataset_labels::label_datasets(found);
    for label in dataset_labels::differing_pictures(found) {
        tracing::warn!(
            "runs on {label} were measured on different validation pictures: their rows do not compare; `runs list` tells the \
             runs apart, and `label:` in `data:` gives data sets names of their own"
        );
    }
    let legends = variants::name_variants(found);
    let Collected { probes, colors, transfers, monitors, .. } = found;
    fs::create_dir_all(out).with_context(|| format!("cannot create the report folder {}", out.display()))?;
    let mut paths = ReportPaths::default();
    if !probes.is_empty() {
        paths.add_probes(probes, published, &legends.probes, out)?;
    }
    if !colors.is_empty() {
        paths.add_colors(colors, published, &legends.colors, out)?;
    }
    if !transfers.is_empty() {
        paths.add_transfers(transfers, published, &legends.transfers, out)?;
    }
    if !monitors.is_empty() {
        paths.add_monitors(monitors, probes, &legends.monitors, out)?;
    }
    if published && !published::is_in(&paths.text) {
        tracing::warn!(
            "no published results compare with these: they are of AlexNet's layers on ImageNet and Places, of transfer to \
             PASCAL VOC, and of colorizations of ImageNet"
        );
    }
    Ok(paths)
}

impl ReportPaths {
    fn add_probes(
        &mut self,
        probes: &[ProbeResult],
        published: bool,
        legend: &str,
        out: &Path,
    ) -> Result<()> {
        let of = |measure| accuracy::tables_with(probes, measure, published);
        let (top1, top5) = (of(Measure::Top1)?, of(Measure::Top5)?);
        let write = |name: &str, bytes: &[u8]| write_file(&out.join(name), bytes);
        self.tables.extend([
            write("table.csv", accuracy::csv(&top1).as_bytes())?,
            write("table.md", with_legend(&top1, AccuracyTable::markdown, legend).as_bytes())?,
            write("table_top5.csv", accuracy::csv(&top5).as_bytes())?,
            write("table_top5.md", with_legend(&top5, AccuracyTable::markdown, legend).as_bytes())?,
        ]);
        self.plots.extend([
            write("accuracy.svg", plot::svg(&top1)?.as_bytes())?,
            write("accuracy.png", &plot::png(&top1)?)?,
        ]);
        self.add_text(&plain(&with_legend(&top1, AccuracyTable::text, legend)));
        Ok(())
    }

    fn add_colors(
        &mut self,
        results: &[ColorResult],
        published: bool,
        legend: &str,
        out: &Path,
    ) -> Result<()> {
        let tables = colors::tables_with(results, published)?;
        let write = |name: String, bytes: &[u8]| write_file(&out.join(name), bytes);
        let text = plain(&with_legend(&tables, |t| t.table().text(), legend));
        let all = |table: &ColorTable| -> Vec<TextTable> {
            std::iter::once(table.table()).chain(table.differences()).collect()
        };
        let markdown = with_legend(&tables, |t| with_legend(&all(t), TextTable::markdown, ""), legend);
        self.tables.push(write("colors.csv".into(), colors::csv(&tables).as_bytes())?);
        self.tables.push(write("colors.md".into(), markdown.as_bytes())?);
        let differences = differences::csv(&tables);
        if !differences.is_empty() {
            self.tables.push(write("colors_differences.csv".into(), differences.as_bytes())?);
        }
        for (i, table) in tables.iter().enumerate() {
            let number = if tables.len() == 1 { String::new() } else { format!("-{}", i + 1) };
            let map = colors::png(table.map()?, "colors")?;
            self.plots.push(write(format!("colors{number}.png"), &map)?);
            if let Some(comparison) = table.comparison()? {
                let png = colors::png(comparison, "comparison")?;
                self.plots.push(write(format!("comparison{number}.png"), &png)?);
            }
        }
        self.add_text(&text);
        Ok(())
    }

    fn add_transfers(
        &mut self,
        results: &[TransferResult],
        published: bool,
        legend: &str,
        out: &Path,
    ) -> Result<()> {
        let table = transfer::table(results)?;
        let table = if published { table.with_published()? } else { table };
        let write = |name: &str, bytes: &[u8]| write_file(&out.join(name), bytes);
        self.tables.push(write("table2.csv", table.csv().as_bytes())?);
        let tables = [table];
        let markdown = with_legend(&tables, TransferTable::markdown, legend);
        self.tables.push(write("table2.md", markdown.as_bytes())?);
        if let Some(classes) = classes::classes_csv(results) {
            self.tables.push(write("transfer_classes.csv", classes.as_bytes())?);
        }
        self.plots.extend([
            write("transfer.svg", bars::svg(&tables[0])?.as_bytes())?,
            write("transfer.png", &bars::png(&tables[0])?)?,
        ]);
        self.add_text(&plain(&with_legend(&tables, TransferTable::text, legend)));
        Ok(())
    }

    fn add_monitors(
        &mut self,
        results: &[MonitorResult],
        probes: &[ProbeResult],
        legend: &str,
        out: &Path,
    ) -> Result<()> {
        let stages = monitor::stages(results)?;
        let write = |name: &str, bytes: &[u8]| write_file(&out.join(name), bytes);
        self.tables.push(write("monitor.csv", monitor::csv(results).as_bytes())?);
        let markdown = with_legend(&stages, |stage| stage.table().markdown(), legend);
        self.tables.push(write("monitor.md", markdown.as_bytes())?);
        let curves = monitor::curves(&stages);
        self.plots.push(write("monitor.svg", curves::svg(&curves)?.as_bytes())?);
        self.plots.push(write("monitor.png", &curves::png(&curves)?)?);
        if let Some(agreement) = agreement::agreement(results, probes) {
            self.plots.push(write("monitor_probe.svg", canvas::svg(&agreement)?.as_bytes())?);
            self.plots.push(write("monitor_probe.png", &canvas::png(&agreement)?)?);
        }
        self.add_text(&plain(&with_legend(&stages, |stage| stage.table().text(), legend)));
        Ok(())
    }

    fn add_text(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text += text;
    }
}

/// All tables, and below them what the letters of variants mean.
fn with_legend<T>(tables: &[T], render: impl Fn(&T) -> String, legend: &str) -> String {
    let tables = tables.iter().map(render).collect::<Vec<_>>().join("\n");
    if legend.is_empty() { tables } else { format!("{tables}\n{legend}\n") }
}

/// Without the spaces that make line breaks in Markdown.
fn plain(text: &str) -> String {
    text.replace("  \n", "\n")
}

/// Writes one file of the report.
fn write_file(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    atomic_write::write(path, bytes).with_context(|| {
        format!("cannot write {}: is the folder writable, the disk full?", path.display())
    })?;
    Ok(path.into())
}
