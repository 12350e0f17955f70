//! Softmax cross entropy with class labels.

use super::sparse_target::{RowEntropies, SparseTarget};
use candle_core::{DType, Result, Tensor, bail};

/// Softmax cross entropy. logits `(N, K)` f32 or f64, labels u32 `(N)`; entries equal to `ignore` are excluded. Mean
/// over the rest, in nats; 0 with a zero gradient if nothing is left. Errors: mismatched shapes, a label that is
/// neither below K nor `ignore`. On a GPU an invalid label gives a NaN loss instead, since nothing is read back.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, ignore: Option<u32>) -> Result<Tensor> {
    let (&[n, k], &[rows]) = (logits.dims(), labels.dims()) else {
        bail!("{NAME}: logits (N, K) and labels (N) wanted, got {:?} and {:?}", logits.dims(), labels.dims());
    };
    if n != rows || k == 0 || labels.dtype() != DType::U32 {
        let (logits, labels, dtype) = (logits.dims(), labels.dims(), labels.dtype());
        bail!("{NAME}: logits {logits:?} want u32 labels ({n}), got {dtype:?} {labels:?}");
    }
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        let entropies = RowEntropies::new(logits, SparseTarget::of_labels(labels, ignore, k)?)?;
        let mean = entropies.sums_cuda(None, 1.0)?.get(0)?;
        return entropies.into_loss(mean);
    }
    let mut classes = labels.to_vec1::<u32>()?;
    let counts: Vec<bool> = classes.iter().map(|&label| Some(label) != ignore).collect();
    for (row, (class, &counts)) in classes.iter_mut().zip(&counts).enumerate() {
        if !counts {
            *class = 0;
        } else if *class as usize >= k {
            bail!(
                "{NAME}: label {class} of row {row} is not below the {k} classes of logits {:?}",
                logits.dims()
            );
        }
    }
    let kept = counts.iter().filter(|&&c| c).count().max(1) as f64;
    let weights: Vec<f64> = counts.iter().map(|&c| if c { 1.0 / kept } else { 0.0 }).collect();
    let device = logits.device();
    let entropies = RowEntropies::new(
        logits,
        SparseTarget {
            classes: Tensor::from_vec(classes, (n, 1), device)?,
            shares: Tensor::ones((n, 1), DType::F64, device)?,
            row_weights: Tensor::from_vec(weights, n, device)?,
        },
    )?;
    let kept_sum: f64 = entropies.values()?.iter().zip(&counts).filter(|(_, c)| **c).map(|(e, _)| e).sum();
    entropies.into_loss(Tensor::new(kept_sum / kept, device)?)
}

const NAME: &str = "cross_entropy";

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn ignored_rows_count_in_nothing_even_when_broken() -> Result<()> {
        let logits = Var::from_vec(vec![0f32, 0.0, f32::NAN, 1.0], (2, 2), &Device::Cpu)?;
        let labels = Tensor::from_vec(vec![1u32, 255], 2, &Device::Cpu)?;
        let loss = cross_entropy(&logits, &labels, Some(255))?;
        assert!((loss.to_scalar::<f32>()? - 2f32.ln()).abs() < 1e-7);
        let gradient = loss.backward()?.get(&logits).map(|g| g.flatten_all()?.to_vec1::<f32>());
        assert_eq!(gradient.transpose()?, Some(vec![0.5, -0.5, 0.0, 0.0]));
        let none = cross_entropy(&logits, &Tensor::full(255u32, 2, &Device::Cpu)?, Some(255))?;
        assert_eq!(none.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn extreme_logits_stay_finite() -> Result<()> {
        let logits = Tensor::from_vec(vec![1e4f32, -1e4, 0.0, -1e4, 1e4, 0.0], (2, 3), &Device::Cpu)?;
        let loss = cross_entropy(&logits, &Tensor::from_vec(vec![0u32, 0], 2, &Device::Cpu)?, None)?;
        assert_eq!(loss.to_scalar::<f32>()?, 1e4);
        Ok(())
    }

    #[test]
    fn a_label_out_of_range_is_named() -> Result<()> {
        let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        let labels = Tensor::from_vec(vec![0u32, 3], 2, &Device::Cpu)?;
        let message = cross_entropy(&logits, &labels, None).unwrap_err().to_string();
        assert!(message.contains("label 3 of row 1") && message.contains("[2, 3]"), "{message}");
        Ok(())
    }
}
