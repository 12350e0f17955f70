//! Counts of the colors of pictures, by slices of lightness.

use crate::{
    color::{lab, prior::PriorCounter},
    colorize::inputs::InputPicture,
    data::decode::decode,
};
use anyhow::Context;
use std::{fs, path::PathBuf};

/// Slices of lightness.
pub(super) const SLICES: usize = 5;

/// Colors of a set of pictures.
#[derive(Clone, Default)]
pub(super) struct ColorCounts {
    /// By slices of lightness of equal height, dark to light.
    pub slices: [PriorCounter; SLICES],
    /// Pictures counted, and those that could not be read, with the reasons.
    pub pictures: usize,
    pub failed: Vec<(PathBuf, String)>,
}

impl ColorCounts {
    pub fn add(&mut self, input: &InputPicture) {
        match fs::read(&input.path).context("cannot be read").and_then(|bytes| Ok(decode(&bytes)?)) {
            Ok(picture) => {
                self.add_pixels(&picture.pixels);
                self.pictures += 1;
            }
            Err(error) => self.failed.push((input.path.clone(), format!("{error:#}"))),
        }
    }

    pub fn add_pixels(&mut self, rgb: &[u8]) {
        let mut parts: [Vec<u8>; SLICES] = Default::default();
        for rgb in rgb.as_chunks::<3>().0 {
            let slice = (lab::srgb8_to_lab(*rgb)[0] / 100.0 * SLICES as f32) as usize;
            parts[slice.min(SLICES - 1)].extend(rgb);
        }
        self.slices.iter_mut().zip(parts).for_each(|(slice, part)| slice.add_rgb(&part));
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.slices.iter_mut().zip(&other.slices).for_each(|(slice, theirs)| slice.merge(theirs));
        self.pictures += other.pictures;
        self.failed.extend(other.failed);
        self
    }

    /// Colors of all lightnesses.
    pub fn all(&self) -> PriorCounter {
        let mut all = PriorCounter::new();
        self.slices.iter().for_each(|slice| all.merge(slice));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_counted_in_the_slice_of_their_lightness() {
        let mut counts = ColorCounts::default();
        // L of 0, 53.4 twice, and 100.
        counts.add_pixels(&[0, 0, 0, 127, 127, 127, 128, 128, 128, 255, 255, 255]);
        let pixels: Vec<u64> = counts.slices.iter().map(PriorCounter::pixels).collect();
        assert_eq!(pixels, [1, 0, 2, 0, 1]);
        let mut other = ColorCounts::default();
        other.add_pixels(&[255, 0, 0]);
        let both = counts.merge(other).all();
        assert_eq!(both.pixels(), 5);
        let cells: Vec<_> = both.cells().collect();
        assert_eq!(cells, [([0.0, 0.0], 4), ([80.0, 67.0], 1)]);
    }
}
