//! How a picture becomes part of a batch: which part of it, at what scale, mirrored or not. A [`Frame`] remembers it, so
//! that boxes and masks can follow their picture.

use super::{
    dataset::RgbImage,
    decode::MAX_BYTES,
    error::DataError,
    source::DataSpec,
    transforms::{self, Window, copy_row},
};
use crate::{bounded::Pixels, boxes::Rect};
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A way to frame pictures. What is drawn at random is drawn in training; validation sees the middle, or the first of
/// the scales.
#[derive(Clone, Debug, PartialEq)]
pub enum Framing {
    /// A square of `crop` pixels, after the short side was scaled to `resize`.
    Crop { resize: Option<usize>, crop: usize },
    /// A square of `side` pixels whose pixels lie a random factor apart on the picture: from ½, twice as large, to 2,
    /// half as large, as far as the picture allows; never stretched (Krähenbühl's classification of PASCAL VOC).
    RandomScale { side: usize },
    /// The whole picture, its short side scaled to `short`, then squashed to a square of `side` pixels whatever its aspect;
    /// never mirrored (the features of the benchmark of Goyal et al. 2019: 256, 227).
    Squash { short: usize, side: usize },
    /// The whole picture, its short side scaled to one of `scales`, but its long side to `longest` at most; without
    /// scales as it is stored. Pictures of a batch are filled up with black, to the right and below.
    Whole { scales: Vec<Pixels>, longest: Option<usize> },
}

/// Where a picture of a batch lies on the stored one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Width and height of the stored picture.
    pub source: (usize, usize),
    /// Width and height within the batch, without what fills it up.
    pub size: (usize, usize),
    /// The stored pixel that the upper left one comes from, before mirroring.
    pub origin: (f32, f32),
    /// Pixels of the batch for each stored pixel.
    pub scale: (f32, f32),
    /// Mirrored left to right.
    pub mirror: bool,
}

impl Frame {
    /// A rectangle of the stored picture on the framed one.
    pub fn place(&self, rect: &Rect) -> Rect {
        let (x, y) = self.origin;
        let at = |v: f32, origin: f32, scale: f32| (v - origin) * scale;
        let placed = Rect::new(
            at(rect.x1, x, self.scale.0),
            at(rect.y1, y, self.scale.1),
            at(rect.x2, x, self.scale.0),
            at(rect.y2, y, self.scale.1),
        );
        if !self.mirror {
            return placed;
        }
        // Mirrored on the stored picture, then scaled, as the release does.
        let right = (self.source.0 as f32 - 1.0 - x) * self.scale.0;
        Rect { x1: right - placed.x2, x2: right - placed.x1, ..placed }
    }
}

/// A picture on its way into a batch. Its rows are those that the frame shows; cutting the columns, mirroring and filling
/// up are left to whoever writes the batch: [`write`](Self::write), or a kernel where the batch lies on a GPU.
#[derive(Clone, Debug)]
pub struct Framed {
    /// `(H, row, 3)`, H of the frame; not mirrored
    pub pixels: Vec<u8>,
    /// Pixels of a row.
    pub row: usize,
    /// The first pixel of a row that the frame shows.
    pub left: usize,
    pub frame: Frame,
}

impl Framed {
    /// The frame shows every pixel.
    fn all(pixels: Vec<u8>, frame: Frame) -> Self {
        Self { pixels, row: frame.size.0, left: 0, frame }
    }

    /// Writes it into its place in a batch, `(H, width, 3)` with H and width at least those of the frame; what lies to
    /// the right and below becomes black.
    pub fn write(&self, width: usize, out: &mut [u8]) {
        let (shown, height) = self.frame.size;
        let (out, below) = out.split_at_mut(3 * width * height);
        let rows = self.pixels.chunks_exact(3 * self.row).zip(out.chunks_exact_mut(3 * width));
        for (from, to) in rows {
            let (to, beyond) = to.split_at_mut(3 * shown);
            copy_row(&from[3 * self.left..][..3 * shown], self.frame.mirror, to);
            beyond.fill(0);
        }
        below.fill(0);
    }
}

impl Framing {
    /// As a spec's section `data` says.
    ///
    /// # Errors
    /// A crop larger than the resized pictures.
    pub fn of(spec: &DataSpec) -> Result<Self, DataError> {
        let (crop, resize) = (spec.crop.get(), spec.resize.map(|short| short.get()));
        if let Some(short) = resize.filter(|short| *short < crop) {
            return Err(DataError::Spec(format!(
                "crop {crop} is larger than the short side after resize {short}; make resize at least {crop}"
            )));
        }
        Ok(Self::Crop { resize, crop })
    }

