//! Mean of named metrics over the images of a validation.

use serde::{Deserialize, Serialize};

/// Image-weighted means by name.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct MeanMeter {
    pub images: f64,
    sums: Vec<(String, f64)>,
}

impl MeanMeter {
    /// The means of a batch.
    pub fn of_batch(images: f64, means: &[(&'static str, f64)]) -> Self {
        let mut meter = Self { images, sums: vec![] };
        meter.add(images, means);
        meter
    }

    /// Adds means over so many images, which are not counted.
    pub fn add(&mut self, images: f64, means: &[(&'static str, f64)]) {
        means.iter().for_each(|(name, mean)| self.add_sum(name, images * mean));
    }

    /// Adds those of other images.
    pub fn merge(&mut self, other: &Self) {
        self.images += other.images;
        other.sums.iter().for_each(|(name, sum)| self.add_sum(name, *sum));
    }

    fn add_sum(&mut self, name: &str, more: f64) {
        match self.sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += more,
            None => self.sums.push((name.into(), more)),
        }
    }

    /// The mean of `name`; NaN if nothing was added.
    pub fn mean(&self, name: &str) -> f64 {
        self.sums.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, sum)| sum / self.images)
    }
}
