//! Softmax cross entropy with sparse soft targets: the classes of a row, their probabilities, and a row weight. One
//! class of probability 1 is classification; the K bins of a soft code are colorization (paper equation 2). With m =
//! max x and z = Σ exp(x − m),
//!
//! CE = ln z − Σ_k t_k·(x_k − m),  ∂/∂x = weight·(softmax(x) − t).

use super::super::cpu::{BLOCK, Float, by_dtype, fill_blocks, stored_elements};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::op::{CudaInput, CudaOutput};
use candle_core::{Result, Tensor, WithDType};

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub(super) use cuda::{gpu, uninit};

/// The targets of N rows. A row of weight 0 gets a zero gradient, even if it contains NaN.
#[derive(Clone)]
pub(super) struct SparseTarget {
    /// u32 `(N, K)`, each below the number of logits
    pub classes: Tensor,
    /// f64 `(N, K)`, each row of sum 1
    pub shares: Tensor,
    /// f64 `(N)`
    pub row_weights: Tensor,
}

/// The unweighted cross entropy of every row, and the data for the gradient.
pub(super) struct RowEntropies {
    /// f64 `(N, 2)`: ln Σ exp(x), CE
    rows: Tensor,
    logits: Tensor,
    target: SparseTarget,
}

impl RowEntropies {
    /// logits `(N, Q)`, f32 or f64.
    pub fn new(logits: &Tensor, target: SparseTarget) -> Result<Self> {
        let logits = logits.contiguous()?;
        let rows = target.rows(&logits)?;
        Ok(Self { rows, logits, target })
    }

    /// Cross entropies of all rows, in nats; copies them to the host.
    pub fn values(&self) -> Result<Vec<f64>> {
        self.rows.narrow(1, 1, 1)?.flatten_all()?.to_vec1()
    }

    /// Wraps `value`, an f64 scalar computed by the caller, as a tensor of the logits' dtype with the gradient
    /// weight·(softmax − target).
    pub fn into_loss(self, value: Tensor) -> Result<Tensor> {
        apply(SparseTargetLoss { value, rows: self.rows, target: self.target }, [&self.logits])
    }
}

/// Rows of about [`BLOCK`] logits.
fn rows_per_block(q: usize) -> usize {
    (BLOCK / q.max(1)).max(1)
}

/// Logits processed at a time.
const RUN: usize = 128;

/// Σ exp(x − max) in f64; the summation order depends only on the length.
fn sum_exp<T: Float>(x: &[T], max: T) -> f64 {
    const LANES: usize = 4;
    let (mut held, mut lanes) = ([T::ZERO; RUN], [0.0; LANES]);
    for run in x.chunks(RUN) {
        exponentials(run, max, &mut held);
        // clear the remainder of the previous run
        held[run.len()..].fill(T::ZERO);
        for part in held.chunks_exact(LANES) {
            lanes.iter_mut().zip(part).for_each(|(lane, v)| *lane += v.to_f64());
        }
    }
    lanes.iter().sum()
}

/// exp(x − shift); a separate function, so that the compiler can vectorize it.
#[inline(never)]
fn exponentials<T: Float>(x: &[T], shift: T, out: &mut [T]) {
    out.iter_mut().zip(x).for_each(|(o, &x)| *o = (x - shift).exp());
}

/// ln Σ exp(x) and CE of one row.
fn row_entropy<T: Float>(x: &[T], classes: &[u32], shares: &[f64]) -> (f64, f64) {
    let max = x.iter().fold(T::NEG_INFINITY, |m, &v| if (v > m) | v.nan() { v } else { m });
    let sum = sum_exp(x, max);
    let dot: f64 = classes
        .iter()
        .zip(shares)
        .map(|(&class, &share)| share * (x[class as usize].to_f64() - max.to_f64()))
        .sum();
    (max.to_f64() + sum.ln(), sum.ln() - dot)
}

