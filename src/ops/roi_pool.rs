//! RoI max pooling (Girshick, "Fast R-CNN", ICCV 2015, section 2.1): pools the features inside a box of any size to a
//! fixed grid. Box corners are rounded to cells, as in Caffe and torchvision; there is no interpolation.
//!
//! Two deliberate differences: bin boundaries are computed in integers (float rounding makes theirs one cell too
//! large for 7 bins and some sizes), and NaN propagates instead of being dropped.

use super::cpu::{Float, Stored, by_stored, fill_blocks, nhwc};
use crate::boxes::Rect;
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::{ops::Range, sync::OnceLock};

#[cfg(feature = "cuda")]
mod cuda;

/// A region of interest on one image of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    /// Index into the batch.
    pub image: usize,
    /// In pixels of the network's input image.
    pub bounds: Rect,
}

/// `(B, H, W, C)` and R boxes → `(R, ph, pw, C)`, f32, f64 or bf16.
///
/// A corner c maps to cell round(c·scale), halves away from zero; a box covers end − start + 1 cells, at least one.
/// Bin i of p over n cells covers the cells ⌊i·n/p⌋ to ⌈(i+1)·n/p⌉ (exclusive), so neighboring bins may share one. A
/// bin outside the map is 0 and has no gradient; on ties the gradient goes to the first maximum in scan order.
///
/// # Errors
/// A shape that is not NHWC, a box with an image index out of range or non-finite coordinates, a
/// non-positive scale, no bins; on a GPU, no boxes.
pub fn roi_max_pool(x: &Tensor, rois: &[Roi], scale: f64, (ph, pw): (usize, usize)) -> Result<Tensor> {
    let (batch, height, width, channels) = nhwc(NAME, x)?;
    if !(scale > 0.0 && scale.is_finite()) || ph == 0 || pw == 0 {
        bail!("{NAME}: the scale must be positive and the bins at least 1×1, got {scale} and {ph}×{pw}");
    }
    if u32::try_from(height * width).is_err() {
        bail!("{NAME}: x {:?} has more than 2^32 cells", x.dims());
    }
    let grid = |roi: &Roi| {
        check(roi, batch)?;
        let Rect { x1, y1, x2, y2 } = roi.bounds;
        let rows = bins((cell(y1, scale), cell(y2, scale)), ph, height);
        Ok(RoiGrid { image: roi.image, rows, cols: bins((cell(x1, scale), cell(x2, scale)), pw, width) })
    };
    let grids = rois.iter().map(grid).collect::<Result<Vec<_>>>()?;
    let plan = RoiPlan { grids, bins: (ph, pw), batch, height, width, channels };
    apply(RoiPool { plan, winners: OnceLock::new(), keep: x.track_op() }, [x])
}

const NAME: &str = "roi_max_pool";

fn check(roi: &Roi, batch: usize) -> Result<()> {
    let Roi { image, bounds } = roi;
    if *image >= batch {
        bail!("{NAME}: a box on picture {image} of a batch of {batch}");
    }
    if ![bounds.x1, bounds.y1, bounds.x2, bounds.y2].iter().all(|c| c.is_finite()) {
        bail!("{NAME}: coordinates that are not finite: {bounds}");
    }
    Ok(())
}

/// Clamp for cell coordinates: far outside any map, and small enough that products with bin counts fit in 64 bits.
const FAR: f64 = 1e9;

fn cell(coordinate: f32, scale: f64) -> i64 {
    (f64::from(coordinate) * scale).round().clamp(-FAR, FAR) as i64
}

/// The cells of each of `count` bins on an axis of `n` cells; empty if the bin is outside.
fn bins((start, end): (i64, i64), count: usize, n: usize) -> Vec<Range<usize>> {
    let (extent, count, n) = ((end - start + 1).max(1), count as i64, n as i64);
    let inside = |cell: i64| (start + cell).clamp(0, n) as usize;
    (0..count)
        .map(|i| {
            inside((i * extent).div_euclid(count))..inside(((i + 1) * extent + count - 1).div_euclid(count))
        })
        .collect()
}

/// The bins of one box.
struct RoiGrid {
    image: usize,
    rows: Vec<Range<usize>>,
    cols: Vec<Range<usize>>,
}

/// All boxes of one call.
struct RoiPlan {
    grids: Vec<RoiGrid>,
    bins: (usize, usize),
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
}

