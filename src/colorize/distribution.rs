//! Predicted color distributions, drawn as in the paper's Figure 14: the ab plane, a downwards and b to the right,
//! with the probability map of every second bin at the bin's position, coarsely quantized and framed in the bin's
//! color. The result is placed in the corner of the plane that contains no bins.
//!
//! Probabilities are the network's own, at temperature 1. Each map is drawn over the darkened picture, with an opacity
//! that increases with the probability.

use super::{montage::to_gray, picture::ColorizedPicture};
use crate::{
    color::{bins::Bins, gray::Gray, lab::lab_to_srgb8},
    data::{source::RgbImage, transforms::resize_to},
    ops::resize::{Tap, tap},
    train::panel::{RgbTile, typeface},
};
use anyhow::{Result, anyhow, ensure};
use candle_core::{DType, Device, Tensor};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rayon::prelude::*;

/// Minimum distance between drawn bins along an axis, in ab units.
const SPACING: f32 = 20.0;
/// Longest side of a tile in pixels.
const TILE: usize = 112;
const FRAME: usize = 3;
const GAP: usize = 6;
/// Width of the row and column labels.
const MARGIN: usize = 40;
/// Height of the legend line.
const LEGEND: usize = 36;
/// Probability thresholds: the number of exceeded thresholds sets the opacity. A uniform distribution over 313 bins
/// has 0.0032.
const LEVELS: [f32; 5] = [0.005, 0.02, 0.05, 0.1, 0.2];
/// Brightness factor of the picture below a map.
const DIMMED: f32 = 0.35;
const PAPER: [u8; 3] = [20, 20, 23];
const INK: RGBColor = RGBColor(205, 205, 208);

/// Draws the sheet of a picture that was colorized by a distribution over `bins`.
///
/// # Errors
/// An output that is not a distribution over these bins; text that cannot be drawn.
pub fn sheet(colored: &ColorizedPicture, bins: &Bins, gray: Gray) -> Result<RgbTile> {
    let layout = SheetLayout::new(bins, &colored.rgb);
    let maps = Probabilities::new(&colored.map, bins.len())?;
    let mut canvas = SheetCanvas::new(layout.width(), layout.height());
    let (width, height) = layout.tile;
    let under = resize_to(&to_gray(&colored.rgb, gray), (width, height))?;
    let tiles: Vec<_> = layout
        .shown
        .par_iter()
        .map(|bin| overlay(&maps, *bin, &under, swatch(bins.centers()[*bin])))
        .collect();
    for (bin, tile) in layout.shown.iter().zip(&tiles) {
        let center = bins.centers()[*bin];
        let (x, y) = layout.place(center);
        canvas.fill(x, y, width + 2 * FRAME, height + 2 * FRAME, swatch(center));
        canvas.paste(x + FRAME, y + FRAME, tile);
    }
    let (x, y, w, h) = layout.corner();
    let result = fit_into(&colored.rgb, w, h)?;
    canvas.paste(x, y, &result);
    canvas.legend(&layout)?;
    Ok((canvas.width, canvas.height, canvas.pixels))
}

/// Draws the probability map of one bin over the darkened picture.
fn overlay(maps: &Probabilities, bin: usize, under: &RgbImage, color: [u8; 3]) -> RgbImage {
    let (rows, columns) = (maps.taps(maps.height, under.height), maps.taps(maps.width, under.width));
    let mut out = under.clone();
    for (i, pixel) in out.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let p = maps.at(bin, rows[i / under.width], columns[i % under.width]);
        let share = LEVELS.iter().filter(|level| p >= **level).count() as f32 / LEVELS.len() as f32;
        *pixel = std::array::from_fn(|c| {
            (f32::from(pixel[c]) * DIMMED * (1.0 - share) + f32::from(color[c]) * share).round() as u8
        });
    }
    out
}

/// Scales a picture down to fit `width` × `height`, or up by an integer factor.
fn fit_into(picture: &RgbImage, width: usize, height: usize) -> Result<RgbImage> {
    let scale = (width as f64 / picture.width as f64).min(height as f64 / picture.height as f64);
    let scale = if scale >= 1.0 { scale.floor() } else { scale };
    let side = |n: usize| ((n as f64 * scale).round() as usize).max(1);
    Ok(resize_to(picture, (side(picture.width), side(picture.height)))?)
}

/// The bin's color at the in-gamut lightness nearest to 60, else clipped.
fn swatch([a, b]: [f32; 2]) -> [u8; 3] {
    let lightness = (0..40).flat_map(|i| [60.0 + i as f32, 60.0 - i as f32]);
    let inside = lightness.map(|l| lab_to_srgb8([l, a, b])).find(|(_, clipped)| !clipped);
    inside.unwrap_or_else(|| lab_to_srgb8([60.0, a, b])).0
}

