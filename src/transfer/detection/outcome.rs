//! From scores and offsets to detections: softmax, decoding, a threshold for each class that keeps a fixed number of boxes a
//! picture on average, non-maximum suppression (the test of the Fast R-CNN release).

use super::{super::ensure_finite, DetectionSpec, Found, targets::Spread};
use crate::{
    boxes::{Rect, non_maximum_suppression},
    data::crop_policy::Frame,
};
use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use std::collections::HashSet;

/// For each class, (score, box) of one picture.
#[derive(Clone, Debug, Default)]
pub struct PictureDetections(Vec<Vec<(f32, Rect)>>);

/// The proposals that differ on the pooled map, in their order: of those that round to the same cells the first.
pub fn distinct(proposals: &[Rect], frame: &Frame, stride: f64) -> Vec<Rect> {
    let mut seen = HashSet::new();
    let cells = |rect: &Rect| {
        let placed = frame.place(rect);
        [placed.x1, placed.y1, placed.x2, placed.y2].map(|v| (f64::from(v) / stride).round() as i64)
    };
    proposals.iter().filter(|rect| seen.insert(cells(rect))).copied().collect()
}

/// Scores `(R, classes + 1)` and offsets `(R, 4·(classes + 1))` of boxes on a stored picture of `size` → detections, clipped.
///
/// # Errors
/// Tensors that cannot be read; values that are not finite.
pub fn decode(
    rois: &[Rect],
    scores: &Tensor,
    offsets: &Tensor,
    spread: &Spread,
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
            let offsets = spread.undone(class, &offsets[4 * (class + 1)..][..4]);
            found.push((exp[class + 1] / sum, roi.decode(offsets).clipped(size)));
        }
    }
    Ok(PictureDetections(found))
}

/// The best boxes of every class so far.
pub struct Best {
    /// `[class]`: picture, score, box
    found: Vec<Vec<(usize, f32, Rect)>>,
    /// Boxes of a class that are kept over all pictures, and on one.
    total: usize,
    most: usize,
    nms: f64,
}

impl Best {
    /// For that many classes and pictures.
    pub fn new(classes: usize, images: usize, spec: &DetectionSpec) -> Self {
        let total = spec.kept.get() * images;
        Self { found: vec![vec![]; classes], total, most: spec.most.get(), nms: spec.nms.get() }
    }

    /// Takes the best of one picture.
    pub fn add(&mut self, image: usize, PictureDetections(picture): PictureDetections) {
        for (kept, mut found) in self.found.iter_mut().zip(picture) {
            found.sort_by(|a, b| b.0.total_cmp(&a.0));
            kept.extend(found.into_iter().take(self.most).map(|(score, bounds)| (image, score, bounds)));
            if kept.len() > 4 * self.total {
                prune(kept, self.total);
            }
        }
    }

    /// Detections of every class, those of a picture together, suppressed.
    pub fn suppressed(mut self) -> Vec<Vec<Found>> {
        let (total, nms) = (self.total, self.nms);
        self.found.par_iter_mut().map(|kept| suppress(kept, total, nms)).collect()
    }
}

/// Leaves the `total` best.
fn prune(kept: &mut Vec<(usize, f32, Rect)>, total: usize) {
    kept.sort_by(|a, b| b.1.total_cmp(&a.1));
    kept.truncate(total);
}

fn suppress(kept: &mut Vec<(usize, f32, Rect)>, total: usize, nms: f64) -> Vec<Found> {
    prune(kept, total);
    kept.sort_by_key(|(image, ..)| *image);
    let mut detections = vec![];
    for picture in kept.chunk_by(|a, b| a.0 == b.0) {
        let boxes: Vec<Rect> = picture.iter().map(|(_, _, bounds)| *bounds).collect();
        let scores: Vec<f32> = picture.iter().map(|(_, score, _)| *score).collect();
        detections.extend(non_maximum_suppression(&boxes, &scores, nms).into_iter().map(|i| Found {
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
        let mut best = Best::new(1, 3, &spec);
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
        // Three boxes for three pictures: 0.9, 0.85, 0.8; of the first two, which overlap, the better stays.
        let found = best.suppressed();
        let scores: Vec<f32> = found[0].iter().map(|d| d.score as f32).collect();
        assert_eq!(scores, [0.9, 0.8]);
        assert_eq!(found[0].iter().map(|d| d.image).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn proposals_of_the_same_cells_are_one() {
        let frame =
            Frame { source: (500, 500), size: (500, 500), origin: (0., 0.), scale: (1., 1.), mirror: false };
        let proposals = [rect(0.), rect(3.), rect(40.)];
        assert_eq!(distinct(&proposals, &frame, 16.0), [rect(0.), rect(40.)]);
    }
}