/// Marks a bin without cells.
const NONE: u32 = u32::MAX;

impl RoiPlan {
    /// Elements of one box's output.
    fn grid_len(&self) -> usize {
        self.bins.0 * self.bins.1 * self.channels
    }

    fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The maxima, and with `keep` their cells (argmax).
    fn forward<T: Stored>(&self, x: &[T], keep: bool) -> (Vec<T>, Vec<u32>) {
        let len = self.grids.len() * self.grid_len();
        let (mut y, mut winners) =
            (vec![T::rounded(T::Wide::ZERO); len], vec![NONE; if keep { len } else { 0 }]);
        let each = self.grid_len().max(1);
        if keep {
            let out = y.par_chunks_mut(each).zip(winners.par_chunks_mut(each)).zip(&self.grids);
            out.for_each(|((y, winners), grid)| self.pool(grid, x, y, winners));
        } else {
            let scratch = || vec![NONE; each];
            let out = y.par_chunks_mut(each).zip(&self.grids);
            out.for_each_init(scratch, |winners, (y, grid)| self.pool(grid, x, y, winners));
        }
        (y, winners)
    }

    /// Pools one box; `winners` has the length of `y` and is overwritten for non-empty bins.
    fn pool<T: Stored>(&self, grid: &RoiGrid, x: &[T], y: &mut [T], winners: &mut [u32]) {
        let c = self.channels;
        let x = &x[grid.image * self.image_len()..][..self.image_len()];
        let bins = grid.rows.iter().flat_map(|row| grid.cols.iter().map(move |col| (row, col)));
        for ((row, col), (y, winners)) in bins.zip(y.chunks_exact_mut(c).zip(winners.chunks_exact_mut(c))) {
            if row.is_empty() || col.is_empty() {
                continue;
            }
            y.fill(T::rounded(T::Wide::NEG_INFINITY));
            winners.fill((row.start * self.width + col.start) as u32);
            for cell in row.clone().flat_map(|r| col.clone().map(move |q| r * self.width + q)) {
                update_maxima(&x[cell * c..][..c], cell as u32, y, winners);
            }
        }
    }

    /// One band of map rows per block. Bands are independent, and within a band boxes are processed in order, so sums
    /// do not depend on the number of threads.
    fn backward<T: Stored>(&self, winners: &[u32], dy: &[T]) -> Vec<T> {
        let row_len = self.width * self.channels;
        fill_blocks(self.batch, self.image_len(), BAND_ROWS * row_len, |image, offset, out| {
            let first = offset / row_len;
            let band = first..first + out.len() / row_len;
            for (i, grid) in self.grids.iter().enumerate().filter(|(_, grid)| grid.image == image) {
                let at = i * self.grid_len();
                let (winners, dy) = (&winners[at..][..self.grid_len()], &dy[at..][..self.grid_len()]);
                self.scatter_gradient(grid, &band, winners, dy, out);
            }
        })
    }

    /// Adds the gradient of one box to the rows of a band.
    fn scatter_gradient<T: Stored>(
        &self,
        grid: &RoiGrid,
        band: &Range<usize>,
        winners: &[u32],
        dy: &[T],
        out: &mut [T::Wide],
    ) {
        let (c, bin_row) = (self.channels, self.bins.1 * self.channels);
        let (lowest, end) = (band.start * self.width, band.end * self.width);
        for (i, row) in grid.rows.iter().enumerate() {
            if row.end <= band.start || row.start >= band.end {
                continue;
            }
            let part = i * bin_row..(i + 1) * bin_row;
            for (j, (&winner, &d)) in winners[part.clone()].iter().zip(&dy[part]).enumerate() {
                let cell = winner as usize;
                if winner != NONE && (lowest..end).contains(&cell) {
                    out[(cell - lowest) * c + j % c] += d.wide();
                }
            }
        }
    }
}

/// Map rows per backward block: few boxes span two blocks, and a map has several.
const BAND_ROWS: usize = 8;

/// Updates the maxima with a cell's channels. A separate function, so that the compiler can vectorize it.
#[inline(never)]
fn update_maxima<T: Stored>(x: &[T], cell: u32, y: &mut [T], winners: &mut [u32]) {
    for ((&x, y), winner) in x.iter().zip(y).zip(winners) {
        let (new, old) = (x.wide(), y.wide());
        let wins = (new > old) | (new.nan() & !old.nan());
        *y = if wins { x } else { *y };
        *winner = if wins { cell } else { *winner };
    }
}

