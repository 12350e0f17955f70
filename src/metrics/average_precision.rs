//! Average precision by the three rules used for PASCAL VOC results. They differ by several points, so a figure needs
//! its rule:
//!
//! * steps: Σ (R_n − R_{n−1})·P_n over the thresholds, scikit-learn's: classification of VOC2007 by fine-tuning;
//! * area: the area under the monotone precision envelope, VOC2010 and later, and the linear classifiers of the Goyal
//!   et al. (2019) benchmark;
//! * eleven points: the mean of the envelope at recall 0, 0.1, …, 1, VOC2007 (Everingham et al. 2010): detection.
//!
//! Ties are resolved pessimistically, and NaN scores rank last. Without positives, average precision is undefined.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Relevance of a ranked item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relevance {
    Relevant,
    Irrelevant,
    /// Removed before scoring.
    Ignored,
}

/// How a precision-recall curve is reduced to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Average precision")]
pub enum ApInterpolation {
    /// Mean over eleven points (VOC 2007).
    Voc07,
    /// Area under the envelope (VOC 2010 and later).
    Area,
}

/// Precision and recall after each item of a ranking, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PrecisionRecall {
    pub precision: Vec<f64>,
    /// Non-decreasing; the last value is below 1 if positives were missed.
    pub recall: Vec<f64>,
}

impl PrecisionRecall {
    /// The curve of the hits in rank order, for a total of `positives`. Without positives, recall is 0.
    pub fn new(hits: impl IntoIterator<Item = bool>, positives: usize) -> Self {
        let (mut curve, mut found) = (Self::default(), 0.0);
        for (rank, hit) in hits.into_iter().enumerate() {
            found += f64::from(u8::from(hit));
            curve.precision.push(found / (rank + 1) as f64);
            curve.recall.push(found / positives.max(1) as f64);
        }
        curve
    }

    pub fn average_precision(&self, rule: ApInterpolation) -> f64 {
        match rule {
            ApInterpolation::Voc07 => self.eleven_point(),
            ApInterpolation::Area => self.area(),
        }
    }

    /// Area under the envelope; precision is 0 beyond the highest recall.
    pub fn area(&self) -> f64 {
        let before = std::iter::once(0.0).chain(self.recall.iter().copied());
        let steps = before.zip(&self.recall).zip(self.envelope());
        steps.map(|((before, recall), precision)| (recall - before) * precision).sum()
    }

    /// Mean of the envelope at eleven levels of recall.
    ///
    /// The levels are the floating-point products k·0.1, as in Faster R-CNN's evaluation code: 3·0.1 is above 3/10,
    /// so three of ten objects do not reach the fourth level. Exact levels would change published figures.
    pub fn eleven_point(&self) -> f64 {
        let envelope = self.envelope();
        let best = |level: f64| {
            let reached = self.recall.iter().position(|recall| *recall >= level);
            reached.map_or(0.0, |rank| envelope[rank])
        };
        (0..11).map(|k| best(f64::from(k) * 0.1)).sum::<f64>() / 11.0
    }

    /// The best precision at this rank or any later one.
    fn envelope(&self) -> Vec<f64> {
        let mut envelope = self.precision.clone();
        for rank in (1..envelope.len()).rev() {
            envelope[rank - 1] = envelope[rank - 1].max(envelope[rank]);
        }
        envelope
    }
}

/// Subtracted from positives' scores in [`stepwise`], so that negatives with the same score rank higher.
const PENALTY: f64 = 1e-5;

/// scikit-learn's `average_precision_score` after subtracting 1e-5 from the positives' scores: the measure of
/// Krähenbühl et al. (2016) for VOC2007 classification. `None` without positives.
pub fn stepwise(items: impl IntoIterator<Item = (f64, Relevance)>) -> Option<f64> {
    let lost = |relevance| if relevance == Relevance::Relevant { PENALTY } else { 0.0 };
    steps(items.into_iter().map(|(score, relevance)| (score - lost(relevance), relevance)))
}

/// scikit-learn's `average_precision_score`; equal scores share one threshold. `None` without positives.
pub fn steps(items: impl IntoIterator<Item = (f64, Relevance)>) -> Option<f64> {
    let mut items = counted(items);
    items.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = items.iter().filter(|(_, relevant)| *relevant).count();
    let (mut sum, mut found, mut seen) = (0.0, 0, 0);
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        let hits = group.iter().filter(|(_, relevant)| *relevant).count();
        found += hits;
        seen += group.len();
        sum += hits as f64 * (found as f64 / seen as f64);
    }
    (positives > 0).then(|| sum / positives as f64)
}

/// Interpolated average precision, by area or at eleven points; among equal scores negatives rank first. `None`
/// without positives.
pub fn interpolated(items: impl IntoIterator<Item = (f64, Relevance)>, rule: ApInterpolation) -> Option<f64> {
    let mut items = counted(items);
    items.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let positives = items.iter().filter(|(_, relevant)| *relevant).count();
    let curve = PrecisionRecall::new(items.iter().map(|(_, relevant)| *relevant), positives);
    (positives > 0).then(|| curve.average_precision(rule))
}

