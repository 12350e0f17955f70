//! Weighted squared distance, of pictures or other numbers.

use super::elements::{ElementLoss, total};
use candle_core::{Result, Tensor, bail};

/// Σ w·(p − t)² / `divisor`. predictions and targets `(B, …)`; weights `(B, …)`, or `(1, …)` for the same in each picture;
/// None for 1. Entries of weight 0 are ignored. Differentiable in the predictions only.
///
/// # Errors
/// Other shapes, a non-positive divisor.
pub fn squared_distance(
    predictions: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    divisor: f64,
) -> Result<Tensor> {
    let (p, t) = (predictions.dims(), targets.dims());
    let fits = |w: &[usize]| w == p || w.first() == Some(&1) && w.get(1..) == p.get(1..);
    if p != t || weights.is_some_and(|w| !fits(w.dims())) {
        bail!(
            "{NAME}: predictions {p:?}, targets {t:?} and weights {:?} must agree",
            weights.map(Tensor::dims)
        );
    }
    if !(divisor > 0.0 && divisor.is_finite()) {
        bail!("{NAME}: the divisor of predictions {p:?} must be positive, got {divisor}");
    }
    total::<Squares>(predictions, targets, weights, divisor)
}

const NAME: &str = "squared_distance";

struct Squares;

impl ElementLoss for Squares {
    const NAME: &'static str = NAME;
    const GRADIENT: &'static str = "squared_distance gradient";
    #[cfg(feature = "cuda")]
    const KERNELS: &'static str = "squares";

    fn value(p: f64, t: f64, w: f64) -> f64 {
        w * (p - t) * (p - t)
    }

    fn slope(p: f64, t: f64, w: f64) -> f64 {
        2.0 * w * (p - t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// By hand, with weights of one picture for two, of which one entry is broken where it does not count.
    #[test]
    fn weights_of_one_picture_are_those_of_all() -> Result<()> {
        let p = Var::from_vec(vec![1f32, f32::NAN, 3.0, 0.0, 5.0, -1.0], (2, 3), &Device::Cpu)?;
        let t = Tensor::from_vec(vec![0f32, 0.0, 1.0, 2.0, 0.0, 0.0], (2, 3), &Device::Cpu)?;
        let w = Tensor::from_vec(vec![1f32, 0.0, 10.0], (1, 3), &Device::Cpu)?;
        let loss = squared_distance(&p, &t, Some(&w), 4.0)?;
        // 1 + 10·4, and 4 + 10
        assert_eq!(loss.to_scalar::<f32>()?, 55.0 / 4.0);
        let gradient = loss.backward()?.get(&p).map(|g| g.to_vec2::<f32>()).transpose()?;
        assert_eq!(gradient, Some(vec![vec![0.5, 0.0, 10.0], vec![-1.0, 0.0, -5.0]]));
        Ok(())
    }

    #[test]
    fn shapes_must_agree() -> Result<()> {
        let zeros = |b, n| Tensor::zeros((b, n), DType::F32, &Device::Cpu);
        let x = zeros(4, 3)?;
        for weights in [zeros(2, 3)?, zeros(1, 2)?, zeros(4, 2)?] {
            let message = squared_distance(&x, &x, Some(&weights), 1.0).unwrap_err().to_string();
            assert!(message.contains("[4, 3]"), "{message}");
        }
        assert!(squared_distance(&x, &zeros(3, 3)?, None, 1.0).is_err());
        assert!(squared_distance(&x, &x, None, 0.0).is_err());
        assert_eq!(squared_distance(&zeros(0, 3)?, &zeros(0, 3)?, None, 1.0)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }
}
