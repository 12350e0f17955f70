//! Batch normalization over (B, H, W) (Ioffe and Szegedy, ICML 2015), optionally affine and with a fused ReLU.
//! Normalization uses the biased variance, the running variance the unbiased one (m/(m−1)).
//!
//! Training reads x twice in the forward pass (statistics, then normalize + ReLU), and x and dy twice in the backward
//! pass (two sums per channel, then dx); batch statistics are stored with the op. The ReLU mask is recomputed from x
//! with the forward arithmetic. Not supported: synchronization across devices.

#[cfg(feature = "cuda")]
mod cuda;
mod rows;

use super::cpu::{Float, Stored, by_stored};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, evaluate, output, wide};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{DType, Result, Shape, Tensor, Var, bail};
use rows::{ChannelParams, add_moments, channel_sums};
use std::sync::{Arc, Mutex, PoisonError};

/// Update rule of the running statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// new = (1−m)·old + m·batch; typically 0.1.
    PyTorch(f64),
    /// Caffe's accumulators with fraction f (default 0.999): S ← f·S + statistic and weight ← f·weight + 1, used as S
    /// / weight. [`Running`] stores the quotient, so new = (f·weight·old + statistic) / (f·weight + 1).
    Caffe(f64),
}

/// Running mean and variance `(C)`, normalized for use. `weight` `(1)` is the accumulated weight of Caffe's rule; it
/// starts at 0, so the first batch replaces mean and variance. PyTorch's rule does not use it.
#[derive(Clone, Debug)]
pub struct Running {
    pub mean: Var,
    pub var: Var,
    pub weight: Var,
    /// Where batches leave their statistics instead of updating these.
    pub deferred: Option<DeferredStatistics>,
}

/// Statistics of the batches of one pass, in order, which the running ones are to learn.
pub type DeferredStatistics = Arc<Mutex<Vec<SeenStatistics>>>;

/// Statistics of a batch, and the running ones that are to learn them.
#[derive(Clone, Debug)]
pub struct SeenStatistics {
    running: Running,
    /// f64 `(2, C)`: mean and biased variance.
    statistics: Tensor,
    samples: usize,
    momentum: Momentum,
}

impl SeenStatistics {
    /// Of each, samples per channel, means, and variances, for [`SeenStatistics::learn`]. Read in one copy.
    ///
    /// # Errors
    /// None at all; a device that fails.
    pub fn numbers(all: &[Self]) -> Result<Vec<f64>> {
        let tables = all.iter().map(|seen| seen.statistics.flatten_all()).collect::<Result<Vec<_>>>()?;
        let mut values = Tensor::cat(&tables, 0)?.to_vec1::<f64>()?.into_iter();
        let mut numbers = vec![];
        for seen in all {
            numbers.push(seen.samples as f64);
            numbers.extend(values.by_ref().take(seen.statistics.elem_count()));
        }
        Ok(numbers)
    }

    /// Lets the running statistics of all learn those of other batches, whose numbers these are.
    ///
    /// # Errors
    /// Numbers of other layers.
    pub fn learn(all: &[Self], numbers: &[f64]) -> Result<()> {
        let Some(first) = all.first() else { return Ok(()) };
        let wanted: usize = all.iter().map(|seen| 1 + seen.statistics.elem_count()).sum();
        if numbers.len() != wanted {
            bail!("batch_norm: {} numbers of statistics, and {wanted} of these layers", numbers.len())
        }
        let tables = Tensor::from_slice(numbers, wanted, first.statistics.device())?;
        let mut at = 0;
        for Self { running, statistics, momentum, .. } in all {
            let count = statistics.elem_count();
            let others = tables.narrow(0, at + 1, count)?.reshape(statistics.shape())?;
            running.learn(&others, numbers[at] as usize, *momentum)?;
            at += 1 + count;
        }
        Ok(())
    }
}

impl Running {
    /// Updates with the statistics of a batch, f64 `(2, C)`, on any device.
    fn learn(&self, statistics: &Tensor, samples: usize, momentum: Momentum) -> Result<()> {
        #[cfg(feature = "cuda")]
        if statistics.device().is_cuda() {
            return cuda::update_running(statistics, self, samples, momentum, 0.0).map(drop);
        }
        self.update(&statistics.get(0)?, &statistics.get(1)?, samples, momentum)
    }

