//! Counts of the colors of pictures, by slices of lightness.

use crate::{
    color::{bins::Bins, lab, prior::PriorCounter},
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
    /// Pixels by their nearest bin, and those whose chroma is below a bin's width.
    pub by_bin: Vec<u64>,
    pub pale: u64,
    /// Pictures counted, and those that could not be read, with the reasons.
    pub pictures: usize,
    pub failed: Vec<(PathBuf, String)>,
}

impl ColorCounts {
    pub fn add(&mut self, input: &InputPicture, bins: &Bins) {
        match fs::read(&input.path).context("cannot be read").and_then(|bytes| Ok(decode(&bytes)?)) {
            Ok(picture) => {
                self.add_pixels(&picture.pixels, bins);
                self.pictures += 1;
            }
            Err(error) => self.failed.push((input.path.clone(), format!("{error:#}"))),
        }
    }

    pub fn add_pixels(&mut self, rgb: &[u8], bins: &Bins) {
        self.by_bin.resize(bins.len(), 0);
        let mut parts: [Vec<u8>; SLICES] = Default::default();
        for rgb in rgb.as_chunks::<3>().0 {
            let [lightness, a, b] = lab::srgb8_to_lab(*rgb);
            self.by_bin[bins.nearest([a, b])] += 1;
            self.pale += u64::from(a.hypot(b) < bins.grid());
            let slice = (lightness / 100.0 * SLICES as f32) as usize;
            parts[slice.min(SLICES - 1)].extend(rgb);
        }
        self.slices.iter_mut().zip(parts).for_each(|(slice, part)| slice.add_rgb(&part));
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.slices.iter_mut().zip(&other.slices).for_each(|(slice, theirs)| slice.merge(theirs));
        self.by_bin.resize(self.by_bin.len().max(other.by_bin.len()), 0);
        self.by_bin.iter_mut().zip(&other.by_bin).for_each(|(mine, theirs)| *mine += theirs);
        self.pale += other.pale;
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
        let bins = Bins::new(10.0);
        counts.add_pixels(&[0, 0, 0, 127, 127, 127, 128, 128, 128, 255, 255, 255], &bins);
        let pixels: Vec<u64> = counts.slices.iter().map(PriorCounter::pixels).collect();
        assert_eq!(pixels, [1, 0, 2, 0, 1]);
        let mut other = ColorCounts::default();
        other.add_pixels(&[255, 0, 0], &bins);
        let both = counts.merge(other);
        let [gray, red] = [[0.0, 0.0], [80.0, 67.0]].map(|ab| both.by_bin[bins.nearest(ab)]);
        assert_eq!((gray, red, both.pale), (4, 1, 4));
        let both = both.all();
        assert_eq!(both.pixels(), 5);
        let cells: Vec<_> = both.cells().collect();
        assert_eq!(cells, [([0.0, 0.0], 4), ([80.0, 67.0], 1)]);
    }
}
