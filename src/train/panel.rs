//! Composes image tiles into one picture: rows of tiles under column titles, e.g. gray | prediction | truth. Also
//! provides the typeface of everything that the crate draws, so that text looks the same on every machine.

use super::task::ImagePanel;
use anyhow::{Context, Result, anyhow, bail};
use candle_core::Tensor;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::sync::OnceLock;

/// Width, height and 8-bit RGB pixels of one tile.
pub type RgbTile = (usize, usize, Vec<u8>);

/// Margin between and around tiles, in pixels.
const GAP: usize = 8;
/// Approximate side that small tiles are upscaled to, in pixels.
const UPSCALED_SIDE: usize = 96;
/// Maximum title height, in pixels.
const TITLE: usize = 16;

/// DejaVu Sans, embedded and registered on first use. The name includes fallbacks for SVG viewers without it.
pub fn typeface() -> Result<&'static str> {
    static NAME: OnceLock<Result<&'static str, String>> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let name = "DejaVu Sans, Verdana, sans-serif";
        let faces = [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
        for (style, bytes) in faces {
            plotters::style::register_font(name, style, bytes)
                .map_err(|_| "the embedded DejaVu Sans is not a font".to_string())?;
        }
        Ok(name)
    });
    name.clone().map_err(|error| anyhow!(error))
}

/// Composes `tiles`, row by row, each upscaled `scale` times (nearest neighbor), with titles above their columns, into
/// one picture: width, height and 8-bit RGB. Rows may be of different lengths, tiles of different sizes; titles are
/// optional. Errors: no tiles, a tile whose pixels do not match its size, more titles than columns.
pub fn panel(tiles: &[Vec<RgbTile>], column_titles: &[&str], scale: usize) -> Result<RgbTile> {
    let layout = PanelLayout::new(tiles, column_titles, scale.max(1))?;
    let mut pixels = vec![255; 3 * layout.width * layout.height];
    for (row, y) in tiles.iter().zip(&layout.tops) {
        for (tile, x) in row.iter().zip(&layout.lefts) {
            paste(tile, layout.scale, &mut pixels[3 * (y * layout.width + x)..], layout.width);
        }
    }
    layout.write_titles(column_titles, &mut pixels)?;
    Ok((layout.width, layout.height, pixels))
}

/// Composes titled columns of equally many pictures, u8 RGB `(B, H, W, 3)`, into a [`ImagePanel`] called `name`; small
/// pictures are upscaled. Errors: columns of different sizes.
pub fn from_columns(name: &str, columns: &[(&str, &Tensor)]) -> Result<ImagePanel> {
    let (b, h, w, _) = columns.first().context("a panel without columns")?.1.dims4()?;
    let tile = |column: &Tensor, i: usize| -> Result<RgbTile> {
        Ok((w, h, column.get(i)?.flatten_all()?.to_vec1::<u8>()?))
    };
    let row = |i| columns.iter().map(|(_, column)| tile(column, i)).collect::<Result<Vec<_>>>();
    let rows = (0..b).map(row).collect::<Result<Vec<_>>>()?;
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let (width, height, rgb) = panel(&rows, &titles, (UPSCALED_SIDE / w.max(h)).max(1))?;
    Ok(ImagePanel { name: name.into(), width, height, rgb })
}

/// Pixel positions of columns and rows.
struct PanelLayout {
    scale: usize,
    width: usize,
    height: usize,
    lefts: Vec<usize>,
    widths: Vec<usize>,
    tops: Vec<usize>,
}

impl PanelLayout {
    fn new(tiles: &[Vec<RgbTile>], titles: &[&str], scale: usize) -> Result<Self> {
        let columns = tiles.iter().map(Vec::len).max().unwrap_or(0);
        if columns == 0 || titles.len() > columns {
            bail!("a panel of {columns} columns with {} titles", titles.len());
        }
        if let Some((w, h, p)) = tiles.iter().flatten().find(|(w, h, p)| p.len() != 3 * w * h) {
            bail!("a panel tile of {w} × {h} pixels needs {} bytes of RGB, not {}", 3 * w * h, p.len());
        }
        let column_width = |column: usize| {
            let widest = tiles.iter().filter_map(|row| row.get(column)).map(|tile| tile.0).max();
            widest.unwrap_or(0) * scale
        };
        let widths: Vec<_> = (0..columns).map(column_width).collect();
        let heights = tiles.iter().map(|row| row.iter().map(|tile| tile.1).max().unwrap_or(0) * scale);
        let head = if titles.is_empty() { 0 } else { TITLE + GAP };
        let (lefts, width) = starts(GAP, widths.iter().copied());
        let (tops, height) = starts(GAP + head, heights);
        Ok(Self { scale, width, height, lefts, widths, tops })
    }

    fn write_titles(&self, titles: &[&str], pixels: &mut [u8]) -> Result<()> {
        let face = typeface()?;
        let size = (self.width as u32, self.height as u32);
        let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
        for (title, (left, width)) in titles.iter().zip(self.lefts.iter().zip(&self.widths)) {
            // Shrink the title to the width of its column; it may extend half way into the gaps.
            let natural = area.estimate_text_size(title, &(face, TITLE as i32).into_text_style(&area));
            let natural = natural.map_err(|e| anyhow!("cannot measure a title: {e}"))?.0.max(1) as f64;
            let points = TITLE as f64 * ((width + GAP / 2) as f64 / natural).min(1.0);
            let style = (face, points).into_text_style(&area).color(&RGBColor(40, 40, 40));
            let middle = ((left + width / 2) as i32, (GAP + TITLE) as i32);
            area.draw(&Text::new(*title, middle, style.pos(Pos::new(HPos::Center, VPos::Bottom))))
                .map_err(|e| anyhow!("cannot draw a title: {e}"))?;
        }
        area.present().context("cannot draw a panel")
    }
}

/// Start of each of several consecutive extents with gaps between, and the total end.
fn starts(start: usize, extents: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut at = start;
    let mut starts = Vec::new();
    for extent in extents {
        starts.push(at);
        at += extent + GAP;
    }
    (starts, at)
}

/// Copies `tile`, upscaled, to the start of `canvas`, whose rows are `stride` pixels long.
fn paste(tile: &RgbTile, scale: usize, canvas: &mut [u8], stride: usize) {
    let (w, h, pixels) = tile;
    for y in 0..h * scale {
        for x in 0..w * scale {
            let from = 3 * (y / scale * w + x / scale);
            let to = 3 * (y * stride + x);
            canvas[to..to + 3].copy_from_slice(&pixels[from..from + 3]);
        }
    }
}
