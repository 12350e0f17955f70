//! From scores and offsets to detections: softmax, box decoding, a per-class threshold that keeps a fixed average
//! number of boxes per picture, and non-maximum suppression (the test procedure of the Fast R-CNN release).

use super::{super::ensure_finite, Detection, DetectionSpec, targets::OffsetStatistics};
use crate::{
    boxes::{Rect, non_maximum_suppression},
    data::crop_policy::Frame,
};
use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// (score, box) pairs of one picture, by class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PictureDetections(Vec<Vec<(f32, Rect)>>);

/// Removes proposals that round to the same cells of the pooled map as an earlier one.
pub fn distinct_on_map(proposals: &[Rect], frame: &Frame, stride: f64) -> Vec<Rect> {
    let mut seen = HashSet::new();
    let cells = |rect: &Rect| {
        let placed = frame.place(rect);
        [placed.x1, placed.y1, placed.x2, placed.y2].map(|v| (f64::from(v) / stride).round() as i64)
    };
    proposals.iter().filter(|rect| seen.insert(cells(rect))).copied().collect()
}

/// Scores `(R, classes + 1)` and offsets `(R, 4·(classes + 1))` of boxes on a stored picture of `size` → detections,
/// clipped to the picture.
///
/// # Errors
/// Unreadable tensors; non-finite values.
pub fn decode(
    rois: &[Rect],
    scores: &Tensor,
    offsets: &Tensor,
    spread: &OffsetStatistics,
    size: (usize, usize),
) -> Result<PictureDetections> {
    [scores, offsets].into_iter().try_for_each(ensure_finite)?;
    let (scores, offsets) = (scores.to_vec2::<f32>()?, offsets.to_vec2::<f32>()?);
    let classes = scores.first().map_or(0, |row| row.len() - 1);
    let mut found = vec![Vec::with_capacity(rois.len()); classes];
    for ((roi, scores), offsets) in rois.iter().zip(&scores).zip(&offsets) {
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
        let sum: f32 = exp.iter().sum();
        for (class, found) in found.iter_mut().enumerate() {
            let offsets = spread.denormalize(class, &offsets[4 * (class + 1)..][..4]);
            found.push((exp[class + 1] / sum, roi.decode(offsets).clipped(size)));
        }
    }
    Ok(PictureDetections(found))
}

/// The highest-scoring boxes of every class so far.
pub struct TopDetections {
    /// `[class]`: picture, score, box.
    found: Vec<Vec<(usize, f32, Rect)>>,
    /// Boxes kept per class over all pictures, and per picture.
    total: usize,
    most: usize,
    nms: f64,
}

impl TopDetections {
    /// For this many classes and pictures.
    pub fn new(classes: usize, images: usize, spec: &DetectionSpec) -> Self {
        let total = spec.kept.get() * images;
        Self { found: vec![vec![]; classes], total, most: spec.most.get(), nms: spec.nms.get() }
    }

    /// Adds the best boxes of one picture.
    pub fn add(&mut self, image: usize, PictureDetections(picture): PictureDetections) {
        for (kept, mut found) in self.found.iter_mut().zip(picture) {
            found.sort_by(|a, b| b.0.total_cmp(&a.0));
            kept.extend(found.into_iter().take(self.most).map(|(score, bounds)| (image, score, bounds)));
            if kept.len() > 4 * self.total {
                prune(kept, self.total);
            }
        }
    }

    /// Detections of every class, grouped by picture, after non-maximum suppression.
    pub fn after_nms(mut self) -> Vec<Vec<Detection>> {
        let (total, nms) = (self.total, self.nms);
        self.found.par_iter_mut().map(|kept| suppress(kept, total, nms)).collect()
    }
}

/// Keeps the `total` best.
fn prune(kept: &mut Vec<(usize, f32, Rect)>, total: usize) {
    kept.sort_by(|a, b| b.1.total_cmp(&a.1));
    kept.truncate(total);
}

fn suppress(kept: &mut Vec<(usize, f32, Rect)>, total: usize, nms: f64) -> Vec<Detection> {
    prune(kept, total);
    kept.sort_by_key(|(image, ..)| *image);
    let mut detections = vec![];
    for picture in kept.chunk_by(|a, b| a.0 == b.0) {
        let boxes: Vec<Rect> = picture.iter().map(|(_, _, bounds)| *bounds).collect();
        let scores: Vec<f32> = picture.iter().map(|(_, score, _)| *score).collect();
        detections.extend(non_maximum_suppression(&boxes, &scores, nms).into_iter().map(|i| Detection {
            image: picture[i].0,
            score: f64::from(scores[i]),
            bounds: boxes[i],
        }));
    }
    detections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::Count;

    fn rect(x: f32) -> Rect {
        Rect::new(x, 0., x + 19., 19.)
    }

    #[test]
    fn the_best_boxes_of_all_pictures_are_kept() {
        let spec = DetectionSpec { kept: Count::of(1), most: Count::of(3), ..Default::default() };
        let mut best = TopDetections::new(1, 3, &spec);
        best.add(
            0,
            PictureDetections(vec![vec![
                (0.9, rect(0.)),
                (0.85, rect(1.)),
                (0.3, rect(100.)),
                (0.2, rect(200.)),
            ]]),
        );
        best.add(1, PictureDetections::default());
        best.add(2, PictureDetections(vec![vec![(0.8, rect(0.)), (0.1, rect(50.))]]));
        // Three boxes for three pictures: 0.9, 0.85, 0.8. The first two overlap, so only the better one remains.
        let found = best.after_nms();
        let scores: Vec<f32> = found[0].iter().map(|d| d.score as f32).collect();
        assert_eq!(scores, [0.9, 0.8]);
        assert_eq!(found[0].iter().map(|d| d.image).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn proposals_of_the_same_cells_are_one() {
        let frame =
            Frame { source: (500, 500), size: (500, 500), origin: (0., 0.), scale: (1., 1.), mirror: false };
        let proposals = [rect(0.), rect(3.), rect(40.)];
        assert_eq!(distinct_on_map(&proposals, &frame, 16.0), [rect(0.), rect(40.)]);
    }
}
