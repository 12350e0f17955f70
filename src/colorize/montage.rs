//! A montage of a result and its original: gray | colorized | truth.

use super::picture::ColorizedPicture;
use crate::{
    color::{
        gray::Gray,
        lab::{lab_to_srgb8, srgb8_to_lab},
    },
    data::{source::RgbImage, transforms::resize_to},
    train::panel::{RgbTile, panel},
};
use anyhow::Result;
use rayon::prelude::*;

/// Longest side of a tile in pixels.
pub const LONG_SIDE: usize = 768;
/// Mean chroma, in ab units, below which a picture counts as gray; compression artifacts are below it.
pub const MIN_CHROMA: f64 = 2.0;

/// Composes the tiles in a row with titles; the truth is included only if the original has color.
///
/// # Errors
/// A tile cannot be resized, or the titles cannot be drawn.
pub fn montage(original: &RgbImage, colored: &ColorizedPicture, gray: Gray) -> Result<RgbTile> {
    let truth = scaled_down(original, LONG_SIDE)?;
    let mut tiles = vec![tile(to_gray(&truth, gray)), tile(scaled_down(&colored.rgb, LONG_SIDE)?)];
    let mut titles = vec!["gray", "colorized"];
    if mean_chroma(&truth) > MIN_CHROMA {
        tiles.push(tile(truth));
        titles.push("truth");
    }
    panel(&[tiles], &titles, 1)
}

/// Scales the picture down so that no side exceeds `long`.
///
/// # Errors
/// A picture without pixels.
pub fn scaled_down(picture: &RgbImage, long: usize) -> Result<RgbImage> {
    let side = picture.width.max(picture.height);
    if side <= long {
        return Ok(picture.clone());
    }
    let scaled = |n: usize| ((n * long + side / 2) / side).max(1);
    Ok(resize_to(picture, (scaled(picture.width), scaled(picture.height)))?)
}

/// Removes the color of a picture.
pub fn to_gray(picture: &RgbImage, gray: Gray) -> RgbImage {
    let (pixels, _) = picture.pixels.as_chunks::<3>();
    let pixels = pixels.par_iter().flat_map_iter(|rgb| lab_to_srgb8([gray.lightness(*rgb), 0.0, 0.0]).0);
    RgbImage { pixels: pixels.collect(), ..*picture }
}

fn tile(picture: RgbImage) -> RgbTile {
    (picture.width, picture.height, picture.pixels)
}

/// Mean chroma in ab units.
pub fn mean_chroma(picture: &RgbImage) -> f64 {
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
        assert!(mean_chroma(&flat([120, 121, 119])) < MIN_CHROMA);
        assert!(mean_chroma(&flat([130, 120, 110])) > MIN_CHROMA);
    }

    #[test]
    fn tiles_keep_their_aspect() {
        let strip = RgbImage { width: 3000, height: 2, pixels: vec![7; 18_000] };
        let small = scaled_down(&strip, 768).unwrap();
        assert_eq!((small.width, small.height), (768, 1));
        assert_eq!(scaled_down(&small, 768).unwrap().pixels, small.pixels);
    }
}
