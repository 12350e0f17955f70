//! Batch normalisation over (B, H, W) (Ioffe and Szegedy, ICML 2015), optionally affine, optionally with the ReLU that
//! follows it fused in. The biased variance normalises, the unbiased one (m/(m−1)) moves the running variance.
//!
//! Training reads x twice forward (statistics, then normalise + ReLU) and x and dy twice backward (two sums per
//! channel, then dx); the batch statistics are computed once and kept with the op. The ReLU's mask is found again
//! from x by the arithmetic of the forward pass. Not here: synchronisation across devices.

#[cfg(feature = "cuda")]
mod cuda;
mod rows;

use super::cpu::{Float, by_dtype, view};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, Var, WithDType, bail,
};
use rows::{Channels, add_moments, channel_sums};

/// How running statistics move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// new = (1−m)·old + m·batch; 0.1 is usual.
    PyTorch(f64),
    /// Caffe's accumulators with this fraction f (0.999 is its default): S ← f·S + statistic and weight ← f·weight + 1,
    /// used as S / weight. [`Running`] keeps the quotient, so new = (f·weight·old + statistic) / (f·weight + 1).
    Caffe(f64),
}

/// Running mean and variance `(C)`, always ready for use; for Caffe the weight that their accumulators have gathered
/// is in `weight` `(1)`, which starts at 0 (then the first batch replaces mean and variance). PyTorch's rule leaves it.
#[derive(Clone, Debug)]
pub struct Running {
    pub mean: Var,
    pub var: Var,
    pub weight: Var,
}

impl Running {
    /// Takes in the mean and the biased variance, f64 `(C)`, of a batch of `m` samples per channel.
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

/// Training: batch statistics normalise, and `running` moves. x `(B, H, W, C)` or `(B, C)`, f32 or f64, on a GPU also bf16
/// (the rest is f32 then); `affine` is (γ, β), each `(C)`; with `relu` the result is max(·, 0). A channel with a single sample has variance 0 and gives β.
/// Errors: another rank, an empty x, γ, β or running statistics that are not `(C)`.
pub fn batch_norm_train(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    momentum: Momentum,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let samples = check("batch_norm_train", x, affine, running)?;
    let x = x.contiguous()?;
    let statistics = x.apply_op1_no_bwd(&BatchStatistics)?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let tables = cuda::moved(&statistics, running, samples, momentum, eps)?;
        return normalise(&x, affine, Normalise::of_tables(&tables, relu, true)?);
    }
    let (mean, var) = (statistics.get(0)?, statistics.get(1)?);
    running.update(&mean, &var, samples, momentum)?;
    normalise(&x, affine, Normalise::new(&mean, &var, eps, relu, true, x.dtype())?)
}

/// Evaluation: running statistics, which stay; differentiable in x and the affine pair. Shapes and errors as
/// [`batch_norm_train`].
pub fn batch_norm_eval(
    x: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: &Running,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    check("batch_norm_eval", x, affine, running)?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let op = Normalise::of_tables(&cuda::fixed(running, eps)?, relu, false)?;
        return normalise(&x.contiguous()?, affine, op);
    }
    let (mean, var) = (running.mean.as_detached_tensor(), running.var.as_detached_tensor());
    let op = Normalise::new(&mean, &var, eps, relu, false, x.dtype())?;
    normalise(&x.contiguous()?, affine, op)
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

fn normalise(x: &Tensor, affine: Option<(&Tensor, &Tensor)>, op: Normalise) -> Result<Tensor> {
    match affine {
        None => x.apply_op1(op),
        Some((gamma, beta)) => x.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op),
    }
}

/// x → f64 `(2, C)`: mean and biased variance, in one pass around the first row, so that a large common offset costs
/// no digits.
struct BatchStatistics;

impl BatchStatistics {
    fn compute<T: Float>(x: &[T], channels: usize) -> Vec<f64> {
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
}

impl CustomOp1 for BatchStatistics {
    fn name(&self) -> &'static str {
        "batch statistics"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = last_dim(l);
        let statistics =
            by_dtype!(self.name(), s, T => Self::compute(view::<T>(self.name(), s, l)?, channels));
        Ok((CpuStorage::F64(statistics), (2, channels).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::statistics((s, l))
    }
}

fn last_dim(l: &Layout) -> usize {
    l.dims().last().copied().unwrap_or(1)
}

/// y = (x − mean)·(γ/σ) + β, then perhaps the ReLU. One op of x, or of (x, γ, β). The tables are of x's type, f64 on a GPU.
#[derive(Clone)]
struct Normalise {
    mean: Tensor,
    inv_std: Tensor,
    relu: bool,
    /// the statistics are those of x, so the gradient of x flows through them too
    of_batch: bool,
}

impl Normalise {
    fn new(mean: &Tensor, var: &Tensor, eps: f64, relu: bool, of_batch: bool, dtype: DType) -> Result<Self> {
        let inv_std = (var.to_dtype(DType::F64)? + eps)?.sqrt()?.recip()?.to_dtype(dtype)?;
        Ok(Self { mean: mean.to_dtype(dtype)?.contiguous()?, inv_std, relu, of_batch })
    }

