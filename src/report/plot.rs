//! Accuracy by layer: one line a backbone, points with error bars over seeds; drawn once, as SVG and as PNG.
//!
//! Colours are Okabe and Ito's, told apart by all common kinds of colour vision; shapes differ too, for print in grey.

use super::table::{Row, Table};
use crate::train::panel::typeface;
use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::io::Cursor;

/// Width and height of one table's plot in SVG units; several tables are stacked.
pub const SIZE: (u32, u32) = (860, 520);
/// PNG pixels to an SVG unit.
pub const PNG_SCALE: u32 = 2;
/// The PNG is drawn this much larger, then averaged down, since plotters does not smooth the edges of thick lines.
const SMOOTHING: u32 = 2;

/// Font sizes. Plotters' unit is about 0.8 SVG units.
const TITLE: f64 = 21.0;
const LABEL: f64 = 16.0;
const TICK: f64 = 15.0;

const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(228, 228, 228);
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

type Area<'a, DB> = DrawingArea<DB, Shift>;

/// The plot as an SVG document.
pub fn svg(tables: &[Table]) -> Result<String> {
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, size_of(tables)).into_drawing_area();
        draw(&area, tables, 1.0)?;
    }
    Ok(out)
}

/// The plot as a PNG file.
pub fn png(tables: &[Table]) -> Result<Vec<u8>> {
    let (w, h) = size_of(tables);
    let factor = PNG_SCALE * SMOOTHING;
    let mut pixels = vec![255; (3 * factor * w * factor * h) as usize];
    draw(
        &BitMapBackend::with_buffer(&mut pixels, (factor * w, factor * h)).into_drawing_area(),
        tables,
        factor as f64,
    )?;
    let large = image::RgbImage::from_raw(factor * w, factor * h, pixels).context("the plot's buffer")?;
    let small = image::imageops::thumbnail(&large, PNG_SCALE * w, PNG_SCALE * h);
    let mut file = Cursor::new(Vec::new());
    small.write_to(&mut file, image::ImageFormat::Png).context("cannot encode the plot as PNG")?;
    Ok(file.into_inner())
}

fn size_of(tables: &[Table]) -> (u32, u32) {
    (SIZE.0, SIZE.1 * tables.len().max(1) as u32)
}

fn draw<DB: DrawingBackend>(area: &Area<DB>, tables: &[Table], scale: f64) -> Result<()> {
    fill(area).map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    for (part, table) in area.split_evenly((tables.len().max(1), 1)).iter().zip(tables) {
        let plot = Plot::new(part, table, scale)?;
        plot.draw().map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    }
    area.present().map_err(|error| anyhow!("cannot draw the plot: {error}"))
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn fill<DB: DrawingBackend>(area: &Area<DB>) -> Drawn<DB> {
    area.fill(&WHITE)
}

/// The layout of one table's plot. Lengths are in SVG units until `px`.
struct Plot<'a, DB: DrawingBackend> {
    area: &'a Area<'a, DB>,
    table: &'a Table,
    face: &'static str,
    scale: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    axis: Axis,
}

impl<'a, DB: DrawingBackend> Plot<'a, DB> {
    fn new(area: &'a Area<DB>, table: &'a Table, scale: f64) -> Result<Self> {
        let face = typeface()?;
        let label_width = |row: &Row| {
            let style = (face, LABEL).into_text_style(area);
            area.estimate_text_size(&table.label(row), &style).map_or(0, |(width, _)| width)
        };
        let widest = table.rows.iter().map(label_width).max().unwrap_or(0) as f64;
        let right = SIZE.0 as f64 - (widest + 64.0).min(0.45 * SIZE.0 as f64);
        let bottom = SIZE.1 as f64 - 62.0;
        Ok(Self { area, table, face, scale, left: 74.0, right, top: 76.0, bottom, axis: Axis::of(table) })
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
        let title = format!("Linear probe on {}", table.dataset);
        let bold = (self.face, TITLE * self.scale, FontStyle::Bold).into_text_style(self.area).color(&INK);
        let at = self.px(self.left, 22.0);
        self.area.draw(&Text::new(title, at, bold.pos(Pos::new(HPos::Left, VPos::Top))))?;
        let under =
            format!("{} accuracy, protocol {}, {}", table.measure.name(), table.protocol, table.spread());
        self.text(&under, self.left, 47.0, LABEL, FAINT, HPos::Left)
    }

