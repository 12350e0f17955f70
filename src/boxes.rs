//! Bounding boxes: IoU, non-maximum suppression and the box-regression encoding of detectors (Girshick et al. 2014,
//! appendix C; Girshick 2015, section 2.3), with the pixel conventions of the Fast R-CNN release.
//!
//! Independent of classes; does no drawing.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A box in 0-based pixel coordinates, both corners inclusive: a single pixel has `x1 == x2`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    pub x1: f32,
    pub y1: f32,
    pub x2: f32,
    pub y2: f32,
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { x1, y1, x2, y2 } = self;
        write!(f, "the box from ({x1}, {y1}) to ({x2}, {y2})")
    }
}

/// Added to width and height to avoid division by zero, as in the release.
const THIN: f32 = 1e-14;

impl Rect {
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// Area in pixels, corners inclusive; 0 for an inverted box.
    pub fn area(&self) -> f64 {
        extent(self.x1, self.x2) * extent(self.y1, self.y2)
    }

    /// Intersection over union, corners inclusive; 0 for an empty union.
    pub fn iou(&self, other: &Self) -> f64 {
        let common = Self::new(
            self.x1.max(other.x1),
            self.y1.max(other.y1),
            self.x2.min(other.x2),
            self.y2.min(other.y2),
        )
        .area();
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// Clips the box to an image of `(width, height)` pixels.
    pub fn clipped(&self, (width, height): (usize, usize)) -> Self {
        let (right, bottom) = ((width.max(1) - 1) as f32, (height.max(1) - 1) as f32);
        Self::new(
            self.x1.clamp(0.0, right),
            self.y1.clamp(0.0, bottom),
            self.x2.clamp(0.0, right),
            self.y2.clamp(0.0, bottom),
        )
    }

    /// The box on the image scaled by `scale`.
    pub fn scaled(&self, scale: f32) -> Self {
        Self::new(self.x1 * scale, self.y1 * scale, self.x2 * scale, self.y2 * scale)
    }

    /// The box on the horizontally flipped image.
    pub fn mirrored(&self, width: usize) -> Self {
        let right = width as f32 - 1.0;
        Self { x1: right - self.x2, x2: right - self.x1, ..*self }
    }

    /// Regression targets (dx, dy, dw, dh) from `self` to `target`: the center offset in units of the box size, and
    /// the log of the size ratio. Sizes here are coordinate differences, without the inclusive pixel.
    pub fn encode(&self, target: &Self) -> [f32; 4] {
        let ((cx, cy, w, h), (tx, ty, tw, th)) = (self.centered(), target.centered());
        [(tx - cx) / w, (ty - cy) / h, (tw / w).ln(), (th / h).ln()]
    }

    /// Applies regression offsets to `self`; the inverse of [`Rect::encode`].
    pub fn decode(&self, [dx, dy, dw, dh]: [f32; 4]) -> Self {
        let (cx, cy, w, h) = self.centered();
        let (x, y, half_w, half_h) = (cx + dx * w, cy + dy * h, 0.5 * w * dw.exp(), 0.5 * h * dh.exp());
        Self::new(x - half_w, y - half_h, x + half_w, y + half_h)
    }

    fn centered(&self) -> (f32, f32, f32, f32) {
        let (w, h) = (self.x2 - self.x1 + THIN, self.y2 - self.y1 + THIN);
        (self.x1 + 0.5 * w, self.y1 + 0.5 * h, w, h)
    }
}

fn extent(low: f32, high: f32) -> f64 {
    (f64::from(high) - f64::from(low) + 1.0).max(0.0)
}

/// Greedy non-maximum suppression: returns the kept indices, best score first. A box is suppressed when its IoU with
/// a better kept box exceeds `threshold`. Ties are broken by index; NaN scores rank last.
pub fn non_maximum_suppression(boxes: &[Rect], scores: &[f32], threshold: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len().min(scores.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut kept: Vec<usize> = vec![];
    for candidate in order {
        if kept.iter().all(|&better| boxes[better].iou(&boxes[candidate]) <= threshold) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn overlap_counts_pixels_with_both_corners() {
        let (a, b) = (Rect::new(0., 0., 9., 9.), Rect::new(5., 0., 14., 9.));
        assert_eq!(a.area(), 100.0);
        assert!((a.iou(&b) - 50.0 / 150.0).abs() < 1e-12);
        assert_eq!(a.iou(&Rect::new(10., 0., 19., 9.)), 0.0, "neighbors share no pixel");
        assert_eq!(Rect::new(5., 5., 5., 5.).iou(&Rect::new(5., 5., 5., 5.)), 1.0, "one pixel");
        assert_eq!(Rect::new(5., 5., 3., 3.).area(), 0.0, "inside out");
    }

    #[test]
    fn the_best_of_a_cluster_stays() {
        let boxes = [Rect::new(0., 0., 9., 9.), Rect::new(1., 0., 10., 9.), Rect::new(50., 50., 59., 59.)];
        assert_eq!(non_maximum_suppression(&boxes, &[0.5, 0.9, 0.1], 0.3), [1, 2]);
        assert_eq!(non_maximum_suppression(&boxes, &[0.5, 0.5, 0.1], 0.3), [0, 2], "ties go by index");
        assert_eq!(non_maximum_suppression(&boxes, &[0.5, 0.9, 0.1], 0.9), [1, 0, 2]);
        assert!(non_maximum_suppression(&[], &[], 0.3).is_empty());
    }

    #[test]
    fn mirroring_twice_is_nothing_and_clipping_stays_inside() {
        let rect = Rect::new(2., 3., 7., 8.);
        assert_eq!(rect.mirrored(10), Rect::new(2., 3., 7., 8.));
        assert_eq!(rect.mirrored(20).mirrored(20), rect);
        assert_eq!(Rect::new(-5., 2., 40., 50.).clipped((30, 20)), Rect::new(0., 2., 29., 19.));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            x in 0f32..300., y in 0f32..300., w in 1f32..300., h in 1f32..300.,
            u in 0f32..300., v in 0f32..300., p in 1f32..300., q in 1f32..300.,
        ) {
            let (from, to) = (Rect::new(x, y, x + w, y + h), Rect::new(u, v, u + p, v + q));
            let back = from.decode(from.encode(&to));
            for (a, b) in [(back.x1, to.x1), (back.y1, to.y1), (back.x2, to.x2), (back.y2, to.y2)] {
                prop_assert!((a - b).abs() < 0.05, "{back:?} is not {to:?}");
            }
        }
    }
}
