//! Gradients by parameter: sums over passes, norm, clipping, and detection of non-finite values.
//!
//! Avoids extra passes over memory: a single gradient is stored without copying, and clipping and the division by the
//! number of passes become one factor that the update applies. On a GPU the norm and the factor stay on the device.

use super::update::{PIECE, read_f32, square_norm};
use crate::{
    nn::params::Params,
    ops::{
        sum::add_to,
        tape::{GradientSink, ParamGradient, Tape},
    },
};
use candle_core::{DType, Device, Result, Tensor, TensorId};
use rayon::prelude::*;
use std::collections::HashMap;

/// Gradients by parameter, in the order of `Params`; summed over `iter_size` passes.
pub struct Gradients {
    sums: Vec<GradientSum>,
    /// Place of each parameter in `sums`.
    places: HashMap<TensorId, usize>,
    passes: usize,
    clip: Option<f64>,
    /// f64 `()`, on the gradients' device; None until computed.
    norm: Option<Tensor>,
}

/// Gradient sum of one parameter.
enum GradientSum {
    /// The parameter is frozen; its gradients are dropped.
    Unwanted,
    None,
    /// One pass, in memory that may be shared with other tensors.
    Given(Tensor),
    /// Several passes, in exclusively owned memory: the next gradient is added in place.
    Own(Tensor),
}

impl Gradients {
    /// Empty sums for every parameter.
    pub fn new(params: &Params) -> Self {
        Self::of(params, |_| true)
    }

    pub(super) fn of(params: &Params, wanted: impl Fn(&str) -> bool) -> Self {
        let sums = params
            .iter()
            .map(|p| if wanted(&p.name) { GradientSum::None } else { GradientSum::Unwanted })
            .collect();
        Self { sums, places: places(params), passes: 0, clip: None, norm: None }
    }

    /// Adds the gradients of one backward pass: of `loss`, whose networks were recorded on `tape`.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn add(&mut self, tape: &Tape, loss: Tensor) -> Result<()> {
        self.passes += 1;
        self.norm = None;
        tape.backward(loss, self)
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Place of a parameter among all; None if it is none of them.
    pub fn place(&self, param: TensorId) -> Option<usize> {
        self.places.get(&param).copied()
    }

    /// Whether the gradient of the parameter at `place` is summed: not if it is frozen.
    pub fn wants(&self, place: usize) -> bool {
        !matches!(self.sums[place], GradientSum::Unwanted)
    }

    /// The sum of the parameter at `place` so far.
    pub fn sum(&self, place: usize) -> Option<&Tensor> {
        self.sums[place].tensor()
    }

    /// Replaces the sum of the parameter at `place`, by one whose memory nothing else reads.
    pub fn set(&mut self, place: usize, sum: Tensor) {
        self.sums[place] = GradientSum::Own(sum);
    }

    /// Counts passes whose gradients were summed elsewhere.
    pub fn count(&mut self, passes: usize) {
        self.passes += passes;
        self.norm = None;
    }

    /// Clips the summed gradient to this global L2 norm, then divides by the number of passes, in Caffe's order. Both
    /// become a factor for the update. Returns the norm of the sum before clipping. It is not finite exactly when some
    /// gradient is not finite or is too large to square in double precision.
    pub fn finish(&mut self, clip: Option<f64>) -> Result<f64> {
        let device = self.sums().flatten().next().map_or(Device::Cpu, |g| g.device().clone());
        self.measure(clip, &Tensor::zeros((), DType::F64, &device)?)?.to_scalar()
    }