/// Logits and their log-sum-exp at the labels.
struct Probabilities {
    logits: Vec<f32>,
    log_sums: Vec<f32>,
    bins: usize,
    height: usize,
    width: usize,
}

impl Probabilities {
    fn new(map: &Tensor, bins: usize) -> Result<Self> {
        let (_, height, width, channels) = map.dims4()?;
        ensure!(
            channels == bins,
            "the output has {channels} channels, which is no distribution over {bins} bins"
        );
        let logits = map.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let log_sum = |logits: &[f32]| {
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            highest + logits.iter().map(|l| (l - highest).exp()).sum::<f32>().ln()
        };
        let log_sums = logits.par_chunks_exact(bins).map(log_sum).collect();
        Ok(Self { logits, log_sums, bins, height, width })
    }

    fn taps(&self, labels: usize, pixels: usize) -> Vec<Tap> {
        (0..pixels).map(|x| tap((x as f64 + 0.5) * labels as f64 / pixels as f64 - 0.5, labels)).collect()
    }

    /// Bilinear interpolation between labels.
    fn at(&self, bin: usize, (y0, y1, down): Tap, (x0, x1, right): Tap) -> f32 {
        let of = |y: usize, x: usize| {
            let label = y * self.width + x;
            (self.logits[label * self.bins + bin] - self.log_sums[label]).exp()
        };
        let row = |y: usize| of(y, x0) + (of(y, x1) - of(y, x0)) * right as f32;
        row(y0) + (row(y1) - row(y0)) * down as f32
    }
}

/// Positions of the tiles.
struct SheetLayout {
    /// Indices of the drawn bins.
    shown: Vec<usize>,
    /// Their values of a, top to bottom, and of b, left to right.
    a: Vec<f32>,
    b: Vec<f32>,
    /// Width and height of a map.
    tile: (usize, usize),
    /// Rows and columns of bin-free cells at the top left; they may include rows above the plane.
    free: (usize, usize),
    /// Rows of cells above the plane.
    above: usize,
}

impl SheetLayout {
    fn new(bins: &Bins, picture: &RgbImage) -> Self {
        let step = SPACING.max(bins.grid());
        let every = (step / bins.grid()).round().max(1.0);
        let drawn = |c: &[f32; 2]| c.iter().all(|v| (v / bins.grid()).round() % every == 0.0);
        let shown: Vec<usize> = (0..bins.len()).filter(|i| drawn(&bins.centers()[*i])).collect();
        let axis = |i: usize| {
            let mut values: Vec<f32> = shown.iter().map(|bin| bins.centers()[*bin][i]).collect();
            values.sort_by(f32::total_cmp);
            values.dedup();
            values
        };
        let (a, b) = (axis(0), axis(1));
        let side = picture.width.max(picture.height);
        let scaled = |n: usize| (n * TILE / side).max(8);
        let free = free_corner(&shown.iter().map(|bin| bins.centers()[*bin]).collect::<Vec<_>>(), &a, &b);
        // Without a free corner, add rows above the plane.
        let above = if free.0 * free.1 < 4 { 3 } else { 0 };
        let free = if above > 0 { (above, b.len()) } else { free };
        Self { shown, a, b, tile: (scaled(picture.width), scaled(picture.height)), free, above }
    }

    fn cell(&self) -> (usize, usize) {
        (self.tile.0 + 2 * FRAME + GAP, self.tile.1 + 2 * FRAME + GAP)
    }

    fn width(&self) -> usize {
        MARGIN + self.b.len() * self.cell().0 + GAP
    }

    fn height(&self) -> usize {
        GAP + (self.above + self.a.len()) * self.cell().1 + MARGIN / 2 + LEGEND
    }

    /// Upper left corner of a bin's frame.
    fn place(&self, [a, b]: [f32; 2]) -> (usize, usize) {
        let before = |axis: &[f32], value: f32| axis.iter().filter(|v| **v < value).count();
        let (row, column) = (self.above + before(&self.a, a), before(&self.b, b));
        (MARGIN + column * self.cell().0, GAP + row * self.cell().1)
    }

    /// Position of the result: left, top, width, height.
    fn corner(&self) -> (usize, usize, usize, usize) {
        let (rows, columns) = self.free;
        (MARGIN, GAP, columns * self.cell().0 - GAP, rows * self.cell().1 - GAP)
    }
}

/// Rows and columns of the largest bin-free rectangle at the top left.
fn free_corner(centers: &[[f32; 2]], a: &[f32], b: &[f32]) -> (usize, usize) {
    let reach = |rows: usize| {
        let first =
            centers.iter().filter(|c| a[..rows].contains(&c[0])).map(|c| c[1]).fold(f32::MAX, f32::min);
        b.iter().filter(|v| **v < first).count()
    };
    let corners = (1..=a.len()).map(|rows| (rows, reach(rows)));
    corners.max_by_key(|(rows, columns)| rows * columns).unwrap_or((0, 0))
}