impl SparseTarget {
    /// Runs `f` with the classes and the shares.
    fn read<R>(&self, op: &str, f: impl FnOnce(&[u32], &[f64]) -> Result<R>) -> Result<R> {
        let (classes, classes_layout) = self.classes.storage_and_layout();
        let (shares, shares_layout) = self.shares.storage_and_layout();
        f(stored_elements(op, (&classes, classes_layout))?, stored_elements(op, (&shares, shares_layout))?)
    }

    /// logits `(N, Q)` → f64 `(N, 2)`.
    fn rows(&self, logits: &Tensor) -> Result<Tensor> {
        compute(
            "cross entropy of rows",
            [logits],
            |[x]| self.read(x.op, |classes, shares| self.rows_cpu(x, classes, shares)),
            #[cfg(feature = "cuda")]
            |[x]| self.rows_cuda(x),
        )
    }

    fn rows_cpu(&self, x: CpuInput, classes: &[u32], shares: &[f64]) -> Result<CpuOutput> {
        let ((n, q), k) = (x.shape().dims2()?, self.classes.dim(1)?);
        let rows = by_dtype!(x, T => {
            let x = x.elements::<T>()?;
            fill_blocks::<f64>(1, n * 2, rows_per_block(q) * 2, |_, offset, out| {
                for (i, out) in out.chunks_exact_mut(2).enumerate() {
                    let row = offset / 2 + i;
                    let (lse, entropy) = row_entropy(
                        &x[row * q..][..q],
                        &classes[row * k..][..k],
                        &shares[row * k..][..k],
                    );
                    out.copy_from_slice(&[lse, entropy]);
                }
            })
        });
        Ok(output(rows, (n, 2)))
    }
}

struct SparseTargetLoss {
    /// f64 `()`
    value: Tensor,
    rows: Tensor,
    target: SparseTarget,
}

impl Op<1> for SparseTargetLoss {
    fn name(&self) -> &'static str {
        "cross entropy"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        let value = self.value.to_scalar::<f64>()?;
        Ok(by_dtype!(x, T => output(vec![T::from_f64(value)], ())))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        cuda::value(&self.value, x)
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, dloss: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dx = compute(
            "cross entropy gradient",
            [x, dloss],
            |[x, dloss]| {
                self.target.read(x.op, |classes, shares| self.gradient_cpu(x, dloss, classes, shares))
            },
            #[cfg(feature = "cuda")]
            |[x, dloss]| self.target.gradient_cuda(&self.rows, x, dloss),
        )?;
        Ok([Some(dx)])
    }
}

/// scale·(softmax(x) − target), given ln Σ exp(x).
fn row_gradient<T: Float>(x: &[T], lse: f64, classes: &[u32], shares: &[f64], scale: f64, out: &mut [T]) {
    let (lse, factor) = (T::from_f64(lse), T::from_f64(scale));
    exponentials(x, lse, out);
    out.iter_mut().for_each(|o| *o *= factor);
    for (&class, &share) in classes.iter().zip(shares) {
        out[class as usize] -= T::from_f64(share * scale);
    }
}

impl SparseTargetLoss {
    fn gradient_cpu(
        &self,
        x: CpuInput,
        dloss: CpuInput,
        classes: &[u32],
        shares: &[f64],
    ) -> Result<CpuOutput> {
        let ((n, q), k) = (x.shape().dims2()?, self.target.classes.dim(1)?);
        let rows = self.rows.flatten_all()?.to_vec1::<f64>()?;
        let weights = self.target.row_weights.to_vec1::<f64>()?;
        Ok(by_dtype!(x, T => {
            let (logits, dloss) = (x.elements::<T>()?, dloss.elements::<T>()?[0].to_f64());
            let dx = fill_blocks::<T>(1, n * q, rows_per_block(q) * q, |_, offset, out| {
                for (i, out) in out.chunks_exact_mut(q).enumerate() {
                    let row = offset / q + i;
                    if weights[row] == 0.0 {
                        continue;
                    }
                    let (classes, shares) = (&classes[row * k..][..k], &shares[row * k..][..k]);
                    row_gradient(&logits[row * q..][..q], rows[row * 2], classes, shares, weights[row] * dloss, out);
                }
            });
            output(dx, x.shape())
        }))
    }
}
