//! Mean of named metrics over the images of a validation.

/// Image-weighted means by name.
#[derive(Default)]
pub(super) struct MeanMeter {
    pub images: f64,
    sums: Vec<(&'static str, f64)>,
}

impl MeanMeter {
    /// Adds the means of a batch.
    pub fn add(&mut self, images: f64, means: &[(&'static str, f64)]) {
        for (name, mean) in means {
            match self.sums.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += images * mean,
                None => self.sums.push((name, images * mean)),
            }
        }
    }

    /// The mean of `name`; NaN if nothing was added.
    pub fn mean(&self, name: &str) -> f64 {
        self.sums.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, sum)| sum / self.images)
    }
}
