//! Scatter plot of two shares of the same items in percent: a square with a diagonal (both are equal), groups of points
//! with the important ones on top, and a legend with notes.

use super::canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PALETTE, PlotCanvas, TICK};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Width and height in SVG units.
pub const SIZE: (u32, u32) = (900, 620);
/// Position of the square.
const LEFT: f64 = 84.0;
const TOP: f64 = 76.0;
const SIDE: f64 = 480.0;
/// Left edge and width of the legend.
const LEGEND: f64 = LEFT + SIDE + 26.0;
const LEGEND_WIDTH: f64 = SIZE.0 as f64 - LEGEND - 12.0;
const LINE: f64 = 23.0;

/// Style of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupStyle {
    /// Small and pale, below the others.
    Rest,
    /// Blue circles.
    First,
    /// Vermilion squares.
    Second,
}

/// Points of one style: x and y in percent. Coincident points are drawn once.
#[derive(Clone, Debug)]
pub(super) struct PointGroup {
    pub label: String,
    pub look: GroupStyle,
    pub points: Vec<(f64, f64)>,
}

/// Text below the legend, with a heading.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub heading: String,
    pub lines: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Scatter {
    pub title: String,
    pub under: String,
    /// Axis labels, without the unit.
    pub across: String,
    pub up: String,
    /// What a point on the diagonal says.
    pub diagonal: String,
    /// In drawing order.
    pub groups: Vec<PointGroup>,
    pub notes: Vec<Note>,
}

impl Figure for Scatter {
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()> {
        let plot =
            ScatterPlot { canvas: PlotCanvas::new(area, scale)?, scatter: self, axis: ShareAxis::of(self) };
        canvas::check_drawn::<DB>(plot.draw())
    }
}

/// Range from 0 to `high`, with tick step.
struct ShareAxis {
    high: f64,
    step: f64,
}

impl ShareAxis {
    /// Covers the largest value in whole steps.
    fn of(scatter: &Scatter) -> Self {
        let points = scatter.groups.iter().flat_map(|group| &group.points);
        let largest = points.fold(0.0, |largest: f64, (x, y)| largest.max(*x).max(*y));
        let step = [1.0, 2.0, 5.0, 10.0, 20.0].into_iter().find(|step| 5.0 * step >= largest).unwrap_or(20.0);
        Self { high: ((largest / step).ceil() * step).clamp(step, 100.0), step }
    }
}

struct ScatterPlot<'a, DB: DrawingBackend> {
    canvas: PlotCanvas<'a, DB>,
    scatter: &'a Scatter,
    axis: ShareAxis,
}

impl<DB: DrawingBackend> ScatterPlot<'_, DB> {
    fn draw(&self) -> Drawn<DB> {
        self.canvas.title(&self.scatter.title, LEFT, 22.0)?;
        self.canvas.text(&self.scatter.under, LEFT, 47.0, LABEL, FAINT, HPos::Left)?;
        self.axes()?;
        self.scatter.groups.iter().try_for_each(|group| self.points(group))?;
        self.notes(self.legend(TOP + 10.0)?)
    }

    fn axes(&self) -> Drawn<DB> {
        let (right, bottom) = (LEFT + SIDE, TOP + SIDE);
        for i in 0..=(self.axis.high / self.axis.step).round() as usize {
            let tick = i as f64 * self.axis.step;
            let (x, y, label) = (self.x(tick), self.y(tick), format!("{tick:.0}"));
            self.canvas.stroke(&[(LEFT, y), (right, y)], GRID, 1.0)?;
            self.canvas.stroke(&[(x, TOP), (x, bottom)], GRID, 1.0)?;
            self.canvas.text(&label, LEFT - 8.0, y - 0.3 * TICK, TICK, INK, HPos::Right)?;
            self.canvas.text(&label, x, bottom + 9.0, TICK, INK, HPos::Center)?;
        }
        self.canvas.stroke(&[(LEFT, TOP), (LEFT, bottom), (right, bottom)], FAINT, 1.0)?;
        self.canvas.stroke(&[(LEFT, bottom), (right, TOP)], FAINT, 1.0)?;
        let middle = LEFT + 0.5 * SIDE;
        let across = format!("{} (%)", self.scatter.across);
        self.canvas.text(&across, middle, bottom + 34.0, LABEL, INK, HPos::Center)?;
        self.canvas.vertical_text(&format!("{} (%)", self.scatter.up), 24.0, TOP + 0.5 * SIDE)
    }

    fn points(&self, group: &PointGroup) -> Drawn<DB> {
        let place =
            |(x, y): &(f64, f64)| ((10.0 * self.x(*x)).round() as i64, (10.0 * self.y(*y)).round() as i64);
        let mut places: Vec<_> = group.points.iter().map(place).collect();
        places.sort_unstable();
        places.dedup();
        places.iter().try_for_each(|(x, y)| self.mark(group.look, *x as f64 / 10.0, *y as f64 / 10.0))
    }

    fn mark(&self, look: GroupStyle, x: f64, y: f64) -> Drawn<DB> {
        let (shape, r, color) = match look {
            GroupStyle::Rest => return self.canvas.marker(0, x, y, 2.4, RGBColor(168, 168, 168)),
            GroupStyle::First => (0, 4.2, PALETTE[0]),
            GroupStyle::Second => (1, 4.2, PALETTE[1]),
        };
        // A larger white marker first, to separate neighbors.
        self.canvas.marker(shape, x, y, r + 1.0, WHITE)?;
        self.canvas.marker(shape, x, y, r, color)
    }

    /// Returns the y position below the legend.
    fn legend(&self, mut y: f64) -> Result<f64, DrawingAreaErrorKind<DB::ErrorType>> {
        for group in self.scatter.groups.iter().rev() {
            self.mark(group.look, LEGEND + 8.0, y)?;
            self.line(&group.label, LEGEND + 22.0, y, INK)?;
            y += LINE;
        }
        self.canvas.stroke(&[(LEGEND, y), (LEGEND + 16.0, y)], FAINT, 1.0)?;
        self.line(&self.scatter.diagonal, LEGEND + 22.0, y, INK)?;
        Ok(y + LINE)
    }

    fn notes(&self, mut y: f64) -> Drawn<DB> {
        for Note { heading, lines } in &self.scatter.notes {
            y += 0.6 * LINE;
            self.line(heading, LEGEND, y, INK)?;
            for line in lines {
                y += 0.92 * LINE;
                self.line(line, LEGEND, y, FAINT)?;
            }
            y += LINE;
        }
        Ok(())
    }

    /// One line of the legend, truncated to its width.
    fn line(&self, text: &str, x: f64, y: f64, color: RGBColor) -> Drawn<DB> {
        let room = LEGEND + LEGEND_WIDTH - x;
        let mut shown = text.to_string();
        while self.canvas.width(&shown) > room && shown.chars().count() > 2 {
            let kept = shown.chars().count() - 2;
            shown = shown.chars().take(kept).chain(['…']).collect();
        }
        self.canvas.text(&shown, x, y - 0.3 * TICK, TICK, color, HPos::Left)
    }

    fn x(&self, percent: f64) -> f64 {
        LEFT + percent / self.axis.high * SIDE
    }

    fn y(&self, percent: f64) -> f64 {
        TOP + SIDE - percent / self.axis.high * SIDE
    }
}
