//! Bilinear upsampling of ab from the network's labels to the pixels of the full-size picture, computed row by row, so
//! that large photographs need no large float arrays.
//!
//! [`Upsampling::Direct`] interpolates once between labels: a pixel's position is mapped to the network's input, a
//! resized copy of the picture (pixel centers at half-integers), and from there as in
//! [`crate::pretext::colorizer::Colorizer::upsampled`]. [`Upsampling::TwoStep`] upsamples to the size of the network's
//! input and again to the size of the picture, as the authors' release does. Both steps are linear along each axis, so
//! each pixel is still computed directly from the labels, from up to four per axis.

use crate::{
    backbones::network::PixelGrid,
    ops::resize::{Tap, tap},
    pretext::colorizer::Upsampling,
};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};

/// Label indices and weights, which sum to 1; unused entries have weight 0.
type LabelWeights = [(usize, f32); 4];

/// Geometry of the upsampling: a picture of `size` (height, width) whose network input was `seen`.
#[derive(Clone, Copy, Debug)]
pub struct FieldGeometry {
    pub grid: PixelGrid,
    pub upsampling: Upsampling,
    pub seen: (usize, usize),
    pub size: (usize, usize),
}

/// ab over a picture.
#[derive(Clone, Debug)]
pub struct AbField {
    /// ab at every label, row-major.
    labels: Vec<[f32; 2]>,
    /// Labels per row.
    stride: usize,
    rows: Vec<LabelWeights>,
    columns: Vec<LabelWeights>,
}

impl AbField {
    /// Upsamples ab at the labels `(1, h, w, 2)`, as predicted, to the whole picture. No side may be 0.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub fn new(ab: &Tensor, geometry: FieldGeometry) -> Result<Self> {
        let (_, h, w, _) = ab.dims4()?;
        let values = ab.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (labels, _) = values.as_chunks::<2>();
        Ok(Self {
            labels: labels.to_vec(),
            stride: w,
            rows: geometry.label_weights(h, geometry.seen.0, geometry.size.0),
            columns: geometry.label_weights(w, geometry.seen.1, geometry.size.1),
        })
    }

    /// Height and width of the picture.
    pub fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.columns.len())
    }

    /// Whether all labels are finite.
    pub fn is_finite(&self) -> bool {
        self.labels.as_flattened().iter().all(|v| v.is_finite())
    }

    /// Writes ab of the pixels of row `y`, left to right, to `out`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, y: usize, out: &mut [[f32; 2]]) {
        let line: Vec<[f32; 2]> =
            (0..self.stride).map(|x| mean(self.rows[y], |row| self.labels[row * self.stride + x])).collect();
        for (out, reading) in out.iter_mut().zip(&self.columns) {
            *out = mean(*reading, |x| line[x]);
        }
    }

    /// ab at every pixel, in row order.
    pub fn pixels(&self) -> Vec<[f32; 2]> {
        let (height, width) = self.size();
        let mut ab = vec![[0f32; 2]; height * width];
        ab.chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| self.row(y, row));
        ab
    }
}

/// The weighted mean, computed relative to the first label, so that equal labels are reproduced exactly.
fn mean([(first, _), others @ ..]: LabelWeights, at: impl Fn(usize) -> [f32; 2]) -> [f32; 2] {
    let from = at(first);
    let used = others.iter().filter(|(_, weight)| *weight != 0.0);
    used.fold(from, |sum, (label, weight)| {
        let to = at(*label);
        [0, 1].map(|i| sum[i] + weight * (to[i] - from[i]))
    })
}

impl FieldGeometry {
    /// Interpolation of each of `size` pixels of an axis from its `labels`, for a network input of `seen` pixels.
    fn label_weights(&self, labels: usize, seen: usize, size: usize) -> Vec<LabelWeights> {
        let at = |pixel: usize| (pixel as f64 + 0.5) * seen as f64 / size as f64 - 0.5;
        let label = |at: f64| tap(self.place(at, labels, seen), labels);
        let reading = |pixel: usize| match self.upsampling {
            Upsampling::Direct => joined([(label(at(pixel)), 1.0), ((0, 0, 0.0), 0.0)]),
            Upsampling::TwoStep => {
                let (lower, upper, share) = tap(at(pixel), seen);
                joined([(label(lower as f64), 1.0 - share), (label(upper as f64), share)])
            }
        };
        (0..size).map(reading).collect()
    }