    /// Updates with the mean and biased variance, f64 `(C)`, of a batch of `m` samples per channel.
    fn update(&self, mean: &Tensor, var: &Tensor, m: usize, momentum: Momentum) -> Result<()> {
        let unbiased = if m > 1 { m as f64 / (m - 1) as f64 } else { 1.0 };
        let (keep, take) = match momentum {
            Momentum::PyTorch(m) => (1.0 - m, m),
            Momentum::Caffe(f) => {
                let old = self.weight.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?;
                let new = f * old + 1.0;
                self.weight
                    .set(&Tensor::full(new, 1, self.weight.device())?.to_dtype(self.weight.dtype())?)?;
                (f * old / new, 1.0 / new)
            }
        };
        let mix = |var: &Var, batch: &Tensor, factor: f64| -> Result<()> {
            let old = var.as_detached_tensor().to_dtype(DType::F64)?;
            var.set(&((old * keep)? + (batch * (take * factor))?)?.to_dtype(var.dtype())?)
        };
        mix(&self.mean, mean, 1.0)?;
        mix(&self.var, var, unbiased)
    }
}

/// Training mode: normalizes with batch statistics and updates `running`. x `(B, H, W, C)` or `(B, C)`, f32, f64 or
/// bf16 (with the rest in f32); `affine` is (γ, β), each `(C)`; with `relu` the result is max(·, 0). A channel with a
/// single sample has variance 0 and gives β. Errors: another rank, an empty x, γ, β or running statistics that are not
/// `(C)`.
pub fn batch_norm_train(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    momentum: Momentum,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    normalize(&x, affine, Normalize::of_batch(&x, affine, running, momentum, eps, relu)?)
}

/// [`batch_norm_train`] outside of candle's graph.
pub fn batch_norm_train_recorded(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    momentum: Momentum,
    eps: f64,
    relu: bool,
) -> Result<(Tensor, BatchNormRecord)> {
    let x = x.contiguous()?;
    BatchNormRecord::new(Normalize::of_batch(&x, affine, running, momentum, eps, relu)?, x, affine)
}

/// Evaluation mode: normalizes with the running statistics; differentiable in x, γ and β. Shapes and errors as
/// [`batch_norm_train`].
pub fn batch_norm_eval(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    normalize(x, affine, Normalize::of_running(x, affine, running, eps, relu)?)
}

/// [`batch_norm_eval`] outside of candle's graph.
pub fn batch_norm_eval_recorded(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    eps: f64,
    relu: bool,
) -> Result<(Tensor, BatchNormRecord)> {
    BatchNormRecord::new(Normalize::of_running(x, affine, running, eps, relu)?, x.contiguous()?, affine)
}

/// What the gradients of one call are computed from.
pub struct BatchNormRecord {
    op: Normalize,
    x: Tensor,
    affine: Option<(Tensor, Tensor)>,
}

impl BatchNormRecord {
    fn new(op: Normalize, x: Tensor, affine: Option<(&Tensor, &Tensor)>) -> Result<(Tensor, Self)> {
        let y = match affine {
            None => evaluate(&op, [&x])?,
            Some((gamma, beta)) => evaluate(&op, [&x, gamma, beta])?,
        };
        let affine = affine.map(|(gamma, beta)| (gamma.clone(), beta.clone()));
        Ok((y, Self { op, x, affine }))
    }

    /// The gradients of x, and of (γ, β) where there are any, from that of the result.
    ///
    /// # Errors
    /// Those of the device.
    pub fn gradients(self, dy: &Tensor) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        self.op.gradients(&self.x, self.affine.as_ref().map(|(gamma, beta)| (gamma, beta)), dy)
    }
}

/// Samples per channel.
fn check(op: &str, x: &Tensor, affine: Option<(&Tensor, &Tensor)>, running: &Running) -> Result<usize> {
    let channels = match x.dims() {
        &[_, c] | &[_, _, _, c] => c,
        other => bail!("{op}: x must be (B, H, W, C) or (B, C), got {other:?}"),
    };
    if x.elem_count() == 0 {
        bail!("{op}: x {:?} is empty", x.dims());
    }
    let mut tables = vec![("running mean", running.mean.dims()), ("running variance", running.var.dims())];
    if let Some((gamma, beta)) = affine {
        tables.extend([("gamma", gamma.dims()), ("beta", beta.dims())]);
    }
    for (name, dims) in tables {
        if dims != [channels] {
            bail!("{op}: {name} {dims:?} does not fit x {:?}: ({channels}) wanted", x.dims());
        }
    }
    Ok(x.elem_count() / channels)
}

