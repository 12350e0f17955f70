//! Draws boxes and masks on pictures.

use crate::{
    boxes::Rect,
    data::{annotated::Mask, source::RgbImage, voc::mask::color_map},
    train::panel::{RgbTile, typeface},
};
use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// Opacity of the picture under a mask.
const PICTURE_OPACITY: f32 = 0.45;

/// Color of a class from the VOC color map, whose first entry is the background.
pub fn class_color(class: usize) -> [u8; 3] {
    color_map()[(class + 1).min(255)]
}

/// Converts a picture to a tile.
pub fn tile(image: &RgbImage) -> RgbTile {
    (image.width, image.height, image.pixels.clone())
}

/// Height of a class name in pixels.
const FONT_SIZE: f64 = 12.0;

/// Writes a class name at the upper left corner of a box.
///
/// # Errors
/// The typeface cannot be drawn.
pub fn label(tile: &mut RgbTile, bounds: &Rect, text: &str, color: [u8; 3]) -> Result<()> {
    let (width, height, pixels) = tile;
    let inside = bounds.clipped((*width, *height));
    let area = BitMapBackend::with_buffer(pixels, (*width as u32, *height as u32)).into_drawing_area();
    let failed = |e: String| anyhow!("cannot write `{text}` on a picture: {e}");
    let style = (typeface()?, FONT_SIZE).into_text_style(&area).color(&WHITE);
    let (w, h) = area.estimate_text_size(text, &style).map_err(|e| failed(e.to_string()))?;
    let (x, y) = (inside.x1 as i32, inside.y1 as i32);
    let ground = Rectangle::new(
        [(x, y), (x + w as i32 + 3, y + h as i32 + 2)],
        RGBColor(color[0], color[1], color[2]).filled(),
    );
    area.draw(&ground).map_err(|e| failed(e.to_string()))?;
    area.draw(&Text::new(text, (x + 2, y + 1), style)).map_err(|e| failed(e.to_string()))?;
    area.present().map_err(|e| failed(e.to_string()))
}

/// Draws the outline of a box, two pixels wide.
pub fn outline(tile: &mut RgbTile, bounds: &Rect, color: [u8; 3]) {
    let (width, height, pixels) = tile;
    let inside = bounds.clipped((*width, *height));
    let (left, right) = (inside.x1 as usize, inside.x2 as usize);
    let (top, bottom) = (inside.y1 as usize, inside.y2 as usize);
    let mut set = |x: usize, y: usize| {
        let start = 3 * (y * *width + x);
        pixels[start..start + 3].copy_from_slice(&color);
    };
    for inset in 0..2 {
        for x in left..=right {
            set(x, (top + inset).min(bottom));
            set(x, bottom.saturating_sub(inset).max(top));
        }
        for y in top..=bottom {
            set((left + inset).min(right), y);
            set(right.saturating_sub(inset).max(left), y);
        }
    }
}

/// Overlays a mask on the picture; background and void are not colored.
pub fn overlay_mask(image: &RgbImage, mask: &Mask) -> RgbTile {
    let colors = color_map();
    let mut pixels = image.pixels.clone();
    for (pixel, &label) in pixels.chunks_exact_mut(3).zip(&mask.labels) {
        if label != 0 && label != crate::data::annotated::VOID {
            for (value, color) in pixel.iter_mut().zip(colors[usize::from(label)]) {
                *value =
                    (PICTURE_OPACITY * f32::from(*value) + (1.0 - PICTURE_OPACITY) * f32::from(color)) as u8;
            }
        }
    }
    (image.width, image.height, pixels)
}
