//! Report on semantic interpretability: accuracies on original, gray and recolored pictures, the classes with the
//! largest gains and losses, the confusions added by recoloring (tables), the two plots of the paper's Figure 12, and
//! example pictures for each class and confusion, after Figures 10 and 11.
//!
//! It reads an [`InterpretabilityResult`]; pictures are requested one at a time.

use super::{
    ReportPaths, canvas,
    scatter::{GroupStyle, Note, PointGroup, Scatter},
    table::TextTable,
    write_file,
};
use crate::{
    metrics::interpretability::{
        Accuracy, Answer, ClassConfusion, ClassGain, Interpretability, Record, Renderings, confused, helped,
        hurt,
    },
    train::{
        panel::{RgbTile, panel},
        picture::encode,
        task::ImagePanel,
    },
};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, path::Path};

/// What a point on the diagonal of a plot says.
const NO_CHANGE: &str = "no change";

/// Input of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterpretabilityResult {
    pub dataset: String,
    /// Name of the colorizer.
    pub colorizer: String,
    /// Name of the classifier.
    pub classifier: String,
    /// Names of the classifier's classes, in its order.
    pub classes: Vec<String>,
    pub records: Vec<Record>,
}

/// Numbers of entries shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportLimits {
    /// Classes in each of the two tables.
    pub classes: usize,
    /// Confusions in the table.
    pub confusions: usize,
    /// Classes highlighted in the plot, at either end.
    pub highlighted_classes: usize,
    /// Confusions highlighted in the plot.
    pub highlighted_confusions: usize,
    /// Pictures per class and per confusion.
    pub examples: usize,
}

/// The numbers of the paper's appendix.
impl Default for ReportLimits {
    fn default() -> Self {
        Self {
            classes: 10,
            confusions: 10,
            highlighted_classes: 50,
            highlighted_confusions: 100,
            examples: 4,
        }
    }
}

/// Writes `interpretability.md`, tables (also as CSV), plots (SVG, PNG) and `examples/…png` into folder `out`.
/// `pictures` provides the three renderings of a record.
///
/// # Errors
/// No records; a class without a name; unavailable pictures; a folder that cannot be written.
pub fn write_interpretability(
    result: &InterpretabilityResult,
    shown: &ReportLimits,
    pictures: &dyn Fn(&Record) -> Result<Renderings<RgbTile>>,
    out: &Path,
) -> Result<ReportPaths> {
    let report = InterpretabilityReport::of(result, shown)?;
    let folder = out.join("examples");
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the report folder {}", folder.display()))?;
    let write = |name: &str, bytes: &[u8]| write_file(&out.join(name), bytes);
    let (gain, added) = (report.gain_plot(), report.confusion_plot());
    let mut plots = vec![
        write("interpretability_classes.svg", canvas::svg(&gain)?.as_bytes())?,
        write("interpretability_classes.png", &canvas::png(&gain)?)?,
        write("interpretability_confusions.svg", canvas::svg(&added)?.as_bytes())?,
        write("interpretability_confusions.png", &canvas::png(&added)?)?,
    ];
    let examples = report.examples();
    for example in &examples {
        plots.push(write(&example.file, &example.grid(pictures)?)?);
    }
    let [summary, classes, confusions] = [
        report.summary(),
        report.classes(&report.found.classes),
        report.confusions(&report.found.confusions),
    ];
    let tables = vec![
        write("interpretability.md", report.page(&examples).as_bytes())?,
        write("interpretability_summary.csv", csv(&summary).as_bytes())?,
        write("interpretability_classes.csv", csv(&classes).as_bytes())?,
        write("interpretability_confusions.csv", csv(&confusions).as_bytes())?,
    ];
    Ok(ReportPaths {
        tables,
        plots,
        text: format!("{}\n\n{}", report.header(), summary.text()),
        ..ReportPaths::default()
    })
}

/// Data set indices of the images whose pictures [`write_interpretability`] will request.
///
/// # Errors
/// As [`write_interpretability`].
pub fn needed_images(result: &InterpretabilityResult, shown: &ReportLimits) -> Result<BTreeSet<usize>> {
    let report = InterpretabilityReport::of(result, shown)?;
    let examples = report.examples();
    Ok(examples.iter().flat_map(|example| &example.records).map(|record| record.image as usize).collect())
}

/// A result with the metrics derived from it.
struct InterpretabilityReport<'a> {
    result: &'a InterpretabilityResult,
    shown: &'a ReportLimits,
    found: Interpretability,
}

