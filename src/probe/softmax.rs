//! A linear classifier fitted on all rows of a feature matrix at once: multinomial logistic regression on standardized
//! features. Nothing in it is random, and it is fitted in a fraction of a second, which makes it the probe of a monitor;
//! tables are made with [`super::linear`].
//!
//! Minimizes the mean cross-entropy + decay/2 ‖W‖², without decay of the biases. The Hessian of the cross-entropy is at
//! most ½ XᵀX/n for each class (Böhning 1992), whose inverse, computed once, turns the gradient into a step that never
//! overshoots. Steps are accelerated (Nesterov), restarted where they point uphill (O'Donoghue and Candès 2015).

use super::features::Features;
use crate::bounded::{Count, Positive};
use anyhow::{Result, ensure};
use candle_core::{D, DType, Device, Tensor};
use faer::{MatRef, Side, linalg::solvers::DenseSolveCore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fit ends where no entry of the gradient is larger.
const TOLERANCE: f64 = 1e-5;

/// A linear probe that is fitted to convergence, not trained by batches. In YAML: `probe: { decay: 1e-3, iterations:
/// 200 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Fitted linear probe")]
pub struct SoftmaxSpec {
    /// Weight decay; 1 / (n · decay) is the C of scikit-learn's LogisticRegression.
    pub decay: Positive,
    /// Maximum number of steps.
    pub iterations: Count,
}

impl Default for SoftmaxSpec {
    fn default() -> Self {
        Self { decay: Positive::of(1e-3), iterations: Count::of(200) }
    }
}

/// A fitted classifier.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// Mean and scale of each feature, f64 `(1, d)`.
    mean: Tensor,
    scale: Tensor,
    /// f64 `(d, classes)`
    weights: Tensor,
    /// f64 `(1, classes)`
    biases: Tensor,
}

impl Softmax {
    /// Fits on rows with labels below `classes`.
    ///
    /// # Errors
    /// Rows without labels, or labels that are not below `classes`; features so large that f64 overflows.
    pub fn fit(spec: &SoftmaxSpec, features: &Features, labels: &[u32], classes: usize) -> Result<Self> {
        ensure!(
            features.len() == labels.len() && !labels.is_empty(),
            "probe: {} rows with {} labels",
            features.len(),
            labels.len()
        );
        ensure!(
            labels.iter().all(|label| (*label as usize) < classes),
            "probe: a label of {classes} or more"
        );
        let x = matrix(features)?;
        let mean = x.mean_keepdim(0)?;
        let deviation = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?.sqrt()?;
        // A constant feature says nothing: it becomes 0.
        let scale =
            deviation.gt(&deviation.zeros_like()?)?.where_cond(&deviation, &deviation.ones_like()?)?;
        let x = x.broadcast_sub(&mean)?.broadcast_div(&scale)?;
        let problem = Problem::new(x, labels, classes, spec.decay.get())?;
        let (weights, biases) = problem.solve(spec.iterations.get())?;
        Ok(Self { mean, scale, weights, biases })
    }

    /// Logits f64 `(n, classes)`.
    ///
    /// # Errors
    /// Rows of another width.
    pub fn logits(&self, features: &Features) -> Result<Tensor> {
        let x = matrix(features)?.broadcast_sub(&self.mean)?.broadcast_div(&self.scale)?;
        Ok(x.matmul(&self.weights)?.broadcast_add(&self.biases)?)
    }

    /// The class with the largest logit of each row; of equal ones the lowest.
    ///
    /// # Errors
    /// Rows of another width.
    pub fn predict(&self, features: &Features) -> Result<Vec<u32>> {
        let largest =
            |row: Vec<f64>| (1..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        Ok(self.logits(features)?.to_vec2()?.into_iter().map(|row| largest(row) as u32).collect())
    }
}

/// Features as f64 `(n, d)`.
fn matrix(features: &Features) -> Result<Tensor> {
    let shape = (features.len(), features.width());
    Ok(Tensor::from_slice(features.values(), shape, &Device::Cpu)?.to_dtype(DType::F64)?)
}

/// The objective on standardized features.
struct Problem {
    /// f64 `(n, d)`, and its transpose
    x: Tensor,
    transposed: Tensor,
    /// One-hot labels, f64 `(n, classes)`.
    targets: Tensor,
    decay: f64,
    /// Inverse of ½ XᵀX/n + decay, f64 `(d, d)`.
    inverse: Tensor,
}

impl Problem {
    fn new(x: Tensor, labels: &[u32], classes: usize, decay: f64) -> Result<Self> {
        let (n, d) = x.dims2()?;
        let transposed = x.t()?.contiguous()?;
        let mut bound = (transposed.matmul(&x)? * (0.5 / n as f64))?.flatten_all()?.to_vec1::<f64>()?;
        bound.iter_mut().step_by(d + 1).for_each(|value| *value += decay);
        let Ok(factor) = MatRef::from_row_major_slice(&bound, d, d).llt(Side::Lower) else {
            anyhow::bail!("probe: the features are too large or too small to fit a classifier on")
        };
        let inverse = factor.inverse();
        let inverse = (0..d).flat_map(|i| (0..d).map(move |j| (i, j))).map(|at| inverse[at]).collect();
        let mut targets = vec![0.0; n * classes];
        for (row, label) in labels.iter().enumerate() {
            targets[row * classes + *label as usize] = 1.0;
        }
        Ok(Self {
            targets: Tensor::from_vec::<_, f64>(targets, (n, classes), &Device::Cpu)?,
            inverse: Tensor::from_vec::<_, f64>(inverse, (d, d), &Device::Cpu)?,
            x,
            transposed,
            decay,
        })
    }