/// Removes ignored items; maps NaN to −∞ and −0 to 0.
fn counted(items: impl IntoIterator<Item = (f64, Relevance)>) -> Vec<(f64, bool)> {
    let score = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score + 0.0 };
    let items = items.into_iter().filter(|(_, relevance)| *relevance != Relevance::Ignored);
    items.map(|(given, relevance)| (score(given), relevance == Relevance::Relevant)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Relevance::*, *};

    fn close(got: Option<f64>, want: f64) {
        assert!(got.is_some_and(|got| (got - want).abs() < 1e-12), "{got:?}, not {want}");
    }

    #[test]
    fn a_worked_example() {
        let items = [(0.9, Relevant), (0.8, Irrelevant), (0.7, Relevant), (0.6, Relevant), (0.5, Irrelevant)];
        close(stepwise(items), (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0);
        // the envelope lifts 2/3 to 3/4
        close(interpolated(items, ApInterpolation::Area), (1.0 + 3.0 / 4.0 + 3.0 / 4.0) / 3.0);
        // levels 0 to 0.3 lie within the first third of recall
        close(interpolated(items, ApInterpolation::Voc07), (4.0 + 7.0 * 0.75) / 11.0);
    }

    #[test]
    fn ties_count_against_us_under_every_rule() {
        for items in [[(0.5, Relevant), (0.5, Irrelevant)], [(0.5, Irrelevant), (0.5, Relevant)]] {
            close(stepwise(items), 0.5);
            close(interpolated(items, ApInterpolation::Area), 0.5);
            close(interpolated(items, ApInterpolation::Voc07), 0.5);
        }
        close(stepwise([(0.500_005, Relevant), (0.5, Irrelevant)]), 0.5);
        close(stepwise([(0.500_02, Relevant), (0.5, Irrelevant)]), 1.0);
        close(interpolated([(0.0, Relevant), (-0.0, Irrelevant)], ApInterpolation::Area), 0.5);
    }

    #[test]
    fn nan_comes_last() {
        for positive in [f64::NAN, -f64::NAN, f64::NEG_INFINITY] {
            let items = [(positive, Relevant), (-1e300, Irrelevant), (f64::NAN, Irrelevant)];
            close(stepwise(items), 1.0 / 3.0);
            close(interpolated(items, ApInterpolation::Area), 1.0 / 3.0);
        }
    }

    #[test]
    fn ignored_items_count_in_nothing_and_no_positives_give_no_number() {
        close(stepwise([(9.0, Ignored), (0.5, Relevant), (f64::NAN, Ignored)]), 1.0);
        close(interpolated([(9.0, Ignored), (0.5, Relevant)], ApInterpolation::Voc07), 1.0);
        assert_eq!(stepwise([(0.5, Irrelevant), (0.1, Ignored)]), None);
        assert_eq!(interpolated([], ApInterpolation::Area), None);
    }

    #[test]
    fn positives_that_are_never_found_cost() {
        let curve = PrecisionRecall::new([true, false], 4);
        assert_eq!((curve.recall.clone(), curve.precision.clone()), (vec![0.25, 0.25], vec![1.0, 0.5]));
        assert_eq!(curve.area(), 0.25);
        assert!((curve.eleven_point() - 3.0 / 11.0).abs() < 1e-12);
        let nothing = PrecisionRecall::new([], 4);
        assert_eq!((nothing.area(), nothing.eleven_point()), (0.0, 0.0));
    }

    #[test]
    fn three_of_ten_do_not_reach_the_fourth_level() {
        let curve = PrecisionRecall::new([true; 3], 10);
        assert!((curve.eleven_point() - 3.0 / 11.0).abs() < 1e-12, "levels 0, 0.1 and 0.2");
    }

    #[test]
    fn ties_nan_and_no_positives() {
        let relevant = |(score, relevant): (f64, bool)| {
            (score, if relevant { Relevance::Relevant } else { Relevance::Irrelevant })
        };
        let by_steps = |items: Vec<(f64, Relevance)>| steps(items);
        let by_area = |items: Vec<(f64, Relevance)>| interpolated(items, ApInterpolation::Area);
        for rule in [by_steps, by_area] {
            let of = |scores: &[f64], hits: &[bool]| {
                rule(scores.iter().copied().zip(hits.iter().copied()).map(relevant).collect())
            };
            assert_eq!(of(&[1.0; 4], &[true, false, false, false]), Some(0.25));
            assert_eq!(of(&[1.0; 4], &[true; 4]), Some(1.0));
            assert_eq!(of(&[f64::NAN, -1e9], &[true, false]), Some(0.5));
            assert_eq!(of(&[1.0, 2.0], &[false, false]), None);
            assert_eq!(of(&[], &[]), None);
        }
    }
}