/// An 8-bit RGB drawing buffer.
struct SheetCanvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl SheetCanvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: PAPER.repeat(width * height) }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, color: [u8; 3]) {
        for row in y..y + height {
            self.pixels[3 * (row * self.width + x)..][..3 * width].copy_from_slice(&color.repeat(width));
        }
    }

    fn paste(&mut self, x: usize, y: usize, picture: &RgbImage) {
        for (row, line) in picture.pixels.chunks_exact(3 * picture.width).enumerate() {
            self.pixels[3 * ((y + row) * self.width + x)..][..line.len()].copy_from_slice(line);
        }
    }

    /// Draws the a labels, the b labels and the legend of the levels.
    fn legend(&mut self, layout: &SheetLayout) -> Result<()> {
        let (cell, foot) = (layout.cell(), self.height - LEGEND - MARGIN / 2);
        let mut texts = vec![];
        for (i, a) in layout.a.iter().enumerate() {
            let middle = GAP + (layout.above + i) * cell.1 + (cell.1 - GAP) / 2;
            texts.push((format!("{a}"), MARGIN - GAP, middle, HPos::Right));
        }
        for (i, b) in layout.b.iter().enumerate() {
            texts.push((format!("{b}"), MARGIN + i * cell.0 + (cell.0 - GAP) / 2, foot + 8, HPos::Center));
        }
        let (square, line) = (16, foot + MARGIN / 2 + LEGEND / 2);
        let mut x = MARGIN;
        for (i, level) in LEVELS.iter().enumerate() {
            let tone = |share: f32| (f32::from(PAPER[0]) * (1.0 - share) + 235.0 * share) as u8;
            self.fill(x, line - square / 2, square, square, [tone((i + 1) as f32 / LEVELS.len() as f32); 3]);
            texts.push((format!("{:.1} %", 100.0 * level), x + square + GAP, line, HPos::Left));
            x += 84;
        }
        texts.push(("of probability or more; rows a, columns b".into(), x, line, HPos::Left));
        self.write(&texts)
    }

    fn write(&mut self, texts: &[(String, usize, usize, HPos)]) -> Result<()> {
        let size = (self.width as u32, self.height as u32);
        let area = BitMapBackend::with_buffer(&mut self.pixels, size).into_drawing_area();
        let font = (typeface()?, 13).into_text_style(&area).color(&INK);
        for (text, x, y, side) in texts {
            let style = font.pos(Pos::new(*side, VPos::Center));
            area.draw(&Text::new(text.as_str(), (*x as i32, *y as i32), style))
                .map_err(|e| anyhow!("cannot draw the labels of a distribution: {e}"))?;
        }
        area.present().map_err(|e| anyhow!("cannot draw a distribution: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_bins_leave_a_corner_free() {
        let picture = RgbImage { width: 160, height: 120, pixels: vec![0; 3 * 160 * 120] };
        let layout = SheetLayout::new(&Bins::new(10.0), &picture);
        assert!(layout.above == 0 && layout.free.0 >= 3 && layout.free.1 >= 3, "{:?}", layout.free);
        assert!((70..100).contains(&layout.shown.len()), "{}", layout.shown.len());
        let (x, y, w, h) = layout.corner();
        for bin in &layout.shown {
            let (left, top) = layout.place(Bins::new(10.0).centers()[*bin]);
            assert!(left >= x + w || top >= y + h, "bin {bin} lies under the result");
        }
    }

    #[test]
    fn any_grid_has_room_for_the_result() {
        let picture = RgbImage { width: 1, height: 500, pixels: vec![0; 1500] };
        for grid in [1.0, 5.0, 30.0, 110.0] {
            let layout = SheetLayout::new(&Bins::new(grid), &picture);
            let (_, _, w, h) = layout.corner();
            assert!(layout.shown.len() > 3 && w > 8 && h > 30, "grid {grid}: {w} × {h}");
        }
    }

    #[test]
    fn probabilities_are_the_softmax_between_labels() {
        // Two labels of two bins: 1 : 3 and 1 : 1.
        let map = Tensor::new(&[[[[0f32, 3f32.ln()], [7.0, 7.0]]]], &Device::Cpu).unwrap();
        let maps = Probabilities::new(&map, 2).unwrap();
        let half = maps.at(0, (0, 0, 0.0), (0, 1, 0.5));
        assert!((half - 0.375).abs() < 1e-6, "{half}");
        assert!(Probabilities::new(&map, 313).is_err());
    }

    #[test]
    fn swatches_are_the_bins_colors() {
        let hue = |ab| swatch(ab).map(i32::from);
        let [r, g, b] = hue([0.0, 0.0]);
        assert!(r == g && g == b);
        assert!(hue([60.0, 40.0])[0] > hue([60.0, 40.0])[1] + 60);
        assert!(hue([0.0, -60.0])[2] > hue([0.0, -60.0])[0] + 60);
    }
}
