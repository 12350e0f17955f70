//! Elementwise losses, summed in one operation: each defines the loss and slope of one element, and two kernels.

use super::super::cpu::{BLOCK, Float, by_dtype, fill_blocks, stored_elements};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Tensor, WithDType};
use rayon::prelude::*;
use std::marker::PhantomData;

#[cfg(feature = "cuda")]
mod cuda;

/// The loss of one element, in f64, as on a GPU.
pub(super) trait ElementLoss: Send + Sync + 'static {
    /// Name of the loss in errors.
    const NAME: &'static str;
    /// Name of its gradient in errors.
    const GRADIENT: &'static str;
    /// Prefix of its kernels' names.
    #[cfg(feature = "cuda")]
    const KERNELS: &'static str;

    /// The loss for a prediction, a target and a nonzero weight.
    fn value(prediction: f64, target: f64, weight: f64) -> f64;

    /// Its derivative in the prediction.
    fn slope(prediction: f64, target: f64, weight: f64) -> f64;
}

/// The sum of a loss over all elements / `divisor`, of shape `()`. Predictions and targets have one shape. The weights
/// repeat: there are as many as predictions, or as many as one picture of the batch has; without any, all are 1. Elements
/// of weight 0 are ignored. Differentiable in the predictions only.
pub(super) fn total<L: ElementLoss>(
    predictions: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    divisor: f64,
) -> Result<Tensor> {
    let as_predictions = |t: &Tensor| t.detach().to_dtype(predictions.dtype())?.contiguous();
    let weights = weights.map(as_predictions).transpose()?;
    apply(Total::<L> { weights, divisor, loss: PhantomData }, [predictions, &as_predictions(targets)?])
}

struct Total<L> {
    weights: Option<Tensor>,
    divisor: f64,
    loss: PhantomData<L>,
}

impl<L: ElementLoss> Total<L> {
    /// Runs `f` with the weights, if there are any.
    fn with_weights<T: Float, R>(&self, f: impl FnOnce(Option<&[T]>) -> R) -> Result<R> {
        let Some(weights) = &self.weights else {
            return Ok(f(None));
        };
        let (storage, layout) = weights.storage_and_layout();
        Ok(f(Some(stored_elements(L::NAME, (&storage, layout))?)))
    }

    /// Sums blocks of fixed length in f64 and adds them in order.
    fn sum<T: Float>(x: &[T], t: &[T], weights: Option<&[T]>) -> f64 {
        let run = weights.map_or(x.len(), <[T]>::len).max(1);
        let in_run = run.div_ceil(BLOCK);
        let block = |i: usize| -> f64 {
            let (first, start) = (i / in_run * run, i % in_run * BLOCK);
            let range = start..(start + BLOCK).min(run);
            let (x, t) = (&x[first..][range.clone()], &t[first..][range.clone()]);
            let weights = weights.map(|w| &w[range]);
            (0..x.len()).map(|j| of_element(L::value, x[j], t[j], weights.map(|w| w[j]))).sum()
        };
        let blocks: Vec<f64> = (0..x.len() / run * in_run).into_par_iter().map(block).collect();
        blocks.iter().sum()
    }

    fn gradient<T: Float>(x: &[T], t: &[T], weights: Option<&[T]>, scale: f64) -> Vec<T> {
        let run = weights.map_or(x.len(), <[T]>::len).max(1);
        let slope = |x, t, w| L::slope(x, t, w) * scale;
        fill_blocks(x.len() / run, run, BLOCK, |picture, start, out| {
            let (x, t) = (&x[picture * run..][start..], &t[picture * run..][start..]);
            for (j, o) in out.iter_mut().enumerate() {
                *o = T::from_f64(of_element(slope, x[j], t[j], weights.map(|w| w[start + j])));
            }
        })
    }
}

/// 0 for weight 0, even if the prediction or target is NaN.
fn of_element<T: Float>(f: impl Fn(f64, f64, f64) -> f64, x: T, t: T, weight: Option<T>) -> f64 {
    let weight = weight.map_or(1.0, T::to_f64);
    if weight == 0.0 { 0.0 } else { f(x.to_f64(), t.to_f64(), weight) }
}

impl<L: ElementLoss> Op<2> for Total<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn cpu(&self, [x, t]: [CpuInput; 2]) -> Result<CpuOutput> {
        Ok(by_dtype!(x, T => {
            let (x, t) = (x.elements::<T>()?, t.elements::<T>()?);
            let sum = self.with_weights(|weights| Self::sum(x, t, weights))?;
            output(vec![T::from_f64(sum / self.divisor)], ())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, t]: [CudaInput; 2]) -> Result<CudaOutput> {
        self.total_cuda(x, t)
    }

    fn backward(&self, [x, t]: [&Tensor; 2], _y: &Tensor, dloss: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let dx = compute(
            L::GRADIENT,
            [x, t, dloss],
            |[x, t, dloss]| {
                Ok(by_dtype!(x, T => {
                    let scale = dloss.elements::<T>()?[0].to_f64() / self.divisor;
                    let (predictions, t) = (x.elements::<T>()?, t.elements::<T>()?);
                    output(self.with_weights(|w| Self::gradient(predictions, t, w, scale))?, x.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |[x, t, dloss]| self.gradient_cuda(x, t, dloss),
        )?;
        Ok([Some(dx), None])
    }
}
