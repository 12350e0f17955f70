//! Curves over the steps of a training: a panel for each measure, a line for each layer and seed, rendered as SVG and PNG.

use super::canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PALETTE, PlotCanvas};
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

/// A range of values in three to six steps of 1, 2 or 5 times a power of ten, rounded outwards.
struct RoundAxis {
    low: f64,
    high: f64,
    step: f64,
}

impl RoundAxis {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if !(low.is_finite() && high.is_finite()) {
            return Self { low: 0.0, high: 1.0, step: 0.5 };
        }
        let range = (high - low).max(1e-3 * high.abs()).max(1e-9);
        let power = 10f64.powf((range / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| 5.0 * step >= range).unwrap_or(10.0 * power);
        let low = (low / step + 1e-9).floor() * step;
        Self { low, high: ((high / step - 1e-9).ceil() * step).max(low + step), step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step);
        (0..=((self.high - low) / step).round() as usize).map(move |i| low + i as f64 * step)
    }

    /// As many digits as tell two ticks apart.
    fn label(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        let tick = if tick.abs() < 1e-9 { 0.0 } else { tick };
        format!("{tick:.digits$}")
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::RoundAxis;

    #[test]
    fn ticks_are_round_and_hold_every_value() {
        for values in [&[0.0, 250.0][..], &[-3.94, -0.2], &[0.0312, 0.0377], &[5.0], &[0.0], &[81.2, 93.4]] {
            let axis = RoundAxis::of(values.iter().copied());
            let ticks: Vec<f64> = axis.ticks().collect();
            assert!((2..=7).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(
                values.iter().all(|v| axis.low - 1e-9 <= *v && *v <= axis.high + 1e-9),
                "{values:?}: {ticks:?}"
            );
        }
        let axis = RoundAxis::of([0.0, 250.0].into_iter());
        let labels: Vec<String> = axis.ticks().map(|tick| axis.label(tick)).collect();
        assert_eq!(labels, ["0", "50", "100", "150", "200", "250"]);
        let axis = RoundAxis::of([0.031, 0.038].into_iter());
        let labels: Vec<String> = axis.ticks().map(|tick| axis.label(tick)).collect();
        assert_eq!(labels, ["0.030", "0.032", "0.034", "0.036", "0.038"]);
        assert_eq!(RoundAxis::of([].into_iter()).ticks().count(), 3, "no values, an empty axis");
    }
}
