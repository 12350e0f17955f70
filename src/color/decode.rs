//! Decodes a distribution over bins to a color: the annealed mean of Zhang, Isola and Efros (ECCV 2016, equation 5),
//! with the mode (T → 0) and the mean (T = 1) as special cases. Logits are divided by the temperature, which equals
//! the paper's renormalized power of probabilities.

use super::bins::Bins;
use crate::op::{compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
    op::{CudaInput, CudaOutput},
};
#[cfg(feature = "cuda")]
use candle_core::Device;
use candle_core::{DType, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Decoding rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decode {
    /// The most probable bin; ties resolve to the lower index.
    Mode,
    /// The expectation.
    Mean,
    /// The annealed mean with this temperature: 1 is the mean, 0 the mode; the paper uses 0.38.
    Annealed(f32),
}

/// Logits `(B, H, W, Q)` → ab `(B, H, W, 2)`, f32. No gradient.
///
/// Stable for any temperature and any logits, including infinite ones; a NaN logit gives a NaN color. Fails if the
/// last axis is not the number of bins, or the temperature is negative or not finite.
pub fn decode(logits: &Tensor, bins: &Bins, how: Decode) -> Result<Tensor> {
    if logits.dims().last() != Some(&bins.len()) {
        bail!("decode: expected logits (B, H, W, {}), got {:?}", bins.len(), logits.shape())
    }
    let temperature = match how {
        Decode::Mode => 0.0,
        Decode::Mean => 1.0,
        Decode::Annealed(t) if t >= 0.0 && t.is_finite() => t,
        Decode::Annealed(t) => {
            bail!("decode: the temperature must be 0 (mode) or more (1: mean, 0.38: the paper's), got {t}")
        }
    };
    let mean = AnnealedMean { bins, temperature };
    compute(
        NAME,
        [&logits.detach().to_dtype(DType::F32)?],
        |[logits]| {
            let pixels = logits.elements::<f32>()?.par_chunks_exact(bins.len());
            let ab: Vec<[f32; 2]> = pixels.with_min_len(64).map(|logits| mean.color(logits)).collect();
            Ok(output(ab.into_flattened(), colors_of(logits.shape())))
        },
        #[cfg(feature = "cuda")]
        |[logits]| mean.on_gpu(logits),
    )
}

const NAME: &str = "annealed_mean";

struct AnnealedMean<'a> {
    bins: &'a Bins,
    temperature: f32,
}

impl AnnealedMean<'_> {
    fn color(&self, logits: &[f32]) -> [f32; 2] {
        if logits.iter().any(|l| l.is_nan()) {
            return [f32::NAN; 2];
        }
        let mut best = 0;
        for (i, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = i;
            }
        }
        if self.temperature == 0.0 { self.bins.centers()[best] } else { self.mean(logits, logits[best]) }
    }

    fn mean(&self, logits: &[f32], highest: f32) -> [f32; 2] {
        let (mut sum, mut a, mut b) = (0f64, 0f64, 0f64);
        for (logit, center) in logits.iter().zip(self.bins.centers()) {
            // the branch avoids ∞ − ∞; divides by T, since 1/T may be infinite for T > 0
            let exponent = if *logit == highest { 0.0 } else { (logit - highest) / self.temperature };
            let weight = f64::from(exponent.exp());
            sum += weight;
            a += weight * f64::from(center[0]);
            b += weight * f64::from(center[1]);
        }
        [(a / sum) as f32, (b / sum) as f32]
    }
}

#[cfg(feature = "cuda")]
impl AnnealedMean<'_> {
    fn on_gpu(&self, logits: CudaInput) -> Result<CudaOutput> {
        let (device, shape, q) = (logits.device(), colors_of(logits.shape()), self.bins.len());
        let centers = self.bins.centers_on(&Device::Cuda(device.clone()))?;
        let n = shape.elem_count() / 2;
        let (out, y) = alloc_uninit(device, &shape, DType::F32)?;
        let pointers = [logits.address()?, device_ptr(NAME, &centers)?, y].map(Arg::Pointer);
        let rest = [Arg::Float(self.temperature), Arg::count(n), Arg::length(q)];
        launch(device, modules::COLOR, NAME, Grid::warps(n), &[pointers, rest].concat())?;
        Ok((out, shape))
    }
}

/// The output shape: two values per pixel instead of logits.
fn colors_of(logits: &Shape) -> Shape {
    let mut dims = logits.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = 2;
    }
    Shape::from(dims)
}

