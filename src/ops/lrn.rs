//! Local response normalization across channels (Krizhevsky, Sutskever and Hinton, NIPS 2012, section 3.3): y = x ·
//! (k + α/n · Σ x²)^−β, summed over the n surrounding channels, fewer at either end. α is divided by n, as in Caffe
//! and PyTorch. Not supported: normalization over spatial windows.

#[cfg(feature = "cuda")]
mod cuda;

use super::{
    cpu::{Stored, by_stored, fill_blocks, nhwc},
    tape::{Evaluated, recorded},
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Shape, Tensor, WithDType, bail};
use std::ops::Range;

/// The window and the constants of the formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// n, odd: number of channels in the window
    pub size: usize,
    pub alpha: f64,
    pub beta: f64,
    pub k: f64,
}

impl Lrn {
    /// As in Caffe's AlexNet and CaffeNet; the paper has k = 2.
    pub const ALEXNET: Self = Self { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 };

    fn check(&self, x: &Tensor) -> Result<()> {
        nhwc("lrn", x)?;
        if self.size.is_multiple_of(2) {
            bail!("lrn: the window must be an odd number of channels, got {}", self.size);
        }
        Ok(())
    }

    /// The window of channel `c`; by symmetry, also the channels whose windows contain `c`.
    fn around(&self, c: usize, channels: usize) -> Range<usize> {
        let half = self.size / 2;
        c.saturating_sub(half)..(c + half + 1).min(channels)
    }

    /// k + α/n · Σ x² of each channel of a pixel.
    fn sums(&self, x: &[f64], sums: &mut [f64]) {
        let alpha = self.alpha / self.size as f64;
        for (c, sum) in sums.iter_mut().enumerate() {
            *sum = self.k + alpha * x[self.around(c, x.len())].iter().map(|v| v * v).sum::<f64>();
        }
    }

    /// s^−β, without `powf` for AlexNet's β.
    fn factor(&self, sum: f64) -> f64 {
        if self.beta == 0.75 { 1.0 / (sum.sqrt() * sum.sqrt().sqrt()) } else { sum.powf(-self.beta) }
    }
}

/// `(B, H, W, C)`, f32, f64 or bf16; the shape stays. Errors: another rank, an even window.
pub fn lrn(x: &Tensor, options: Lrn) -> Result<Tensor> {
    options.check(x)?;
    apply(options, [x])
}

/// [`lrn`] outside of candle's graph.
pub fn lrn_recorded(x: &Tensor, options: Lrn) -> Result<Evaluated> {
    options.check(x)?;
    recorded(options, x)
}

/// Rows, elements per row, and channels of a map.
fn extents(shape: &Shape) -> Result<(usize, usize, usize)> {
    let (batch, height, width, channels) = shape.dims4()?;
    Ok((batch * height, width * channels, channels.max(1)))
}

impl Op<1> for Lrn {
    fn name(&self) -> &'static str {
        "lrn"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        let extents = extents(x.shape())?;
        Ok(by_stored!(x, T => output(forward(*self, extents, x.elements::<T>()?), x.shape())))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        cuda::forward(*self, x)
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dx = compute(
            "lrn gradient",
            [x, dy],
            |[x, dy]| {
                let extents = extents(x.shape())?;
                Ok(by_stored!(x, T => {
                    output(backward(*self, extents, x.elements::<T>()?, dy.elements()?), x.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |[x, dy]| cuda::gradient(*self, x, dy),
        )?;
        Ok([Some(dx)])
    }
}

fn forward<T: Stored>(options: Lrn, (rows, row, channels): (usize, usize, usize), x: &[T]) -> Vec<T> {
    fill_blocks(rows, row, row, |run, _, out| {
        let (mut pixel, mut sums) = (vec![0.0; channels], vec![0.0; channels]);
        let x = &x[run * row..][..row];
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            pixel.iter_mut().zip(x).for_each(|(p, x)| *p = x.to_f64());
            options.sums(&pixel, &mut sums);
            for ((out, x), sum) in out.iter_mut().zip(&pixel).zip(&sums) {
                *out = T::Wide::from_f64(x * options.factor(*sum));
            }
        }
    })
}

/// dx = dy·s^−β − 2αβ/n · x · Σ dy·x·s^(−β−1), the sum over the channels whose window holds this one.
fn backward<T: Stored>(
    options: Lrn,
    (rows, row, channels): (usize, usize, usize),
    x: &[T],
    dy: &[T],
) -> Vec<T> {
    let slope = 2.0 * options.alpha * options.beta / options.size as f64;
    fill_blocks(rows, row, row, |run, _, out| {
        let [mut pixel, mut sums, mut direct, mut shares] = [(); 4].map(|()| vec![0.0; channels]);
        let (x, dy) = (&x[run * row..][..row], &dy[run * row..][..row]);
        let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
        for ((x, dy), out) in pixels.zip(out.chunks_exact_mut(channels)) {
            pixel.iter_mut().zip(x).for_each(|(p, x)| *p = x.to_f64());
            options.sums(&pixel, &mut sums);
            for c in 0..channels {
                direct[c] = dy[c].to_f64() * options.factor(sums[c]);
                shares[c] = direct[c] * pixel[c] / sums[c];
            }
            for (c, out) in out.iter_mut().enumerate() {
                let share: f64 = shares[options.around(c, channels)].iter().sum();
                *out = T::Wide::from_f64(direct[c] - slope * pixel[c] * share);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn by_hand_at_the_ends_and_in_the_middle() -> Result<()> {
        let x = Tensor::new(&[[[[1f64, 2.0, 3.0, 4.0]]]], &Device::Cpu)?;
        let y = lrn(&x, Lrn { size: 3, alpha: 0.3, beta: 1.0, k: 2.0 })?.flatten_all()?.to_vec1::<f64>()?;
        // 0.3 / 3 times 1 + 4, 1 + 4 + 9, 4 + 9 + 16, 9 + 16
        let expected = [1.0 / 2.5, 2.0 / 3.4, 3.0 / 4.9, 4.0 / 4.5];
        assert!(y.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{y:?}");
        Ok(())
    }

    #[test]
    fn errors_name_the_op() -> Result<()> {
        let x = Tensor::zeros((1, 2, 2, 4), DType::F32, &Device::Cpu)?;
        let error = lrn(&x, Lrn { size: 4, ..Lrn::ALEXNET }).unwrap_err().to_string();
        assert!(error.contains("lrn") && error.contains("odd"), "{error}");
        assert!(lrn(&x.flatten_all()?, Lrn::ALEXNET).unwrap_err().to_string().contains("[16]"));
        Ok(())
    }
}