    fn channels<T: Float>(&self, gamma: Option<&[T]>, beta: Option<&[T]>) -> Result<Channels<T>> {
        let (mean, inv_std) = (self.mean.to_vec1::<T>()?, self.inv_std.to_vec1::<T>()?);
        let scale = match gamma {
            None => inv_std.clone(),
            Some(gamma) => inv_std.iter().zip(gamma).map(|(&s, &g)| s * g).collect(),
        };
        let shift = beta.map_or_else(|| vec![T::ZERO; mean.len()], <[T]>::to_vec);
        Ok(Channels { mean, inv_std, scale, shift, relu: self.relu })
    }

    /// dx, and (dγ, dβ) where there is an affine pair.
    fn gradients(
        &self,
        x: &Tensor,
        affine: Option<(&Tensor, &Tensor)>,
        dy: &Tensor,
    ) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        let dy = dy.contiguous()?;
        let backward = Backward { op: self.clone(), affine: affine.map(|(g, b)| (g.clone(), b.clone())) };
        let wanted = self.of_batch || affine.is_some();
        let sums = wanted.then(|| x.apply_op2_no_bwd(&dy, &GradientSums(backward.clone()))).transpose()?;
        let of_x = sums.clone().filter(|_| self.of_batch);
        let dx = x.apply_op2_no_bwd(&dy, &InputGradient { backward, sums: of_x })?;
        let (Some(sums), Some((gamma, beta))) = (sums, affine) else {
            return Ok((dx, None));
        };
        let dgamma = (sums.get(1)?.to_dtype(self.inv_std.dtype())? * &self.inv_std)?;
        Ok((dx, Some((dgamma.to_dtype(gamma.dtype())?, sums.get(0)?.to_dtype(beta.dtype())?))))
    }
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!("batch_norm", s, T => {
            T::to_cpu_storage_owned(self.channels::<T>(None, None)?.forward(view("batch_norm", s, l)?))
        });
        Ok((y, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        self.forward_cuda((s, l), None, None)
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.gradients(x, None, dy)?.0))
    }
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let op = "batch_norm";
        let y = by_dtype!(op, s1, T => {
            let channels = self.channels::<T>(Some(view(op, s2, l2)?), Some(view(op, s3, l3)?))?;
            T::to_cpu_storage_owned(channels.forward(view(op, s1, l1)?))
        });
        Ok((y, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_cuda((s1, l1), Some((s2, l2)), Some((s3, l3)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, affine) = self.gradients(x, Some((gamma, beta)), dy)?;
        let (dgamma, dbeta) = affine.unzip();
        Ok((Some(dx), dgamma, dbeta))
    }
}

/// The forward op with the affine pair that it was given.
#[derive(Clone)]
struct Backward {
    op: Normalise,
    affine: Option<(Tensor, Tensor)>,
}

impl Backward {
    fn channels<T: Float>(&self) -> Result<Channels<T>> {
        let Some((gamma, beta)) = &self.affine else {
            return self.op.channels(None, None);
        };
        self.op.channels(Some(&gamma.to_vec1::<T>()?), Some(&beta.to_vec1::<T>()?))
    }
}

/// (x, dy) → f64 `(2, C)`: Σ dy and Σ dy·(x − mean).
struct GradientSums(Backward);

impl CustomOp2 for GradientSums {
    fn name(&self) -> &'static str {
        "batch_norm gradient sums"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let op = self.name();
        let sums = by_dtype!(op, s1, T => self.0.channels::<T>()?.sums(view(op, s1, l1)?, view(op, s2, l2)?));
        Ok((CpuStorage::F64(sums.concat()), (2, last_dim(l1)).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.sums_cuda((s1, l1), (s2, l2))
    }
}

/// (x, dy) → dx.
struct InputGradient {
    backward: Backward,
    /// of [`GradientSums`]; none where the statistics are fixed
    sums: Option<Tensor>,
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "batch_norm input gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let op = self.name();
        let sums = self.sums.as_ref().map(|s| s.flatten_all()?.to_vec1::<f64>()).transpose()?;
        let dx = by_dtype!(op, s1, T => {
            let channels = self.backward.channels::<T>()?;
            let (x, dy) = (view(op, s1, l1)?, view(op, s2, l2)?);
            T::to_cpu_storage_owned(channels.input_gradient(x, dy, sums.as_deref()))
        });
        Ok((dx, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_cuda((s1, l1), (s2, l2))
    }
}
