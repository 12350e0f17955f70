//! Object detection scores as computed by PASCAL VOC's devkit (Everingham et al. 2010, section 4.2).
//!
//! Detections of a class are processed in order of decreasing score over all images. Each is matched to the object
//! with the highest IoU; at or above the threshold it is a true positive, unless a better detection has claimed the
//! object. Difficult objects, and detections of them, are ignored. Independent of files and images.

use super::average_precision::{ApInterpolation, PrecisionRecall};
use crate::boxes::Rect;
use candle_core::{Result, bail};
use serde::Serialize;

/// One detection of some class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Index of its image.
    pub image: usize,
    pub score: f64,
    /// 0-based, corners inclusive. An inverted box overlaps nothing and is a false positive.
    pub bounds: Rect,
}

/// One object of the same class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    pub bounds: Rect,
    pub difficult: bool,
}

/// Matching results of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// Number of objects that are not difficult.
    pub positives: usize,
    pub difficult: usize,
    pub detections: usize,
    /// After each detection that is not ignored.
    pub curve: PrecisionRecall,
}

impl Matched {
    /// `None` without objects.
    pub fn average_precision(&self, rule: ApInterpolation) -> Option<f64> {
        (self.positives > 0).then(|| self.curve.average_precision(rule))
    }
}

/// Outcome of a detection.
enum Verdict {
    Hit,
    Miss,
    /// Matched a difficult object: ignored.
    Passed,
}

/// Matches the detections of one class with its objects, given per image in `truth[image]`. Ties keep the given
/// order; NaN scores rank last.
///
/// # Errors
/// A detection on an image missing from `truth`, a threshold outside (0, 1].
pub fn match_class(detections: &[Detection], truth: &[Vec<Truth>], threshold: f64) -> Result<Matched> {
    if !(threshold > 0.0 && threshold <= 1.0) {
        bail!("detections: the IoU threshold must be in (0, 1], got {threshold}");
    }
    if let Some(stray) = detections.iter().find(|d| d.image >= truth.len()) {
        bail!("detections: one on picture {} of {}", stray.image, truth.len());
    }
    let mut order: Vec<&Detection> = detections.iter().collect();
    order.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    let mut taken: Vec<Vec<bool>> = truth.iter().map(|objects| vec![false; objects.len()]).collect();
    let verdicts = order.iter().map(|d| judge(d, &truth[d.image], &mut taken[d.image], threshold));
    let hits: Vec<bool> = verdicts.filter_map(Verdict::counts).collect();
    let difficult = truth.iter().flatten().filter(|object| object.difficult).count();
    let positives = truth.iter().flatten().count() - difficult;
    let curve = PrecisionRecall::new(hits, positives);
    Ok(Matched { positives, difficult, detections: detections.len(), curve })
}

/// Sort key: NaN maps to −∞, −0 to 0.
fn rank(detection: &Detection) -> f64 {
    if detection.score.is_nan() { f64::NEG_INFINITY } else { detection.score + 0.0 }
}

impl Verdict {
    fn counts(self) -> Option<bool> {
        match self {
            Self::Hit => Some(true),
            Self::Miss => Some(false),
            Self::Passed => None,
        }
    }
}

/// The object with the highest IoU decides (the first on ties), whether difficult or already claimed.
fn judge(detection: &Detection, objects: &[Truth], taken: &mut [bool], threshold: f64) -> Verdict {
    let mut best: Option<(usize, f64)> = None;
    for (i, object) in objects.iter().enumerate() {
        let overlap = detection.bounds.iou(&object.bounds);
        if best.is_none_or(|(_, most)| overlap > most) {
            best = Some((i, overlap));
        }
    }
    match best {
        Some((i, overlap)) if overlap >= threshold => {
            if objects[i].difficult {
                return Verdict::Passed;
            }
            if std::mem::replace(&mut taken[i], true) { Verdict::Miss } else { Verdict::Hit }
        }
        _ => Verdict::Miss,
    }
}

/// Detections and ground truth of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: String,
    pub detections: Vec<Detection>,
    /// The class's objects per image.
    pub truth: Vec<Vec<Truth>>,
}

/// Scores of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassAp {
    pub class: String,
    /// Objects that are not difficult.
    pub objects: usize,
    pub difficult: usize,
    pub detections: usize,
    /// In [0, 1]; `None` without objects.
    pub average_precision: Option<f64>,
}

/// Average precision of every class, and their mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionScores {
    pub rule: ApInterpolation,
    pub threshold: f64,
    /// In the order given.
    pub classes: Vec<ClassAp>,
    /// Mean over classes with objects; `None` without any.
    pub mean: Option<f64>,
}

impl DetectionScores {
    /// Classes excluded from the mean: without objects, or with difficult ones only.
    pub fn left_out(&self) -> impl Iterator<Item = &ClassAp> {
        self.classes.iter().filter(|class| class.average_precision.is_none())
    }
}

