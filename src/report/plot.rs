//! Accuracy by layer: one line per backbone with error bars over seeds, rendered as SVG and PNG.

pub use super::canvas::PNG_SCALE;
use super::{
    accuracy::{AccuracyRow, AccuracyTable},
    canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PALETTE, PlotCanvas, TICK},
};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Size of one table's plot in SVG units; several tables are stacked.
pub const SIZE: (u32, u32) = (860, 520);

/// Renders the plot as SVG.
pub fn svg(tables: &[AccuracyTable]) -> Result<String> {
    canvas::svg(&Stack(tables))
}

/// Renders the plot as PNG.
pub fn png(tables: &[AccuracyTable]) -> Result<Vec<u8>> {
    canvas::png(&Stack(tables))
}

struct Stack<'a>(&'a [AccuracyTable]);

impl Figure for Stack<'_> {
    fn size(&self) -> (u32, u32) {
        (SIZE.0, SIZE.1 * self.0.len().max(1) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()> {
        for (part, table) in area.split_evenly((self.0.len().max(1), 1)).iter().zip(self.0) {
            canvas::check_drawn::<DB>(AccuracyPlot::new(part, table, scale)?.draw())?;
        }
        Ok(())
    }
}

/// Layout of one table's plot in SVG units.
struct AccuracyPlot<'a, DB: DrawingBackend> {
    canvas: PlotCanvas<'a, DB>,
    table: &'a AccuracyTable,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    axis: AccuracyAxis,
}

impl<'a, DB: DrawingBackend> AccuracyPlot<'a, DB> {
    fn new(area: &'a Area<DB>, table: &'a AccuracyTable, scale: f64) -> Result<Self> {
        let canvas = PlotCanvas::new(area, scale)?;
        let widest = table.rows.iter().map(|row| canvas.width(&table.label(row))).fold(0.0, f64::max);
        let right = SIZE.0 as f64 - (widest + 64.0).min(0.45 * SIZE.0 as f64);
        let bottom = SIZE.1 as f64 - 62.0;
        Ok(Self { canvas, table, left: 74.0, right, top: 76.0, bottom, axis: AccuracyAxis::of(table) })
    }

    fn draw(&self) -> Drawn<DB> {
        self.titles()?;
        self.axes()?;
        for (i, row) in self.table.rows.iter().enumerate() {
            self.line(i, row)?;
            self.legend(i, row)?;
        }
        Ok(())
    }

    fn titles(&self) -> Drawn<DB> {
        let table = self.table;
        self.canvas.title(&format!("Linear probe on {}", table.dataset), self.left, 22.0)?;
        let under =
            format!("{} accuracy, protocol {}, {}", table.measure.name(), table.protocol, table.spread());
        self.canvas.text(&under, self.left, 47.0, LABEL, FAINT, HPos::Left)
    }

    fn axes(&self) -> Drawn<DB> {
        for tick in self.axis.ticks() {
            let y = self.y(tick);
            self.canvas.stroke(&[(self.left, y), (self.right, y)], GRID, 1.0)?;
            self.canvas.text(
                &self.axis.label(tick),
                self.left - 8.0,
                y - 0.3 * TICK,
                TICK,
                INK,
                HPos::Right,
            )?;
        }
        for (column, layer) in self.table.layers.iter().enumerate() {
            let x = self.x(column as f64);
            self.canvas.stroke(&[(x, self.top), (x, self.bottom)], GRID, 1.0)?;
            self.canvas.text(layer, x, self.bottom + 10.0, LABEL, INK, HPos::Center)?;
        }
        self.canvas.stroke(&[(self.left, self.bottom), (self.right, self.bottom)], FAINT, 1.0)?;
        let middle = 0.5 * (self.left + self.right);
        self.canvas.text("layer", middle, self.bottom + 36.0, LABEL, INK, HPos::Center)?;
        let name = format!("{} accuracy (%)", self.table.measure.name());
        self.canvas.vertical_text(&name, 22.0, 0.5 * (self.top + self.bottom))
    }