    /// The side below which pictures have to be enlarged.
    pub fn side(&self) -> usize {
        match self {
            Self::Crop { crop, .. } => *crop,
            Self::RandomScale { .. } | Self::Squash { .. } | Self::Whole { .. } => 0,
        }
    }

    /// Frames a picture; `rng` is absent in validation. `flip` allows mirroring.
    ///
    /// # Errors
    /// Why the picture cannot be brought to that size.
    pub fn frame(
        &self,
        image: RgbImage,
        flip: bool,
        rng: Option<ChaCha8Rng>,
        resizer: &mut Resizer,
    ) -> Result<Framed, String> {
        match self {
            Self::Crop { resize, crop } => cut(image, *resize, *crop, flip, rng),
            Self::RandomScale { side } => Ok(sample(&image, *side, flip, rng)),
            Self::Squash { short, side } => squashed(image, *short, *side),
            Self::Whole { scales, longest } => {
                let (mut to, mut mirror) = ((image.width, image.height), false);
                let mut short = scales.first().map(|s| s.get());
                if let Some(mut rng) = rng {
                    let pick = rng.random_range(0..scales.len().max(1));
                    (short, mirror) = (scales.get(pick).map(|s| s.get()), flip && rng.random());
                }
                if let Some(short) = short {
                    to = fit(to, short, *longest);
                }
                scaled(&image, to, mirror, resizer)
            }
        }
    }
}

/// The size at which the short side is `short`, or the long side `longest` where that is smaller.
fn fit((width, height): (usize, usize), short: usize, longest: Option<usize>) -> (usize, usize) {
    let (low, high) = (width.min(height) as f64, width.max(height) as f64);
    let mut factor = short as f64 / low;
    if let Some(longest) = longest {
        factor = factor.min(longest as f64 / high);
    }
    let side = |n: usize| ((n as f64 * factor).round() as usize).max(1);
    (side(width), side(height))
}

fn cut(
    mut image: RgbImage,
    resize: Option<usize>,
    crop: usize,
    flip: bool,
    rng: Option<ChaCha8Rng>,
) -> Result<Framed, String> {
    let source = (image.width, image.height);
    if let Some(short) = resize {
        image = transforms::resize(image, short).map_err(|e| e.to_string())?;
    }
    if image.width.min(image.height) < crop {
        image = transforms::resize(image, crop).map_err(|e| e.to_string())?;
    }
    let window = match rng {
        None => Window::center(image.width, image.height, crop),
        Some(mut rng) => Window::random(image.width, image.height, crop, flip, &mut rng),
    };
    let scale = (image.width as f32 / source.0 as f32, image.height as f32 / source.1 as f32);
    let origin = (window.x as f32 / scale.0, window.y as f32 / scale.1);
    let frame = Frame { source, size: (crop, crop), origin, scale, mirror: window.mirror };
    Ok(square(&image, window, frame))
}

/// Rows are cut here, columns where the batch is written; but here too where a row shows less than half of itself.
fn square(image: &RgbImage, window: Window, frame: Frame) -> Framed {
    let side = frame.size.0;
    if image.width > 2 * side {
        let mut pixels = vec![0; 3 * side * side];
        transforms::crop_into(image, Window { mirror: false, ..window }, side, &mut pixels);
        return Framed::all(pixels, frame);
    }
    let rows = &image.pixels[3 * image.width * window.y..][..3 * image.width * side];
    Framed { pixels: rows.to_vec(), row: image.width, left: window.x, frame }
}

fn squashed(image: RgbImage, short: usize, side: usize) -> Result<Framed, String> {
    let source = (image.width, image.height);
    let image = transforms::resize(image, short).map_err(|e| e.to_string())?;
    let pixels = transforms::resize_to(&image, (side, side)).map_err(|e| e.to_string())?.pixels;
    let scale = (side as f32 / source.0 as f32, side as f32 / source.1 as f32);
    let frame = Frame { source, size: (side, side), origin: (0.0, 0.0), scale, mirror: false };
    Ok(Framed::all(pixels, frame))
}

