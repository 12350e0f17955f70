//! Geometric transforms from a decoded image to a batch: resize the short side, crop a square, flip.
//!
//! Resizing is bit-identical to Pillow's antialiased `BILINEAR`. The long side is rounded to the nearest pixel.
//! Colors are not changed.

use super::{dataset::RgbImage, decode::MAX_BYTES, pillow};
use rand::{Rng, RngExt};

/// Position of a square crop and whether it is flipped horizontally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropWindow {
    pub x: usize,
    pub y: usize,
    pub mirror: bool,
}

impl CropWindow {
    /// The center crop; half a pixel left or up of center if the margin is odd.
    pub fn center(width: usize, height: usize, side: usize) -> Self {
        Self { x: (width - side) / 2, y: (height - side) / 2, mirror: false }
    }

    /// A uniformly random crop, flipped with probability ½ if `flip` is set. Always draws x, y and the coin, so that
    /// disabling flips does not change the crops.
    pub fn random(width: usize, height: usize, side: usize, flip: bool, rng: &mut impl Rng) -> Self {
        let x = rng.random_range(0..=width - side);
        let y = rng.random_range(0..=height - side);
        let coin: bool = rng.random();
        Self { x, y, mirror: flip && coin }
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Window {
    /// What it shows of a picture that holds it.
    pub fn cut(&self, image: &RgbImage) -> RgbImage {
        let row = |y: usize| &image.pixels[3 * (y * image.width + self.x)..][..3 * self.width];
        let pixels = (self.y..self.y + self.height).flat_map(row).copied().collect();
        RgbImage { width: self.width, height: self.height, pixels }
    }
}

/// Width and height after scaling so that the short side is `short`.
pub fn fit(width: usize, height: usize, short: usize) -> (usize, usize) {
    let scaled = |long: usize, side: usize| (long * short + side / 2) / side;
    if width <= height { (short, scaled(height, width)) } else { (scaled(width, height), short) }
}

/// Why an image cannot be resized.
#[derive(Debug, thiserror::Error)]
#[error("{}×{} cannot be resized to {}×{}: {reason}", from.0, from.1, to.0, to.1)]
pub struct Unresizable {
    from: (usize, usize),
    to: (usize, usize),
    reason: String,
}

/// Scales the short side to `short`; returns the image unchanged if it already matches.
///
/// # Errors
/// An extreme aspect ratio whose result would exceed the decoder's size limit.
pub fn resize(image: RgbImage, short: usize) -> Result<RgbImage, Unresizable> {
    if image.width.min(image.height) == short {
        return Ok(image);
    }
    resize_to(&image, fit(image.width, image.height, short))
}

/// Resizes to `(width, height)` pixels, ignoring the aspect ratio.
///
/// # Errors
/// An empty size, or one over the decoder's size limit.
pub fn resize_to(image: &RgbImage, to: (usize, usize)) -> Result<RgbImage, Unresizable> {
    let refused = |reason: &str| Unresizable { from: (image.width, image.height), to, reason: reason.into() };
    if [image.width, image.height, to.0, to.1].contains(&0) {
        return Err(refused("a side is empty"));
    }
    // The intermediate image has the input's height and the output's width.
    let bytes = 3u128 * to.0 as u128 * to.1.max(image.height) as u128;
    if bytes > MAX_BYTES as u128 {
        return Err(refused("the result would be too large"));
    }
    Ok(pillow::resized(image, to))
}

/// Copies a `side`×`side` window into `out`, `(side, side, 3)` in rows.
///
/// # Panics
/// When the window exceeds the image or `out` has the wrong length.
pub fn crop_into(image: &RgbImage, window: CropWindow, side: usize, out: &mut [u8]) {
    assert!(window.x + side <= image.width && window.y + side <= image.height, "the window leaves the image");
    assert_eq!(out.len(), 3 * side * side, "the slice is not one {side}×{side} image");
    for (row, to) in out.chunks_exact_mut(3 * side).enumerate() {
        let start = 3 * ((window.y + row) * image.width + window.x);
        let from = &image.pixels[start..start + 3 * side];
        copy_row(from, window.mirror, to);
    }
}

/// A `side`×`side` window, `(side, side, 3)`, not mirrored, of a picture with a black margin, from which the window's place is
/// counted.
pub fn crop_with_margin(image: &RgbImage, window: CropWindow, side: usize, margin: usize) -> Vec<u8> {
    let mut out = vec![0; 3 * side * side];
    // The columns of the window that show the picture, and the first of the picture's that they show.
    let (left, first) = (margin.saturating_sub(window.x), window.x.saturating_sub(margin));
    let shown = (image.width - first.min(image.width)).min(side.saturating_sub(left));
    for (row, to) in out.chunks_exact_mut(3 * side).enumerate().filter(|_| shown > 0) {
        if let Some(y) = (window.y + row).checked_sub(margin).filter(|y| *y < image.height) {
            let from = &image.pixels[3 * (y * image.width + first)..][..3 * shown];
            to[3 * left..][..3 * shown].copy_from_slice(from);
        }
    }
    out
}

/// Copies a row of pixels, reversed if `mirror`.
pub(super) fn copy_row(from: &[u8], mirror: bool, to: &mut [u8]) {
    if !mirror {
        return to.copy_from_slice(from);
    }
    let pixels = from.as_chunks::<3>().0.iter().rev();
    to.as_chunks_mut::<3>().0.iter_mut().zip(pixels).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng as Streams;
    use proptest::prelude::*;

    /// Each pixel says where it is: (x, y, 7).
    fn map(width: usize, height: usize) -> RgbImage {
        let pixels = (0..width * height).flat_map(|i| [(i % width) as u8, (i / width) as u8, 7]).collect();
        RgbImage { width, height, pixels }
    }

    proptest! {
        #[test]
        fn a_crop_holds_the_pixels_of_its_window(
            width in 1usize..60, height in 1usize..60, side in 1usize..60, seed: u64, flip: bool,
        ) {
            let side = side.min(width).min(height);
            let window = CropWindow::random(width, height, side, flip, &mut Streams::new(seed).at(0, 0));
            let mut out = vec![0; 3 * side * side];
            crop_into(&map(width, height), window, side, &mut out);
            prop_assert!(flip || !window.mirror);
            for (i, pixel) in out.chunks_exact(3).enumerate() {
                let column = if window.mirror { side - 1 - i % side } else { i % side };
                prop_assert_eq!(pixel, [(window.x + column) as u8, (window.y + i / side) as u8, 7]);
            }
        }

        #[test]
        fn resizing_keeps_the_aspect_to_half_a_pixel(width in 1usize..500, height in 1usize..500, short in 1usize..300) {
            let (w, h) = fit(width, height, short);
            prop_assert_eq!(w.min(h), short);
            // In whole numbers: a half is a half.
            let side = width.min(height);
            prop_assert!((2 * w * side).abs_diff(2 * width * short) <= side);
            prop_assert!((2 * h * side).abs_diff(2 * height * short) <= side);
        }
    }

    #[test]
    fn random_windows_reach_every_position_and_both_mirrors() {
        let streams = Streams::new(1);
        let mut seen = std::collections::HashSet::new();
        for i in 0..400 {
            let w = CropWindow::random(5, 4, 3, true, &mut streams.at(0, i));
            seen.insert((w.x, w.y, w.mirror));
        }
        assert_eq!(seen.len(), 3 * 2 * 2);
    }

    #[test]
    fn flips_do_not_move_the_crops() {
        let draw = |flip| CropWindow::random(50, 40, 3, flip, &mut Streams::new(9).at(2, 3));
        assert_eq!((draw(true).x, draw(true).y), (draw(false).x, draw(false).y));
    }

    #[test]
    fn shrinking_averages_and_flat_color_stays() {
        let stripes: Vec<u8> = (0..64 * 64).flat_map(|i| [if i % 2 == 0 { 0 } else { 255 }; 3]).collect();
        let image = RgbImage { width: 64, height: 64, pixels: stripes };
        let small = resize(image, 8).unwrap();
        assert_eq!((small.width, small.height), (8, 8));
        let inner = &small.pixels[3 * 9..3 * 15];
        assert!(inner.iter().all(|&v| (120..=135).contains(&v)), "aliased: {inner:?}");

        let flat = RgbImage { width: 3, height: 2, pixels: [10, 20, 30].repeat(6) };
        let large = resize(flat, 7).unwrap();
        assert_eq!((large.width, large.height), (11, 7));
        assert!(large.pixels.chunks_exact(3).all(|p| p == [10, 20, 30]));
    }
}
