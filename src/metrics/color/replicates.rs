//! Bootstrap replicates as results keep them, so that methods that ran apart can be compared on the images that both saw.

use super::{
    measure::{ColorMeasure, ColorSummary},
    pooled::ColorScores,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Replicates of all measures over one set of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColorReplicates {
    /// SHA-256 of the images' names, in order.
    images: String,
    /// In the order of the resamples; without measures that a resample lacks. Seven digits suffice for a spread.
    values: BTreeMap<ColorMeasure, Vec<f32>>,
}

impl ColorReplicates {
    /// From the [`ColorScores::replicates`] of `scores`.
    pub fn of(scores: &ColorScores, replicates: &[ColorSummary]) -> Self {
        let mut names = Sha256::new();
        scores.images().iter().for_each(|image| names.update(format!("{}\n", image.name())));
        let values = |measure: ColorMeasure| {
            let values: Option<Vec<f32>> =
                replicates.iter().map(|r| r.get(measure).map(|v| v as f32)).collect();
            Some((measure, values.filter(|values| !values.is_empty())?))
        };
        let values = ColorMeasure::ALL.into_iter().filter_map(values).collect();
        Self { images: format!("{:x}", names.finalize()), values }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Replicates of the difference, this less `other`. None where the two are of other images, of another number of
    /// resamples or of none, or one lacks the measure. Both must be of one seed: then resample r draws the same images in both.
    pub fn less(&self, other: &Self, measure: ColorMeasure) -> Option<Vec<f64>> {
        let (a, b) = (self.values.get(&measure)?, other.values.get(&measure)?);
        let paired = self.images == other.images && a.len() == b.len() && !a.is_empty();
        paired.then(|| a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        color::bins::Bins,
        metrics::{
            bootstrap::{Bootstrap, Interval},
            color::ImageScores,
        },
    };

    fn scores(names: &[&str], off: f32) -> ColorScores {
        stepped(names, off, 15.0)
    }

    /// Images `names` of one pixel, the first `off` away from its truth, each of the others `step` farther.
    fn stepped(names: &[&str], off: f32, step: f32) -> ColorScores {
        let (mut scores, bins) = (ColorScores::new(None), Bins::new(10.0));
        for (place, name) in names.iter().enumerate() {
            let predicted = [off + step * place as f32, 0.0];
            scores.push(ImageScores::of(name, &[predicted], &[[0.0; 2]], &bins).unwrap());
        }
        scores
    }

    fn replicates(scores: &ColorScores, seed: u64) -> ColorReplicates {
        ColorReplicates::of(scores, &scores.replicates(&Bootstrap { replicates: 200, seed }))
    }

    #[test]
    fn a_constant_difference_has_no_spread() {
        let [near, far] = [0.0, 30.0].map(|off| replicates(&scores(&["a", "b", "c"], off), 0));
        let own: Vec<f64> = far.values[&ColorMeasure::Auc].iter().map(|value| f64::from(*value)).collect();
        assert!(Interval::of(&own).unwrap().std > 0.01, "each by itself depends on the draw");
        let difference = Interval::of(&near.less(&far, ColorMeasure::Auc).unwrap()).unwrap();
        assert!((difference.mean - 30.0 / 150.0).abs() < 1e-6 && difference.std < 1e-6, "{difference:?}");
        assert_eq!(near.less(&far, ColorMeasure::Psnr), None, "without pictures");
    }

    /// Of equal images the spread is that of the differences by image, over √n.
    #[test]
    fn the_spread_is_that_of_the_images_differences() {
        let bootstrap = Bootstrap { replicates: 4000, seed: 0 };
        let [a, b] = [0.0, 15.0].map(|step| {
            let scores = stepped(&["a", "b", "c"], 0.0, step);
            ColorReplicates::of(&scores, &scores.replicates(&bootstrap))
        });
        let difference = Interval::of(&a.less(&b, ColorMeasure::Auc).unwrap()).unwrap();
        // 0, 0.1 and 0.2
        let by_hand = (0.02f64 / 3.0).sqrt() / 3f64.sqrt();
        assert!((difference.mean - 0.1).abs() < 0.005, "{difference:?}");
        assert!((difference.std / by_hand - 1.0).abs() < 0.05, "{difference:?}, by hand {by_hand}");
    }

    #[test]
    fn only_the_same_images_are_paired() {
        let ours = replicates(&scores(&["a", "b"], 0.0), 0);
        for other in [&["a", "c"][..], &["b", "a"], &["a"], &["ab"]] {
            assert_eq!(ours.less(&replicates(&scores(other, 0.0), 0), ColorMeasure::Auc), None, "{other:?}");
        }
        assert!(ours.less(&ours, ColorMeasure::Auc).unwrap().iter().all(|difference| *difference == 0.0));
        assert!(replicates(&ColorScores::new(None), 0).is_empty());
    }

    #[test]
    fn results_keep_what_differences_need() {
        let [a, b] = [0.0, 7.0].map(|off| replicates(&scores(&["a", "b", "c"], off), 3));
        let read: ColorReplicates = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        assert_eq!(read.less(&b, ColorMeasure::Auc), a.less(&b, ColorMeasure::Auc));
    }
}
