//! Tables and plots from run directories, and from nothing else: [`collect`] finds the `results.json` of finished probe
//! stages, [`tables`] averages over seeds, [`write_report`] writes tables (CSV, Markdown) and the accuracy-by-layer plot
//! (SVG, PNG). [`interpretability`] reports on what a classifier makes of recoloured pictures. Nothing is trained or
//! measured here.

mod canvas;
pub mod interpretability;
pub mod plot;
pub mod results;
mod scatter;
mod sheet;
pub mod table;

pub use results::{BackboneResult, Kind, LayerResult, ProbeResult, collect};
pub use table::{Measure, Row, Table, tables};

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where [`write_report`] put things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPaths {
    /// `table.csv`, `table.md`, `table_top5.csv`, `table_top5.md`
    pub tables: Vec<PathBuf>,
    /// `accuracy.svg`, `accuracy.png`
    pub plots: Vec<PathBuf>,
    /// The top-1 tables, aligned for a terminal.
    pub text: String,
}

/// The tables, then where everything lies.
impl std::fmt::Display for ReportPaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        let lines = |what: &'static str, paths: &[PathBuf]| {
            paths.iter().map(|p| format!("{what:8} {}", p.display())).collect::<Vec<_>>()
        };
        let all = [lines("table", &self.tables), lines("plot", &self.plots)].concat();
        f.write_str(&all.join("\n"))
    }
}

/// Reports on every finished probe at or below `dirs`, into folder `out`. Each file is written whole or not at all.
pub fn write_report(dirs: &[PathBuf], out: &Path) -> Result<ReportPaths> {
    let results = collect(dirs)?;
    let (top1, top5) = (tables(&results, Measure::Top1)?, tables(&results, Measure::Top5)?);
    fs::create_dir_all(out).with_context(|| format!("cannot create the report folder {}", out.display()))?;
    let write = |name: &str, bytes: &[u8]| write_whole(&out.join(name), bytes);
    let tables = vec![
        write("table.csv", table::csv(&top1).as_bytes())?,
        write("table.md", joined(&top1, Table::markdown).as_bytes())?,
        write("table_top5.csv", table::csv(&top5).as_bytes())?,
        write("table_top5.md", joined(&top5, Table::markdown).as_bytes())?,
    ];
    let plots = vec![
        write("accuracy.svg", plot::svg(&top1)?.as_bytes())?,
        write("accuracy.png", &plot::png(&top1)?)?,
    ];
    Ok(ReportPaths { tables, plots, text: joined(&top1, Table::text) })
}

fn joined(tables: &[Table], render: fn(&Table) -> String) -> String {
    tables.iter().map(render).collect::<Vec<_>>().join("\n")
}

/// Writes beside the place and renames, so that a reader sees the old file or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| {
        format!("cannot write {}: is the folder writable, the disk full?", path.display())
    })?;
    Ok(path.into())
}