/// Scores several classes on the same images.
///
/// # Errors
/// Those of [`match_class`], with the class.
pub fn evaluate(classes: &[Class], threshold: f64, rule: ApInterpolation) -> Result<DetectionScores> {
    let score = |class: &Class| -> Result<ClassAp> {
        let matched = match_class(&class.detections, &class.truth, threshold)
            .map_err(|error| error.context(format!("class {}", class.name)))?;
        Ok(ClassAp {
            class: class.name.clone(),
            objects: matched.positives,
            difficult: matched.difficult,
            detections: matched.detections,
            average_precision: matched.average_precision(rule),
        })
    };
    let classes = classes.iter().map(score).collect::<Result<Vec<_>>>()?;
    let known: Vec<f64> = classes.iter().filter_map(|class| class.average_precision).collect();
    let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
    Ok(DetectionScores { rule, threshold, classes, mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Rect = Rect::new(0., 0., 9., 9.);
    const FAR: Rect = Rect::new(50., 50., 59., 59.);

    fn found(score: f64, bounds: Rect) -> Detection {
        Detection { image: 0, score, bounds }
    }

    fn object(bounds: Rect, difficult: bool) -> Truth {
        Truth { bounds, difficult }
    }

    fn precision(detections: &[Detection], objects: &[Truth]) -> Vec<f64> {
        match_class(detections, &[objects.to_vec()], 0.5).unwrap().curve.precision
    }

    #[test]
    fn overlap_at_the_threshold_is_enough() {
        // 50 of 100 pixels
        let half = Rect::new(0., 0., 4., 9.);
        let at = |threshold| {
            let matched = match_class(&[found(1.0, half)], &[vec![object(BOX, false)]], threshold).unwrap();
            matched.average_precision(ApInterpolation::Area).unwrap()
        };
        assert_eq!((at(0.5), at(0.500_001)), (1.0, 0.0));
    }

    #[test]
    fn a_second_detection_of_an_object_is_wrong() {
        let twice = [found(0.9, BOX), found(0.8, BOX)];
        assert_eq!(precision(&twice, &[object(BOX, false)]), [1.0, 0.5]);
        // even where another object is near enough: it looks at the nearest alone
        let near = Rect::new(0., 0., 9., 8.);
        assert_eq!(precision(&twice, &[object(BOX, false), object(near, false)]), [1.0, 0.5]);
    }

    #[test]
    fn difficult_objects_are_neither_found_nor_missed() {
        let detections = [found(0.9, BOX), found(0.8, BOX), found(0.7, FAR)];
        let objects = [object(BOX, true), object(FAR, false)];
        let matched = match_class(&detections, &[objects.to_vec()], 0.5).unwrap();
        assert_eq!((matched.positives, matched.difficult, matched.detections), (1, 1, 3));
        assert_eq!(matched.curve.precision, [1.0], "both detections of the difficult one are passed over");
        let only = match_class(&detections, &[vec![objects[0]]], 0.5).unwrap();
        assert_eq!(only.average_precision(ApInterpolation::Area), None);
    }

    #[test]
    fn equal_scores_go_in_the_order_given() {
        let (right, wrong) = (found(0.5, BOX), found(0.5, FAR));
        assert_eq!(precision(&[right, wrong], &[object(BOX, false)]), [1.0, 0.5]);
        assert_eq!(precision(&[wrong, right], &[object(BOX, false)]), [0.0, 0.5]);
        let zero = |score, bounds| found(score, bounds);
        assert_eq!(precision(&[zero(-0.0, BOX), zero(0.0, FAR)], &[object(BOX, false)]), [1.0, 0.5]);
        assert_eq!(precision(&[found(f64::NAN, BOX), wrong], &[object(BOX, false)]), [0.0, 0.5]);
    }

    #[test]
    fn boxes_without_area_are_wrong_and_pictures_are_apart() {
        let inside_out = Rect::new(9., 9., 0., 0.);
        assert_eq!(precision(&[found(0.5, inside_out)], &[object(BOX, false)]), [0.0]);
        let elsewhere = Detection { image: 1, ..found(0.5, BOX) };
        let truth = [vec![object(BOX, false)], vec![]];
        assert_eq!(match_class(&[elsewhere], &truth, 0.5).unwrap().curve.precision, [0.0]);
    }

    fn class(name: &str, detections: Vec<Detection>, objects: Vec<Truth>) -> Class {
        Class { name: name.into(), detections, truth: vec![objects] }
    }

    #[test]
    fn the_mean_is_over_classes_with_objects() {
        let classes = [
            class("found", vec![found(1.0, BOX)], vec![object(BOX, false)]),
            class("missed", vec![], vec![object(BOX, false)]),
            class("difficult", vec![found(1.0, BOX)], vec![object(BOX, true)]),
            class("absent", vec![found(1.0, BOX)], vec![]),
        ];
        let scores = evaluate(&classes, 0.5, ApInterpolation::Voc07).unwrap();
        assert_eq!(scores.mean, Some(0.5));
        let left_out: Vec<&str> = scores.left_out().map(|class| class.class.as_str()).collect();
        assert_eq!(left_out, ["difficult", "absent"]);
        assert_eq!(evaluate(&classes[2..], 0.5, ApInterpolation::Area).unwrap().mean, None);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let stray = [class("cat", vec![Detection { image: 3, ..found(1.0, BOX) }], vec![])];
        let error = evaluate(&stray, 0.5, ApInterpolation::Area).unwrap_err().to_string();
        assert!(error.contains("class cat") && error.contains("picture 3 of 1"), "{error}");
        for threshold in [0.0, 1.5, f64::NAN] {
            assert!(
                evaluate(&stray, threshold, ApInterpolation::Area)
                    .unwrap_err()
                    .to_string()
                    .contains("(0, 1]")
            );
        }
    }
}