/// The whole picture at another size: bilinear between the two nearest pixels, as OpenCV does by default.
fn scaled(
    image: &RgbImage,
    to: (usize, usize),
    mirror: bool,
    resizer: &mut Resizer,
) -> Result<Framed, String> {
    let source = (image.width, image.height);
    if 3 * to.0 * to.1 > MAX_BYTES {
        return Err(format!("{}×{} would be too large at {}×{}", source.0, source.1, to.0, to.1));
    }
    let mut pixels = vec![0; 3 * to.0 * to.1];
    let from = TypedImageRef::<U8x3>::from_buffer(source.0 as u32, source.1 as u32, &image.pixels)
        .map_err(|e| e.to_string())?;
    let mut out =
        TypedImage::<U8x3>::from_buffer(to.0 as u32, to.1 as u32, &mut pixels).map_err(|e| e.to_string())?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear));
    // `resize` would bring the code for every other type of pixel: a fifth of this crate's.
    resizer.resize_typed(&from, &mut out, &options).map_err(|e| e.to_string())?;
    let scale = (to.0 as f32 / source.0 as f32, to.1 as f32 / source.1 as f32);
    Ok(Framed::all(pixels, Frame { source, size: to, origin: (0.0, 0.0), scale, mirror }))
}

/// Stored pixels for each pixel of the square: the least and the most.
const STEPS: (f64, f64) = (0.5, 2.0);

/// A square sampled bilinearly at a random scale and place; in validation the largest square in the middle.
fn sample(image: &RgbImage, side: usize, flip: bool, rng: Option<ChaCha8Rng>) -> Framed {
    let (width, height) = (image.width as f64, image.height as f64);
    let most = STEPS.1.min(width / side as f64).min(height / side as f64);
    let (mut step, mut at, mut mirror) = (most, (0.5, 0.5), false);
    if let Some(mut rng) = rng {
        let least = STEPS.0.min(most);
        step = least + (most - least) * rng.random::<f64>();
        at = (rng.random(), rng.random());
        mirror = rng.random::<bool>() && flip;
    }
    let reach = step * side as f64;
    let origin = ((width - reach).max(0.0) * at.0, (height - reach).max(0.0) * at.1);
    let mut pixels = vec![0; 3 * side * side];
    for (row, out) in pixels.chunks_exact_mut(3 * side).enumerate() {
        let y = origin.1 + row as f64 * step;
        for (column, out) in out.chunks_exact_mut(3).enumerate() {
            bilinear(image, origin.0 + column as f64 * step, y, out);
        }
    }
    let frame = Frame {
        source: (image.width, image.height),
        size: (side, side),
        origin: (origin.0 as f32, origin.1 as f32),
        scale: ((1.0 / step) as f32, (1.0 / step) as f32),
        mirror,
    };
    Framed::all(pixels, frame)
}

