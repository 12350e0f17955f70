//! Crop policies: which part of an image enters a batch, at what scale, flipped or not. A [`Frame`] records the
//! geometry, so that boxes and masks can be mapped with their image.

use super::{
    dataset::RgbImage,
    decode::MAX_BYTES,
    error::DataError,
    source::DataSpec,
    train_crop::{Padded, RandomResized, TrainCrop},
    transforms::{self, CropWindow, copy_row},
};
use crate::{bounded::Pixels, boxes::Rect};
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How images are cropped and scaled. Random choices apply to training; validation uses the center, or the first
/// scale.
#[derive(Clone, Debug, PartialEq)]
pub enum CropPolicy {
    /// A square crop of `crop` pixels, after scaling the short side to `resize`.
    Crop { resize: Option<usize>, crop: usize },
    /// In training a square of `crop` pixels that is cut by `train`, in validation as by `Crop`.
    Varied { resize: Option<usize>, crop: usize, train: TrainCrop },
    /// A square of `side` pixels sampled with a random step of ½ (2× enlarged) to 2 (½ size) image pixels, limited by
    /// the image size; the aspect ratio is kept (Krähenbühl's PASCAL VOC classification).
    RandomScale { side: usize },
    /// The whole image, short side scaled to `short`, then resized to a square of `side` pixels regardless of aspect
    /// ratio; never flipped (features of the Goyal et al. 2019 benchmark: 256, 227).
    Squash { short: usize, side: usize },
    /// The whole image, short side scaled to one of `scales` but long side to at most `longest`; unscaled if `scales`
    /// is empty. Images of a batch are padded with black on the right and bottom.
    Whole { scales: Vec<Pixels>, longest: Option<usize> },
}

/// Maps an image in a batch to its stored image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Width and height of the stored image.
    pub source: (usize, usize),
    /// Width and height within the batch, without padding.
    pub size: (usize, usize),
    /// The stored pixel at the upper left corner, before flipping.
    pub origin: (f32, f32),
    /// Batch pixels per stored pixel.
    pub scale: (f32, f32),
    /// Flipped horizontally.
    pub mirror: bool,
}

impl Frame {
    /// Maps a box from the stored image to the cropped one.
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
        // Flipped on the stored image, then scaled, as in the release.
        let right = (self.source.0 as f32 - 1.0 - x) * self.scale.0;
        Rect { x1: right - placed.x2, x2: right - placed.x1, ..placed }
    }
}

/// An image ready to be written into a batch. It holds the rows of the frame; the column crop, flip and padding are
/// applied when the batch is written, by [`write`](Self::write) or, on a GPU, by a kernel.
#[derive(Clone, Debug)]
pub struct CroppedImage {
    /// `(H, row, 3)`, H of the frame; not mirrored
    pub pixels: Vec<u8>,
    /// Row length in pixels.
    pub row: usize,
    /// First column of the frame.
    pub left: usize,
    pub frame: Frame,
}

impl CroppedImage {
    /// A crop whose frame covers every pixel.
    fn all(pixels: Vec<u8>, frame: Frame) -> Self {
        Self { pixels, row: frame.size.0, left: 0, frame }
    }

    /// Writes the image to its slot in a batch, `(H, width, 3)` with H and width at least those of the frame, and
    /// pads the right and bottom with black.
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

impl CropPolicy {
    /// The policy of a spec's `data` section.
    ///
    /// # Errors
    /// A crop larger than the resized pictures, in training or validation, or than any picture that can be read.
    pub fn from_spec(spec: &DataSpec) -> Result<Self, DataError> {
        let (crop, resize) = (spec.crop.get(), spec.resize.map(|short| short.get()));
        if let Some(short) = resize.filter(|short| *short < crop) {
            return Err(DataError::Spec(format!(
                "crop {crop} is larger than the short side after resize {short}; make resize at least {crop}"
            )));
        }
        if 3 * crop * crop > MAX_BYTES {
            return Err(DataError::Spec(format!(
                "pictures of {crop} pixels are too large to be read; use a smaller crop"
            )));
        }
        if let Some(TrainCrop::RandomShortSide(short)) = spec.train_crop
            && short.pixels.least.get() < crop
        {
            return Err(DataError::Spec(format!(
                "crop {crop} is larger than the least short side of `train_crop`, {}; begin it at {crop}",
                short.pixels.least
            )));
        }
        Ok(match spec.train_crop {
            None => Self::Crop { resize, crop },
            Some(train) => Self::Varied { resize, crop, train },
        })
    }