fn normalize(x: &Tensor, affine: Option<(&Tensor, &Tensor)>, op: Normalize) -> Result<Tensor> {
    match affine {
        None => apply(op, [x]),
        Some((gamma, beta)) => apply(op, [x, gamma, beta]),
    }
}

/// x → f64 `(2, C)`: mean and biased variance, in one pass shifted by the first row, so that a large common offset
/// does not cancel digits.
fn batch_statistics(x: &Tensor) -> Result<Tensor> {
    compute(
        "batch statistics",
        [x],
        |[x]| {
            let channels = last_dim(x.shape());
            Ok(by_stored!(x, T => output(mean_and_variance(x.elements::<T>()?, channels), (2, channels))))
        },
        #[cfg(feature = "cuda")]
        |[x]| cuda::statistics(x),
    )
}

fn mean_and_variance<T: Stored>(x: &[T], channels: usize) -> Vec<f64> {
    let m = x.len() / channels;
    let shift = &x[..channels];
    let [mut s0, mut s1] = channel_sums(m, channels, |row, c, s0, s1| {
        add_moments(&x[row * channels..][c.clone()], &shift[c], s0, s1);
    });
    for ((s0, s1), shift) in s0.iter_mut().zip(&mut s1).zip(shift) {
        let offset = *s0 / m as f64;
        *s0 = shift.to_f64() + offset;
        // `max` would turn NaN into 0
        let var = *s1 / m as f64 - offset * offset;
        *s1 = if var < 0.0 { 0.0 } else { var };
    }
    s0.append(&mut s1);
    s0
}

fn last_dim(shape: &Shape) -> usize {
    shape.dims().last().copied().unwrap_or(1)
}

/// y = (x − mean)·(γ/σ) + β, optionally followed by a ReLU. An op of x, or of (x, γ, β). The tables have the dtype of
/// x's arithmetic, f64 on a GPU.
struct Normalize {
    mean: Tensor,
    inv_std: Tensor,
    relu: bool,
    /// batch statistics: the gradient of x also flows through them
    of_batch: bool,
}

impl Normalize {
    /// With the statistics of x, which is contiguous; updates `running`.
    fn of_batch(
        x: &Tensor,
        affine: Option<(&Tensor, &Tensor)>,
        running: &Running,
        momentum: Momentum,
        eps: f64,
        relu: bool,
    ) -> Result<Self> {
        let samples = check("batch_norm_train", x, affine, running)?;
        let statistics = batch_statistics(x)?;
        if let Some(deferred) = &running.deferred {
            deferred.lock().unwrap_or_else(PoisonError::into_inner).push(SeenStatistics {
                running: Running { deferred: None, ..running.clone() },
                statistics: statistics.clone(),
                samples,
                momentum,
            });
        }
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let tables = match running.deferred {
                Some(_) => cuda::batch_tables(&statistics, eps)?,
                None => cuda::update_running(&statistics, running, samples, momentum, eps)?,
            };
            return Self::of_tables(&tables, relu, true);
        }
        let (mean, var) = (statistics.get(0)?, statistics.get(1)?);
        if running.deferred.is_none() {
            running.update(&mean, &var, samples, momentum)?;
        }
        Self::new(&mean, &var, eps, relu, true, wide(x.dtype()))
    }

    /// With the running statistics.
    fn of_running(
        x: &Tensor,
        affine: Option<(&Tensor, &Tensor)>,
        running: &Running,
        eps: f64,
        relu: bool,
    ) -> Result<Self> {
        check("batch_norm_eval", x, affine, running)?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return Self::of_tables(&cuda::running_tables(running, eps)?, relu, false);
        }
        let (mean, var) = (running.mean.as_detached_tensor(), running.var.as_detached_tensor());
        Self::new(&mean, &var, eps, relu, false, wide(x.dtype()))
    }

    fn new(mean: &Tensor, var: &Tensor, eps: f64, relu: bool, of_batch: bool, dtype: DType) -> Result<Self> {
        let inv_std = (var.to_dtype(DType::F64)? + eps)?.sqrt()?.recip()?.to_dtype(dtype)?;
        Ok(Self { mean: mean.to_dtype(dtype)?.contiguous()?, inv_std, relu, of_batch })
    }

    fn channels<T: Float>(&self, gamma: Option<&[T]>, beta: Option<&[T]>) -> Result<ChannelParams<T>> {
        let (mean, inv_std) = (self.mean.to_vec1::<T>()?, self.inv_std.to_vec1::<T>()?);
        let scale = match gamma {
            None => inv_std.clone(),
            Some(gamma) => inv_std.iter().zip(gamma).map(|(&s, &g)| s * g).collect(),
        };
        let shift = beta.map_or_else(|| vec![T::ZERO; mean.len()], <[T]>::to_vec);
        Ok(ChannelParams { mean, inv_std, scale, shift, relu: self.relu })
    }

    /// dx, and (dγ, dβ) if affine.
    fn gradients(
        &self,
        x: &Tensor,
        affine: Option<(&Tensor, &Tensor)>,
        dy: &Tensor,
    ) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        let dy = dy.contiguous()?;
        let backward = Backward { op: self, affine };
        let wanted = self.of_batch || affine.is_some();
        let sums = wanted.then(|| backward.sums(x, &dy)).transpose()?;
        let dx = backward.input_gradient(x, &dy, sums.as_ref().filter(|_| self.of_batch))?;
        let (Some(sums), Some((gamma, beta))) = (sums, affine) else {
            return Ok((dx, None));
        };
        let dgamma = (sums.get(1)?.to_dtype(self.inv_std.dtype())? * &self.inv_std)?;
        Ok((dx, Some((dgamma.to_dtype(gamma.dtype())?, sums.get(0)?.to_dtype(beta.dtype())?))))
    }
}

