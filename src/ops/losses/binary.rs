//! Sigmoid cross entropy for multi-label classification.

use super::super::cpu::Stored;
use super::elements::{ElementLoss, total};
use candle_core::{Result, Tensor, bail};

/// Sigmoid cross entropy, stable at any logit: max(x, 0) − x·t + ln(1 + exp(−|x|)). logits, targets and mask (0 or 1)
/// `(N, K)` or any one shape; sum over masked entries / `divisor`. Entries with mask 0 are ignored. Differentiable in
/// the logits only. Errors: different shapes, a non-positive divisor.
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
    total::<BceWithLogits>(logits, targets, mask, divisor)
}

const NAME: &str = "bce_with_logits";

struct BceWithLogits;

impl ElementLoss for BceWithLogits {
    const NAME: &'static str = NAME;
    const GRADIENT: &'static str = "bce_with_logits gradient";
    #[cfg(feature = "cuda")]
    const KERNELS: &'static str = "bce";

    fn value(x: f64, t: f64, _mask: f64) -> f64 {
        // not `max`, which would turn NaN into 0
        x.rectify() - x * t + (-x.abs()).exp().ln_1p()
    }

    fn slope(x: f64, t: f64, _mask: f64) -> f64 {
        sigmoid(x) - t
    }
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
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
        // exp(-120) is below the smallest f32
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