impl<'a> InterpretabilityReport<'a> {
    fn of(result: &'a InterpretabilityResult, shown: &'a ReportLimits) -> Result<Self> {
        let found = Interpretability::of(&result.records)
            .context("there is nothing to report on: no picture was classified")?;
        let given = |answer: &Answer| answer.top.iter().map(|(class, _)| *class).max();
        let answers = |r: &Record| [&r.answers.original, &r.answers.gray, &r.answers.recolored].map(given);
        let largest = result.records.iter().flat_map(|r| answers(r).into_iter().flatten().chain([r.class]));
        let largest = largest.max().unwrap_or(0) as usize;
        ensure!(
            largest < result.classes.len(),
            "class {largest} has no name: {} names for the classifier's classes",
            result.classes.len()
        );
        Ok(Self { result, shown, found })
    }

    fn name(&self, class: u32) -> &str {
        self.result.classes.get(class as usize).map_or("", String::as_str)
    }

    fn header(&self) -> String {
        let InterpretabilityResult { dataset, colorizer, classifier, .. } = self.result;
        format!(
            "{} of {dataset}, recolored by {colorizer}, classified by {classifier}",
            counted(self.found.images as usize, "picture", "pictures")
        )
    }

    fn summary(&self) -> TextTable {
        let row =
            |name: &str, Accuracy { top1, top5 }: Accuracy| vec![name.into(), percent(top1), percent(top5)];
        let Renderings { original, gray, recolored } = self.found.accuracy;
        let rows = [row("true colors", original), row("gray", gray), row("recolored", recolored)];
        TextTable::new(["rendering", "top-1 %", "top-5 %"], rows)
    }

    fn classes(&self, gains: &[ClassGain]) -> TextTable {
        let row = |gain: &ClassGain| {
            let name = self.name(gain.class).to_string();
            let shares = [percent(gain.gray), percent(gain.recolored), signed(gain.gain())];
            [vec![name, gain.images.to_string()], shares.to_vec()].concat()
        };
        TextTable::new(
            ["class", "pictures", "gray top-5 %", "recolored top-5 %", "gain"],
            gains.iter().map(row),
        )
    }

    fn confusions(&self, confusions: &[ClassConfusion]) -> TextTable {
        let row = |pair: &ClassConfusion| {
            let names = [pair.class, pair.seen_as].map(|class| self.name(class).to_string());
            let shares = [percent(pair.original), percent(pair.recolored), signed(pair.added())];
            [names.to_vec(), shares.to_vec()].concat()
        };
        TextTable::new(
            ["class", "seen as", "true colors %", "recolored %", "added"],
            confusions.iter().map(row),
        )
    }

    /// Figure 12(a).
    fn gain_plot(&self) -> Scatter {
        let n = self.shown.highlighted_classes;
        let (top, bottom) = (self.found.top(n), self.found.bottom(n));
        let rest = &self.found.classes[top.len()..self.found.classes.len() - bottom.len()];
        let group = |label: String, look, gains: &[ClassGain]| PointGroup {
            label,
            look,
            points: gains.iter().map(|g| (100.0 * g.gray, 100.0 * g.recolored)).collect(),
        };
        let note = |heading: &str, gains: &[ClassGain]| Note {
            heading: heading.into(),
            lines: gains
                .iter()
                .take(7)
                .map(|g| format!("{} {}", signed(g.gain()), self.name(g.class)))
                .collect(),
        };
        Scatter {
            title: "Classes recognized in gray and recolored".into(),
            under: self.header(),
            across: "gray: top-5 accuracy".into(),
            up: "recolored: top-5 accuracy".into(),
            diagonal: NO_CHANGE.into(),
            notes: vec![note("Largest gains", top), note("Largest losses", &bottom)],
            groups: vec![
                group(counted(rest.len(), "class between", "classes between"), GroupStyle::Rest, rest),
                group(
                    counted(bottom.len(), "class that loses most", "classes that lose most"),
                    GroupStyle::Second,
                    &bottom,
                ),
                group(
                    counted(top.len(), "class that gains most", "classes that gain most"),
                    GroupStyle::First,
                    top,
                ),
            ],
        }
    }

    /// Figure 12(b).
    fn confusion_plot(&self) -> Scatter {
        let pairs = self.found.classes.len() * (self.result.classes.len() - 1);
        let added = self.found.added(self.shown.highlighted_confusions);
        let points = |confusions: &[ClassConfusion]| -> Vec<_> {
            confusions.iter().map(|c| (100.0 * c.original, 100.0 * c.recolored)).collect()
        };
        let mut rest = points(&self.found.confusions[added.len()..]);
        if pairs > self.found.confusions.len() {
            rest.push((0.0, 0.0)); // all pairs that are never confused
        }
        let line = |c: &ClassConfusion| {
            format!("{} {} as {}", signed(c.added()), self.name(c.class), self.name(c.seen_as))
        };
        let lines = added.iter().take(14).map(line).collect();
        let group = |label, look, points| PointGroup { label, look, points };
        let label = counted(pairs - added.len(), "other pair of classes", "other pairs of classes");
        Scatter {
            title: "Classes taken for another, in true colors and recolored".into(),
            under: self.header(),
            across: "true colors: share of a class with another among its top five".into(),
            up: "recolored: the same".into(),
            diagonal: NO_CHANGE.into(),
            groups: vec![
                group(label, GroupStyle::Rest, rest),
                group(
                    counted(added.len(), "confusion most added", "confusions most added"),
                    GroupStyle::First,
                    points(added),
                ),
            ],
            notes: vec![Note { heading: "Most added by recoloring".into(), lines }],
        }
    }

