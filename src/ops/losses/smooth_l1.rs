//! Smooth L1 of regressed coordinates (Girshick 2015, equations 2 and 3).

use super::super::cpu::{BLOCK, Float, by_dtype, fill_blocks, held};
#[cfg(feature = "cuda")]
use super::cuda::{self, Elements};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Tensor, WithDType, bail};
use rayon::prelude::*;

/// Σ f(w·(p − t)) / `divisor`, with f(d) = d²/2 where |d| < 1, else |d| − 1/2: Fast R-CNN's loss, whose inside weights stand
/// before the knee. predictions, targets and weights of any one shape. Entries of weight 0 are not looked at. The
/// gradient goes to the predictions alone.
///
/// # Errors
/// Shapes that differ, a divisor that is not positive.
pub fn smooth_l1(predictions: &Tensor, targets: &Tensor, weights: &Tensor, divisor: f64) -> Result<Tensor> {
    let (p, t, w) = (predictions.dims(), targets.dims(), weights.dims());
    if p != t || p != w {
        bail!("{NAME}: predictions {p:?}, targets {t:?} and weights {w:?} must agree");
    }
    if !(divisor > 0.0 && divisor.is_finite()) {
        bail!("{NAME}: the divisor of predictions {p:?} must be positive, got {divisor}");
    }
    let as_predictions = |t: &Tensor| t.detach().to_dtype(predictions.dtype())?.contiguous();
    let op = SmoothL1 { weights: as_predictions(weights)?, divisor };
    apply(op, [predictions, &as_predictions(targets)?])
}

const NAME: &str = "smooth_l1";

struct SmoothL1 {
    weights: Tensor,
    divisor: f64,
}

impl SmoothL1 {
    #[cfg(feature = "cuda")]
    fn elements(&self) -> Elements<'_> {
        Elements { name: NAME, others: Some(&self.weights), divisor: self.divisor }
    }

    fn with_weights<T: Float, R>(&self, f: impl FnOnce(&[T]) -> R) -> Result<R> {
        let (storage, layout) = self.weights.storage_and_layout();
        Ok(f(held(NAME, (&storage, layout))?))
    }
}

fn loss(difference: f64) -> f64 {
    let size = difference.abs();
    if size < 1.0 { 0.5 * size * size } else { size - 0.5 }
}

/// w·(p − t), which is 0 for weight 0 even where p or t is not a number.
fn difference<T: Float>(p: T, t: T, w: T) -> f64 {
    if w == T::ZERO { 0.0 } else { w.to_f64() * (p.to_f64() - t.to_f64()) }
}

/// Blocks of a fixed length, summed in f64, joined in order.
fn sum<T: Float>(p: &[T], t: &[T], w: &[T]) -> f64 {
    let block = |i: usize| -> f64 {
        let range = i * BLOCK..((i + 1) * BLOCK).min(p.len());
        range.map(|j| loss(difference(p[j], t[j], w[j]))).sum()
    };
    let blocks: Vec<f64> = (0..p.len().div_ceil(BLOCK)).into_par_iter().map(block).collect();
    blocks.iter().sum()
}

fn gradient<T: Float>(p: &[T], t: &[T], w: &[T], scale: f64) -> Vec<T> {
    fill_blocks(1, p.len(), BLOCK, |_, start, out| {
        for (i, o) in out.iter_mut().enumerate() {
            let j = start + i;
            if w[j] != T::ZERO {
                // clamp lets NaN through
                let slope = difference(p[j], t[j], w[j]).clamp(-1.0, 1.0);
                *o = T::from_f64(w[j].to_f64() * slope * scale);
            }
        }
    })
}

impl Op<2> for SmoothL1 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, [p, t]: [CpuInput; 2]) -> Result<CpuOutput> {
        Ok(by_dtype!(p, T => {
            let (p, t) = (p.elements::<T>()?, t.elements::<T>()?);
            let sum = self.with_weights(|w| sum(p, t, w))?;
            output(vec![T::from_f64(sum / self.divisor)], ())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [p, t]: [CudaInput; 2]) -> Result<CudaOutput> {
        cuda::loss(&self.elements(), p, t)
    }

    fn backward(&self, [p, t]: [&Tensor; 2], _y: &Tensor, dloss: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dp = compute(
            "smooth_l1 gradient",
            [p, t, dloss],
            |[p, t, dloss]| {
                Ok(by_dtype!(p, T => {
                    let scale = dloss.elements::<T>()?[0].to_f64() / self.divisor;
                    let (predictions, t) = (p.elements::<T>()?, t.elements::<T>()?);
                    output(self.with_weights(|w| gradient(predictions, t, w, scale))?, p.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |[p, t, dloss]| cuda::gradient(&self.elements(), p, t, dloss),
        )?;
        Ok([Some(dp), None])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn row(values: &[f32]) -> Result<Tensor> {
        Tensor::new(values, &Device::Cpu)
    }

    #[test]
    fn the_weight_stands_before_the_knee() -> Result<()> {
        let p = Var::from_tensor(&row(&[0.5, -3.0, 0.5])?)?;
        let loss = smooth_l1(&p, &row(&[0.0; 3])?, &row(&[1.0, 1.0, 4.0])?, 2.0)?;
        // 1/8, 3 − 1/2, and 4·0.5 = 2 beyond the knee
        assert_eq!(loss.to_scalar::<f32>()?, (0.125 + 2.5 + 1.5) / 2.0);
        let gradient = loss.backward()?.get(&p).map(|g| g.to_vec1::<f32>()).transpose()?;
        assert_eq!(gradient, Some(vec![0.25, -0.5, 2.0]));
        Ok(())
    }

    #[test]
    fn weight_0_counts_in_nothing_even_when_broken_and_nan_shows_elsewhere() -> Result<()> {
        let p = Var::from_tensor(&row(&[f32::NAN, 2.0])?)?;
        let loss = smooth_l1(&p, &row(&[0.0; 2])?, &row(&[0.0, 1.0])?, 1.0)?;
        assert_eq!(loss.to_scalar::<f32>()?, 1.5);
        let gradient = loss.backward()?.get(&p).map(|g| g.to_vec1::<f32>()).transpose()?;
        assert_eq!(gradient, Some(vec![0.0, 1.0]));
        assert!(smooth_l1(&p, &row(&[0.0; 2])?, &row(&[1.0; 2])?, 1.0)?.to_scalar::<f32>()?.is_nan());
        Ok(())
    }

    #[test]
    fn shapes_must_agree_and_no_entries_cost_nothing() -> Result<()> {
        let zeros = |n| Tensor::zeros((2, n), DType::F32, &Device::Cpu);
        let message = smooth_l1(&zeros(3)?, &zeros(4)?, &zeros(3)?, 1.0).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[2, 4]"), "{message}");
        assert!(smooth_l1(&zeros(3)?, &zeros(3)?, &zeros(2)?, 1.0).is_err());
        assert!(smooth_l1(&zeros(3)?, &zeros(3)?, &zeros(3)?, 0.0).is_err());
        assert_eq!(smooth_l1(&zeros(0)?, &zeros(0)?, &zeros(0)?, 1.0)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }
}
