//! All of a report in one HTML file to mail: tables that sort, learning curves, pictures, specs and where everything comes
//! from. It loads nothing, names no host and no absolute path, and works without its script but for the sorting. Every
//! text is escaped by [`maud`]; only the style sheet and the script are inserted as they are. Nothing is measured here.

mod chart; // SVG
mod history; // logs
mod run; // what a run directory says
mod table;

mod classes;
mod curves;
mod lineage;
mod measured;
mod pictures;
mod specs;
mod warnings;

pub use run::RunRecord;

use super::results::Collected;
use crate::{atomic_write, text::counted};
use anyhow::{Context, Result, ensure};
use history::History;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rayon::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// File name in the report folder.
pub const PAGE: &str = "report.html";
/// Most bytes of a page: mail servers take it.
pub const BUDGET: usize = 5_000_000;
/// Most bytes of its pictures.
const PICTURES: usize = 2_500_000;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing is loaded; style, script and pictures are in the file.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// What a page shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageOptions {
    /// Published results below the measured ones.
    pub published: bool,
    /// Of the random samples of pictures.
    pub seed: u64,
}

/// A part of the page with its anchor.
struct Section {
    id: &'static str,
    title: &'static str,
    body: Markup,
}

/// Writes the page of `runs` and their results into folder `out`.
///
/// # Errors
/// Two results for the same cell and seed; examples that cannot be read; more runs than fit on a page; a folder that
/// cannot be written.
pub fn write(runs: &[RunRecord], found: &Collected, options: &PageOptions, out: &Path) -> Result<PathBuf> {
    let page = page(runs, found, options)?;
    fs::create_dir_all(out).with_context(|| format!("cannot create the report folder {}", out.display()))?;
    let path = out.join(PAGE);
    atomic_write::write(&path, page.as_bytes()).with_context(|| {
        format!("cannot write {}: is the folder writable, the disk full?", path.display())
    })?;
    Ok(path)
}

fn page(runs: &[RunRecord], found: &Collected, options: &PageOptions) -> Result<String> {
    let mut sections = sections(runs, found, options.published)?;
    let bytes = document(runs, &sections).into_string().len();
    ensure!(
        bytes <= BUDGET,
        "the page of {} would have {:.1} MB, more than {:.0}: report on fewer runs",
        counted(runs.len(), "run"),
        bytes as f64 / 1e6,
        BUDGET as f64 / 1e6
    );
    let room = PICTURES.min((BUDGET - bytes).saturating_sub(10_000));
    if let Some(body) = pictures::pictures(runs, &found.colors, options.seed, room)? {
        let at = sections.iter().position(|section| section.id == "specs").unwrap_or(sections.len());
        sections.insert(at, Section { id: "pictures", title: "Pictures", body });
    }
    Ok(document(runs, &sections).into_string().replace(reorders, "\u{fffd}"))
}

/// Whether a character turns the text that follows it, beyond the name that it is in. Languages written from right to left
/// need none.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// All sections but the pictures, whose room is what the others leave.
fn sections(runs: &[RunRecord], found: &Collected, published: bool) -> Result<Vec<Section>> {
    let read: Vec<_> = runs.par_iter().map(|run| History::read(&run.dir)).collect();
    let warnings = warnings::warnings(runs, &read);
    let histories: Vec<History> = read.into_iter().map(Result::unwrap_or_default).collect();
    let Collected { probes, colors, transfers, supervised, .. } = found;
    let of = |is_empty: bool, body: Result<Markup>| if is_empty { Ok(None) } else { body.map(Some) };
    let bodies = [
        ("warnings", "Missing results and warnings", warnings),
        ("probes", "Accuracy by layer", of(probes.is_empty(), measured::probes(probes, published))?),
        ("classes", "Classes", classes::classes(probes, supervised)),
        ("transfer", "Transfer", of(transfers.is_empty(), measured::transfers(transfers, published))?),
        ("colorization", "Colorization", of(colors.is_empty(), measured::colorization(colors, published))?),
        ("curves", "Learning curves", curves::curves(runs, &histories)),
        ("specs", "Specs", specs::specs(runs)),
        ("layers", "Layers", lineage::layers(runs)),
        ("runs", "Runs and environment", (!runs.is_empty()).then(|| lineage::lineage(runs))),
    ];
    let section = |(id, title, body): (_, _, Option<Markup>)| Some(Section { id, title, body: body? });
    Ok(bodies.into_iter().filter_map(section).collect())
}

fn document(runs: &[RunRecord], sections: &[Section]) -> Markup {
    let title = title(runs);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p { (summary(runs)) }
                    nav aria-label="Sections" { ul {
                        @for section in sections { li { a href=(format!("#{}", section.id)) { (section.title) } } }
                    } }
                }
                main {
                    @for Section { id, title, body } in sections {
                        section id=(id) { h2 { (title) } (body) }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The experiments.
fn title(runs: &[RunRecord]) -> String {
    let mut names: Vec<String> = vec![];
    for name in runs.iter().map(|run| &run.experiment).filter(|name| !name.is_empty()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if names.is_empty() { "Report".into() } else { lineage::few(&names) }
}

/// How many runs there are, and how many of them count.
fn summary(runs: &[RunRecord]) -> String {
    let finished = runs.iter().filter(|run| run.is_finished()).count();
    let runs = counted(runs.len(), "run");
    format!("{runs}, {finished} finished. Written by hueristic {}.", env!("CARGO_PKG_VERSION"))
}
