//! ab between the network's labels and the pixels of the whole picture: two-tap bilinear, worked out a row at a time, so
//! that a large photograph needs no large arrays of floats.
//!
//! A pixel's place among the labels goes through the picture that the network saw, of which it is a resized copy (pixel
//! centres at half-integers); from there it is [`crate::pretext::colorizer::Colorizer::enlarged`]'s.

use crate::{
    backbones::network::PixelGrid,
    ops::resize::{Tap, tap},
};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};

/// ab over a picture.
#[derive(Clone, Debug)]
pub struct AbField {
    /// At every label, row by row.
    labels: Vec<[f32; 2]>,
    /// Labels in a row.
    stride: usize,
    rows: Vec<Tap>,
    columns: Vec<Tap>,
}

impl AbField {
    /// ab at the labels `(1, h, w, 2)`, as the network predicts it for a picture that it saw at `seen` (height, width),
    /// over the picture itself of `size`. No side may be 0.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub fn new(ab: &Tensor, grid: PixelGrid, seen: (usize, usize), size: (usize, usize)) -> Result<Self> {
        let (_, h, w, _) = ab.dims4()?;
        let values = ab.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (labels, _) = values.as_chunks::<2>();
        Ok(Self {
            labels: labels.to_vec(),
            stride: w,
            rows: taps(grid, h, seen.0, size.0),
            columns: taps(grid, w, seen.1, size.1),
        })
    }

    /// Height and width of the picture.
    pub fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.columns.len())
    }

    /// Whether every label's colour is a number.
    pub fn is_finite(&self) -> bool {
        self.labels.as_flattened().iter().all(|v| v.is_finite())
    }

    /// ab of the pixels of row `y`, left to right, into `out`.
    ///
    /// # Panics
    /// When the picture has no such row.
    pub fn row(&self, y: usize, out: &mut [[f32; 2]]) {
        let (y0, y1, down) = self.rows[y];
        let line = |y: usize| &self.labels[y * self.stride..][..self.stride];
        let (top, bottom) = (line(y0), line(y1));
        for (out, &(x0, x1, right)) in out.iter_mut().zip(&self.columns) {
            *out = [0, 1].map(|i| {
                let upper = mixed(top[x0][i], top[x1][i], right as f32);
                mixed(upper, mixed(bottom[x0][i], bottom[x1][i], right as f32), down as f32)
            });
        }
    }

    /// ab at every pixel `(1, H, W, 2)`, f32.
    ///
    /// # Errors
    /// When the tensor cannot be made.
    pub fn whole(&self) -> Result<Tensor> {
        let (height, width) = self.size();
        let mut ab = vec![[0f32; 2]; height * width];
        ab.chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| self.row(y, row));
        Ok(Tensor::from_vec(ab.into_flattened(), (1, height, width, 2), &Device::Cpu)?)
    }
}

fn mixed(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// For each of `size` pixels of an axis, which of its `labels` to read, when the network saw `seen` pixels.
fn taps(grid: PixelGrid, labels: usize, seen: usize, size: usize) -> Vec<Tap> {
    let place = |pixel: usize| {
        let at = (pixel as f64 + 0.5) * seen as f64 / size as f64 - 0.5;
        if !grid.align_corners {
            return (at + 0.5) / grid.stride as f64 - 0.5;
        }
        let last = (seen - 1).max(1) as f64;
        at.clamp(0.0, last) * (labels - 1) as f64 / last
    };
    (0..size).map(|pixel| tap(place(pixel), labels)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(grid: PixelGrid, labels: &[f32], seen: usize, size: usize) -> Vec<f32> {
        let ab: Vec<f32> = labels.iter().flat_map(|v| [*v, -*v]).collect();
        let ab = Tensor::from_vec(ab, (1, 1, labels.len(), 2), &Device::Cpu).unwrap();
        let field = AbField::new(&ab, grid, (1, seen), (1, size)).unwrap();
        let mut row = vec![[0.0; 2]; size];
        field.row(0, &mut row);
        assert!(row.iter().all(|[a, b]| *a == -*b));
        row.into_iter().map(|[a, _]| a).collect()
    }

    #[test]
    fn borders_meet_where_corners_are_not_aligned() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        // labels at the pixels 1.5 and 5.5 of 8, so at 3.5 and 11.5 of 16
        let row = row_of(grid, &[0.0, 8.0], 8, 16);
        let expected: Vec<f32> = (0..16).map(|x| (x as f32 - 3.5).clamp(0.0, 8.0)).collect();
        assert_eq!(row, expected);
    }

    #[test]
    fn samples_meet_where_corners_are_aligned() {
        let grid = PixelGrid { stride: 2, align_corners: true, multiple: 1 };
        assert_eq!(row_of(grid, &[0.0, 4.0, 8.0], 5, 5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        // twice as large: the outer pixels lie beyond the centres of those that the network saw
        let row = row_of(grid, &[0.0, 4.0, 8.0], 5, 10);
        assert_eq!(row, [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.0]);
        assert_eq!(row_of(grid, &[3.0], 1, 4), [3.0; 4]);
    }

    #[test]
    fn what_is_no_number_is_seen() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        let field = |v: f32| {
            let ab = Tensor::new(&[[[[0f32, v]]]], &Device::Cpu).unwrap();
            AbField::new(&ab, grid, (4, 4), (2, 3)).unwrap()
        };
        assert!(field(1.0).is_finite() && !field(f32::NAN).is_finite());
        let whole = field(1.0).whole().unwrap();
        assert_eq!(whole.dims(), [1, 2, 3, 2]);
    }
}