/// The argmax cell of each output element, or [`NONE`].
enum Winners {
    Cpu(Vec<u32>),
    /// u32 of the output's shape, and the box table that the kernels read
    #[cfg(feature = "cuda")]
    Cuda {
        cells: Tensor,
        boxes: Tensor,
    },
}

struct RoiPool {
    plan: RoiPlan,
    /// Stored by the forward pass for the backward pass.
    winners: OnceLock<Winners>,
    /// whether there will be a backward pass
    keep: bool,
}

impl Op<1> for RoiPool {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        let RoiPlan { grids, bins: (ph, pw), channels, .. } = &self.plan;
        Ok(by_stored!(x, T => {
            let (y, winners) = self.plan.forward(x.elements::<T>()?, self.keep);
            // a repeated forward pass would find the same cells
            self.winners.get_or_init(|| Winners::Cpu(winners));
            output(y, (grids.len(), *ph, *pw, *channels))
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        self.forward_cuda(x)
    }

    /// Only the shape of x is used.
    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dx = compute(
            "roi_max_pool gradient",
            [x, dy],
            |[x, dy]| {
                let Some(Winners::Cpu(winners)) = self.winners.get() else {
                    bail!("{}: no forward pass came before on the processor", x.op)
                };
                Ok(by_stored!(x, T => output(self.plan.backward(winners, dy.elements::<T>()?), x.shape())))
            },
            #[cfg(feature = "cuda")]
            |[x, dy]| self.gradient_cuda(x, dy),
        )?;
        Ok([Some(dx)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn roi(x1: f32, y1: f32, x2: f32, y2: f32) -> Roi {
        Roi { image: 0, bounds: Rect::new(x1, y1, x2, y2) }
    }

    /// The numbers 0, 1, … on a map of one channel.
    fn counting(height: usize, width: usize) -> Result<Tensor> {
        Tensor::arange(0f32, (height * width) as f32, &Device::Cpu)?.reshape((1, height, width, 1))
    }

    fn pooled(x: &Tensor, rois: &[Roi], scale: f64, bins: (usize, usize)) -> Result<Vec<f32>> {
        roi_max_pool(x, rois, scale, bins)?.flatten_all()?.to_vec1()
    }

    #[test]
    fn halves_round_away_from_zero() {
        assert_eq!([7.9, 8.0, 24.0, 40.0, -8.0, -7.9].map(|c| cell(c, 1.0 / 16.0)), [0, 1, 2, 3, -1, 0]);
        assert_eq!([f32::MAX, -f32::MAX].map(|c| cell(c, 16.0)), [1_000_000_000, -1_000_000_000]);
    }

    #[test]
    fn bins_cover_the_box_and_may_share_cells() {
        assert_eq!(bins((2, 8), 3, 20), [2..5, 4..7, 6..9]);
        assert_eq!(bins((0, 0), 3, 5), [0..1, 0..1, 0..1], "one cell serves all bins");
        assert_eq!(bins((3, 1), 2, 5), [3..4, 3..4], "a box that is inside out has one cell");
        assert_eq!(bins((-2, 1), 2, 5), [0..0, 0..2]);
        assert_eq!(bins((4, 7), 2, 5), [4..5, 5..5]);
        for extent in 1..200 {
            let spans = bins((0, extent - 1), 7, 1000);
            assert_eq!((spans[0].start, spans[6].end as i64), (0, extent), "no cell beyond the box");
        }
    }

    #[test]
    fn bins_outside_the_map_are_0_without_gradient() -> Result<()> {
        let x = Var::from_tensor(&(counting(3, 3)? - 20.0)?)?;
        let y = roi_max_pool(&x, &[roi(2., 0., 3., 1.), roi(50., 50., 60., 60.)], 1.0, (2, 2))?;
        let values = y.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(values, [-18., 0., -15., 0., 0., 0., 0., 0.]);
        let dx = y.backward()?.get(&x).map(|g| g.flatten_all()?.to_vec1::<f32>()).transpose()?;
        assert_eq!(dx, Some(vec![0., 0., 1., 0., 0., 1., 0., 0., 0.]));
        Ok(())
    }

    #[test]
    fn no_boxes_at_all() -> Result<()> {
        let x = Var::from_tensor(&counting(3, 4)?)?;
        let y = roi_max_pool(&x, &[], 0.5, (6, 6))?;
        assert_eq!(y.dims(), [0, 6, 6, 1]);
        let dx = y.sum_all()?.backward()?.get(&x).map(|g| g.flatten_all()?.to_vec1::<f32>()).transpose()?;
        assert_eq!(dx, Some(vec![0.0; 12]));
        Ok(())
    }

    #[test]
    fn ties_go_to_the_first_and_boxes_add_up() -> Result<()> {
        let x = Var::ones((2, 2, 2, 1), DType::F32, &Device::Cpu)?;
        let whole = roi(0., 0., 1., 1.);
        let y = roi_max_pool(&x, &[whole, whole, Roi { image: 1, ..whole }], 1.0, (1, 1))?;
        let dx = y.backward()?.get(&x).map(|g| g.flatten_all()?.to_vec1::<f32>()).transpose()?;
        assert_eq!(dx, Some(vec![2., 0., 0., 0., 1., 0., 0., 0.]));
        Ok(())
    }

    #[test]
    fn nan_wins_and_minus_infinity_is_a_value() -> Result<()> {
        let x = Tensor::from_vec(vec![1f32, f32::NAN, 3.0, f32::NEG_INFINITY], (1, 2, 2, 1), &Device::Cpu)?;
        assert!(pooled(&x, &[roi(0., 0., 1., 1.)], 1.0, (1, 1))?[0].is_nan());
        assert_eq!(pooled(&x, &[roi(1., 1., 1., 1.)], 1.0, (1, 1))?, [f32::NEG_INFINITY]);
        Ok(())
    }

    /// Without a backward pass nothing is kept, and nothing else differs.
    #[test]
    fn the_same_with_and_without_a_gradient() -> Result<()> {
        let x = counting(9, 11)?;
        let rois = [roi(0., 0., 10., 8.), roi(3., 2., 5., 7.), roi(-4., -4., 2., 2.)];
        let tracked = pooled(Var::from_tensor(&x)?.as_tensor(), &rois, 1.0, (3, 2))?;
        assert_eq!(pooled(&x, &rois, 1.0, (3, 2))?, tracked);
        assert_eq!(tracked[..6], [27., 32., 60., 65., 93., 98.]);
        Ok(())
    }

    #[test]
    fn threads_change_no_bit() -> Result<()> {
        let n = 2 * 37 * 41 * 5;
        let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1009) as f32).collect();
        let x = Var::from_vec(values, (2, 37, 41, 5), &Device::Cpu)?;
        let rois: Vec<Roi> = (0..60)
            .map(|i| {
                let at = i as f32 * 5.0;
                Roi { image: i % 2, bounds: Rect::new(at, 300.0 - at, at + 200.0, 600.0 - at) }
            })
            .collect();
        let run = |threads: usize| -> Result<Vec<f32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = roi_max_pool(&x, &rois, 1.0 / 16.0, (6, 6))?;
                let gradients = (&y * &y)?.sum_all()?.backward()?;
                Ok(gradients.get(&x).map(|g| g.flatten_all()?.to_vec1()).transpose()?.unwrap_or_default())
            })
        };
        let (one, three) = (run(1)?, run(3)?);
        assert!(one.iter().any(|g| *g != 0.0) && one == three);
        Ok(())
    }

    #[test]
    fn errors_say_what_is_wrong() -> Result<()> {
        let x = counting(3, 3)?;
        let fault =
            |x: &Tensor, roi: Roi, scale, bins| roi_max_pool(x, &[roi], scale, bins).unwrap_err().to_string();
        let one = roi(0., 0., 1., 1.);
        assert!(fault(&x, Roi { image: 1, ..one }, 1.0, (2, 2)).contains("picture 1 of a batch of 1"));
        assert!(fault(&x, roi(0., f32::NAN, 1., 1.), 1.0, (2, 2)).contains("not finite"));
        assert!(fault(&x, one, 0.0, (2, 2)).contains("must be positive"));
        assert!(fault(&x, one, 1.0, (0, 2)).contains("0×2"));
        assert!(fault(&x.squeeze(0)?, one, 1.0, (2, 2)).contains("[3, 3, 1]"));
        assert!(fault(&x.to_dtype(DType::U32)?, one, 1.0, (2, 2)).contains("f32, f64 or bf16"));
        Ok(())
    }
}
