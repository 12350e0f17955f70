//! What was measured: probes by layer, transfer tasks and their classes, colorization. Every measure has charts and tables of
//! its own, since mean average precision, mean IU and accuracy do not share an axis.

use super::{
    chart::{Across, Chart, Mark, Point, Series, legend},
    table::table,
};
use crate::{
    metrics::accuracy::MeanStd,
    report::{
        accuracy::{self, AccuracyTable, Measure},
        classes::{ClassValue, class_values},
        colors::{self, ColorResult},
        results::ProbeResult,
        table::{TextTable, cell_text},
        transfer::{self, TransferColumn, TransferLine, TransferMetric, TransferResult, TransferTable},
    },
};
use anyhow::Result;
use maud::{Markup, html};

/// Sideways distance of the series of a chart, so that error bars at the same height stay readable.
const ASIDE: f64 = 0.035;

/// Accuracy by layer.
pub(super) fn probes(results: &[ProbeResult], published: bool) -> Result<Markup> {
    let of = |measure| accuracy::tables_with(results, measure, published);
    let (top1, top5) = (of(Measure::Top1)?, of(Measure::Top5)?);
    Ok(html! {
        @for (first, other) in top1.iter().zip(&top5) {
            h3 { (first.dataset) ", protocol " (first.protocol) }
            div.charts { @for table in with_values([first, other]) { (accuracy_chart(table).svg()) } }
            (legend(first.rows.iter().map(|row| first.label(row)).enumerate()))
            (letters(first))
            (error_bars(first.rows.iter().flat_map(|row| &row.cells)))
            @for shown in with_values([first, other]) { (table(&shown.table())) }
        }
    })
}

/// Those with any value: there is no top-5 accuracy of few classes.
fn with_values(tables: [&AccuracyTable; 2]) -> impl Iterator<Item = &AccuracyTable> {
    tables.into_iter().filter(|table| table.rows.iter().any(|row| row.cells.iter().any(Option::is_some)))
}

fn accuracy_chart(table: &AccuracyTable) -> Chart {
    let rows = table.rows.iter().enumerate();
    let series = rows.map(|(at, row)| series(&table.label(row), (at, table.rows.len()), &row.cells, true));
    Chart {
        title: format!("{} accuracy (%)", table.measure.name()),
        across: Across::Names(table.layers.clone(), "layer"),
        series: series.collect(),
        marks: marks(table),
    }
}

/// Published values, each with the letter of its row.
fn marks(table: &AccuracyTable) -> Vec<Mark> {
    let rows = table.published_rows().iter().zip('a'..);
    let of_row = |((_, values, _), letter): (&(String, Vec<Option<f64>>, usize), char)| {
        let mark = move |(column, value): (usize, &Option<f64>)| {
            Some(Mark { label: letter.to_string(), x: column as f64, y: (*value)? })
        };
        values.iter().enumerate().filter_map(mark).collect::<Vec<_>>()
    };
    rows.flat_map(of_row).collect()
}

/// The letters of published rows; nothing without any.
fn letters(table: &AccuracyTable) -> Markup {
    let rows = || table.published_rows().iter().zip('a'..);
    html! {
        @if rows().next().is_some() {
            p.about {
                "Dashed marks: published values, with a letter where there is room. "
                @for (at, ((method, ..), letter)) in rows().enumerate() { @if at > 0 { "; " } b { (letter) } " " (method) }
                "."
            }
        }
    }
}

/// The cells of row `at` of `of` rows.
fn series(label: &str, (at, of): (usize, usize), cells: &[Option<MeanStd>], joined: bool) -> Series {
    let aside = (at as f64 - 0.5 * (of as f64 - 1.0)) * ASIDE.min(0.5 / of as f64);
    let point = |(column, cell): (usize, &Option<MeanStd>)| {
        cell.map(|cell| Point { x: column as f64 + aside, y: cell.mean, spread: cell.std })
    };
    let points = cells.iter().enumerate().filter_map(point).collect();
    Series { label: label.into(), look: at, joined, points }
}