    /// Position, in labels, of a pixel of the network's input.
    fn place(&self, pixel: f64, labels: usize, seen: usize) -> f64 {
        if !self.grid.align_corners {
            return (pixel + 0.5) / self.grid.stride as f64 - 0.5;
        }
        let last = (seen - 1).max(1) as f64;
        pixel.clamp(0.0, last) * (labels - 1) as f64 / last
    }
}

fn joined([(x, of_x), (y, of_y)]: [(Tap, f64); 2]) -> LabelWeights {
    let parts = |(lower, upper, share): Tap, of: f64| {
        [(lower, ((1.0 - share) * of) as f32), (upper, (share * of) as f32)]
    };
    let ([a, b], [c, d]) = (parts(x, of_x), parts(y, of_y));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(grid: PixelGrid, labels: &[f32], seen: usize, size: usize) -> Vec<f32> {
        row(grid, Upsampling::Direct, labels, seen, size)
    }

    fn row(grid: PixelGrid, upsampling: Upsampling, labels: &[f32], seen: usize, size: usize) -> Vec<f32> {
        let ab: Vec<f32> = labels.iter().flat_map(|v| [*v, -*v]).collect();
        let ab = Tensor::from_vec(ab, (1, 1, labels.len(), 2), &Device::Cpu).unwrap();
        let geometry = FieldGeometry { grid, upsampling, seen: (1, seen), size: (1, size) };
        let field = AbField::new(&ab, geometry).unwrap();
        let mut row = vec![[0.0; 2]; size];
        field.row(0, &mut row);
        assert!(row.iter().all(|[a, b]| *a == -*b));
        row.into_iter().map(|[a, _]| a).collect()
    }

    #[test]
    fn borders_meet_where_corners_are_not_aligned() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        // Labels at pixels 1.5 and 5.5 of 8, so at 3.5 and 11.5 of 16.
        let row = row_of(grid, &[0.0, 8.0], 8, 16);
        let expected: Vec<f32> = (0..16).map(|x| (x as f32 - 3.5).clamp(0.0, 8.0)).collect();
        assert_eq!(row, expected);
    }

    #[test]
    fn samples_meet_where_corners_are_aligned() {
        let grid = PixelGrid { stride: 2, align_corners: true, multiple: 1 };
        assert_eq!(row_of(grid, &[0.0, 4.0, 8.0], 5, 5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        // Twice as large: the outer pixels are beyond the centers of the network's pixels.
        let row = row_of(grid, &[0.0, 4.0, 8.0], 5, 10);
        assert_eq!(row, [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.0]);
        assert_eq!(row_of(grid, &[3.0], 1, 4), [3.0; 4]);
    }

    #[test]
    fn two_steps_read_between_the_pixels_that_the_network_saw() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        // The 8 network pixels are 0, 0, 1, 3, 5, 7, 8, 8 (labels at 1.5 and 5.5); a third as many are at 0.833, 3.5
        // and 6.167.
        let rows = [Upsampling::Direct, Upsampling::TwoStep].map(|how| row(grid, how, &[0.0, 8.0], 8, 3));
        let near =
            |row: &[f32], by_hand: [f32; 3]| row.iter().zip(by_hand).all(|(x, y)| (x - y).abs() < 1e-5);
        assert!(near(&rows[0], [0.0, 4.0, 8.0]), "{rows:?}");
        assert!(near(&rows[1], [0.0, 4.0, 8.0]), "{rows:?}");
        // Twice as many: pixel 3 is at 1.25, where the network's pixels are 0 and 1, and just before the first label.
        let rows = [Upsampling::Direct, Upsampling::TwoStep].map(|how| row(grid, how, &[0.0, 8.0], 8, 16));
        assert_eq!((rows[0][3], rows[1][3]), (0.0, 0.25));
        // Equal size: the second step is the identity.
        assert_eq!(row(grid, Upsampling::TwoStep, &[0.0, 8.0], 8, 8), row_of(grid, &[0.0, 8.0], 8, 8));
    }

    #[test]
    fn what_is_no_number_is_seen() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        let field = |v: f32| {
            let ab = Tensor::new(&[[[[0f32, v]]]], &Device::Cpu).unwrap();
            {
                let geometry =
                    FieldGeometry { grid, upsampling: Upsampling::Direct, seen: (4, 4), size: (2, 3) };
                AbField::new(&ab, geometry).unwrap()
            }
        };
        assert!(field(1.0).is_finite() && !field(f32::NAN).is_finite());
        assert_eq!(field(1.0).pixels(), [[0.0, 1.0]; 6]);
    }
}
