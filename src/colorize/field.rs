//! ab between the network's labels and the pixels of the whole picture: bilinear, worked out a row at a time, so that a large
//! photograph needs no large arrays of floats.
//!
//! [`Upsampling::Direct`] reads between the labels once: a pixel's place among them goes through the picture that the network
//! saw, of which it is a resized copy (pixel centers at half-integers); from there it is
//! [`crate::pretext::colorizer::Colorizer::upsampled`]'s. [`Upsampling::TwoStep`] enlarges to the size that the network saw and
//! that again to the picture's, as the authors' release does; both are products of two matrices along each axis, so here too
//! a pixel is read straight from the labels, from up to four of an axis.

use crate::{
    backbones::network::PixelGrid,
    ops::resize::{Tap, tap},
    pretext::colorizer::Upsampling,
};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};

/// Labels and their weights, which sum to 1; unused ones weigh 0.
type Reading = [(usize, f32); 4];

/// How a picture of `size` (height, width) is read from the labels of a network that saw it at `seen`.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub grid: PixelGrid,
    pub upsampling: Upsampling,
    pub seen: (usize, usize),
    pub size: (usize, usize),
}

/// ab over a picture.
#[derive(Clone, Debug)]
pub struct AbField {
    /// At every label, row by row.
    labels: Vec<[f32; 2]>,
    /// Labels in a row.
    stride: usize,
    rows: Vec<Reading>,
    columns: Vec<Reading>,
}

impl AbField {
    /// ab at the labels `(1, h, w, 2)`, as the network predicts it, over the whole picture. No side may be 0.
    ///
    /// # Errors
    /// A tensor of another shape.
    pub fn new(ab: &Tensor, view: View) -> Result<Self> {
        let (_, h, w, _) = ab.dims4()?;
        let values = ab.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let (labels, _) = values.as_chunks::<2>();
        Ok(Self {
            labels: labels.to_vec(),
            stride: w,
            rows: view.readings(h, view.seen.0, view.size.0),
            columns: view.readings(w, view.seen.1, view.size.1),
        })
    }

    /// Height and width of the picture.
    pub fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.columns.len())
    }

    /// Whether every label's color is a number.
    pub fn is_finite(&self) -> bool {
        self.labels.as_flattened().iter().all(|v| v.is_finite())
    }

    /// ab of the pixels of row `y`, left to right, into `out`.
    ///
    /// # Panics
    /// When the picture has no such row.
    pub fn row(&self, y: usize, out: &mut [[f32; 2]]) {
        let line: Vec<[f32; 2]> =
            (0..self.stride).map(|x| mean(self.rows[y], |row| self.labels[row * self.stride + x])).collect();
        for (out, reading) in out.iter_mut().zip(&self.columns) {
            *out = mean(*reading, |x| line[x]);
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

/// The weighted mean, as a way from the first label, so that labels of one color give that color to the last bit.
fn mean([(first, _), others @ ..]: Reading, at: impl Fn(usize) -> [f32; 2]) -> [f32; 2] {
    let from = at(first);
    let used = others.iter().filter(|(_, weight)| *weight != 0.0);
    used.fold(from, |sum, (label, weight)| {
        let to = at(*label);
        [0, 1].map(|i| sum[i] + weight * (to[i] - from[i]))
    })
}

impl View {
    /// For each of `size` pixels of an axis, what to read of its `labels`, when the network saw `seen` pixels.
    fn readings(&self, labels: usize, seen: usize, size: usize) -> Vec<Reading> {
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

    /// Where among its labels a pixel of an axis lies that the network saw.
    fn place(&self, pixel: f64, labels: usize, seen: usize) -> f64 {
        if !self.grid.align_corners {
            return (pixel + 0.5) / self.grid.stride as f64 - 0.5;
        }
        let last = (seen - 1).max(1) as f64;
        pixel.clamp(0.0, last) * (labels - 1) as f64 / last
    }
}

fn joined([(x, of_x), (y, of_y)]: [(Tap, f64); 2]) -> Reading {
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
        let view = View { grid, upsampling, seen: (1, seen), size: (1, size) };
        let field = AbField::new(&ab, view).unwrap();
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
        // twice as large: the outer pixels lie beyond the centers of those that the network saw
        let row = row_of(grid, &[0.0, 4.0, 8.0], 5, 10);
        assert_eq!(row, [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.0]);
        assert_eq!(row_of(grid, &[3.0], 1, 4), [3.0; 4]);
    }

    #[test]
    fn two_steps_read_between_the_pixels_that_the_network_saw() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        // The 8 pixels that the network saw are 0, 0, 1, 3, 5, 7, 8, 8 (labels at 1.5 and 5.5); a third as many lie at
        // 0.833, 3.5 and 6.167.
        let rows = [Upsampling::Direct, Upsampling::TwoStep].map(|how| row(grid, how, &[0.0, 8.0], 8, 3));
        let near =
            |row: &[f32], by_hand: [f32; 3]| row.iter().zip(by_hand).all(|(x, y)| (x - y).abs() < 1e-5);
        assert!(near(&rows[0], [0.0, 4.0, 8.0]), "{rows:?}");
        assert!(near(&rows[1], [0.0, 4.0, 8.0]), "{rows:?}");
        // twice as many: pixel 3 lies at 1.25, where the network's pixels are 0 and 1, and directly before the first label
        let rows = [Upsampling::Direct, Upsampling::TwoStep].map(|how| row(grid, how, &[0.0, 8.0], 8, 16));
        assert_eq!((rows[0][3], rows[1][3]), (0.0, 0.25));
        // as many: nothing is left to do in the second step
        assert_eq!(row(grid, Upsampling::TwoStep, &[0.0, 8.0], 8, 8), row_of(grid, &[0.0, 8.0], 8, 8));
    }

    #[test]
    fn what_is_no_number_is_seen() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        let field = |v: f32| {
            let ab = Tensor::new(&[[[[0f32, v]]]], &Device::Cpu).unwrap();
            {
                let view = View { grid, upsampling: Upsampling::Direct, seen: (4, 4), size: (2, 3) };
                AbField::new(&ab, view).unwrap()
            }
        };
        assert!(field(1.0).is_finite() && !field(f32::NAN).is_finite());
        let whole = field(1.0).whole().unwrap();
        assert_eq!(whole.dims(), [1, 2, 3, 2]);
    }
}
