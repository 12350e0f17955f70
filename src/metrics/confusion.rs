//! How often images of one class are taken for another.

use super::accuracy::rank;
use candle_core::{DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

/// Counts of images by true and predicted class.
///
/// The predicted class is the image's own exactly if top-1 accuracy counts it as right ([`super::accuracy::TopK`]): of
/// equal scores, another class wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// Adds one batch: logits `(N, K)` of any floating type, labels u32 `(N)`.
    ///
    /// # Errors
    /// Mismatched shapes; another number of classes than before; a label that is not below K.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let (n, classes) = logits.dims2()?;
        if labels.dims() != [n] {
            bail!("confusion: logits ({n}, {classes}) need labels ({n}), not {:?}", labels.dims());
        }
        if self.counts.is_empty() {
            *self = Self { classes, counts: vec![0; classes * classes] };
        }
        if self.classes != classes {
            bail!("confusion: {classes} classes after {}", self.classes);
        }
        let scores = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        for (scores, label) in scores.iter().zip(labels) {
            let label = label as usize;
            let predicted = if rank(scores, label)? == 0 { label } else { best_other(scores, label) };
            self.counts[label * classes + predicted] += 1;
        }
        Ok(())
    }

    /// Adds the counts of another part of the images.
    ///
    /// # Errors
    /// Another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.counts.is_empty() {
            self.clone_from(other);
            return Ok(());
        }
        if self.classes != other.classes {
            bail!("confusion: {} classes after {}", other.classes, self.classes);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }

    /// Number of classes; 0 before the first image.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// For each true class, the number of its images that were taken for each class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks(self.classes.max(1))
    }
}

/// The class with the largest score but `label`; NaN is the largest.
fn best_other(scores: &[f32], label: usize) -> usize {
    let others = scores.iter().enumerate().filter(|(class, _)| *class != label);
    others.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map_or(label, |(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::accuracy::TopK;
    use candle_core::Device;

    #[test]
    fn the_diagonal_is_top_1_accuracy_with_ties_and_values_that_are_no_numbers() -> Result<()> {
        let scores = [
            [3f32, 1.0, 2.0],
            [1.0, 1.0, 0.0],
            [0.0, 0.0, 0.0],
            [f32::NAN, 5.0, 1.0],
            [0.0, 4.0, 1.0],
            [-1.0, -2.0, -0.5],
        ];
        let logits = Tensor::new(&scores, &Device::Cpu)?;
        let labels = Tensor::new(&[0u32, 0, 2, 1, 1, 2], &Device::Cpu)?;
        let (mut confusion, mut accuracy) = (Confusion::default(), TopK::new(&[1]));
        confusion.add(&logits, &labels)?;
        accuracy.add(&logits, &labels)?;
        let rows: Vec<&[u64]> = confusion.rows().collect();
        assert_eq!(rows, [[1, 1, 0], [1, 1, 0], [1, 0, 1]]);
        let right: u64 = (0..3).map(|class| rows[class][class]).sum();
        assert_eq!(accuracy.values(), Some(vec![right as f64 / 6.0]));
        assert!(confusion.add(&logits.narrow(1, 0, 2)?, &labels).is_err(), "another number of classes");
        Ok(())
    }
}
