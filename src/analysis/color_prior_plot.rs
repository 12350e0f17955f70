//! Plot of the colors of a set of pictures: planes of a (to the right) and b (upwards) with the bins, with all colors, and with
//! those of each slice of lightness, on one logarithmic scale from pale to dark.

use super::color_counts::{ColorCounts, SLICES};
use crate::{
    color::{bins::Bins, lab::lab_to_srgb8, prior::PriorCounter},
    report::canvas::{self, Area, Drawn, FAINT, Figure, GRID, INK, LABEL, PlotCanvas},
};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use std::collections::BTreeMap;

const SIZE: (u32, u32) = (1180, 680);
/// Planes in a row, pitch of a plane, and its side.
const COLUMNS: usize = 4;
const PITCH: (f64, f64) = (285.0, 300.0);
const SIDE: f64 = 230.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 82.0;
const SMALL: f64 = 13.0;
/// ab units from gray to the border of a plane.
const REACH: f64 = 118.0;
/// Side of a drawn cell in ab units.
const CELL: f32 = 2.0;
/// Powers of ten from the palest to the darkest.
const DECADES: f64 = 6.0;

/// Shares of colors, by the lower corner of their cells, in units of [`CELL`].
type Shares = BTreeMap<(i32, i32), f64>;

pub(super) struct PriorPlot<'a> {
    bins: &'a Bins,
    pixels: u64,
    /// Titles with shares: all colors, then each slice.
    planes: Vec<(String, Shares)>,
    /// The largest share.
    most: f64,
}

impl<'a> PriorPlot<'a> {
    pub fn new(counts: &ColorCounts, bins: &'a Bins) -> Self {
        let all = counts.all();
        let height = 100 / SLICES;
        let slice = |(i, slice): (usize, &PriorCounter)| {
            (format!("L from {} to {}", i * height, (i + 1) * height), shares(slice))
        };
        let planes: Vec<_> = std::iter::once(("all colors".to_string(), shares(&all)))
            .chain(counts.slices.iter().enumerate().map(slice))
            .collect();
        let most =
            planes.iter().flat_map(|(_, shares)| shares.values()).copied().fold(f64::MIN_POSITIVE, f64::max);
        Self { bins, pixels: all.pixels(), planes, most }
    }

    fn titles<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Drawn<DB> {
        canvas.title("Colors by a and b", LEFT, 14.0)?;
        let under = format!(
            "share of the pixels of a plane in each cell of {CELL} × {CELL} ab units, of {} pixels in all",
            self.pixels
        );
        canvas.text(&under, LEFT, 42.0, SMALL, FAINT, HPos::Left)
    }

    /// Frame, ticks and title of plane number `index`; returns its upper left corner.
    fn frame<DB: DrawingBackend>(
        &self,
        canvas: &PlotCanvas<DB>,
        index: usize,
        title: &str,
    ) -> Result<(f64, f64), DrawingAreaErrorKind<DB::ErrorType>> {
        let (left, top) = corner(index);
        let (right, bottom) = (left + SIDE, top + SIDE);
        canvas.text(title, left, top - 20.0, LABEL, INK, HPos::Left)?;
        for tick in [-100, -50, 0, 50, 100] {
            let (x, y) = place((left, top), f64::from(tick), f64::from(tick));
            canvas.stroke(&[(x, top), (x, bottom)], GRID, 1.0)?;
            canvas.stroke(&[(left, y), (right, y)], GRID, 1.0)?;
            canvas.text(&tick.to_string(), x, bottom + 6.0, SMALL, INK, HPos::Center)?;
            canvas.text(&tick.to_string(), left - 6.0, y - 0.3 * SMALL, SMALL, INK, HPos::Right)?;
        }
        canvas.text("a", right + 8.0, bottom + 6.0, SMALL, FAINT, HPos::Left)?;
        canvas.text("b", left - 6.0, top - 12.0, SMALL, FAINT, HPos::Right)?;
        canvas.stroke(&[(left, top), (left, bottom), (right, bottom)], FAINT, 1.0)?;
        Ok((left, top))
    }

    /// Every bin in its color.
    fn bins<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Drawn<DB> {
        let title = format!("{} bins in gamut", self.bins.len());
        let corner = self.frame(canvas, 0, &title)?;
        let half = 0.5 * f64::from(self.bins.grid());
        for [a, b] in self.bins.centers() {
            let (x, y) = (f64::from(*a), f64::from(*b));
            let ([r, g, blue], _) = lab_to_srgb8([65.0, *a, *b]);
            let ends = [place(corner, x - half, y + half), place(corner, x + half, y - half)];
            canvas.bar(ends[0], ends[1], RGBColor(r, g, blue))?;
        }
        Ok(())
    }

