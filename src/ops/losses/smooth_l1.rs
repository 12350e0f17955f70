//! Smooth L1 loss for box regression (Girshick 2015, equations 2 and 3).

use super::elements::{ElementLoss, total};
use candle_core::{Result, Tensor, bail};

/// Σ f(w·(p − t)) / `divisor`, with f(d) = d²/2 where |d| < 1, else |d| − 1/2: Fast R-CNN's loss with inside weights.
/// predictions, targets and weights have the same shape. Entries of weight 0 are ignored. Differentiable in the
/// predictions only.
///
/// # Errors
/// Different shapes, a non-positive divisor.
pub fn smooth_l1(predictions: &Tensor, targets: &Tensor, weights: &Tensor, divisor: f64) -> Result<Tensor> {
    let (p, t, w) = (predictions.dims(), targets.dims(), weights.dims());
    if p != t || p != w {
        bail!("{NAME}: predictions {p:?}, targets {t:?} and weights {w:?} must agree");
    }
    if !(divisor > 0.0 && divisor.is_finite()) {
        bail!("{NAME}: the divisor of predictions {p:?} must be positive, got {divisor}");
    }
    total::<SmoothL1>(predictions, targets, Some(weights), divisor)
}

const NAME: &str = "smooth_l1";

struct SmoothL1;

impl ElementLoss for SmoothL1 {
    const NAME: &'static str = NAME;
    const GRADIENT: &'static str = "smooth_l1 gradient";
    #[cfg(feature = "cuda")]
    const KERNELS: &'static str = NAME;

    fn value(p: f64, t: f64, w: f64) -> f64 {
        let size = (w * (p - t)).abs();
        if size < 1.0 { 0.5 * size * size } else { size - 0.5 }
    }

    fn slope(p: f64, t: f64, w: f64) -> f64 {
        // clamp lets NaN through
        w * (w * (p - t)).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn row(values: &[f32]) -> Result<Tensor> {
        Tensor::new(values, &Device::Cpu)
    }

    #[test]
    fn the_weight_stands_before_the_knee() -> Result<()> {
        let p = Var::from_tensor(&row(&[0.5, -3.0, 0.5])?)?;
        let loss = smooth_l1(&p, &row(&[0.0; 3])?, &row(&[1.0, 1.0, 4.0])?, 2.0)?;
        // 1/8, 3 − 1/2, and 4·0.5 = 2 beyond the knee
        assert_eq!(loss.to_scalar::<f32>()?, (0.125 + 2.5 + 1.5) / 2.0);
        let gradient = loss.backward()?.get(&p).map(|g| g.to_vec1::<f32>()).transpose()?;
        assert_eq!(gradient, Some(vec![0.25, -0.5, 2.0]));
        Ok(())
    }

    #[test]
    fn weight_0_counts_in_nothing_even_when_broken_and_nan_shows_elsewhere() -> Result<()> {
        let p = Var::from_tensor(&row(&[f32::NAN, 2.0])?)?;
        let loss = smooth_l1(&p, &row(&[0.0; 2])?, &row(&[0.0, 1.0])?, 1.0)?;
        assert_eq!(loss.to_scalar::<f32>()?, 1.5);
        let gradient = loss.backward()?.get(&p).map(|g| g.to_vec1::<f32>()).transpose()?;
        assert_eq!(gradient, Some(vec![0.0, 1.0]));
        assert!(smooth_l1(&p, &row(&[0.0; 2])?, &row(&[1.0; 2])?, 1.0)?.to_scalar::<f32>()?.is_nan());
        Ok(())
    }

    #[test]
    fn shapes_must_agree_and_no_entries_cost_nothing() -> Result<()> {
        let zeros = |n| Tensor::zeros((2, n), DType::F32, &Device::Cpu);
        let message = smooth_l1(&zeros(3)?, &zeros(4)?, &zeros(3)?, 1.0).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[2, 4]"), "{message}");
        assert!(smooth_l1(&zeros(3)?, &zeros(3)?, &zeros(2)?, 1.0).is_err());
        assert!(smooth_l1(&zeros(3)?, &zeros(3)?, &zeros(3)?, 0.0).is_err());
        assert_eq!(smooth_l1(&zeros(0)?, &zeros(0)?, &zeros(0)?, 1.0)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }
}
