//! Sigmoid cross entropy of independent yes/no labels.

use super::super::cpu::{BLOCK, Float, by_dtype, fill_blocks, held};
#[cfg(feature = "cuda")]
use super::cuda::{self, Elements};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Tensor, WithDType, bail};
use rayon::prelude::*;

/// Sigmoid cross entropy, stable at any logit: max(x, 0) − x·t + ln(1 + exp(−|x|)). logits, targets and mask (0 or 1)
/// `(N, K)` or any one shape; sum over masked entries / `divisor`. Entries of mask 0 are not looked at. The gradient
/// goes to the logits alone. Errors: shapes that differ, a divisor that is not positive.
pub fn bce_with_logits(
    logits: &Tensor,
    targets: &Tensor,
    mask: Option<&Tensor>,
    divisor: f64,
) -> Result<Tensor> {
    let shapes = [Some(targets), mask].map(|t| t.map(|t| t.dims()));
    if shapes.iter().flatten().any(|dims| *dims != logits.dims()) {
        let [targets, mask] = shapes;
        bail!("{NAME}: logits {:?}, targets {targets:?} and mask {mask:?} must agree", logits.dims());
    }
    if !(divisor > 0.0 && divisor.is_finite()) {
        bail!("{NAME}: the divisor of logits {:?} must be positive, got {divisor}", logits.dims());
    }
    let as_logits = |t: &Tensor| t.detach().to_dtype(logits.dtype())?.contiguous();
    let op = BceWithLogits { mask: mask.map(as_logits).transpose()?, divisor };
    apply(op, [logits, &as_logits(targets)?])
}

const NAME: &str = "bce_with_logits";

struct BceWithLogits {
    mask: Option<Tensor>,
    divisor: f64,
}

impl BceWithLogits {
    #[cfg(feature = "cuda")]
    fn elements(&self) -> Elements<'_> {
        Elements { name: "bce", others: self.mask.as_ref(), divisor: self.divisor }
    }

    /// Runs `f` with the mask's elements, if there is a mask.
    fn with_mask<T: Float, R>(&self, f: impl FnOnce(Option<&[T]>) -> R) -> Result<R> {
        let Some(mask) = &self.mask else {
            return Ok(f(None));
        };
        let (storage, layout) = mask.storage_and_layout();
        Ok(f(Some(held(NAME, (&storage, layout))?)))
    }
}

fn loss<T: Float>(x: T, t: T) -> f64 {
    let (x, t) = (x.to_f64(), t.to_f64());
    // not `max`, which would turn NaN into 0
    x.rectify() - x * t + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// Blocks of a fixed length, summed in f64, joined in order.
fn sum<T: Float>(x: &[T], t: &[T], mask: Option<&[T]>) -> f64 {
    let block = |i: usize| -> f64 {
        let range = i * BLOCK..((i + 1) * BLOCK).min(x.len());
        range.filter(|&j| mask.is_none_or(|m| m[j] != T::ZERO)).map(|j| loss(x[j], t[j])).sum()
    };
    let blocks: Vec<f64> = (0..x.len().div_ceil(BLOCK)).into_par_iter().map(block).collect();
    blocks.iter().sum()
}

fn gradient<T: Float>(x: &[T], t: &[T], mask: Option<&[T]>, scale: f64) -> Vec<T> {
    fill_blocks(1, x.len(), BLOCK, |_, start, out| {
        for (i, o) in out.iter_mut().enumerate() {
            let j = start + i;
            if mask.is_none_or(|m| m[j] != T::ZERO) {
                *o = T::from_f64((sigmoid(x[j].to_f64()) - t[j].to_f64()) * scale);
            }
        }
    })
}

impl Op<2> for BceWithLogits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu(&self, [x, t]: [CpuInput; 2]) -> Result<CpuOutput> {
        Ok(by_dtype!(x, T => {
            let (x, t) = (x.elements::<T>()?, t.elements::<T>()?);
            let sum = self.with_mask(|mask| sum(x, t, mask))?;
            output(vec![T::from_f64(sum / self.divisor)], ())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, t]: [CudaInput; 2]) -> Result<CudaOutput> {
        cuda::loss(&self.elements(), x, t)
    }

    /// (σ(x) − t)·dloss / divisor.
    fn backward(&self, [x, t]: [&Tensor; 2], _y: &Tensor, dloss: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dx = compute(
            "bce_with_logits gradient",
            [x, t, dloss],
            |[x, t, dloss]| {
                Ok(by_dtype!(x, T => {
                    let scale = dloss.elements::<T>()?[0].to_f64() / self.divisor;
                    let (logits, t) = (x.elements::<T>()?, t.elements::<T>()?);
                    output(self.with_mask(|mask| gradient(logits, t, mask, scale))?, x.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |[x, t, dloss]| cuda::gradient(&self.elements(), x, t, dloss),
        )?;
        Ok([Some(dx), None])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    #[test]
    fn extreme_logits_are_exact() -> Result<()> {
        let logits = Var::from_vec(vec![120f32, -120.0, 120.0, -120.0], (2, 2), &Device::Cpu)?;
        let targets = Tensor::from_vec(vec![1f32, 0.0, 0.0, 1.0], (2, 2), &Device::Cpu)?;
        let loss = bce_with_logits(&logits, &targets, None, 2.0)?;
        assert_eq!(loss.to_scalar::<f32>()?, 120.0);
        let gradient = loss.backward()?.get(&logits).map(|g| g.flatten_all()?.to_vec1::<f32>());
        // exp(-120) lies below the smallest f32
        assert_eq!(gradient.transpose()?, Some(vec![0.0, 0.0, 0.5, -0.5]));
        Ok(())
    }

    #[test]
    fn masked_entries_count_in_nothing_even_when_broken() -> Result<()> {
        let logits = Var::from_vec(vec![0f32, f32::NAN], (1, 2), &Device::Cpu)?;
        let targets = Tensor::ones((1, 2), DType::F32, &Device::Cpu)?;
        let mask = Tensor::from_vec(vec![1u32, 0], (1, 2), &Device::Cpu)?;
        let loss = bce_with_logits(&logits, &targets, Some(&mask), 1.0)?;
        assert!((loss.to_scalar::<f32>()? - 2f32.ln()).abs() < 1e-7);
        let gradient = loss.backward()?.get(&logits).map(|g| g.flatten_all()?.to_vec1::<f32>());
        assert_eq!(gradient.transpose()?, Some(vec![-0.5, 0.0]));
        Ok(())
    }

    #[test]
    fn shapes_must_agree() -> Result<()> {
        let zeros = |n| Tensor::zeros((2, n), DType::F32, &Device::Cpu);
        let message = bce_with_logits(&zeros(3)?, &zeros(4)?, None, 1.0).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[2, 4]"), "{message}");
        assert!(bce_with_logits(&zeros(3)?, &zeros(3)?, None, 0.0).is_err());
        Ok(())
    }
}