    /// Gradients at weights `(d, classes)` and biases `(1, classes)`.
    fn gradient(&self, weights: &Tensor, biases: &Tensor) -> Result<(Tensor, Tensor)> {
        let logits = self.x.matmul(weights)?.broadcast_add(biases)?;
        let powers = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
        let errors = (powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)? - &self.targets)?;
        let n = self.x.dim(0)? as f64;
        let of_weights = ((self.transposed.matmul(&errors)? / n)? + (weights * self.decay)?)?;
        Ok((of_weights, errors.mean_keepdim(0)?))
    }

    /// Weights and biases at the minimum, or after so many steps.
    fn solve(&self, iterations: usize) -> Result<(Tensor, Tensor)> {
        let (d, classes) = (self.x.dim(1)?, self.targets.dim(1)?);
        let zeros = |rows| Tensor::zeros((rows, classes), DType::F64, &Device::Cpu);
        let mut at = (zeros(d)?, zeros(1)?);
        let (mut ahead, mut age) = (at.clone(), 0.0);
        for _ in 0..iterations {
            let slope = self.gradient(&ahead.0, &ahead.1)?;
            if largest(&slope.0)?.max(largest(&slope.1)?) < TOLERANCE {
                return Ok(ahead);
            }
            // The bound on the biases alone is ½.
            let next = ((&ahead.0 - self.inverse.matmul(&slope.0)?)?, (&ahead.1 - (&slope.1 * 2.0)?)?);
            let moved = ((&next.0 - &at.0)?, (&next.1 - &at.1)?);
            age = if product(&slope.0, &moved.0)? + product(&slope.1, &moved.1)? > 0.0 {
                0.0
            } else {
                age + 1.0
            };
            let momentum = age / (age + 3.0);
            ahead = ((&next.0 + (moved.0 * momentum)?)?, (&next.1 + (moved.1 * momentum)?)?);
            at = next;
        }
        Ok(at)
    }
}

fn largest(x: &Tensor) -> candle_core::Result<f64> {
    x.abs()?.max_all()?.to_scalar()
}

fn product(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    (a * b)?.sum_all()?.to_scalar()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> SoftmaxSpec {
        SoftmaxSpec { decay: Positive::of(0.05), iterations: Count::of(5000) }
    }

    /// One feature of ±1 and two classes: the standardized feature is itself, the weights are (−w, w), and the gradient
    /// −σ(−2w) + decay·w vanishes where σ is the logistic function.
    #[test]
    fn the_minimum_of_a_line_is_where_its_gradient_vanishes() -> Result<()> {
        let features = Features::new(vec![-1.0, 1.0, -1.0, 1.0], 1)?;
        let fitted = Softmax::fit(&exact(), &features, &[0, 1, 0, 1], 2)?;
        let weights = fitted.weights.to_vec2::<f64>()?.concat();
        let w = weights[1];
        assert!((weights[0] + w).abs() < 1e-9);
        assert!((-1.0 / (1.0 + (2.0 * w).exp()) + 0.05 * w).abs() < 1.1 * TOLERANCE, "{w}");
        assert_eq!(fitted.predict(&features)?, [0, 1, 0, 1]);
        Ok(())
    }

    #[test]
    fn scale_shift_and_constants_do_not_matter() -> Result<()> {
        let rows = |scale: f32, shift: f32| -> Vec<f32> {
            (0..60)
                .flat_map(|i| [(i % 7) as f32 * scale + shift, ((i * i) % 11) as f32 * scale, 3.0])
                .collect()
        };
        let labels: Vec<u32> = (0..60).map(|i| (i % 7) / 3).collect();
        let logits = |values| -> Result<Vec<f64>> {
            let features = Features::new(values, 3)?;
            let fitted = Softmax::fit(&exact(), &features, &labels, 3)?;
            Ok(fitted.logits(&features)?.flatten_all()?.to_vec1()?)
        };
        let (plain, other) = (logits(rows(1.0, 0.0))?, logits(rows(50.0, -9.0))?);
        assert!(plain.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4));
        Ok(())
    }

    #[test]
    fn equal_logits_go_to_the_lower_class_and_bad_labels_are_refused() -> Result<()> {
        let features = Features::new(vec![1.0; 4], 1)?;
        let fitted = Softmax::fit(&exact(), &features, &[1, 0, 1, 0], 3)?;
        assert_eq!(fitted.predict(&features)?, [0; 4]);
        assert!(Softmax::fit(&exact(), &features, &[0, 1, 3, 0], 3).is_err());
        assert!(Softmax::fit(&exact(), &features, &[0, 1], 3).is_err());
        Ok(())
    }
}