/// What error bars mean, if there are any.
fn error_bars<'a>(cells: impl IntoIterator<Item = &'a Option<MeanStd>>) -> Markup {
    let has_bars = cells.into_iter().flatten().any(|cell| cell.std.is_some());
    html! {
        @if has_bars { p.about { "Error bars: one standard deviation over seeds, or over the draws of one seed." } }
    }
}

/// Transfer tasks: a chart for every metric, one table, and tables by class.
pub(super) fn transfers(results: &[TransferResult], published: bool) -> Result<Markup> {
    let all = transfer::table(results)?;
    let all = if published { all.with_published()? } else { all };
    let metrics = [TransferMetric::MeanAveragePrecision, TransferMetric::MeanIu, TransferMetric::Top1];
    Ok(html! {
        div.charts { @for metric in metrics { @if let Some(chart) = metric_chart(&all, metric) { (chart.svg()) } } }
        (legend(all.lines.iter().map(|line| all.label(line)).enumerate()))
        (error_bars(all.cells.iter().flatten()))
        (table(&all.table()))
        (classes(&all, results))
    })
}

/// The columns of one metric; None if there are none.
fn metric_chart(table: &TransferTable, metric: TransferMetric) -> Option<Chart> {
    let titles = table.titles();
    let columns: Vec<usize> =
        (0..titles.len()).filter(|column| table.columns[*column].metric == metric).collect();
    let row = |(at, line): (usize, &TransferLine)| {
        let cells: Vec<_> = columns.iter().map(|column| table.cells[at][*column]).collect();
        series(&table.label(line), (at, table.lines.len()), &cells, false)
    };
    (!columns.is_empty()).then(|| Chart {
        title: format!("{} (%)", metric.name()),
        across: Across::Names(columns.iter().map(|column| titles[*column].clone()).collect(), "task"),
        series: table.lines.iter().enumerate().map(row).collect(),
        marks: vec![],
    })
}

/// A table for every column with values by class: a row for each class, a column for each backbone.
fn classes(all: &TransferTable, results: &[TransferResult]) -> Markup {
    let values = class_values(results);
    let mut columns: Vec<&TransferColumn> = vec![];
    for value in &values {
        if !columns.contains(&&value.column) {
            columns.push(&value.column);
        }
    }
    html! {
        @for column in &columns { (table(&class_table(all, column, &values))) }
    }
}

fn class_table(all: &TransferTable, column: &TransferColumn, values: &[ClassValue]) -> TextTable {
    let own: Vec<&ClassValue> = values.iter().filter(|value| value.column == *column).collect();
    let lines: Vec<&TransferLine> =
        all.lines.iter().filter(|line| own.iter().any(|value| value.line == **line)).collect();
    let mut classes: Vec<&str> = vec![];
    for value in &own {
        if !classes.contains(&value.class.as_str()) {
            classes.push(&value.class);
        }
    }
    let cell = |class: &str, line: &TransferLine| {
        let found = own.iter().find(|value| value.class == class && value.line == *line);
        cell_text(found.and_then(|found| found.value.as_ref()), all.seeds.len())
    };
    let row = |class: &&str| {
        std::iter::once(class.to_string()).chain(lines.iter().map(|line| cell(class, line))).collect()
    };
    let columns = std::iter::once("class".to_string()).chain(lines.iter().map(|line| all.label(line)));
    let title = format!("{}, by class: {} in % on {}", column.name(), column.metric.name(), column.dataset);
    TextTable { title, ..TextTable::new(columns, classes.iter().map(row)) }
}

/// Colorization methods.
pub(super) fn colorization(results: &[ColorResult], published: bool) -> Result<Markup> {
    let tables = colors::tables_with(results, published)?;
    Ok(html! {
        @for methods in &tables {
            (table(&methods.table()))
            @for differences in &methods.differences() { (table(differences)) }
        }
    })
}
