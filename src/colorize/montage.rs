//! A result beside what it was made from: gray | colorized | truth, as one picture.

use super::picture::{Colored, Gray};
use crate::{
    color::lab::{lab_to_srgb8, srgb8_to_lab},
    data::{source::RgbImage, transforms::resize_to},
    train::panel::{RgbTile, panel},
};
use anyhow::Result;
use rayon::prelude::*;

/// The longest side of a tile, in pixels.
pub const LONG_SIDE: usize = 768;
/// A picture of less mean chroma (ab units) is taken for gray: compression tints grays by less.
const TINT: f64 = 2.0;

/// The tiles in a row, under their titles; the truth only where the original has color.
///
/// # Errors
/// When a tile cannot be resized, or the titles cannot be drawn.
pub fn montage(original: &RgbImage, colored: &Colored, gray: Gray) -> Result<RgbTile> {
    let truth = shrunk(original, LONG_SIDE)?;
    let mut tiles = vec![tile(grayed(&truth, gray)), tile(shrunk(&colored.rgb, LONG_SIDE)?)];
    let mut titles = vec!["gray", "colorized"];
    if mean_chroma(&truth) > TINT {
        tiles.push(tile(truth));
        titles.push("truth");
    }
    panel(&[tiles], &titles, 1)
}

/// The picture, no side longer than `long`.
pub(super) fn shrunk(picture: &RgbImage, long: usize) -> Result<RgbImage> {
    let side = picture.width.max(picture.height);
    if side <= long {
        return Ok(picture.clone());
    }
    let scaled = |n: usize| ((n * long + side / 2) / side).max(1);
    Ok(resize_to(picture, (scaled(picture.width), scaled(picture.height)))?)
}

/// The picture without its color.
pub(super) fn grayed(picture: &RgbImage, gray: Gray) -> RgbImage {
    let (pixels, _) = picture.pixels.as_chunks::<3>();
    let pixels = pixels.par_iter().flat_map_iter(|rgb| lab_to_srgb8([gray.lightness(*rgb), 0.0, 0.0]).0);
    RgbImage { pixels: pixels.collect(), ..*picture }
}

fn tile(picture: RgbImage) -> RgbTile {
    (picture.width, picture.height, picture.pixels)
}

/// Mean distance from gray, in ab units.
fn mean_chroma(picture: &RgbImage) -> f64 {
    let (pixels, _) = picture.pixels.as_chunks::<3>();
    let chroma = |rgb: &[u8; 3]| {
        let [_, a, b] = srgb8_to_lab(*rgb);
        f64::from(a.hypot(b))
    };
    pixels.par_iter().map(chroma).sum::<f64>() / pixels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tint_is_no_color() {
        let flat = |rgb: [u8; 3]| RgbImage { width: 2, height: 2, pixels: rgb.repeat(4) };
        assert!(mean_chroma(&flat([120, 121, 119])) < TINT);
        assert!(mean_chroma(&flat([130, 120, 110])) > TINT);
    }

    #[test]
    fn tiles_keep_their_aspect() {
        let strip = RgbImage { width: 3000, height: 2, pixels: vec![7; 18_000] };
        let small = shrunk(&strip, 768).unwrap();
        assert_eq!((small.width, small.height), (768, 1));
        assert_eq!(shrunk(&small, 768).unwrap().pixels, small.pixels);
    }
}
