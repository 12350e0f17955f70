//! Max and average pooling with Caffe's geometry: padding, and an output size that rounds up, so that the last window
//! may extend beyond the edge. Not here: RoI pooling (`roi_pool`), global pooling (a mean over two axes), dilation.
//!
//! No indices are stored: the backward pass finds the maximum again from x and y, in scan order.

#[cfg(feature = "cuda")]
mod cuda;

use super::{
    cpu::{Float, Stored, by_stored, fill_blocks, nhwc},
    tape::{Evaluated, recorded},
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Shape, Tensor, WithDType, bail};
use std::fmt;

/// Window, stride, zero (or −∞) padding on each side, and whether the output size rounds up (Caffe) or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub ceil: bool,
}

impl fmt::Display for PoolGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}, stride {}, pad {}", self.kernel, self.stride, self.pad)
    }
}

impl PoolGeometry {
    /// Output length of one axis of length `n`, Caffe's rule: ceil((n+2p−k)/s)+1, one less if the last window would
    /// start beyond image and leading padding; with `ceil` off the quotient rounds down. 0 if no window fits.
    pub fn out(&self, n: usize) -> usize {
        let stride = self.stride.max(1) as isize;
        let room = (n + 2 * self.pad) as isize - self.kernel as isize;
        let up = if self.ceil { stride - 1 } else { 0 };
        let out = ((room + up).div_euclid(stride) + 1).max(0) as usize;
        if out > 0 && (out - 1) * self.stride >= n + self.pad { out - 1 } else { out }
    }

    fn check(&self, op: &str, x: &Tensor) -> Result<()> {
        let (_, h, w, _) = nhwc(op, x)?;
        if self.kernel == 0 || self.stride == 0 || self.pad >= self.kernel {
            bail!("{op}: kernel and stride must be at least 1 and pad below the kernel, got {self}");
        }
        if self.out(h) == 0 || self.out(w) == 0 {
            bail!("{op}: x {:?} is smaller than the window of {self}", x.dims());
        }
        Ok(())
    }

    fn spans(&self, n: usize) -> Vec<Span> {
        let clip = |padded: usize, n: usize| padded.saturating_sub(self.pad).min(n);
        (0..self.out(n))
            .map(|i| {
                let start = i * self.stride;
                let end = (start + self.kernel).min(n + 2 * self.pad);
                Span { lo: clip(start, n), hi: clip(end, n), padded: end - start }
            })
            .collect()
    }
}

/// One window on one axis: the part inside the image, and the length of the part inside the padded image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    lo: usize,
    hi: usize,
    padded: usize,
}

/// `(B, H, W, C)` → `(B, H', W', C)`; padding is −∞; on ties the gradient goes to the first maximum in scan order;
/// NaN propagates. f32, f64 or bf16. Errors: a shape that is not NHWC, a window larger than the input, pad ≥ kernel.
pub fn max_pool2d(x: &Tensor, g: PoolGeometry) -> Result<Tensor> {
    g.check("max_pool2d", x)?;
    apply(PoolOp { geometry: g, kind: PoolKind::Max }, [x])
}

/// Window mean as in Caffe (and PyTorch with `count_include_pad`): the divisor includes padding, but not the area
/// beyond it. Shapes and errors as [`max_pool2d`].
pub fn avg_pool2d(x: &Tensor, g: PoolGeometry) -> Result<Tensor> {
    g.check("avg_pool2d", x)?;
    apply(PoolOp { geometry: g, kind: PoolKind::Average }, [x])
}

/// [`max_pool2d`] outside of candle's graph.
pub fn max_pool2d_recorded(x: &Tensor, g: PoolGeometry) -> Result<Evaluated> {
    g.check("max_pool2d", x)?;
    recorded(PoolOp { geometry: g, kind: PoolKind::Max }, x)
}