    /// What validation makes of it.
    pub fn in_validation(&self) -> Self {
        match *self {
            Self::Varied { resize, crop, .. } => Self::Crop { resize, crop },
            _ => self.clone(),
        }
    }

    /// Minimum side; smaller images are upscaled.
    pub fn side(&self) -> usize {
        match self {
            Self::Crop { crop, .. } | Self::Varied { crop, .. } => *crop,
            Self::RandomScale { .. } | Self::Squash { .. } | Self::Whole { .. } => 0,
        }
    }

    /// Crops an image. `rng` is None in validation; `flip` allows horizontal flips.
    ///
    /// # Errors
    /// Why the image cannot be brought to that size.
    pub fn apply(
        &self,
        image: RgbImage,
        flip: bool,
        rng: Option<ChaCha8Rng>,
        resizer: &mut Resizer,
    ) -> Result<CroppedImage, String> {
        match self {
            Self::Crop { resize, crop } => Square::plain(*resize, *crop).crop(image, flip, rng),
            Self::Varied { resize, crop, train } => match rng {
                Some(rng) => train_crop(image, *train, (*resize, *crop), flip, rng),
                None => Square::plain(*resize, *crop).crop(image, flip, None),
            },
            Self::RandomScale { side } => Ok(random_scale_crop(&image, *side, flip, rng)),
            Self::Squash { short, side } => squash(image, *short, *side),
            Self::Whole { scales, longest } => {
                let (mut to, mut mirror) = ((image.width, image.height), false);
                let mut short = scales.first().map(|s| s.get());
                if let Some(mut rng) = rng {
                    let pick = rng.random_range(0..scales.len().max(1));
                    (short, mirror) = (scales.get(pick).map(|s| s.get()), flip && rng.random());
                }
                if let Some(short) = short {
                    to = target_size(to, short, *longest);
                }
                resize_whole(&image, to, mirror, resizer)
            }
        }
    }
}

/// The size at which the short side is `short`, or the long side `longest` where that is smaller.
fn target_size((width, height): (usize, usize), short: usize, longest: Option<usize>) -> (usize, usize) {
    let (low, high) = (width.min(height) as f64, width.max(height) as f64);
    let mut factor = short as f64 / low;
    if let Some(longest) = longest {
        factor = factor.min(longest as f64 / high);
    }
    let side = |n: usize| ((n as f64 * factor).round() as usize).max(1);
    (side(width), side(height))
}

/// A square window of `crop` pixels of the picture with a short side of `resize` and a black margin.
struct Square {
    resize: Option<usize>,
    margin: usize,
    crop: usize,
}

impl Square {
    fn plain(resize: Option<usize>, crop: usize) -> Self {
        Self { resize, margin: 0, crop }
    }

