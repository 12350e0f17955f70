//! Plain two-tap bilinear resizing (no antialiasing) with both corner conventions, as PyTorch's `interpolate`.
//! Antialiased resizing of input images is in `data`.

use super::{
    cpu::{Stored, by_stored, fill_blocks, nhwc},
    tape::{Evaluated, recorded},
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Tensor, WithDType, bail};

#[cfg(feature = "cuda")]
mod cuda;

/// `(B, H, W, C)` → `(B, h, w, C)`, f32, f64 or bf16. With `align_corners` the first and last samples of both grids
/// meet (o ↦ o·(H−1)/(h−1)); without it pixel centers are half-integers (o ↦ (o+½)·H/h − ½, not below 0).
/// Errors: a shape that is not NHWC, an empty axis.
pub fn resize_bilinear(x: &Tensor, size: (usize, usize), align_corners: bool) -> Result<Tensor> {
    apply(ResizeOp::bilinear(x, size, align_corners)?, [x])
}

/// [`resize_bilinear`] outside of candle's graph.
pub fn resize_bilinear_recorded(x: &Tensor, size: (usize, usize), align_corners: bool) -> Result<Evaluated> {
    recorded(ResizeOp::bilinear(x, size, align_corners)?, x)
}

/// `(B, H, W, C)` → `(B, rows.len(), columns.len(), C)`: bilinear interpolation at fractional rows and columns of the
/// map, with edge samples extended beyond the border. Errors: a shape that is not NHWC, an empty axis.
pub fn interpolate(x: &Tensor, rows: &[f64], columns: &[f64]) -> Result<Tensor> {
    let (_, from_h, from_w, _) = nhwc(NAME, x)?;
    if from_h * from_w * rows.len() * columns.len() == 0 {
        bail!(
            "{NAME}: cannot read {:?} at {} x {} places: an axis is empty",
            x.dims(),
            rows.len(),
            columns.len()
        );
    }
    let axis =
        |from: usize, at: &[f64]| AxisTaps { from, taps: at.iter().map(|&at| tap(at, from)).collect() };
    apply(ResizeOp { rows: axis(from_h, rows), cols: axis(from_w, columns) }, [x])
}

const NAME: &str = "resize_bilinear";

/// Two neighboring samples and the weight of the upper one.
pub type Tap = (usize, usize, f64);

/// The tap for position `at` among `from` ≥ 1 samples; edge samples are extended beyond the border.
pub fn tap(at: f64, from: usize) -> Tap {
    let lower = (at.max(0.0) as usize).min(from - 1);
    (lower, (lower + 1).min(from - 1), (at - lower as f64).clamp(0.0, 1.0))
}

/// The taps of every output position on one axis.
struct AxisTaps {
    from: usize,
    taps: Vec<Tap>,
}

impl AxisTaps {
    fn new(from: usize, to: usize, align_corners: bool) -> Self {
        let position = |o: usize| match align_corners {
            true if to > 1 => o as f64 * (from - 1) as f64 / (to - 1) as f64,
            true => 0.0,
            false => ((o as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0),
        };
        Self { from, taps: (0..to).map(|o| tap(position(o), from)).collect() }
    }

    /// For every input position, the (output position, weight) pairs that read it, in output order.
    fn readers(&self) -> Vec<Vec<(usize, f64)>> {
        let mut readers = vec![Vec::new(); self.from];
        for (o, &(lower, upper, weight)) in self.taps.iter().enumerate() {
            readers[lower].push((o, 1.0 - weight));
            readers[upper].push((o, weight));
        }
        readers.iter_mut().for_each(|r| r.retain(|&(_, weight)| weight != 0.0));
        readers
    }
}

struct ResizeOp {
    rows: AxisTaps,
    cols: AxisTaps,
}

impl ResizeOp {
    fn bilinear(x: &Tensor, (h, w): (usize, usize), align_corners: bool) -> Result<Self> {
        let (_, from_h, from_w, _) = nhwc(NAME, x)?;
        if from_h * from_w * h * w == 0 {
            bail!("{NAME}: cannot resize {:?} to {h} x {w}: an axis is empty", x.dims());
        }
        let rows = AxisTaps::new(from_h, h, align_corners);
        Ok(Self { rows, cols: AxisTaps::new(from_w, w, align_corners) })
    }

