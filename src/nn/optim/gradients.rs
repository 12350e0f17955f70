//! Gradients by parameter: summed over passes, measured, clipped, searched for numbers that are not finite.
//!
//! Nothing is rewritten that need not be: one pass is kept as it came, and clipping and the division by the passes
//! become one factor, which the update multiplies in. On a GPU the norm, and so the factor, stays there.

use super::update::read_f32;
use crate::nn::params::Params;
use candle_core::{DType, Device, InplaceOp2, Result, Tensor, backprop::GradStore};
use rayon::prelude::*;

/// Elements summed as one piece: fixed, so that the norm has the same bits whatever the number of threads.
const PIECE: usize = 1 << 16;

/// Gradients by parameter, in the order of `Params`; sums over `iter_size` passes.
pub struct Gradients {
    sums: Vec<GradientSum>,
    passes: usize,
    clip: Option<f64>,
    /// f64 `()`, where the gradients are; None before it was asked for.
    norm: Option<Tensor>,
}

/// The sum of one parameter's gradients.
enum GradientSum {
    /// The parameter does not move; its gradients are dropped.
    Unwanted,
    None,
    /// One pass, in memory that other tensors may share.
    Given(Tensor),
    /// Several passes, in memory of its own: the next is added in place.
    Own(Tensor),
}

impl Gradients {
    /// No passes yet; every parameter takes part.
    pub fn new(params: &Params) -> Self {
        Self::of(params, |_| true)
    }

    pub(super) fn of(params: &Params, wanted: impl Fn(&str) -> bool) -> Self {
        let sums = params
            .iter()
            .map(|p| if wanted(&p.name) { GradientSum::None } else { GradientSum::Unwanted })
            .collect();
        Self { sums, passes: 0, clip: None, norm: None }
    }

    /// Adds one backward pass; takes the tensors out of the store.
    pub fn add(&mut self, params: &Params, store: &mut GradStore) -> Result<()> {
        for (sum, param) in self.sums.iter_mut().zip(params.iter()) {
            if let Some(grad) = store.remove(&param.var) {
                *sum = std::mem::replace(sum, GradientSum::None).plus(grad)?;
            }
        }
        self.passes += 1;
        self.norm = None;
        Ok(())
    }

    /// Caffe's order: clip the summed gradient to this global L2 norm, then divide by the number of passes. Both
    /// become a factor for the update. Returns the norm of the sum before clipping; it is not finite exactly when
    /// some gradient is not, or is too large to square in double precision.
    pub fn finish(&mut self, clip: Option<f64>) -> Result<f64> {
        let device = self.sums().flatten().next().map_or(Device::Cpu, |g| g.device().clone());
        self.measure(clip, &Tensor::zeros((), DType::F64, &device)?)?.to_scalar()
    }

    /// The same, with the norm left where the gradients are, f64 `()`. On a GPU it is not finite when `loss` is not, and
    /// the update then moves nothing.
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

    /// Name of the first parameter whose gradient is not finite. Reads everything once more: call it when the loss
    /// or the norm says that there is something to find.
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

    /// The sums, one entry for each parameter, before the factor.
    pub(super) fn sums(&self) -> impl Iterator<Item = Option<&Tensor>> {
        self.sums.iter().map(|sum| match sum {
            GradientSum::Unwanted | GradientSum::None => None,
            GradientSum::Given(tensor) | GradientSum::Own(tensor) => Some(tensor),
        })
    }

    /// What the update multiplies the sums by; read from the device that they are on.
    pub(super) fn scale(&self) -> Result<f64> {
        let norm = self.norm.as_ref().map(|n| n.to_scalar::<f64>()).transpose()?;
        let clipped =
            norm.zip(self.clip).filter(|(norm, most)| norm > most).map_or(1.0, |(norm, most)| most / norm);
        Ok(clipped / self.passes.max(1) as f64)
    }

    /// The same for the kernels; an error where the norm was not asked for.
    #[cfg(feature = "cuda")]
    pub(super) fn scale_on_gpu(&self) -> Result<super::cuda::Scale<'_>> {
        let Some(norm) = &self.norm else {
            candle_core::bail!("optimizer: an update before the gradients were finished")
        };
        Ok(super::cuda::Scale { norm, passes: self.passes, clip: self.clip })
    }
}

impl GradientSum {
    fn plus(self, grad: Tensor) -> Result<Self> {
        Ok(match self {
            Self::Unwanted => Self::Unwanted,
            Self::None => Self::Given(grad.detach().contiguous()?),
            Self::Given(first) => Self::Own((first + grad.detach())?.contiguous()?),
            Self::Own(sum) => Self::Own(added(sum, &grad.detach().contiguous()?)?),
        })
    }
}

/// The sum with the gradient added, in its own memory where that can be.
fn added(sum: Tensor, gradient: &Tensor) -> Result<Tensor> {
    match sum.device() {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::add(device, &sum, gradient)?,
        _ if read_f32(&sum, |_| ()).is_some() => sum.inplace_op2(gradient, &AddInPlace)?,
        _ => return sum + gradient,
    }
    Ok(sum)
}

/// sum += gradient, on f32 in host memory.
struct AddInPlace;
impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add-gradient"
    }
    fn cpu_fwd(
        &self,
        sum: &mut candle_core::CpuStorage,
        sum_layout: &candle_core::Layout,
        grad: &candle_core::CpuStorage,
        grad_layout: &candle_core::Layout,
    ) -> Result<()> {
        let sum = super::update::slice_mut(self.name(), sum, sum_layout)?;
        let grad = super::update::slice(self.name(), grad, grad_layout)?;
        let pieces = sum.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE));
        pieces.for_each(|(sum, grad)| sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g));
        Ok(())
    }
}

fn square_norm(tensor: &Tensor) -> Result<f64> {
    match read_f32(tensor, squares) {
        Some(sum) => Ok(sum),
        None => tensor.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar(),
    }
}

/// Σ v², in double precision; piece by piece, so that the number of threads changes no bit.
fn squares(values: &[f32]) -> f64 {
    let pieces: Vec<f64> = values.par_chunks(PIECE).map(piece_squares).collect();
    pieces.iter().sum()
}

/// Eight running sums, which the compiler turns into vector registers.
fn piece_squares(values: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        for (lane, &v) in lanes.iter_mut().zip(eight) {
            *lane += f64::from(v) * f64::from(v);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
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
