//! Box regression targets, standardized by class and coordinate over the training set, so that all weigh the same
//! (Girshick 2015; the release also computes the statistics per class and coordinate).

use super::minibatch::RoiTarget;
use crate::boxes::Rect;
use candle_core::{Device, Result, Tensor};

/// Avoids division by zero for a class with a single box.
const MIN_DEVIATION: f64 = 1e-6;

/// Mean and standard deviation of the offsets, by class and coordinate.
#[derive(Clone, Debug)]
pub struct OffsetStatistics {
    classes: Vec<[(f32, f32); 4]>,
}

impl OffsetStatistics {
    /// Computes the statistics over (class, box, object) triples; `None` if there are none. A class without boxes gets
    /// mean 0 and deviation 1. Mirroring flips the sign of dx and the release measures over both mirror images, so the
    /// mean of dx is 0.
    pub fn of(pairs: impl Iterator<Item = (usize, Rect, Rect)>, classes: usize) -> Option<Self> {
        let (mut sums, mut all) = (vec![[(0.0f64, 0.0f64); 4]; classes], 0);
        let mut counts = vec![0usize; classes];
        for (class, bounds, object) in pairs.filter(|(.., object)| is_regressable(object)) {
            for (sum, offset) in sums[class].iter_mut().zip(bounds.encode(&object)) {
                sum.0 += f64::from(offset);
                sum.1 += f64::from(offset).powi(2);
            }
            counts[class] += 1;
            all += 1;
        }
        let spread = |(sums, count): (&[(f64, f64); 4], &usize)| {
            let mut spread = [(0.0, 1.0); 4];
            for (coordinate, (out, (sum, squares))) in spread.iter_mut().zip(sums).enumerate() {
                if *count > 0 {
                    let n = *count as f64;
                    let mean = if coordinate == 0 { 0.0 } else { sum / n };
                    let deviation = (squares / n - mean * mean).max(0.0).sqrt();
                    *out = (mean as f32, if deviation < MIN_DEVIATION { 1.0 } else { deviation as f32 });
                }
            }
            spread
        };
        (all > 0).then(|| Self { classes: sums.iter().zip(&counts).map(spread).collect() })
    }

    /// Targets and weights `(R, 4·(classes + 1))`: only the four of the object's class have a weight.
    pub fn targets(
        &self,
        examples: &[RoiTarget],
        dims: &[usize],
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let width = dims[1];
        let (mut targets, mut weights) = (vec![0f32; dims[0] * width], vec![0f32; dims[0] * width]);
        for (row, example) in examples.iter().enumerate() {
            let Some((class, object)) = example.object.filter(|(_, object)| is_regressable(object)) else {
                continue;
            };
            let offsets = example.roi.bounds.encode(&object);
            let start = row * width + 4 * (class + 1);
            for (i, (offset, (mean, deviation))) in offsets.into_iter().zip(self.classes[class]).enumerate() {
                targets[start + i] = (offset - mean) / deviation;
                weights[start + i] = 1.0;
            }
        }
        Ok((Tensor::from_vec(targets, dims, device)?, Tensor::from_vec(weights, dims, device)?))
    }

    /// Converts four network outputs to offsets.
    pub fn denormalize(&self, class: usize, given: &[f32]) -> [f32; 4] {
        let spread = &self.classes[class];
        std::array::from_fn(|i| given[i] * spread[i].1 + spread[i].0)
    }
}

/// Sizes are coordinate differences: a box one pixel wide has width 0, and the logarithm would dominate all others.
fn is_regressable(object: &Rect) -> bool {
    object.x2 > object.x1 && object.y2 > object.y1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::roi_pool::Roi;

    const BOX: Rect = Rect::new(10., 10., 29., 49.);

    #[test]
    fn targets_have_no_mean_and_unit_deviation_and_can_be_undone() -> Result<()> {
        let objects =
            [Rect::new(12., 10., 33., 44.), Rect::new(5., 18., 30., 60.), Rect::new(9., 2., 20., 45.)];
        let spread = OffsetStatistics::of(objects.iter().map(|o| (1, BOX, *o)), 2).expect("three boxes");
        let example =
            |object: &Rect| RoiTarget { roi: Roi { image: 0, bounds: BOX }, object: Some((1, *object)) };
        let examples: Vec<RoiTarget> = objects.iter().map(example).collect();
        let (targets, weights) = spread.targets(&examples, &[3, 12], &Device::Cpu)?;
        let (targets, weights) = (targets.to_vec2::<f32>()?, weights.to_vec2::<f32>()?);
        for coordinate in 8..12 {
            let column: Vec<f32> = targets.iter().map(|row| row[coordinate]).collect();
            let squares = column.iter().map(|t| t * t).sum::<f32>() / 3.0;
            let mean = column.iter().sum::<f32>() / 3.0;
            assert!((squares - 1.0).abs() < 1e-4, "{column:?}");
            assert!(coordinate == 8 || mean.abs() < 1e-4, "{column:?}");
        }
        assert!(weights.iter().all(|row| row[..8] == [0.0; 8] && row[8..] == [1.0; 4]));
        let back = BOX.decode(spread.denormalize(1, &targets[1][8..]));
        assert!((back.x2 - objects[1].x2).abs() < 1e-3 && (back.y1 - objects[1].y1).abs() < 1e-3, "{back:?}");
        Ok(())
    }

    #[test]
    fn objects_of_one_line_of_pixels_are_found_but_not_regressed() -> Result<()> {
        let (line, other) = (Rect::new(10., 10., 10., 49.), Rect::new(11., 12., 29., 44.));
        let all = OffsetStatistics::of([(0, BOX, line), (0, BOX, other)].into_iter(), 1).expect("one box");
        let alone = OffsetStatistics::of([(0, BOX, other)].into_iter(), 1).expect("one box");
        assert_eq!(all.denormalize(0, &[1.0; 4]), alone.denormalize(0, &[1.0; 4]));
        let example = RoiTarget { roi: Roi { image: 0, bounds: BOX }, object: Some((0, line)) };
        let (targets, weights) = all.targets(&[example], &[1, 8], &Device::Cpu)?;
        assert_eq!(
            (targets.to_vec2::<f32>()?, weights.to_vec2::<f32>()?),
            (vec![vec![0.; 8]], vec![vec![0.; 8]])
        );
        Ok(())
    }

    #[test]
    fn a_class_of_one_box_and_one_of_none_are_left_as_they_are() {
        let spread = OffsetStatistics::of([(0, BOX, BOX)].into_iter(), 2).expect("one box");
        assert_eq!(spread.denormalize(0, &[1.0; 4]), [1.0; 4]);
        assert_eq!(spread.denormalize(1, &[0.5; 4]), [0.5; 4]);
        assert!(OffsetStatistics::of(std::iter::empty(), 2).is_none());
    }
}