/// [`avg_pool2d`] outside of candle's graph.
pub fn avg_pool2d_recorded(x: &Tensor, g: PoolGeometry) -> Result<Evaluated> {
    g.check("avg_pool2d", x)?;
    recorded(PoolOp { geometry: g, kind: PoolKind::Average }, x)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum PoolKind {
    Max,
    Average,
}

#[derive(Clone, Copy)]
struct PoolOp {
    geometry: PoolGeometry,
    kind: PoolKind,
}

/// The windows of one call.
struct PoolWindows {
    batch: usize,
    width: usize,
    height: usize,
    channels: usize,
    rows: Vec<Span>,
    cols: Vec<Span>,
}

impl PoolWindows {
    fn new(g: PoolGeometry, shape: &Shape) -> Result<Self> {
        let (batch, height, width, channels) = shape.dims4()?;
        Ok(Self { batch, width, height, channels, rows: g.spans(height), cols: g.spans(width) })
    }

    fn shape(&self) -> Shape {
        (self.batch, self.rows.len(), self.cols.len(), self.channels).into()
    }

    fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn out_row_len(&self) -> usize {
        self.cols.len() * self.channels
    }

    /// One output row per block; `window(taps, out)` reduces the pixels of one window to one output pixel.
    fn forward<T: Stored>(
        &self,
        x: &[T],
        window: impl Fn(&Span, &Span, &[T], &mut [T::Wide]) + Sync,
    ) -> Vec<T> {
        let outer = self.batch * self.rows.len();
        fill_blocks(outer, self.out_row_len(), self.out_row_len(), |run, _, out| {
            let (image, row) = (run / self.rows.len(), &self.rows[run % self.rows.len()]);
            let x = &x[image * self.image_len()..][..self.image_len()];
            for (col, out) in self.cols.iter().zip(out.chunks_exact_mut(self.channels)) {
                window(row, col, x, out);
            }
        })
    }

    /// One band of input rows per block; `window(output pixel, row, col, band)` adds the window's gradient to the
    /// rows of the band. Bands are independent; within a band, windows are processed in scan order.
    fn backward<T: Stored>(&self, window: impl Fn(usize, &Span, &Span, &mut Band<T::Wide>) + Sync) -> Vec<T> {
        let row_len = self.width * self.channels;
        fill_blocks(self.batch, self.image_len(), BAND_ROWS * row_len, |image, offset, out| {
            let first = offset / row_len;
            let mut band =
                Band { first, end: first + out.len() / row_len, image, gradient: out, rest: Vec::new() };
            for (oy, row) in self.rows.iter().enumerate() {
                if row.hi <= band.first || row.lo >= band.end {
                    continue;
                }
                for (ox, col) in self.cols.iter().enumerate() {
                    let pixel = (image * self.rows.len() + oy) * self.cols.len() + ox;
                    window(pixel, row, col, &mut band);
                }
            }
        })
    }

    /// Offset in an image of the pixel (y, x).
    fn at(&self, y: usize, x: usize) -> usize {
        (y * self.width + x) * self.channels
    }
}

/// Input rows per backward block: large enough that few windows span two bands, small enough to parallelize within an
/// image.
const BAND_ROWS: usize = 16;

/// Rows `first..end` of one image's gradient.
struct Band<'a, T> {
    first: usize,
    end: usize,
    image: usize,
    gradient: &'a mut [T],
    /// unassigned gradient of the current window; a buffer reused for all windows
    rest: Vec<T>,
}

impl<T> Band<'_, T> {
    fn holds(&self, y: usize) -> bool {
        (self.first..self.end).contains(&y)
    }

    fn pixel(&mut self, windows: &PoolWindows, y: usize, x: usize) -> &mut [T] {
        &mut self.gradient[windows.at(y - self.first, x)..][..windows.channels]
    }
}