    /// In validation, without `rng`, the central one of the picture without margin.
    fn crop(&self, mut image: RgbImage, flip: bool, rng: Option<ChaCha8Rng>) -> Result<CroppedImage, String> {
        let (crop, margin, source) = (self.crop, self.margin, (image.width, image.height));
        if let Some(short) = self.resize {
            image = transforms::resize(image, short).map_err(|e| e.to_string())?;
        }
        if image.width.min(image.height) < crop {
            image = transforms::resize(image, crop).map_err(|e| e.to_string())?;
        }
        let (width, height) = (image.width + 2 * margin, image.height + 2 * margin);
        let window = match rng {
            None => CropWindow::center(width, height, crop),
            Some(mut rng) => CropWindow::random(width, height, crop, flip, &mut rng),
        };
        let scale = (image.width as f32 / source.0 as f32, image.height as f32 / source.1 as f32);
        let at = |place: usize, scale: f32| (place as f32 - margin as f32) / scale;
        let origin = (at(window.x, scale.0), at(window.y, scale.1));
        let frame = Frame { source, size: (crop, crop), origin, scale, mirror: window.mirror };
        if margin == 0 {
            return Ok(crop_rows(&image, window, frame));
        }
        Ok(CroppedImage::all(transforms::crop_with_margin(&image, window, crop, margin), frame))
    }
}

/// A crop for training that is no window of the resized picture.
fn train_crop(
    image: RgbImage,
    how: TrainCrop,
    (resize, crop): (Option<usize>, usize),
    flip: bool,
    mut rng: ChaCha8Rng,
) -> Result<CroppedImage, String> {
    let square = match how {
        TrainCrop::RandomResized(windows) => return resized_window(&image, &windows, crop, flip, rng),
        TrainCrop::RandomShortSide(short) => Square { resize: Some(short.draw(&mut rng)), margin: 0, crop },
        TrainCrop::Padded(Padded { pixels }) => Square { resize, margin: pixels.get(), crop },
    };
    square.crop(image, flip, Some(rng))
}

fn resized_window(
    image: &RgbImage,
    windows: &RandomResized,
    crop: usize,
    flip: bool,
    mut rng: ChaCha8Rng,
) -> Result<CroppedImage, String> {
    let source = (image.width, image.height);
    let window = windows.draw(source, &mut rng);
    let mirror = rng.random::<bool>() && flip;
    let shown = transforms::resize_to(&window.cut(image), (crop, crop)).map_err(|e| e.to_string())?;
    let frame = Frame {
        source,
        size: (crop, crop),
        origin: (window.x as f32, window.y as f32),
        scale: (crop as f32 / window.width as f32, crop as f32 / window.height as f32),
        mirror,
    };
    Ok(CroppedImage::all(shown.pixels, frame))
}

/// Crops the rows; the columns are cropped when the batch is written, unless the crop is narrower than half a row.
fn crop_rows(image: &RgbImage, window: CropWindow, frame: Frame) -> CroppedImage {
    let side = frame.size.0;
    if image.width > 2 * side {
        let mut pixels = vec![0; 3 * side * side];
        transforms::crop_into(image, CropWindow { mirror: false, ..window }, side, &mut pixels);
        return CroppedImage::all(pixels, frame);
    }
    let rows = &image.pixels[3 * image.width * window.y..][..3 * image.width * side];
    CroppedImage { pixels: rows.to_vec(), row: image.width, left: window.x, frame }
}

fn squash(image: RgbImage, short: usize, side: usize) -> Result<CroppedImage, String> {
    let source = (image.width, image.height);
    let image = transforms::resize(image, short).map_err(|e| e.to_string())?;
    let pixels = transforms::resize_to(&image, (side, side)).map_err(|e| e.to_string())?.pixels;
    let scale = (side as f32 / source.0 as f32, side as f32 / source.1 as f32);
    let frame = Frame { source, size: (side, side), origin: (0.0, 0.0), scale, mirror: false };
    Ok(CroppedImage::all(pixels, frame))
}

/// Resizes the whole image with plain bilinear interpolation, OpenCV's default.
fn resize_whole(
    image: &RgbImage,
    to: (usize, usize),
    mirror: bool,
    resizer: &mut Resizer,
) -> Result<CroppedImage, String> {
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
    // `resize` would link the code for every pixel type, a fifth of this crate's size.
    resizer.resize_typed(&from, &mut out, &options).map_err(|e| e.to_string())?;
    let scale = (to.0 as f32 / source.0 as f32, to.1 as f32 / source.1 as f32);
    Ok(CroppedImage::all(pixels, Frame { source, size: to, origin: (0.0, 0.0), scale, mirror }))
}

/// Range of the sampling step, in stored pixels.
const STEPS: (f64, f64) = (0.5, 2.0);

/// A bilinear square crop at a random scale and position; in validation the largest centered square.
fn random_scale_crop(image: &RgbImage, side: usize, flip: bool, rng: Option<ChaCha8Rng>) -> CroppedImage {
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
    CroppedImage::all(pixels, frame)
}

/// Bilinear interpolation; pixels outside the image are black.
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
mod tests;