#[cfg(test)]
mod tests {
    use super::super::bins::spanned_by;
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn color(logits: &[f32], bins: &Bins, how: Decode) -> [f32; 2] {
        let logits = Tensor::from_slice(logits, (1, 1, 1, logits.len()), &Device::Cpu).unwrap();
        let ab = decode(&logits, bins, how).unwrap();
        assert_eq!(ab.dims(), &[1, 1, 1, 2]);
        let ab = ab.flatten_all().unwrap().to_vec1().unwrap();
        [ab[0], ab[1]]
    }

    fn close(x: [f32; 2], y: [f32; 2], slack: f32) -> bool {
        (x[0] - y[0]).abs() <= slack && (x[1] - y[1]).abs() <= slack
    }

    /// Two bins, `odds` to 1: the mean is at odds/(odds + 1) of the way, annealed at odds^(1/T)/(odds^(1/T) + 1).
    #[test]
    fn two_bins_by_hand() {
        let bins = Bins::new(10.0);
        let mut logits = vec![f32::NEG_INFINITY; 313];
        (logits[120], logits[121]) = (4f32.ln(), 0.0);
        assert!(close(color(&logits, &bins, Decode::Mode), [0.0, 0.0], 0.0));
        assert!(close(color(&logits, &bins, Decode::Mean), [0.0, 2.0], 1e-5));
        assert!(close(color(&logits, &bins, Decode::Annealed(0.5)), [0.0, 10.0 / 17.0], 1e-5));
        assert!(close(color(&logits, &bins, Decode::Annealed(2.0)), [0.0, 10.0 / 3.0], 1e-5));
    }

    #[test]
    fn extreme_logits_and_temperatures() {
        let bins = Bins::new(10.0);
        let mut logits = vec![-1e30f32; 313];
        logits[7] = 3e38;
        for how in [Decode::Mode, Decode::Mean, Decode::Annealed(1e-40), Decode::Annealed(3e38)] {
            assert!(color(&logits, &bins, how)[0].is_finite(), "{how:?}");
        }
        logits[7] = f32::INFINITY;
        assert_eq!(color(&logits, &bins, Decode::Mean), bins.centers()[7]);
        let even = color(&[f32::NEG_INFINITY; 313], &bins, Decode::Mean);
        assert!(close(even, color(&[0.0; 313], &bins, Decode::Mean), 0.0));
        logits[9] = f32::NAN;
        assert!(color(&logits, &bins, Decode::Mode)[0].is_nan());
    }

    #[test]
    fn wrong_shapes_and_temperatures_are_named() {
        let bins = Bins::new(10.0);
        let logits = Tensor::zeros((1, 2, 2, 313), DType::F32, &Device::Cpu).unwrap();
        for t in [-0.1, f32::NAN, f32::INFINITY] {
            let message = decode(&logits, &bins, Decode::Annealed(t)).unwrap_err().to_string();
            assert!(message.contains("temperature must be") && message.contains(&t.to_string()), "{message}");
        }
        let message =
            decode(&logits.narrow(3, 0, 312).unwrap(), &bins, Decode::Mode).unwrap_err().to_string();
        assert!(message.contains("(B, H, W, 313)") && message.contains("312"), "{message}");
    }

    #[test]
    fn a_batch_keeps_its_places() {
        let bins = Bins::new(10.0);
        let order = [5usize, 312, 0, 120, 44, 200];
        let mut logits = vec![0f32; 6 * 313];
        order.iter().enumerate().for_each(|(pixel, bin)| logits[pixel * 313 + bin] = 50.0);
        let logits = Tensor::from_vec(logits, (1, 2, 3, 313), &Device::Cpu).unwrap();
        let ab =
            decode(&logits, &bins, Decode::Mode).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected: Vec<f32> = order.iter().flat_map(|bin| bins.centers()[*bin]).collect();
        assert_eq!(ab, expected);
    }

    proptest! {
        #[test]
        fn limits_and_hull(logits in prop::collection::vec(-30f32..30.0, 313), t in 0.01f32..3.0) {
            let bins = Bins::new(10.0);
            let ab = color(&logits, &bins, Decode::Annealed(t));
            prop_assert!(spanned_by(bins.centers(), ab, 1e-3), "{:?}", ab);
            let of = |how| color(&logits, &bins, how);
            prop_assert_eq!(of(Decode::Annealed(1.0)), of(Decode::Mean));
            prop_assert_eq!(of(Decode::Annealed(0.0)), of(Decode::Mode));
            let mut sorted = logits.clone();
            sorted.sort_by(f32::total_cmp);
            prop_assume!(sorted[312] - sorted[311] > 1e-3);
            prop_assert!(close(of(Decode::Annealed(1e-6)), of(Decode::Mode), 1e-4));
        }
    }
}
