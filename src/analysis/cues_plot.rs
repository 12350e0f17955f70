//! Plot of the low-level cues: a panel for each, how far colors move over the amount of change, and the distance to gray.

use super::cue_change::{Cue, CueChange, distance_to_gray};
use crate::report::{
    axis::RoundAxis,
    canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PALETTE, PlotCanvas},
};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

const SIZE: (u32, u32) = (1080, 380);
/// Width of a panel with its margins, and edges of the plot in it.
const PANEL: f64 = 330.0;
const LEFT: f64 = 84.0;
const TOP: f64 = 84.0;
const WIDTH: f64 = PANEL - 48.0;
const HEIGHT: f64 = 216.0;
const SMALL: f64 = 13.0;

/// All cues side by side, with one scale.
pub(super) struct CuePlot<'a> {
    changes: &'a [CueChange],
    up: RoundAxis,
    gray: f64,
}

impl<'a> CuePlot<'a> {
    pub fn new(changes: &'a [CueChange]) -> Self {
        let gray = distance_to_gray(changes);
        let high = |change: &CueChange| change.interval().map_or(change.distance(), |interval| interval.high);
        let values: Vec<f64> = changes.iter().map(high).chain([0.0, gray]).collect();
        Self { changes, up: RoundAxis::of(values.into_iter()), gray }
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - self.up.share(value)) * HEIGHT
    }

    /// Scale and labels of the axis that all panels share.
    fn frame<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Drawn<DB> {
        canvas.title("Low-level cues", LEFT, 14.0)?;
        let under = "how far predicted colors move if the photograph changes; bars: 95 % over photographs; dashed: all the way to gray";
        canvas.text(under, LEFT, 42.0, SMALL, FAINT, HPos::Left)?;
        for tick in self.up.ticks() {
            canvas.text(
                &self.up.label(tick),
                LEFT - 8.0,
                self.y(tick) - 0.3 * SMALL,
                SMALL,
                INK,
                HPos::Right,
            )?;
        }
        canvas.vertical_text("distance (ab units)", 26.0, TOP + 0.5 * HEIGHT)
    }

    fn panel<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>, cue: Cue, left: f64) -> Drawn<DB> {
        let across = RoundAxis::of(cue.amounts().iter().map(|amount| f64::from(*amount)));
        let x = |amount: f64| left + across.share(amount) * WIDTH;
        let (right, bottom) = (left + WIDTH, TOP + HEIGHT);
        for tick in self.up.ticks() {
            canvas.stroke(&[(left, self.y(tick)), (right, self.y(tick))], GRID, 1.0)?;
        }
        for tick in across.ticks() {
            canvas.text(&across.label(tick), x(tick), bottom + 8.0, SMALL, INK, HPos::Center)?;
        }
        canvas.stroke(&[(left, TOP), (left, bottom), (right, bottom)], FAINT, 1.0)?;
        canvas.text(cue.name(), left, TOP - 22.0, LABEL, INK, HPos::Left)?;
        canvas.text(cue.unit(), left + 0.5 * WIDTH, bottom + 28.0, SMALL, INK, HPos::Center)?;
        self.to_gray(canvas, left)?;
        self.line(canvas, cue, &x)
    }

    /// A dashed line at the distance to gray.
    fn to_gray<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>, left: f64) -> Drawn<DB> {
        let (y, dash) = (self.y(self.gray), WIDTH / 31.0);
        let mut dashes = (0..31).step_by(2).map(|i| left + dash * f64::from(i));
        dashes.try_for_each(|x| canvas.stroke(&[(x, y), (x + dash, y)], FAINT, 1.0))
    }

    fn line<DB: DrawingBackend>(
        &self,
        canvas: &PlotCanvas<DB>,
        cue: Cue,
        x: &impl Fn(f64) -> f64,
    ) -> Drawn<DB> {
        let own: Vec<&CueChange> = self.changes.iter().filter(|change| change.cue == cue).collect();
        let at = |change: &CueChange| (x(f64::from(change.amount)), self.y(change.distance()));
        let points: Vec<(f64, f64)> = own.iter().map(|change| at(change)).collect();
        points.windows(2).try_for_each(|pair| canvas.stroke(pair, PALETTE[0], 2.0))?;
        for (change, (x, y)) in own.iter().zip(&points) {
            if let Some(interval) = change.interval() {
                canvas.stroke(&[(*x, self.y(interval.low)), (*x, self.y(interval.high))], PALETTE[0], 1.5)?;
            }
            canvas.marker(0, *x, *y, 4.0, PALETTE[0])?;
        }
        Ok(())
    }
}

impl Figure for CuePlot<'_> {
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()> {
        let canvas = PlotCanvas::new(area, scale)?;
        canvas::check_drawn::<DB>(self.frame(&canvas))?;
        for (index, cue) in Cue::ALL.into_iter().enumerate() {
            canvas::check_drawn::<DB>(self.panel(&canvas, cue, LEFT + index as f64 * PANEL))?;
        }
        Ok(())
    }
}
