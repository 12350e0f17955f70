//! Grouped bar charts of a transfer table, one for each metric: one group per column, one bar per backbone, in percent from
//! 0, with error bars over seeds; rendered as SVG and PNG.

use super::{
    canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PALETTE, PlotCanvas, TICK},
    table::spread,
    transfer::{TransferMetric, TransferTable},
};
use crate::metrics::accuracy::MeanStd;
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use std::collections::HashSet;

const HEIGHT: u32 = 520;
/// In SVG units: maximum bar width, minimum group width, and margins of the plot.
const BAR: f64 = 26.0;
const GROUP: f64 = 64.0;
const LEFT: f64 = 74.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = HEIGHT as f64 - 52.0;
/// Share of a group's width filled by bars.
const FILLED: f64 = 0.8;

/// Renders the plot as SVG.
pub fn svg(table: &TransferTable) -> Result<String> {
    canvas::svg(&BarStack::new(table))
}

/// Renders the plot as PNG.
pub fn png(table: &TransferTable) -> Result<Vec<u8>> {
    canvas::png(&BarStack::new(table))
}

/// The charts of all metrics, one below the other.
struct BarStack<'a>(Vec<Bars<'a>>);

impl<'a> BarStack<'a> {
    fn new(table: &'a TransferTable) -> Self {
        let mut metrics = Vec::from_iter(table.columns.iter().map(|column| column.metric));
        let mut seen = HashSet::new();
        metrics.retain(|metric| seen.insert(*metric));
        Self(metrics.into_iter().map(|metric| Bars::new(table, metric)).collect())
    }
}

impl Figure for BarStack<'_> {
    fn size(&self) -> (u32, u32) {
        let (widths, heights): (Vec<u32>, Vec<u32>) = self.0.iter().map(Bars::size).unzip();
        let most = |sizes: Vec<u32>, least| sizes.into_iter().max().unwrap_or(least);
        (most(widths, LEFT as u32), self.0.len().max(1) as u32 * most(heights, HEIGHT))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()> {
        for (part, bars) in area.split_evenly((self.0.len().max(1), 1)).iter().zip(&self.0) {
            bars.draw(&PlotCanvas::new(part, scale)?)?;
        }
        Ok(())
    }
}

/// The chart of one metric.
struct Bars<'a> {
    table: &'a TransferTable,
    metric: TransferMetric,
    /// Its columns in the table.
    columns: Vec<usize>,
    titles: Vec<String>,
    labels: Vec<String>,
    /// Width of a group, and left edge of the legend.
    group: f64,
    right: f64,
    high: f64,
}

impl<'a> Bars<'a> {
    fn new(table: &'a TransferTable, metric: TransferMetric) -> Self {
        let all = table.titles();
        let columns = Vec::from_iter((0..all.len()).filter(|column| table.columns[*column].metric == metric));
        let titles = Vec::from_iter(columns.iter().map(|column| all[*column].clone()));
        let labels = Vec::from_iter(table.lines.iter().map(|l| table.label(l)));
        // About eight units per character.
        let longest = |texts: &[String]| texts.iter().map(|t| t.chars().count()).max().unwrap_or(0) as f64;
        let bars = BAR * table.lines.len() as f64 / FILLED;
        let group = bars.max(GROUP).max(8.5 * longest(&titles) + 12.0);
        let right = LEFT + (group * columns.len() as f64).max(420.0);
        let group = (right - LEFT) / columns.len().max(1) as f64;
        let top = |cell: &MeanStd| cell.mean + cell.std.unwrap_or(0.0);
        let own =
            table.cells.iter().flat_map(|row| columns.iter().filter_map(move |column| row[*column].as_ref()));
        let largest = own.map(top).fold(0.0, f64::max);
        Self {
            table,
            metric,
            columns,
            titles,
            labels,
            group,
            right,
            high: ((largest / 10.0).ceil() * 10.0).clamp(10.0, 100.0),
        }
    }

