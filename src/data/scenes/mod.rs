//! Built-in procedural scenes: labeled images that need no download.
//!
//! Each image shows one of ten [`CLASSES`] on a background that is independent of the class. As in photographs, color
//! correlates with shape, texture and context (bricks are red-brown, leaves green, water blue, banded fish orange),
//! and some objects have several plausible colors (apples, flowers, balls, painted walls), so the color distribution
//! is multimodal. Exposure, contrast, noise, position, scale, rotation, flip and occlusion vary, so that the class
//! depends on shape and texture, not on the lightness histogram.
//!
//! Image `i` is a pure function of (seed, split, `i`) and uses only operations that IEEE 754 specifies exactly: the
//! bytes are the same on every machine. The scenes do not imitate any data set, and accuracy on them does not predict
//! accuracy on real data.

mod animals;
mod backdrop;
pub mod composite;
mod fruit;
mod noise;
mod objects;
mod paint;
mod plants;
mod render;
mod subject;
mod surface;

use super::{
    dataset::{Dataset, RgbImage, Split},
    error::DataError,
};
use crate::rng::Rng;
use paint::Dice;
use render::Scene;
use sha2::{Digest, Sha256};
pub use subject::CLASSES;

/// Incremented whenever the same (seed, split, index) gives different bytes.
const GENERATOR: &str = "hueristic scenes 1";

/// One split of the scenes: `images` square images of `size` pixels (at least 16 to be recognizable).
#[derive(Clone, Debug)]
pub struct Scenes {
    images: usize,
    size: usize,
    seed: u64,
    split: Split,
    stream: Rng,
    classes: Vec<String>,
}

impl Scenes {
    /// The two splits of a seed are independent streams. A longer set starts with the images of a shorter one.
    pub fn new(images: usize, size: usize, seed: u64, split: Split) -> Self {
        let stream = Rng::new(seed).split("scenes").split(split.name());
        Self { images, size, seed, split, stream, classes: CLASSES.map(String::from).to_vec() }
    }

    /// Classes alternate, so any prefix is balanced.
    fn class(index: usize) -> usize {
        index % CLASSES.len()
    }
}

impl Dataset for Scenes {
    fn len(&self) -> usize {
        self.images
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(Self::class(index) as u32)
    }

    fn name(&self, index: usize) -> String {
        let class = CLASSES[Self::class(index)];
        format!("scenes (seed {}), {} picture {index}: {class}", self.seed, self.split.name())
    }

    /// Never fails; positions beyond the end continue the stream.
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let mut dice = Dice(self.stream.at(0, index as u64));
        let scene = Scene::new(Self::class(index), self.size, &mut dice);
        Ok(RgbImage { width: self.size, height: self.size, pixels: scene.photograph(self.size) })
    }

    fn fingerprint(&self) -> String {
        let content = format!(
            "{GENERATOR}; {} of {}; seed {}; {}",
            self.images,
            self.size,
            self.seed,
            self.split.name()
        );
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