    fn axes(&self) -> Drawn<DB> {
        for tick in self.axis.ticks() {
            let y = self.y(tick);
            self.stroke(&[(self.left, y), (self.right, y)], GRID, 1.0)?;
            self.text(&self.axis.label(tick), self.left - 8.0, y - 0.3 * TICK, TICK, INK, HPos::Right)?;
        }
        for (column, layer) in self.table.layers.iter().enumerate() {
            let x = self.x(column as f64);
            self.stroke(&[(x, self.top), (x, self.bottom)], GRID, 1.0)?;
            self.text(layer, x, self.bottom + 10.0, LABEL, INK, HPos::Center)?;
        }
        self.stroke(&[(self.left, self.bottom), (self.right, self.bottom)], FAINT, 1.0)?;
        let middle = 0.5 * (self.left + self.right);
        self.text("layer", middle, self.bottom + 36.0, LABEL, INK, HPos::Center)?;
        let name = format!("{} accuracy (%)", self.table.measure.name());
        let turned = (self.face, LABEL * self.scale).into_font().transform(FontTransform::Rotate270);
        let style = turned.into_text_style(self.area).color(&INK);
        let at = self.px(22.0, 0.5 * (self.top + self.bottom));
        self.area.draw(&Text::new(name, at, style.pos(Pos::new(HPos::Center, VPos::Top))))
    }

    /// The row's points, joined where neighbours are both there, with bars of one standard deviation either way.
    fn line(&self, index: usize, row: &Row) -> Drawn<DB> {
        let color = PALETTE[index % PALETTE.len()];
        // Set apart sideways a little, so that error bars at the same height stay readable.
        let aside = (index as f64 - 0.5 * (self.table.rows.len() as f64 - 1.0)) * 0.03;
        let point = |(column, cell): (usize, &Option<_>)| {
            cell.map(|cell: crate::metrics::accuracy::MeanStd| (self.x(column as f64 + aside), cell))
        };
        let points: Vec<_> = row.cells.iter().enumerate().map(point).collect();
        for pair in points.windows(2) {
            if let [Some((x0, a)), Some((x1, b))] = pair {
                self.stroke(&[(*x0, self.y(a.mean)), (*x1, self.y(b.mean))], color, 2.0)?;
            }
        }
        for (x, cell) in points.into_iter().flatten() {
            self.marker(index, x, self.y(cell.mean), 5.8, WHITE)?;
            if let Some(std) = cell.std {
                let (low, high) = (self.y(cell.mean - std), self.y(cell.mean + std));
                self.stroke(&[(x, low), (x, high)], color, 1.5)?;
                for end in [low, high] {
                    self.stroke(&[(x - 4.0, end), (x + 4.0, end)], color, 1.5)?;
                }
            }
            self.marker(index, x, self.y(cell.mean), 4.4, color)?;
        }
        Ok(())
    }

    fn legend(&self, index: usize, row: &Row) -> Drawn<DB> {
        let (x, y) = (self.right + 18.0, self.top + 10.0 + 25.0 * index as f64);
        let color = PALETTE[index % PALETTE.len()];
        self.stroke(&[(x, y), (x + 24.0, y)], color, 2.0)?;
        self.marker(index, x + 12.0, y, 5.8, WHITE)?;
        self.marker(index, x + 12.0, y, 4.4, color)?;
        self.text(&self.table.label(row), x + 32.0, y - 0.3 * LABEL, LABEL, INK, HPos::Left)
    }

    /// Circle, square, triangle, diamond, in turn; first larger in white, to stand off the lines.
    fn marker(&self, index: usize, x: f64, y: f64, r: f64, color: RGBColor) -> Drawn<DB> {
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

    fn stroke(&self, points: &[(f64, f64)], color: RGBColor, width: f64) -> Drawn<DB> {
        let path: Vec<_> = points.iter().map(|(x, y)| self.px(*x, *y)).collect();
        let width = (width * self.scale).round().max(1.0) as u32;
        self.area.draw(&PathElement::new(path, color.stroke_width(width)))
    }

    /// Text whose capitals begin at `y`: the two backends differ in what they take for the middle of a line.
    fn text(&self, text: &str, x: f64, y: f64, size: f64, color: RGBColor, anchor: HPos) -> Drawn<DB> {
        let style = (self.face, size * self.scale).into_text_style(self.area).color(&color);
        let style = style.pos(Pos::new(anchor, VPos::Top));
        self.area.draw(&Text::new(text.to_string(), self.px(x, y), style))
    }

    fn px(&self, x: f64, y: f64) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
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

/// The range of the accuracies, widened to whole steps.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn of(table: &Table) -> Self {
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