    /// Points of a row, each connected to the next layer that the row has, with error bars of one standard deviation.
    fn line(&self, index: usize, row: &AccuracyRow) -> Drawn<DB> {
        let color = PALETTE[index % PALETTE.len()];
        // Small horizontal offset, so that error bars at the same height stay readable.
        let aside = (index as f64 - 0.5 * (self.table.rows.len() as f64 - 1.0)) * 0.03;
        let point = |(column, cell): (usize, &Option<_>)| {
            cell.map(|cell: crate::metrics::accuracy::MeanStd| (self.x(column as f64 + aside), cell))
        };
        let points: Vec<_> = row.cells.iter().enumerate().filter_map(point).collect();
        for pair in points.windows(2) {
            let ends = [0, 1].map(|i| (pair[i].0, self.y(pair[i].1.mean)));
            self.canvas.stroke(&ends, color, 2.0)?;
        }
        for (x, cell) in points {
            // A larger white marker first, to separate the point from the lines.
            self.canvas.marker(index, x, self.y(cell.mean), 5.8, WHITE)?;
            if let Some(std) = cell.std {
                let (low, high) = (self.y(cell.mean - std), self.y(cell.mean + std));
                self.canvas.stroke(&[(x, low), (x, high)], color, 1.5)?;
                for end in [low, high] {
                    self.canvas.stroke(&[(x - 4.0, end), (x + 4.0, end)], color, 1.5)?;
                }
            }
            self.canvas.marker(index, x, self.y(cell.mean), 4.4, color)?;
        }
        Ok(())
    }

    fn legend(&self, index: usize, row: &AccuracyRow) -> Drawn<DB> {
        let (x, y) = (self.right + 18.0, self.top + 10.0 + 25.0 * index as f64);
        let color = PALETTE[index % PALETTE.len()];
        self.canvas.stroke(&[(x, y), (x + 24.0, y)], color, 2.0)?;
        self.canvas.marker(index, x + 12.0, y, 5.8, WHITE)?;
        self.canvas.marker(index, x + 12.0, y, 4.4, color)?;
        self.canvas.text(&self.table.label(row), x + 32.0, y - 0.3 * LABEL, LABEL, INK, HPos::Left)
    }

    fn x(&self, column: f64) -> f64 {
        let share = (column + 0.4) / (self.table.layers.len() as f64 - 0.2);
        self.left + share * (self.right - self.left)
    }

    fn y(&self, percent: f64) -> f64 {
        let share = (percent - self.axis.low) / (self.axis.high - self.axis.low);
        self.bottom - share * (self.bottom - self.top)
    }
}

/// Value range of the accuracies, rounded outwards to whole steps.
struct AccuracyAxis {
    low: f64,
    high: f64,
    step: f64,
}

impl AccuracyAxis {
    fn of(table: &AccuracyTable) -> Self {
        let cells = || table.rows.iter().flat_map(|row| row.cells.iter().flatten());
        let low = cells().map(|c| c.mean - c.std.unwrap_or(0.0)).fold(f64::INFINITY, f64::min);
        let high = cells().map(|c| c.mean + c.std.unwrap_or(0.0)).fold(f64::NEG_INFINITY, f64::max);
        if !(low.is_finite() && high.is_finite()) {
            return Self { low: 0.0, high: 100.0, step: 20.0 };
        }
        let wanted = (high - low).max(1.0) / 6.0;
        let step = [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0].into_iter().find(|s| *s >= wanted).unwrap_or(20.0);
        let low = ((low / step - 0.2).floor() * step).max(0.0);
        let high = ((high / step + 0.2).ceil() * step).max(low + step);
        Self { low, high, step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step);
        (0..=((self.high - low) / step).round() as usize).map(move |i| low + i as f64 * step)
    }

    fn label(&self, tick: f64) -> String {
        if self.step < 1.0 { format!("{tick:.1}") } else { format!("{tick:.0}") }
    }
}