fn max_forward<T: Stored>(windows: &PoolWindows, x: &[T]) -> Vec<T> {
    windows.forward(x, |row, col, x, out| {
        out.iter_mut().zip(&x[windows.at(row.lo, col.lo)..]).for_each(|(o, v)| *o = v.wide());
        for y in row.lo..row.hi {
            for tap in x[windows.at(y, col.lo)..windows.at(y, col.hi)].chunks_exact(out.len()) {
                for (o, v) in out.iter_mut().zip(tap) {
                    let v = v.wide();
                    *o = if v > *o || v.nan() { v } else { *o };
                }
            }
        }
    })
}

fn average_forward<T: Stored>(windows: &PoolWindows, x: &[T]) -> Vec<T> {
    windows.forward(x, |row, col, x, out| {
        for y in row.lo..row.hi {
            for tap in x[windows.at(y, col.lo)..windows.at(y, col.hi)].chunks_exact(out.len()) {
                out.iter_mut().zip(tap).for_each(|(o, v)| *o += v.wide());
            }
        }
        let share = T::Wide::from_f64(1.0 / (row.padded * col.padded) as f64);
        out.iter_mut().for_each(|o| *o *= share);
    })
}

fn max_backward<T: Stored>(windows: &PoolWindows, x: &[T], y: &[T], dy: &[T]) -> Vec<T> {
    let c = windows.channels;
    windows.backward(|pixel, row, col, band| {
        let max = &y[pixel * c..][..c];
        let mut rest = std::mem::take(&mut band.rest);
        rest.clear();
        rest.extend(dy[pixel * c..][..c].iter().map(|d| d.wide()));
        let x = &x[band.image * windows.image_len()..][..windows.image_len()];
        for ty in row.lo..row.hi {
            for tx in col.lo..col.hi {
                let tap = &x[windows.at(ty, tx)..][..c];
                if band.holds(ty) {
                    assign_gradient(tap, max, &mut rest, band.pixel(windows, ty, tx));
                } else {
                    clear_gradient(tap, max, &mut rest);
                }
            }
        }
        band.rest = rest;
    })
}

fn is_max<T: Float>(x: T, max: T) -> bool {
    // no short-circuit evaluation, so that the loops below vectorize
    (x == max) | x.nan()
}

/// Moves the remaining gradient of the window to this tap in the channels where the tap is the maximum. A separate
/// function, so that the compiler can vectorize it.
#[inline(never)]
fn assign_gradient<T: Stored>(tap: &[T], max: &[T], rest: &mut [T::Wide], gradient: &mut [T::Wide]) {
    for (((x, m), r), d) in tap.iter().zip(max).zip(rest).zip(gradient) {
        let hit = is_max(x.wide(), m.wide());
        *d += if hit { *r } else { T::Wide::ZERO };
        *r = if hit { T::Wide::ZERO } else { *r };
    }
}

/// As [`assign_gradient`] for a tap outside the band, whose gradient another band adds.
#[inline(never)]
fn clear_gradient<T: Stored>(tap: &[T], max: &[T], rest: &mut [T::Wide]) {
    for ((x, m), r) in tap.iter().zip(max).zip(rest) {
        *r = if is_max(x.wide(), m.wide()) { T::Wide::ZERO } else { *r };
    }
}

fn average_backward<T: Stored>(windows: &PoolWindows, dy: &[T]) -> Vec<T> {
    let c = windows.channels;
    windows.backward(|pixel, row, col, band| {
        let share = T::Wide::from_f64(1.0 / (row.padded * col.padded) as f64);
        let dy = &dy[pixel * c..][..c];
        for ty in row.lo.max(band.first)..row.hi.min(band.end) {
            for tx in col.lo..col.hi {
                let gradient = band.pixel(windows, ty, tx);
                gradient.iter_mut().zip(dy).for_each(|(g, d)| *g += d.wide() * share);
            }
        }
    })
}

