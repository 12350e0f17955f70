//! Built-in scenes with several objects, boxes and a mask: a quick test set for detection and segmentation.
//!
//! One to four flat shapes of six [`CLASSES`] are drawn over a low-contrast background, later ones over earlier ones.
//! A class has an outline and a lightness pattern; its hue is ambiguous. Boxes are tight around the visible part, and
//! the mask labels pixel centers. A mostly hidden object is marked difficult; an almost entirely hidden one is
//! removed.
//!
//! Image `i` is a pure function of (seed, split, size, `i`), with the same portable arithmetic as
//! [`Scenes`](super::Scenes). Accuracy on it does not predict accuracy on photographs.

mod layout;
mod shape;

use super::{backdrop::Backdrop, noise::hash, paint::Dice, paint::mix};
use crate::{
    data::{
        annotated::{self, Annotated, Mask, Object, Presence},
        dataset::{Dataset, RgbImage, Split},
        error::DataError,
    },
    rng::Rng,
};
use layout::SceneLayout;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
pub use shape::CLASSES;

/// Incremented whenever the same (seed, split, size, index) gives different bytes or objects.
const GENERATOR: &str = "hueristic composite scenes 1";

/// Default side in pixels.
pub const SIZE: usize = 96;
/// Smallest side at which outlines are distinguishable.
pub const MIN_SIZE: usize = 32;
/// Samples per pixel and axis, for antialiasing.
const SAMPLES: usize = 2;
/// Fraction by which the background's contrast is reduced.
const MILD: f32 = 0.6;
/// Noise amplitude, for channels in [0, 1].
const NOISE: f32 = 0.025;

/// One split of the composite scenes.
#[derive(Clone, Debug)]
pub struct Composite {
    size: usize,
    seed: u64,
    split: Split,
    stream: Rng,
    classes: Vec<String>,
    layouts: Vec<SceneLayout>,
    ids: Vec<String>,
}

impl Composite {
    /// `images` square images of `size` pixels. The two splits of a seed are independent streams; a longer set starts
    /// with the images of a shorter one.
    ///
    /// # Errors
    /// A size below [`MIN_SIZE`].
    pub fn new(images: usize, size: usize, seed: u64, split: Split) -> Result<Self, DataError> {
        if size < MIN_SIZE {
            return Err(DataError::Spec(format!(
                "composite scenes of {size} pixels show nothing; use a size of at least {MIN_SIZE}"
            )));
        }
        let stream = Rng::new(seed).split("composite scenes").split(split.name());
        let deal = |index: usize| SceneLayout::new(index % CLASSES.len(), size, &mut dice(&stream, 0, index));
        let layouts = (0..images).into_par_iter().map(deal).collect();
        let ids = (0..images).map(|index| format!("{}_{index:06}", split.name())).collect();
        Ok(Self { size, seed, split, classes: CLASSES.map(String::from).to_vec(), layouts, ids, stream })
    }

    /// Noise-free color of one pixel.
    fn pixel(&self, layout: &SceneLayout, backdrop: &Backdrop, row: usize, column: usize) -> [f32; 3] {
        let width = 2.0 / self.size as f32;
        let place = |at: usize, part: f32| -1.0 + width * (at as f32 + part);
        let behind = mix(backdrop.color(place(column, 0.5), place(row, 0.5)), [0.55; 3], MILD);
        let mut sum = [0.0; 3];
        for sample in 0..SAMPLES * SAMPLES {
            let part = |i: usize| (i as f32 + 0.5) / SAMPLES as f32;
            let (x, y) = (place(column, part(sample % SAMPLES)), place(row, part(sample / SAMPLES)));
            let seen = layout.color(x, y).unwrap_or(behind);
            sum = [sum[0] + seen[0], sum[1] + seen[1], sum[2] + seen[2]];
        }
        sum.map(|v| v / (SAMPLES * SAMPLES) as f32)
    }
}

/// Random stream of image `index`: for its layout (0) or its background and noise (1).
fn dice(stream: &Rng, use_of: u64, index: usize) -> Dice {
    Dice(stream.at(use_of, index as u64))
}

impl Dataset for Composite {
    fn len(&self) -> usize {
        self.layouts.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    /// None: an image shows several classes.
    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        format!("composite scenes (seed {}), {} picture {index}", self.seed, self.split.name())
    }

    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let mut dice = dice(&self.stream, 1, index);
        let backdrop = Backdrop::new(&mut dice, if self.size < 48 { 1 } else { 3 });
        let grain = dice.seed();
        let mut pixels = Vec::with_capacity(3 * self.size * self.size);
        for row in 0..self.size {
            for column in 0..self.size {
                let noise = hash(grain, column as i32, row as i32) as f32 / u32::MAX as f32 - 0.5;
                let seen = self.pixel(&self.layouts[index], &backdrop, row, column);
                pixels.extend(seen.map(|v| ((v + 2.0 * NOISE * noise).clamp(0.0, 1.0) * 255.0 + 0.5) as u8));
            }
        }
        Ok(RgbImage { width: self.size, height: self.size, pixels })
    }

    fn fingerprint(&self) -> String {
        let (images, size, seed, split) = (self.len(), self.size, self.seed, self.split.name());
        format!("{:x}", Sha256::digest(format!("{GENERATOR}; {images} of {size}; seed {seed}; {split}")))
    }
}

impl Annotated for Composite {
    fn id(&self, index: usize) -> &str {
        &self.ids[index]
    }

    fn size(&self, _: usize) -> (usize, usize) {
        (self.size, self.size)
    }

    fn objects(&self, index: usize) -> &[Object] {
        self.layouts[index].objects()
    }

    fn presence(&self, index: usize) -> Vec<Presence> {
        annotated::presence(self.objects(index), self.classes.len())
    }

    /// Every image has a mask; an object's label is its class plus one, difficult or not.
    fn mask(&self, index: usize) -> Result<Option<Mask>, DataError> {
        let labels = self.layouts[index].labels(self.size);
        Ok(Some(Mask { width: self.size, height: self.size, labels }))
    }
}