    /// The same, but the norm, f64 `()`, stays on the gradients' device. On a GPU it is not finite when `loss` is not,
    /// and the update then changes nothing.
    pub fn measure(&mut self, clip: Option<f64>, loss: &Tensor) -> Result<Tensor> {
        let gradients: Vec<&Tensor> = self.sums().flatten().collect();
        let norm = match loss.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::norm(device, &gradients, loss)?,
            device => {
                let squares = gradients.into_iter().map(square_norm).collect::<Result<Vec<f64>>>()?;
                Tensor::new(squares.iter().sum::<f64>().sqrt(), device)?
            }
        };
        (self.clip, self.norm) = (clip, Some(norm.clone()));
        Ok(norm)
    }

    /// Name of the first parameter whose gradient is not finite. Reads all gradients again: call it only if the loss
    /// or the norm is not finite.
    pub fn non_finite(&self, params: &Params) -> Result<Option<String>> {
        for (grad, param) in self.sums().zip(params.iter()) {
            if let Some(grad) = grad
                && !all_finite(grad)?
            {
                return Ok(Some(param.name.clone()));
            }
        }
        Ok(None)
    }

    /// The sums, one entry per parameter, before scaling.
    pub(super) fn sums(&self) -> impl Iterator<Item = Option<&Tensor>> {
        self.sums.iter().map(GradientSum::tensor)
    }

    /// The factor on the sums, read from their device.
    pub(super) fn scale(&self) -> Result<f64> {
        let norm = self.norm.as_ref().map(|n| n.to_scalar::<f64>()).transpose()?;
        let clipped =
            norm.zip(self.clip).filter(|(norm, most)| norm > most).map_or(1.0, |(norm, most)| most / norm);
        Ok(clipped / self.passes.max(1) as f64)
    }

    /// The factor for the kernels; an error if the norm was not computed.
    #[cfg(feature = "cuda")]
    pub(super) fn scale_on_gpu(&self) -> Result<super::cuda::Scale<'_>> {
        let Some(norm) = &self.norm else {
            candle_core::bail!("optimizer: an update before the gradients were finished")
        };
        Ok(super::cuda::Scale { norm, passes: self.passes, clip: self.clip })
    }
}

impl GradientSink for Gradients {
    fn accept(&mut self, param: TensorId, gradient: ParamGradient) -> Result<()> {
        if let Some(place) = self.places.get(&param) {
            let sum = &mut self.sums[*place];
            *sum = std::mem::replace(sum, GradientSum::None).plus(gradient)?;
        }
        Ok(())
    }
}

/// Place of each parameter in the order of `params`.
pub(super) fn places(params: &Params) -> HashMap<TensorId, usize> {
    params.iter().enumerate().map(|(i, param)| (param.var.id(), i)).collect()
}

impl GradientSum {
    fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Unwanted | Self::None => None,
            Self::Given(tensor) | Self::Own(tensor) => Some(tensor),
        }
    }

    fn plus(self, grad: ParamGradient) -> Result<Self> {
        if matches!(self, Self::Unwanted) {
            return Ok(self);
        }
        let grad = grad.whole()?;
        Ok(match self {
            Self::Unwanted => Self::Unwanted,
            Self::None => Self::Given(grad.detach().contiguous()?),
            Self::Given(first) => Self::Own((first + grad.detach())?.contiguous()?),
            Self::Own(sum) => Self::Own(added(sum, &grad.detach().contiguous()?)?),
        })
    }
}

/// The sum plus the gradient, in the sum's own memory if possible.
fn added(sum: Tensor, gradient: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = sum.device() {
        super::cuda::add(device, &sum, gradient)?;
        return Ok(sum);
    }
    add_to(sum, gradient)
}

fn all_finite(tensor: &Tensor) -> Result<bool> {
    match read_f32(tensor, |values| values.par_chunks(PIECE).all(|piece| piece.iter().all(|v| v.is_finite())))
    {
        Some(finite) => Ok(finite),
        // 0 · x is 0 where x is finite and NaN elsewhere
        None => {
            let sum: f64 = (tensor * 0.0)?.sum_all()?.to_dtype(DType::F64)?.to_scalar()?;
            Ok(sum == 0.0)
        }
    }
}
