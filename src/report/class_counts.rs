//! What a classifier made of the images of each class, in `results.json`: how many it took for which class, or, where there
//! are too many classes for a table, how many it knew.

use crate::metrics::confusion::Confusion;
use serde::{Deserialize, Serialize};

/// Most classes whose confusions are kept.
const MOST_CLASSES: usize = 100;

/// Validation images by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Names in label order.
    pub classes: Vec<String>,
    /// Images of each class.
    pub images: Vec<u64>,
    /// How many of them were taken for their own class.
    pub correct: Vec<u64>,
    /// Images of each true class (rows) by predicted class (columns); none of more than a hundred classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<u64>>>,
}

impl ClassCounts {
    /// The counts of classes with these names; the number of a class stands for a missing name.
    pub fn of(confusion: &Confusion, names: &[String]) -> Self {
        let rows: Vec<Vec<u64>> = confusion.rows().map(<[u64]>::to_vec).collect();
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
        Self {
            classes: (0..rows.len()).map(name).collect(),
            images: rows.iter().map(|row| row.iter().sum()).collect(),
            correct: rows.iter().enumerate().map(|(class, row)| row[class]).collect(),
            confusion: (rows.len() <= MOST_CLASSES).then_some(rows),
        }
    }

    /// Share of the images of each class that were taken for it; None for a class without images.
    pub fn accuracies(&self) -> impl Iterator<Item = Option<f64>> {
        let share = |(correct, images): (&u64, &u64)| (*images > 0).then(|| *correct as f64 / *images as f64);
        self.correct.iter().zip(&self.images).map(share)
    }

    /// Whether all parts have a value for each class.
    pub(super) fn is_consistent(&self) -> bool {
        let classes = self.classes.len();
        let is_square =
            |rows: &Vec<Vec<u64>>| rows.len() == classes && rows.iter().all(|row| row.len() == classes);
        let is_share = |(correct, images): (&u64, &u64)| correct <= images;
        self.images.len() == classes
            && self.correct.len() == classes
            && self.correct.iter().zip(&self.images).all(is_share)
            && self.confusion.as_ref().is_none_or(is_square)
    }

    /// The counts of both together, if they are of the same classes.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let sums = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
        let both = |a: &Vec<Vec<u64>>, b: &Vec<Vec<u64>>| a.iter().zip(b).map(|(a, b)| sums(a, b)).collect();
        (self.classes == other.classes).then(|| Self {
            classes: self.classes.clone(),
            images: sums(&self.images, &other.images),
            correct: sums(&self.correct, &other.correct),
            confusion: self.confusion.as_ref().zip(other.confusion.as_ref()).map(|(a, b)| both(a, b)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    fn counts(classes: usize) -> ClassCounts {
        let logits = Tensor::eye(classes, DType::F32, &Device::Cpu).unwrap();
        let labels = Tensor::arange(0u32, classes as u32, &Device::Cpu).unwrap();
        let mut confusion = Confusion::default();
        confusion.add(&logits, &labels).unwrap();
        ClassCounts::of(&confusion, &["cat".into()])
    }

    #[test]
    fn of_many_classes_only_the_accuracies_are_kept() {
        let few = counts(MOST_CLASSES);
        assert_eq!(few.classes[..2], ["cat", "1"]);
        assert!(few.is_consistent() && few.confusion.as_ref().is_some_and(|rows| rows[3][3] == 1));
        let many = counts(MOST_CLASSES + 1);
        assert!(many.is_consistent() && many.confusion.is_none());
        assert!(many.accuracies().all(|share| share == Some(1.0)));
        let twice = many.plus(&many).unwrap();
        assert_eq!((twice.images[5], twice.correct[5]), (2, 2));
        assert_eq!(few.plus(&many), None);
    }
}
