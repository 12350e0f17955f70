//! Curves over the steps of a training: a panel for each measure, a line for each layer and seed, rendered as SVG and PNG.

use super::{
    axis::RoundAxis,
    canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PALETTE, PlotCanvas},
};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Size of the panels of one stage in SVG units; several stages are stacked.
const SIZE: (u32, u32) = (1080, 640);
/// Panels in a row.
const COLUMNS: usize = 3;
/// Size of a panel with its margins.
const PANEL: (f64, f64) = (316.0, 284.0);
/// Height of the titles.
const TOP: f64 = 68.0;
/// Left edge of the legend.
const LEGEND: f64 = COLUMNS as f64 * PANEL.0 + 16.0;
const SMALL: f64 = 13.0;
/// Lines with more points have no markers.
const MARKED: usize = 20;

/// The curves of one stage.
pub(super) struct StageCurves {
    pub title: String,
    pub under: String,
    pub layers: Vec<String>,
    pub panels: Vec<CurvePanel>,
}

/// One measure.
pub(super) struct CurvePanel {
    pub title: String,
    pub curves: Vec<LayerCurve>,
}

/// Values of one layer with one seed.
pub(super) struct LayerCurve {
    /// Number of the layer.
    pub layer: usize,
    /// Steps and values.
    pub points: Vec<(f64, f64)>,
}

/// Renders all stages as SVG.
pub(super) fn svg(stages: &[StageCurves]) -> Result<String> {
    canvas::svg(&CurveStack(stages))
}

/// Renders all stages as PNG.
pub(super) fn png(stages: &[StageCurves]) -> Result<Vec<u8>> {
    canvas::png(&CurveStack(stages))
}

struct CurveStack<'a>(&'a [StageCurves]);

impl Figure for CurveStack<'_> {
    fn size(&self) -> (u32, u32) {
        (SIZE.0, SIZE.1 * self.0.len().max(1) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()> {
        for (part, stage) in area.split_evenly((self.0.len().max(1), 1)).iter().zip(self.0) {
            canvas::check_drawn::<DB>(stage.draw(&PlotCanvas::new(part, scale)?))?;
        }
        Ok(())
    }
}

impl StageCurves {
    fn draw<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Drawn<DB> {
        canvas.title(&self.title, 24.0, 14.0)?;
        canvas.text(&self.under, 24.0, 40.0, LABEL, FAINT, HPos::Left)?;
        for (index, panel) in self.panels.iter().enumerate() {
            let (column, row) = (index % COLUMNS, index / COLUMNS);
            let corner = (column as f64 * PANEL.0, TOP + row as f64 * PANEL.1);
            PanelPlot::new(canvas, panel, corner).draw()?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (y, color) = (TOP + 24.0 + 24.0 * index as f64, PALETTE[index % PALETTE.len()]);
            canvas.stroke(&[(LEGEND, y), (LEGEND + 24.0, y)], color, 2.0)?;
            canvas.marker(index, LEGEND + 12.0, y, 4.0, color)?;
            canvas.text(layer, LEGEND + 32.0, y - 0.3 * LABEL, LABEL, INK, HPos::Left)?;
        }
        Ok(())
    }
}

/// One panel in SVG units.
struct PanelPlot<'a, 'c, DB: DrawingBackend> {
    canvas: &'a PlotCanvas<'c, DB>,
    panel: &'a CurvePanel,
    left: f64,
    top: f64,
    across: RoundAxis,
    up: RoundAxis,
}

impl<'a, 'c, DB: DrawingBackend> PanelPlot<'a, 'c, DB> {
    /// Inner size.
    const WIDTH: f64 = PANEL.0 - 84.0;
    const HEIGHT: f64 = PANEL.1 - 76.0;

    fn new(canvas: &'a PlotCanvas<'c, DB>, panel: &'a CurvePanel, corner: (f64, f64)) -> Self {
        let points = || panel.curves.iter().flat_map(|curve| &curve.points);
        let across = RoundAxis::of(points().map(|(step, _)| *step));
        let up = RoundAxis::of(points().map(|(_, value)| *value));
        Self { canvas, panel, left: corner.0 + 68.0, top: corner.1 + 24.0, across, up }
    }

    fn draw(&self) -> Drawn<DB> {
        let (right, bottom) = (self.left + Self::WIDTH, self.top + Self::HEIGHT);
        self.canvas.text(&self.panel.title, self.left, self.top - 20.0, LABEL, INK, HPos::Left)?;
        for tick in self.up.ticks() {
            let (y, label) = (self.y(tick), self.up.label(tick));
            self.canvas.stroke(&[(self.left, y), (right, y)], GRID, 1.0)?;
            self.canvas.text(&label, self.left - 7.0, y - 0.3 * SMALL, SMALL, INK, HPos::Right)?;
        }
        for tick in self.across.ticks() {
            let (x, label) = (self.x(tick), self.across.label(tick));
            self.canvas.text(&label, x, bottom + 8.0, SMALL, INK, HPos::Center)?;
        }
        self.canvas.stroke(&[(self.left, self.top), (self.left, bottom), (right, bottom)], FAINT, 1.0)?;
        self.canvas.text("step", self.left + 0.5 * Self::WIDTH, bottom + 25.0, SMALL, FAINT, HPos::Center)?;
        self.panel.curves.iter().try_for_each(|curve| self.curve(curve))
    }

    fn curve(&self, curve: &LayerCurve) -> Drawn<DB> {
        let color = PALETTE[curve.layer % PALETTE.len()];
        let points: Vec<(f64, f64)> =
            curve.points.iter().map(|(step, value)| (self.x(*step), self.y(*value))).collect();
        for pair in points.windows(2) {
            self.canvas.stroke(pair, color, 2.0)?;
        }
        for (x, y) in points.iter().filter(|_| points.len() <= MARKED) {
            self.canvas.marker(curve.layer, *x, *y, 3.2, color)?;
        }
        Ok(())
    }

    fn x(&self, step: f64) -> f64 {
        self.left + self.across.share(step) * Self::WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.up.share(value)) * Self::HEIGHT
    }
}