    fn forward<T: Stored>(&self, x: &[T], batch: usize, c: usize) -> Vec<T> {
        let (rows, cols) = (&self.rows.taps, &self.cols.taps);
        let (from_row, to_row) = (self.cols.from * c, cols.len() * c);
        fill_blocks(batch * rows.len(), to_row, to_row, |run, _, out| {
            let (image, (y0, y1, fy)) = (run / rows.len(), rows[run % rows.len()]);
            let row = |y: usize| &x[(image * self.rows.from + y) * from_row..][..from_row];
            let (top, bottom, fy) = (row(y0), row(y1), T::Wide::from_f64(fy));
            for (&(x0, x1, fx), out) in cols.iter().zip(out.chunks_exact_mut(c)) {
                let fx = T::Wide::from_f64(fx);
                let corners = [top, bottom].map(|r| (&r[x0 * c..][..c], &r[x1 * c..][..c]));
                let [(tl, tr), (bl, br)] = corners;
                for (i, o) in out.iter_mut().enumerate() {
                    let [tl, tr, bl, br] = [tl, tr, bl, br].map(|corner| corner[i].wide());
                    let (upper, lower) = (tl + (tr - tl) * fx, bl + (br - bl) * fx);
                    *o = upper + (lower - upper) * fy;
                }
            }
        })
    }

    /// Each input row gathers from the output rows that read it, so rows are independent.
    fn gather<T: Stored>(&self, dy: &[T], batch: usize, c: usize) -> Vec<T> {
        let (rows, cols) = (self.rows.readers(), self.cols.readers());
        let (from_row, to_row) = (self.cols.from * c, self.cols.taps.len() * c);
        fill_blocks(batch * self.rows.from, from_row, from_row, |run, _, out| {
            let image = run / self.rows.from;
            for &(oy, wy) in &rows[run % self.rows.from] {
                let dy = &dy[(image * self.rows.taps.len() + oy) * to_row..][..to_row];
                for (readers, out) in cols.iter().zip(out.chunks_exact_mut(c)) {
                    for &(ox, wx) in readers {
                        let weight = T::Wide::from_f64(wy * wx);
                        out.iter_mut().zip(&dy[ox * c..][..c]).for_each(|(o, d)| *o += d.wide() * weight);
                    }
                }
            }
        })
    }
}

impl Op<1> for ResizeOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        let (batch, _, _, c) = x.shape().dims4()?;
        let shape = (batch, self.rows.taps.len(), self.cols.taps.len(), c);
        Ok(by_stored!(x, T => output(self.forward(x.elements::<T>()?, batch, c), shape)))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        self.forward_cuda(x)
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dx = compute(
            "resize_bilinear gradient",
            [dy],
            |[dy]| {
                let (batch, _, _, c) = dy.shape().dims4()?;
                let shape = (batch, self.rows.from, self.cols.from, c);
                Ok(by_stored!(dy, T => output(self.gather(dy.elements::<T>()?, batch, c), shape)))
            },
            #[cfg(feature = "cuda")]
            |[dy]| self.backward_cuda(dy),
        )?;
        Ok([Some(dx)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn aligned_corners_double_a_ramp_exactly() -> Result<()> {
        let x = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((1, 1, 12, 1))?;
        let y = resize_bilinear(&x, (3, 23), true)?.flatten_all()?.to_vec1::<f32>()?;
        let ramp = (0..23).map(|i| i as f32 / 2.0).collect::<Vec<_>>();
        assert_eq!(y, [ramp.clone(), ramp.clone(), ramp].concat());
        Ok(())
    }

    #[test]
    fn the_same_size_is_the_identity_in_both_conventions() -> Result<()> {
        let x = Tensor::arange(0f32, 30.0, &Device::Cpu)?.reshape((1, 3, 5, 2))?;
        for align_corners in [true, false] {
            let y = resize_bilinear(&x, (3, 5), align_corners)?;
            assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }

    #[test]
    fn an_empty_size_is_refused() -> Result<()> {
        let x = Tensor::zeros((1, 3, 5, 2), candle_core::DType::F32, &Device::Cpu)?;
        let message = resize_bilinear(&x, (0, 5), true).unwrap_err().to_string();
        assert!(message.contains("resize_bilinear") && message.contains("0 x 5"), "{message}");
        Ok(())
    }
}