    fn plane<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>, index: usize) -> Drawn<DB> {
        let (title, shares) = &self.planes[index];
        let corner = self.frame(canvas, index + 1, title)?;
        for ((a, b), share) in shares {
            let [x, y] = [a, b].map(|i| f64::from(CELL) * f64::from(*i));
            let ends = [place(corner, x, y + f64::from(CELL)), place(corner, x + f64::from(CELL), y)];
            canvas.bar(ends[0], ends[1], tone(strength(*share, self.most)))?;
        }
        Ok(())
    }

    /// The scale of the tones, in the last place.
    fn scale<DB: DrawingBackend>(&self, canvas: &PlotCanvas<DB>) -> Drawn<DB> {
        let (left, top) = corner(self.planes.len() + 1);
        canvas.text("share of pixels", left, top - 20.0, LABEL, INK, HPos::Left)?;
        let highest = self.most.log10();
        let step = SIDE / 60.0;
        for i in 0..60 {
            let y = top + f64::from(i) * step;
            canvas.bar((left, y), (left + 22.0, y + step), tone(1.0 - f64::from(i) / 60.0))?;
        }
        for power in (highest - DECADES).ceil() as i32..=highest.floor() as i32 {
            let y = top + SIDE * (highest - f64::from(power)) / DECADES;
            let share = if power >= -3 { format!("{}", 10f64.powi(power)) } else { format!("1e{power}") };
            canvas.text(&share, left + 30.0, y - 0.3 * SMALL, SMALL, INK, HPos::Left)?;
        }
        Ok(())
    }
}

impl Figure for PriorPlot<'_> {
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()> {
        let canvas = PlotCanvas::new(area, scale)?;
        canvas::check_drawn::<DB>(self.titles(&canvas))?;
        canvas::check_drawn::<DB>(self.bins(&canvas))?;
        for index in 0..self.planes.len() {
            canvas::check_drawn::<DB>(self.plane(&canvas, index))?;
        }
        canvas::check_drawn::<DB>(self.scale(&canvas))
    }
}

fn corner(index: usize) -> (f64, f64) {
    (LEFT + (index % COLUMNS) as f64 * PITCH.0, TOP + (index / COLUMNS) as f64 * PITCH.1)
}

fn place((left, top): (f64, f64), a: f64, b: f64) -> (f64, f64) {
    let share = |v: f64| (v + REACH) / (2.0 * REACH);
    (left + share(a) * SIDE, top + (1.0 - share(b)) * SIDE)
}

/// Shares of the pixels in the cells of [`CELL`] ab units.
fn shares(counter: &PriorCounter) -> Shares {
    let (mut shares, all) = (Shares::new(), counter.pixels().max(1) as f64);
    for (ab, pixels) in counter.cells() {
        let [a, b] = ab.map(|v| (v / CELL).floor() as i32);
        *shares.entry((a, b)).or_default() += pixels as f64 / all;
    }
    shares
}

/// From 0 for [`DECADES`] below the largest share, or less, to 1.
fn strength(share: f64, most: f64) -> f64 {
    (1.0 + (share / most).log10() / DECADES).clamp(0.0, 1.0)
}

/// A pale to a dark blue; lightness alone tells them apart.
fn tone(strength: f64) -> RGBColor {
    let s = strength as f32;
    let ([r, g, b], _) = lab_to_srgb8([93.0 - 75.0 * s, 10.0 * s, -8.0 - 30.0 * s]);
    RGBColor(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_darken_with_the_share() {
        assert_eq!((strength(0.5, 0.5), strength(1e-12, 0.5)), (1.0, 0.0));
        assert!((strength(5e-4, 0.5) - 0.5).abs() < 1e-12);
        let light = |s: f64| {
            let RGBColor(r, g, b) = tone(s);
            crate::color::lab::srgb8_to_lab([r, g, b])[0]
        };
        let steps: Vec<f32> = (0..=10).map(|i| light(f64::from(i) / 10.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0] > pair[1] + 3.0), "{steps:?}");
    }

    #[test]
    fn shares_of_a_plane_sum_to_one() {
        let mut counter = PriorCounter::new();
        counter.add_rgb(&[255, 0, 0, 0, 0, 255, 3, 200, 90, 128, 128, 128]);
        assert!((shares(&counter).values().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(shares(&PriorCounter::new()).is_empty());
    }
}
