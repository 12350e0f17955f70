//! Drawing primitives of all plots: text, lines and markers in SVG units, rendered as SVG and PNG by the same code.
//!
//! Colors are the Okabe-Ito palette, which is safe for common color vision deficiencies; marker shapes differ too, for
//! grayscale print.

use crate::train::panel::typeface;
use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::io::Cursor;

/// PNG pixels per SVG unit.
pub const PNG_SCALE: u32 = 2;
/// Supersampling factor of the PNG, since plotters does not anti-alias thick lines.
const SMOOTHING: u32 = 2;

/// Font sizes. Plotters' unit is about 0.8 SVG units.
pub(crate) const TITLE: f64 = 21.0;
pub(crate) const LABEL: f64 = 16.0;
pub(crate) const TICK: f64 = 15.0;

pub(crate) const INK: RGBColor = RGBColor(34, 34, 34);
pub(crate) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(crate) const GRID: RGBColor = RGBColor(228, 228, 228);
pub(crate) const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

pub(crate) type Area<'a, DB> = DrawingArea<DB, Shift>;
pub(crate) type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// A plot that can be drawn on either backend.
pub(crate) trait Figure {
    /// Width and height in SVG units.
    fn size(&self) -> (u32, u32);
    /// Draws on a white `area` with `scale` pixels per SVG unit.
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, scale: f64) -> Result<()>;
}

/// Renders a plot as SVG.
pub(crate) fn svg(drawing: &impl Figure) -> Result<String> {
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, drawing.size()).into_drawing_area();
        draw(drawing, &area, 1.0)?;
    }
    Ok(out)
}

/// Most pixels that a PNG is drawn with before it is smoothed: 200 MB.
const DRAWN: u64 = 1 << 26;

/// Renders a plot as PNG. The lines of a very large one are less smooth.
pub(crate) fn png(drawing: &impl Figure) -> Result<Vec<u8>> {
    let (w, h) = drawing.size();
    let pixels = |smoothing: u32| u64::from(w) * u64::from(h) * u64::from(PNG_SCALE * smoothing).pow(2);
    let factor = if pixels(SMOOTHING) > DRAWN { PNG_SCALE } else { PNG_SCALE * SMOOTHING };
    let mut pixels = vec![255; (3 * factor * w * factor * h) as usize];
    draw(
        drawing,
        &BitMapBackend::with_buffer(&mut pixels, (factor * w, factor * h)).into_drawing_area(),
        factor as f64,
    )?;
    let large = image::RgbImage::from_raw(factor * w, factor * h, pixels).context("the plot's buffer")?;
    let small = image::imageops::thumbnail(&large, PNG_SCALE * w, PNG_SCALE * h);
    let mut file = Cursor::new(Vec::new());
    small.write_to(&mut file, image::ImageFormat::Png).context("cannot encode the plot as PNG")?;
    Ok(file.into_inner())
}

fn draw<DB: DrawingBackend>(drawing: &impl Figure, area: &Area<DB>, scale: f64) -> Result<()> {
    check_drawn::<DB>(area.fill(&WHITE))?;
    drawing.draw(area, scale)?;
    check_drawn::<DB>(area.present())
}

/// Converts a backend's result.
pub(crate) fn check_drawn<DB: DrawingBackend>(drawn: Drawn<DB>) -> Result<()> {
    drawn.map_err(|error| anyhow!("cannot draw the plot: {error}"))
}

/// A drawing area in SVG units.
pub(crate) struct PlotCanvas<'a, DB: DrawingBackend> {
    area: &'a Area<'a, DB>,
    face: &'static str,
    scale: f64,
}

impl<'a, DB: DrawingBackend> PlotCanvas<'a, DB> {
    pub fn new(area: &'a Area<DB>, scale: f64) -> Result<Self> {
        Ok(Self { area, face: typeface()?, scale })
    }

    /// Approximate width of a label.
    pub fn width(&self, label: &str) -> f64 {
        let style = (self.face, LABEL).into_text_style(self.area);
        self.area.estimate_text_size(label, &style).map_or(0.0, |(width, _)| f64::from(width))
    }

    pub fn title(&self, text: &str, x: f64, y: f64) -> Drawn<DB> {
        let bold = (self.face, TITLE * self.scale, FontStyle::Bold).into_text_style(self.area).color(&INK);
        let style = bold.pos(Pos::new(HPos::Left, VPos::Top));
        self.area.draw(&Text::new(text.to_string(), self.px(x, y), style))
    }

    /// Text with its cap height at `y`; the two backends center lines differently.
    pub fn text(&self, text: &str, x: f64, y: f64, size: f64, color: RGBColor, anchor: HPos) -> Drawn<DB> {
        let style = (self.face, size * self.scale).into_text_style(self.area).color(&color);
        let style = style.pos(Pos::new(anchor, VPos::Top));
        self.area.draw(&Text::new(text.to_string(), self.px(x, y), style))
    }

    /// Vertical label, centered at `y`.
    pub fn vertical_text(&self, text: &str, x: f64, y: f64) -> Drawn<DB> {
        let turned = (self.face, LABEL * self.scale).into_font().transform(FontTransform::Rotate270);
        let style = turned.into_text_style(self.area).color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        self.area.draw(&Text::new(text.to_string(), self.px(x, y), style))
    }

    pub fn stroke(&self, points: &[(f64, f64)], color: RGBColor, width: f64) -> Drawn<DB> {
        let path: Vec<_> = points.iter().map(|(x, y)| self.px(*x, *y)).collect();
        let width = (width * self.scale).round().max(1.0) as u32;
        self.area.draw(&PathElement::new(path, color.stroke_width(width)))
    }

    /// Filled rectangle between two corners.
    pub fn bar(&self, from: (f64, f64), to: (f64, f64), color: RGBColor) -> Drawn<DB> {
        let corners = [self.px(from.0, from.1), self.px(to.0, to.1)];
        self.area.draw(&Rectangle::new(corners, color.filled()))
    }

    /// Marker number `index`: circle, square, triangle, diamond, repeating.
    pub fn marker(&self, index: usize, x: f64, y: f64, r: f64, color: RGBColor) -> Drawn<DB> {
        let corners: &[(f64, f64)] = match index % 4 {
            0 => {
                let radius = (r * self.scale).round() as i32;
                return self.area.draw(&Circle::new(self.px(x, y), radius, color.filled()));
            }
            1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2 => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
            _ => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        };
        let corners = corners.iter().map(|(dx, dy)| self.px(x + r * dx, y + r * dy));
        self.area.draw(&Polygon::new(corners.collect::<Vec<_>>(), color.filled()))
    }

    fn px(&self, x: f64, y: f64) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }
}