/// The color between four pixels; what lies outside the picture is black.
fn bilinear(image: &RgbImage, x: f64, y: f64, out: &mut [u8]) {
    let (left, top) = (x.floor(), y.floor());
    let mut sum = [0.0; 3];
    for (dy, wy) in [(0.0, 1.0 - (y - top)), (1.0, y - top)] {
        for (dx, wx) in [(0.0, 1.0 - (x - left)), (1.0, x - left)] {
            let (u, v) = (left + dx, top + dy);
            if wx * wy > 0.0 && u >= 0.0 && v >= 0.0 && u < image.width as f64 && v < image.height as f64 {
                let start = 3 * (v as usize * image.width + u as usize);
                sum.iter_mut().zip(&image.pixels[start..]).for_each(|(s, &p)| *s += wx * wy * f64::from(p));
            }
        }
    }
    out.iter_mut().zip(sum).for_each(|(out, sum)| *out = sum.round() as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Each pixel says where it is: (x, y, 7).
    fn map(width: usize, height: usize) -> RgbImage {
        let pixels = (0..width * height).flat_map(|i| [(i % width) as u8, (i / width) as u8, 7]).collect();
        RgbImage { width, height, pixels }
    }

    /// As a batch of this picture alone shows it.
    fn framed(framing: &Framing, image: RgbImage, rng: Option<u64>) -> (Vec<u8>, Frame) {
        let rng = rng.map(|index| Rng::new(3).at(0, index));
        let framed = framing.frame(image, true, rng, &mut Resizer::new()).expect("small");
        let (width, height) = framed.frame.size;
        let mut pixels = vec![1; 3 * width * height];
        framed.write(width, &mut pixels);
        (pixels, framed.frame)
    }

    #[test]
    fn a_random_scale_keeps_the_aspect_and_shows_the_pixels_that_its_frame_says() {
        let (mut steps, mut mirrors) = (vec![], 0);
        for index in 0..200 {
            let (pixels, frame) = framed(&Framing::RandomScale { side: 40 }, map(200, 120), Some(index));
            assert_eq!(frame.scale.0, frame.scale.1);
            let step = 1.0 / frame.scale.0;
            for (row, column) in [(0, 0), (39, 39), (7, 31)] {
                let from = if frame.mirror { 39 - column } else { column };
                let (x, y) = (frame.origin.0 + from as f32 * step, frame.origin.1 + row as f32 * step);
                let pixel = &pixels[3 * (row * 40 + column)..][..3];
                assert!((f32::from(pixel[0]) - x).abs() < 0.6 && (f32::from(pixel[1]) - y).abs() < 0.6);
            }
            steps.push(step);
            mirrors += usize::from(frame.mirror);
        }
        let (least, most) =
            (steps.iter().copied().fold(9.0, f32::min), steps.iter().copied().fold(0.0, f32::max));
        assert!((0.5..0.55).contains(&least) && (1.95..=2.0).contains(&most), "{least} to {most}");
        assert!((60..140).contains(&mirrors));
        // A picture smaller than half the square is enlarged as far as it takes.
        let frame = framed(&Framing::RandomScale { side: 40 }, map(10, 30), Some(0)).1;
        assert!((frame.scale.0 - 4.0).abs() < 1e-6 && frame.origin.0 == 0.0);
    }

    #[test]
    fn whole_pictures_take_the_scale_that_the_long_side_allows() {
        let scales = vec![Pixels::of(60), Pixels::of(90)];
        let whole = Framing::Whole { scales, longest: Some(100) };
        assert_eq!(framed(&whole, map(50, 40), None).1.size, (75, 60));
        assert_eq!(framed(&whole, map(100, 30), None).1.size, (100, 30), "the long side decides");
        let sizes: Vec<_> = (0..40).map(|i| framed(&whole, map(50, 45), Some(i)).1.size).collect();
        assert!(sizes.contains(&(67, 60)) && sizes.contains(&(100, 90)), "{sizes:?}");
        let stored = Framing::Whole { scales: vec![], longest: None };
        let (pixels, frame) = framed(&stored, map(30, 20), None);
        assert!(frame.size == (30, 20) && pixels == map(30, 20).pixels);
    }

    #[test]
    fn boxes_follow_their_picture() {
        let stored = Framing::Whole { scales: vec![Pixels::of(40)], longest: None };
        for index in 0..20 {
            let (pixels, frame) = framed(&stored, map(30, 20), Some(index));
            // The block x 6..=11 of the stored picture.
            let placed = frame.place(&Rect::new(6.0, 4.0, 11.0, 9.0));
            assert_eq!((placed.y1, placed.y2), (8.0, 18.0));
            let middle = ((placed.x1 + placed.x2) / 2.0).round() as usize;
            let shown = pixels[3 * (13 * frame.size.0 + middle)];
            assert!((8..=9).contains(&shown), "column {shown} in the middle, mirror {}", frame.mirror);
        }
    }

    #[test]
    fn crops_show_their_window_whoever_cuts_the_columns() {
        for (width, cut_here) in [(31, false), (32, false), (33, true), (90, true)] {
            let crop = Framing::Crop { resize: None, crop: 16 };
            let held = crop.frame(map(width, 20), false, None, &mut Resizer::new()).unwrap();
            assert_eq!(held.row == 16, cut_here);
            for index in 0..20 {
                let (pixels, frame) = framed(&crop, map(width, 20), Some(index));
                let (x, y) = (frame.origin.0 as usize, frame.origin.1 as usize);
                for (i, pixel) in pixels.chunks_exact(3).enumerate() {
                    let column = if frame.mirror { 15 - i % 16 } else { i % 16 };
                    assert_eq!(pixel, [(x + column) as u8, (y + i / 16) as u8, 7]);
                }
            }
        }
    }

    #[test]
    fn a_place_that_is_larger_is_filled_up_with_black() {
        let frame =
            Frame { source: (2, 2), size: (2, 2), origin: (0.0, 0.0), scale: (1.0, 1.0), mirror: true };
        let mut out = vec![9; 3 * 3 * 3];
        Framed::all(map(2, 2).pixels, frame).write(3, &mut out);
        let rows = [[1, 0, 7, 0, 0, 7, 0, 0, 0], [1, 1, 7, 0, 1, 7, 0, 0, 0], [0; 9]];
        assert_eq!(out, rows.concat());
    }

    #[test]
    fn a_squash_shows_everything() {
        let squash = Framing::Squash { short: 20, side: 10 };
        let (pixels, frame) = framed(&squash, map(100, 20), Some(1));
        assert_eq!((frame.size, pixels.len(), frame.mirror), ((10, 10), 300, false));
        for row in pixels.chunks_exact(30) {
            assert!((0..10).all(|x| row[3 * x].abs_diff(10 * x as u8 + 5) < 3), "{row:?}");
        }
    }
}
