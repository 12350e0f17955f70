//! What an evaluation adds up over its batches.

/// Means over images of named figures.
#[derive(Default)]
pub(super) struct Sums {
    pub images: f64,
    sums: Vec<(&'static str, f64)>,
}

impl Sums {
    /// Takes in the means of a batch.
    pub fn add(&mut self, images: f64, means: &[(&'static str, f64)]) {
        for (name, mean) in means {
            match self.sums.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += images * mean,
                None => self.sums.push((name, images * mean)),
            }
        }
    }

    /// Not a number where nothing was added.
    pub fn mean(&self, name: &str) -> f64 {
        self.sums.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, sum)| sum / self.images)
    }
}