impl Op<1> for PoolOp {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max_pool2d",
            PoolKind::Average => "avg_pool2d",
        }
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        let windows = PoolWindows::new(self.geometry, x.shape())?;
        Ok(by_stored!(x, T => {
            let x = x.elements::<T>()?;
            let y = match self.kind {
                PoolKind::Max => max_forward(&windows, x),
                PoolKind::Average => average_forward(&windows, x),
            };
            output(y, windows.shape())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        self.forward_cuda(x)
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let name = match self.kind {
            PoolKind::Max => "max_pool2d gradient",
            PoolKind::Average => "avg_pool2d gradient",
        };
        let dx = compute(
            name,
            [x, y, dy],
            |[x, y, dy]| {
                let windows = PoolWindows::new(self.geometry, x.shape())?;
                Ok(by_stored!(x, T => {
                    let dx = match self.kind {
                        PoolKind::Max => max_backward(&windows, x.elements::<T>()?, y.elements()?, dy.elements()?),
                        PoolKind::Average => average_backward(&windows, dy.elements::<T>()?),
                    };
                    output(dx, x.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |inputs| self.backward_cuda(inputs),
        )?;
        Ok([Some(dx)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn geometry(kernel: usize, stride: usize, pad: usize, ceil: bool) -> PoolGeometry {
        PoolGeometry { kernel, stride, pad, ceil }
    }

    #[test]
    fn alexnet_sizes_follow_caffe() {
        let colorizer = geometry(3, 2, 1, true);
        assert_eq!([45, 23, 64, 33].map(|n| colorizer.out(n)), [23, 12, 33, 17]);
        let transfer = geometry(3, 2, 0, true);
        assert_eq!([55, 27, 13].map(|n| transfer.out(n)), [27, 13, 6]);
        assert_eq!(geometry(3, 1, 1, true).out(12), 12);
        assert_eq!([6, 7].map(|n| geometry(3, 2, 0, false).out(n)), [2, 3]);
        assert_eq!([6, 7].map(|n| geometry(3, 2, 0, true).out(n)), [3, 3]);
    }

    #[test]
    fn a_last_window_in_the_padding_is_dropped() {
        // ceil((5+2-2)/2)+1 = 4, but the fourth window starts at 6 = 5+1
        assert_eq!(geometry(2, 2, 1, true).out(5), 3);
        assert_eq!(geometry(3, 1, 0, false).out(2), 0);
        assert_eq!(geometry(3, 2, 0, true).out(2), 1);
    }

    #[test]
    fn no_window_is_empty() {
        for kernel in 1..5 {
            for (stride, pad, n) in
                (1..6).flat_map(|s| (0..kernel).flat_map(move |p| (1..9).map(move |n| (s, p, n))))
            {
                for span in geometry(kernel, stride, pad, true).spans(n) {
                    assert!(span.lo < span.hi && span.hi <= n && span.padded >= span.hi - span.lo);
                }
            }
        }
    }

    #[test]
    fn nan_wins_a_window_and_keeps_its_gradient() -> Result<()> {
        let x = candle_core::Var::from_vec(vec![1f32, f32::NAN, 3.0, 2.0], (1, 2, 2, 1), &Device::Cpu)?;
        let y = max_pool2d(&x, geometry(2, 2, 0, true))?;
        assert!(y.flatten_all()?.to_vec1::<f32>()?[0].is_nan());
        let dx = y.backward()?.get(&x).map(|g| g.flatten_all()?.to_vec1::<f32>());
        assert_eq!(dx.transpose()?, Some(vec![0.0, 1.0, 0.0, 0.0]));
        Ok(())
    }

    #[test]
    fn errors_name_the_op_and_the_shape() -> Result<()> {
        let x = Tensor::zeros((1, 2, 2, 1), candle_core::DType::F32, &Device::Cpu)?;
        let message = max_pool2d(&x, geometry(3, 1, 0, false)).unwrap_err().to_string();
        assert!(message.contains("max_pool2d") && message.contains("[1, 2, 2, 1]"), "{message}");
        let message = avg_pool2d(&x.flatten_all()?, geometry(3, 1, 0, false)).unwrap_err().to_string();
        assert!(message.contains("avg_pool2d") && message.contains("[4]"), "{message}");
        Ok(())
    }
}