impl Op<1> for Normalize {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        Ok(by_stored!(x, T => {
            let channels = self.channels::<<T as Stored>::Wide>(None, None)?;
            output(channels.forward(x.elements::<T>()?), x.shape())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        self.forward_cuda(x, None)
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(self.gradients(x, None, dy)?.0)])
    }
}

impl Op<3> for Normalize {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu(&self, [x, gamma, beta]: [CpuInput; 3]) -> Result<CpuOutput> {
        Ok(by_stored!(x, T => {
            let affine = (Some(gamma.elements()?), Some(beta.elements()?));
            let channels = self.channels::<<T as Stored>::Wide>(affine.0, affine.1)?;
            output(channels.forward(x.elements::<T>()?), x.shape())
        }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x, gamma, beta]: [CudaInput; 3]) -> Result<CudaOutput> {
        self.forward_cuda(x, Some([gamma, beta]))
    }

    fn backward(
        &self,
        [x, gamma, beta]: [&Tensor; 3],
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (dx, affine) = self.gradients(x, Some((gamma, beta)), dy)?;
        let (dgamma, dbeta) = affine.unzip();
        Ok([Some(dx), dgamma, dbeta])
    }
}

/// The forward op with its affine parameters.
struct Backward<'a> {
    op: &'a Normalize,
    affine: Option<(&'a Tensor, &'a Tensor)>,
}

impl Backward<'_> {
    fn channels<T: Float>(&self) -> Result<ChannelParams<T>> {
        let Some((gamma, beta)) = self.affine else {
            return self.op.channels(None, None);
        };
        self.op.channels(Some(&gamma.to_vec1::<T>()?), Some(&beta.to_vec1::<T>()?))
    }

    /// f64 `(2, C)`: Σ dy and Σ dy·(x − mean).
    fn sums(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        compute(
            "batch_norm gradient sums",
            [x, dy],
            |[x, dy]| {
                Ok(by_stored!(x, T => {
                    let channels = self.channels::<<T as Stored>::Wide>()?;
                    let sums = channels.sums(x.elements::<T>()?, dy.elements()?);
                    output(sums.concat(), (2, last_dim(x.shape())))
                }))
            },
            #[cfg(feature = "cuda")]
            |[x, dy]| self.sums_cuda(x, dy),
        )
    }

    /// dx; `sums` is None if the statistics are fixed.
    fn input_gradient(&self, x: &Tensor, dy: &Tensor, sums: Option<&Tensor>) -> Result<Tensor> {
        compute(
            "batch_norm input gradient",
            [x, dy],
            |[x, dy]| {
                let sums = sums.map(|s| s.flatten_all()?.to_vec1::<f64>()).transpose()?;
                Ok(by_stored!(x, T => {
                    let channels = self.channels::<<T as Stored>::Wide>()?;
                    let dx = channels.input_gradient(x.elements::<T>()?, dy.elements()?, sums.as_deref());
                    output(dx, x.shape())
                }))
            },
            #[cfg(feature = "cuda")]
            |[x, dy]| self.input_gradient_cuda(x, dy, sums),
        )
    }
}