    fn size(&self) -> (u32, u32) {
        ((self.right + 60.0 + 9.0 * self.longest_label()) as u32, HEIGHT.max(self.legend_end() as u32))
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Result<()> {
        canvas::check_drawn::<DB>(self.axes(canvas))?;
        for index in 0..self.labels.len() {
            canvas::check_drawn::<DB>(self.bars(canvas, index))?;
            canvas::check_drawn::<DB>(self.legend(canvas, index))?;
        }
        Ok(())
    }

    fn longest_label(&self) -> f64 {
        self.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0) as f64
    }
}

impl Bars<'_> {
    fn axes<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Drawn<DB> {
        canvas.title("Transfer", LEFT, 22.0)?;
        canvas.text(&spread(&self.table.seeds), LEFT, 47.0, LABEL, FAINT, HPos::Left)?;
        let step = if self.high > 50.0 { 20.0 } else { 10.0 };
        for i in 0..=(self.high / step) as usize {
            let (tick, y) = (i as f64 * step, self.y(i as f64 * step));
            canvas.stroke(&[(LEFT, y), (self.right, y)], GRID, 1.0)?;
            canvas.text(&format!("{tick:.0}"), LEFT - 8.0, y - 0.3 * TICK, TICK, INK, HPos::Right)?;
        }
        for (column, title) in self.titles.iter().enumerate() {
            let middle = LEFT + (column as f64 + 0.5) * self.group;
            canvas.text(title, middle, BOTTOM + 12.0, LABEL, INK, HPos::Center)?;
        }
        canvas.stroke(&[(LEFT, BOTTOM), (self.right, BOTTOM)], FAINT, 1.0)?;
        canvas.vertical_text(&format!("{} (%)", self.metric.name()), 22.0, 0.5 * (TOP + BOTTOM))
    }

    fn bars<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>, index: usize) -> Drawn<DB> {
        let width = (FILLED * self.group / self.labels.len() as f64).min(BAR);
        let cells = self.columns.iter().map(|column| self.table.cells[index][*column]).enumerate();
        for (column, cell) in cells.filter_map(|(column, cell)| Some((column, cell?))) {
            let middle = LEFT + (column as f64 + 0.5) * self.group;
            let left = middle + (index as f64 - 0.5 * self.labels.len() as f64) * width;
            canvas.bar((left + 1.0, self.y(cell.mean)), (left + width - 1.0, BOTTOM), color(index))?;
            if let Some(std) = cell.std {
                let (x, low, high) = (left + 0.5 * width, self.y(cell.mean - std), self.y(cell.mean + std));
                canvas.stroke(&[(x, low), (x, high)], INK, 1.5)?;
                for end in [low, high] {
                    canvas.stroke(&[(x - 4.0, end), (x + 4.0, end)], INK, 1.5)?;
                }
            }
        }
        Ok(())
    }

    fn legend<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>, index: usize) -> Drawn<DB> {
        let (x, y) = (self.right + 18.0, TOP + 10.0 + 25.0 * index as f64);
        canvas.bar((x, y - 7.0), (x + 14.0, y + 7.0), color(index))?;
        canvas.text(&self.labels[index], x + 24.0, y - 0.3 * LABEL, LABEL, INK, HPos::Left)
    }

    fn legend_end(&self) -> f64 {
        TOP + 20.0 + 25.0 * self.labels.len() as f64
    }

    fn y(&self, percent: f64) -> f64 {
        BOTTOM - percent.max(0.0) / self.high * (BOTTOM - TOP)
    }
}

/// The palette, then the same colors lightened.
fn color(index: usize) -> RGBColor {
    let RGBColor(r, g, b) = PALETTE[index % PALETTE.len()];
    let paler = |c: u8| if index / PALETTE.len() % 2 == 1 { c / 2 + 127 } else { c };
    RGBColor(paler(r), paler(g), paler(b))
}
