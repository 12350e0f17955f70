//! Semantic segmentation scores from a confusion matrix: the four measures of Long, Shelhamer and Darrell (CVPR 2015,
//! section 5). With n_ij pixels of class i predicted as j and t_i = Σ_j n_ij:
//!
//! * pixel accuracy Σ n_ii / Σ t_i,
//! * mean accuracy: the mean of n_ii / t_i,
//! * mean IU: the mean of n_ii / (t_i + Σ_j n_ji − n_ii),
//! * frequency weighted IU Σ t_i·IU_i / Σ t_i.
//!
//! Pixels labeled 255 are ignored. Means exclude classes whose ratio is 0 / 0. Reads no files.

use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

/// Label of ignored pixels.
const VOID: u8 = 255;

/// Pixel counts by true and predicted class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `(true, predicted)` in rows
    counts: Vec<u64>,
}

/// The measures, in [0, 1]; `None` if undefined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegmentationScores {
    pub pixel_accuracy: Option<f64>,
    pub mean_accuracy: Option<f64>,
    pub mean_iu: Option<f64>,
    pub frequency_weighted_iu: Option<f64>,
    /// Per class; `None` for a class that is neither in the truth nor predicted.
    pub class_iu: Vec<Option<f64>>,
}

impl ConfusionMatrix {
    /// An empty matrix for `classes` classes, including background.
    ///
    /// # Errors
    /// No classes, or more than 255.
    pub fn new(classes: usize) -> Result<Self> {
        if classes == 0 || classes > usize::from(VOID) {
            bail!("segmentation: 1 to 255 classes, got {classes}");
        }
        Ok(Self { classes, counts: vec![0; classes * classes] })
    }

    /// Adds the pixels of one image. Predictions are ignored where the truth is 255.
    ///
    /// # Errors
    /// Without counting anything: maps of different lengths, a label that is neither a class nor 255, an
    /// invalid prediction.
    pub fn add(&mut self, truth: &[u8], predicted: &[u8]) -> Result<()> {
        let classes = self.classes;
        if truth.len() != predicted.len() {
            bail!("segmentation: {} labels but {} predictions", truth.len(), predicted.len());
        }
        let is_class = |label: u8| usize::from(label) < classes;
        if let Some(label) = truth.iter().find(|label| **label != VOID && !is_class(**label)) {
            bail!("segmentation: label {label} is neither one of {classes} classes (from 0) nor 255");
        }
        let pixels = || truth.iter().zip(predicted).filter(|(label, _)| **label != VOID);
        if let Some((_, label)) = pixels().find(|(_, predicted)| !is_class(**predicted)) {
            bail!("segmentation: prediction {label} is not one of {classes} classes (from 0)");
        }
        for (label, predicted) in pixels() {
            self.counts[usize::from(*label) * classes + usize::from(*predicted)] += 1;
        }
        Ok(())
    }

    /// Adds another matrix. Errors: a different number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            bail!("segmentation: {} classes cannot be added to {}", other.classes, self.classes);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels of class `truth` predicted as `predicted`; both below [`ConfusionMatrix::classes`].
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// Pixels counted so far.
    pub fn pixels(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Pixels of class `truth`.
    fn labeled(&self, truth: usize) -> u64 {
        (0..self.classes).map(|predicted| self.count(truth, predicted)).sum()
    }

    /// Pixels of the class in the truth, the prediction, or both.
    fn union(&self, class: usize) -> u64 {
        let called: u64 = (0..self.classes).map(|truth| self.count(truth, class)).sum();
        self.labeled(class) + called - self.count(class, class)
    }

    pub fn scores(&self) -> SegmentationScores {
        let all = 0..self.classes;
        let right: u64 = all.clone().map(|i| self.count(i, i)).sum();
        let class_iu: Vec<_> = all.clone().map(|i| ratio(self.count(i, i), self.union(i))).collect();
        let accuracies = all.clone().filter_map(|i| ratio(self.count(i, i), self.labeled(i)));
        let weighted = all.map(|i| class_iu[i].map_or(0.0, |iu| self.labeled(i) as f64 * iu)).sum::<f64>();
        SegmentationScores {
            pixel_accuracy: ratio(right, self.pixels()),
            mean_accuracy: mean(accuracies),
            mean_iu: mean(class_iu.iter().copied().flatten()),
            frequency_weighted_iu: (self.pixels() > 0).then(|| weighted / self.pixels() as f64),
            class_iu,
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        let mut confusion = ConfusionMatrix::new(4).unwrap();
        // class 0: 3 of 4 right; class 1: 1 of 2; class 2 only predicted; class 3 nowhere
        confusion.add(&[0, 0, 0, 0, 1, 1, 255], &[0, 0, 0, 1, 1, 2, 99]).unwrap();
        let scores = confusion.scores();
        assert_eq!(scores.pixel_accuracy, Some(4.0 / 6.0));
        assert_eq!(scores.mean_accuracy, Some((0.75 + 0.5) / 2.0));
        assert_eq!(scores.class_iu, [Some(0.75), Some(1.0 / 3.0), Some(0.0), None]);
        assert_eq!(scores.mean_iu, Some((0.75 + 1.0 / 3.0) / 3.0));
        let weighted = scores.frequency_weighted_iu.unwrap();
        assert!((weighted - (4.0 * 0.75 + 2.0 / 3.0) / 6.0).abs() < 1e-15);
    }

    #[test]
    fn pictures_add_up() {
        let (a, b) = ([0u8, 1, 1, 255, 2], [0u8, 1, 2, 0, 2]);
        let (mut whole, mut first, mut second) = (
            ConfusionMatrix::new(3).unwrap(),
            ConfusionMatrix::new(3).unwrap(),
            ConfusionMatrix::new(3).unwrap(),
        );
        whole.add(&a, &b).unwrap();
        first.add(&a[..2], &b[..2]).unwrap();
        second.add(&a[2..], &b[2..]).unwrap();
        first.merge(&second).unwrap();
        assert_eq!((&first, first.pixels()), (&whole, 4));
        assert!(first.merge(&ConfusionMatrix::new(2).unwrap()).is_err());
    }

    #[test]
    fn nothing_but_void_measures_nothing() {
        let mut confusion = ConfusionMatrix::new(2).unwrap();
        confusion.add(&[255, 255], &[0, 1]).unwrap();
        let scores = confusion.scores();
        assert_eq!([scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iu], [None; 3]);
        assert_eq!((scores.frequency_weighted_iu, scores.class_iu), (None, vec![None, None]));
    }

    #[test]
    fn wrong_labels_are_named_before_anything_is_counted() {
        let mut confusion = ConfusionMatrix::new(21).unwrap();
        let mut fault =
            |truth: &[u8], predicted: &[u8]| confusion.add(truth, predicted).unwrap_err().to_string();
        assert!(fault(&[0, 21], &[0, 0]).contains("label 21 is neither"));
        assert!(fault(&[0, 20], &[0, 255]).contains("prediction 255 is not one of 21"));
        assert!(fault(&[0, 1], &[0]).contains("2 labels but 1"));
        assert_eq!(confusion.pixels(), 0);
        assert!(ConfusionMatrix::new(0).is_err() && ConfusionMatrix::new(256).is_err());
    }
}
