//! Principal components of patches, with the authors' constants. Eigenvalues are those of the covariance not divided
//! by the number of patches, as in their code.

use super::patches::Patches;
use candle_core::{DType, Device, Result, Tensor, bail};
use faer::{MatRef, Side};

/// Components with a smaller eigenvalue are dropped.
const NOTHING: f64 = 1e-6;
/// Regularizer that bounds the amplification of small eigenvalues.
const EPS: f64 = 1e-3;

/// The leading principal components of the patches of one group.
pub(super) struct Spectrum {
    /// Mean patch, f64 `(1, fan-in)`.
    mean: Tensor,
    /// Eigenvalues of the covariance times the number of patches, descending.
    pub values: Vec<f64>,
    /// Eigenvectors in the same order, f64 `(components, fan-in)`.
    pub vectors: Tensor,
    /// 1 / √(λ + 1e-3); 0 where λ < 1e-6.
    pub inverse_roots: Vec<f64>,
    pub patches: usize,
}

impl Spectrum {
    /// At most `most` components.
    pub fn of(patches: &Patches<'_>, group: usize, most: usize) -> Result<Self> {
        let (count, fan_in) = (patches.count(), patches.fan_in());
        let mut sum = Tensor::zeros((1, fan_in), DType::F64, &Device::Cpu)?;
        patches.for_each(group, |x| {
            sum = (&sum + x.sum_keepdim(0)?)?;
            Ok(())
        })?;
        let mean = (sum / count as f64)?;
        let mut covariance = Tensor::zeros((fan_in, fan_in), DType::F64, &Device::Cpu)?;
        patches.for_each(group, |x| {
            let x = x.broadcast_sub(&mean)?;
            covariance = (&covariance + x.t()?.matmul(&x)?)?;
            Ok(())
        })?;
        let covariance = covariance.flatten_all()?.to_vec1::<f64>()?;
        let (values, vectors) = leading(&covariance, fan_in, most.min(fan_in))?;
        let root = |&value: &f64| if value < NOTHING { 0.0 } else { 1.0 / (value + EPS).sqrt() };
        let inverse_roots = values.iter().map(root).collect();
        Ok(Self { mean, values, vectors, inverse_roots, patches: count })
    }

    /// S·Vᵀ, f64 `(components, fan-in)`: maps centered patches to whitened coordinates, and filters in those
    /// coordinates back to pixels.
    pub fn whitening(&self) -> Result<Tensor> {
        let roots = Tensor::new(self.inverse_roots.as_slice(), &Device::Cpu)?.unsqueeze(1)?;
        self.vectors.broadcast_mul(&roots)
    }

    /// Whitened patches of unit length, f32 `(n, components)`.
    pub fn whitened(&self, patches: &Patches<'_>, group: usize) -> Result<Tensor> {
        let to_coordinates = self.whitening()?.t()?.contiguous()?;
        let mut parts = vec![];
        patches.for_each(group, |x| {
            let x = x.broadcast_sub(&self.mean)?.matmul(&to_coordinates)?;
            // A patch equal to the mean has no direction and stays 0.
            let length = x.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(f64::MIN_POSITIVE)?;
            parts.push(x.broadcast_div(&length)?.to_dtype(DType::F32)?);
            Ok(())
        })?;
        Tensor::cat(&parts, 0)
    }

    /// Standard deviation of the response to the patches of a filter in whitened coordinates.
    pub fn response(&self, filter: &[f64]) -> f64 {
        let terms = filter.iter().zip(&self.inverse_roots).zip(&self.values);
        let square: f64 = terms.map(|((f, root), value)| (f * root).powi(2) * value.max(0.0)).sum();
        (square / self.patches.max(1) as f64).sqrt()
    }
}

/// The `count` largest eigenvalues of a symmetric matrix (n, n), descending, and their vectors `(count, n)`.
fn leading(matrix: &[f64], n: usize, count: usize) -> Result<(Vec<f64>, Tensor)> {
    let Ok(eigen) = MatRef::from_row_major_slice(matrix, n, n).self_adjoint_eigen(Side::Lower) else {
        bail!(
            "the eigendecomposition of the patch covariance failed: check that all pictures and weights are finite"
        )
    };
    let (all, vectors) = (eigen.S().column_vector(), eigen.U());
    let values = (1..=count).map(|i| all[n - i]).collect();
    let vectors = (1..=count).flat_map(|i| (0..n).map(move |row| vectors[(row, n - i)])).collect();
    Ok((values, Tensor::from_vec::<_, f64>(vectors, (count, n), &Device::Cpu)?))
}