    /// Example pictures for each class and confusion of the tables.
    fn examples(&self) -> Vec<ExampleFigure<'_>> {
        let (shown, records) = (self.shown, &self.result.records);
        let example = |kind: &str, title: String, i: usize, found: Vec<&'a Record>| ExampleFigure {
            file: format!("examples/{kind}-{:02}.png", i + 1),
            title,
            records: found.into_iter().take(shown.examples).collect(),
        };
        let gains = self.found.top(shown.classes).iter().enumerate().map(|(i, g)| {
            let title = format!("{}: {} points of top-5 accuracy", self.name(g.class), signed(g.gain()));
            example("helped", title, i, helped(records, g.class))
        });
        let losses = self.found.bottom(shown.classes).into_iter().enumerate().map(|(i, g)| {
            let title = format!("{}: {} points of top-5 accuracy", self.name(g.class), signed(g.gain()));
            example("hurt", title, i, hurt(records, g.class))
        });
        let added = self.found.added(shown.confusions).iter().enumerate().map(|(i, c)| {
            let names = (self.name(c.class), self.name(c.seen_as));
            let title = format!("{} seen as {}: {} points", names.0, names.1, signed(c.added()));
            example("confused", title, i, confused(records, c.class, c.seen_as))
        });
        gains.chain(losses).chain(added).filter(|example| !example.records.is_empty()).collect()
    }

    fn page(&self, examples: &[ExampleFigure]) -> String {
        let (top, bottom) = (self.found.top(self.shown.classes), self.found.bottom(self.shown.classes));
        let added = self.found.added(self.shown.confusions);
        let mut page =
            format!("# Semantic interpretability\n\n{}.\n\n{}", self.header(), self.summary().markdown());
        for (title, plot, table) in [
            ("Classes that gain most from recoloring", Some("classes"), self.classes(top)),
            ("Classes that lose most", None, self.classes(&bottom)),
            ("Confusions that recoloring adds", Some("confusions"), self.confusions(added)),
        ] {
            page += &format!("\n## {title}\n\n{}", table.markdown());
            if let Some(plot) = plot {
                page += &format!("\n![{title}](interpretability_{plot}.png)\n");
            }
        }
        page += "\n## Pictures\n\nThe first answer to each rendering, its probability, and the place of the true class.\n";
        for ExampleFigure { file, title, records } in examples {
            page += &format!("\n### {title}\n\n![{title}]({file})\n\n{}", self.answers(records).markdown());
        }
        page
    }

    fn answers(&self, records: &[&Record]) -> TextTable {
        let told = |answer: &Answer| {
            let (class, score) = answer.top.first().copied().unwrap_or_default();
            format!(
                "{} {:.0} % (true class: {})",
                self.name(class),
                100.0 * score,
                u64::from(answer.rank) + 1
            )
        };
        let row = |record: &&Record| {
            let Renderings { original, gray, recolored } = record.answers.map(told);
            vec![record.image.to_string(), original, gray, recolored]
        };
        TextTable::new(["picture", "true colors", "gray", "recolored"], records.iter().map(row))
    }
}

/// A row of example pictures of one class.
struct ExampleFigure<'a> {
    /// Path relative to the report folder.
    file: String,
    title: String,
    records: Vec<&'a Record>,
}

impl ExampleFigure<'_> {
    /// Original, gray and recolored in columns, one row per picture, as PNG.
    fn grid(&self, pictures: &dyn Fn(&Record) -> Result<Renderings<RgbTile>>) -> Result<Vec<u8>> {
        let row = |record: &&Record| {
            let Renderings { original, gray, recolored } =
                pictures(record).with_context(|| format!("cannot show picture {}", record.image))?;
            Ok(vec![original, gray, recolored])
        };
        let rows = self.records.iter().map(row).collect::<Result<Vec<Vec<RgbTile>>>>()?;
        let largest = rows.iter().flatten().map(|(w, h, _)| *w.max(h)).max().unwrap_or(1);
        let scale = (128 / largest.max(1)).max(1);
        let (width, height, rgb) = panel(&rows, &["true colors", "gray", "recolored"], scale)?;
        encode(&ImagePanel { name: self.file.clone(), width, height, rgb })
    }
}

/// CSV with an ASCII minus, for programs.
fn csv(table: &TextTable) -> String {
    table.csv().replace('−', "-")
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// Percentage points with sign.
fn signed(share: f64) -> String {
    format!("{:+.1}", 100.0 * share).replace('-', "−")
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
