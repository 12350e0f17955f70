//! A linear classifier with squared hinge loss and L2 penalty, fitted by dual coordinate descent (Hsieh, Chang, Lin,
//! Keerthi and Sundararajan, ICML 2008, algorithm 3), with the shrinking and the stopping rule of LIBLINEAR's solver
//! 1:
//!
//! minimize ½ ‖w‖² + Σ Cᵢ max(0, 1 − yᵢ w·xᵢ)²  over w = Σ αᵢ yᵢ xᵢ, α ≥ 0
//!
//! Examples enter only through their inner products. Decision values of all pictures are maintained instead of w, so a
//! step costs n operations instead of d, and pictures outside the training rows are scored at the same time.
//!
//! Implemented here because no library fits: linfa-svm has only the non-squared hinge loss and its own kernels. The
//! LIBLINEAR bindings (crate `liblinear`) wrap a C++ library of 2019, copy the features at 16 bytes per value for
//! every fit, and shuffle with C's `rand`, whose process-wide state makes parallel fits irreproducible.

use crate::{probe::products::Products, rng::Rng};
use rand::seq::SliceRandom;

/// Projected gradients below this count as zero.
const MIN_GRADIENT: f64 = 1e-12;

/// The objective and its stopping criteria.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SvmObjective {
    /// C: weight of the losses relative to the penalty.
    pub cost: f64,
    /// Cost factors of positives and negatives.
    pub positive_weight: f64,
    pub negative_weight: f64,
    /// Value of the constant feature whose weight is the intercept. The intercept is penalized like the other weights.
    pub intercept_scaling: f64,
    /// Convergence threshold on the range of projected gradients within an epoch.
    pub tolerance: f64,
    pub max_epochs: usize,
}

/// A fitted classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearClassifier {
    /// αᵢ yᵢ of each training row; w is the sum of the rows' features weighted by these.
    pub coefficients: Vec<f64>,
    pub intercept: f64,
    /// w·x + intercept for every column of the products, including non-training pictures.
    pub decisions: Vec<f64>,
    pub epochs: usize,
    /// Whether the tolerance was met within `max_epochs`.
    pub converged: bool,
}

/// Fits on the pictures `rows`, labeled by `positive` (one entry per column of the square matrix `products`). `rng`
/// orders the coordinate steps.
///
/// # Panics
/// If `products` is not square or a row is out of range.
pub fn fit_classifier(
    products: &Products,
    positive: &[bool],
    rows: &[usize],
    objective: &SvmObjective,
    rng: &Rng,
) -> LinearClassifier {
    let mut descent = Descent::new(products, positive, rows, objective);
    let mut epochs = 0;
    let mut converged = rows.is_empty();
    while epochs < objective.max_epochs && !converged {
        converged = descent.epoch(rng, epochs as u64);
        epochs += 1;
    }
    descent.finish(epochs, converged)
}

struct Descent<'a> {
    products: &'a Products,
    rows: &'a [usize],
    objective: &'a SvmObjective,
    /// yᵢ, 1 / (2 Cᵢ) and αᵢ of each training row.
    sign: Vec<f64>,
    slack: Vec<f64>,
    alpha: Vec<f64>,
    /// w·x without the intercept, for every column.
    scores: Vec<f64>,
    intercept: f64,
    /// Permutation of the positions in `rows`; those at `active` and beyond are shrunk: their α is 0 and likely to
    /// stay 0.
    order: Vec<usize>,
    active: usize,
    /// Rows with α = 0 and a gradient above this are shrunk: the largest projected gradient of the last epoch.
    bound: f64,
}

impl<'a> Descent<'a> {
    fn new(
        products: &'a Products,
        positive: &[bool],
        rows: &'a [usize],
        objective: &'a SvmObjective,
    ) -> Self {
        let side = |i: &usize| if positive[*i] { 1.0 } else { -1.0 };
        let weight =
            |i: &usize| if positive[*i] { objective.positive_weight } else { objective.negative_weight };
        Self {
            products,
            rows,
            objective,
            sign: rows.iter().map(side).collect(),
            slack: rows.iter().map(|i| 0.5 / (objective.cost * weight(i))).collect(),
            alpha: vec![0.0; rows.len()],
            scores: vec![0.0; products.columns()],
            intercept: 0.0,
            order: (0..rows.len()).collect(),
            active: rows.len(),
            bound: f64::INFINITY,
        }
    }

    /// One pass over the active rows; returns whether the tolerance is met over all rows.
    fn epoch(&mut self, rng: &Rng, epoch: u64) -> bool {
        self.order[..self.active].shuffle(&mut rng.at(epoch, 0));
        let (lowest, highest) = self.pass();
        if highest - lowest <= self.objective.tolerance {
            let all = self.active == self.rows.len();
            (self.active, self.bound) = (self.rows.len(), f64::INFINITY);
            return all;
        }
        self.bound = if highest > 0.0 { highest } else { f64::INFINITY };
        false
    }

    /// Updates each active row; returns the lowest and the highest projected gradient.
    fn pass(&mut self) -> (f64, f64) {
        let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut place = 0;
        while place < self.active {
            let i = self.order[place];
            let gradient = self.gradient(i);
            let mut projected = gradient;
            if self.alpha[i] == 0.0 {
                if gradient > self.bound {
                    self.active -= 1;
                    self.order.swap(place, self.active);
                    continue;
                }
                projected = gradient.min(0.0);
            }
            lowest = lowest.min(projected);
            highest = highest.max(projected);
            if projected.abs() > MIN_GRADIENT {
                self.step(i, gradient);
            }
            place += 1;
        }
        (lowest, highest)
    }

    /// Gradient of the dual objective with respect to αᵢ.
    fn gradient(&self, i: usize) -> f64 {
        let decision = self.scores[self.rows[i]] + self.intercept;
        self.sign[i] * decision - 1.0 + self.alpha[i] * self.slack[i]
    }

    /// Moves αᵢ to the minimum along its axis.
    fn step(&mut self, i: usize, gradient: f64) {
        let products = self.products.row(self.rows[i]);
        let constant = self.objective.intercept_scaling.powi(2);
        let curvature = f64::from(products[self.rows[i]]) + constant + self.slack[i];
        let before = self.alpha[i];
        self.alpha[i] = (before - gradient / curvature).max(0.0);
        let change = (self.alpha[i] - before) * self.sign[i];
        self.intercept += change * constant;
        self.scores.iter_mut().zip(products).for_each(|(score, p)| *score += change * f64::from(*p));
    }

    fn finish(self, epochs: usize, converged: bool) -> LinearClassifier {
        LinearClassifier {
            coefficients: self.alpha.iter().zip(&self.sign).map(|(alpha, sign)| alpha * sign).collect(),
            intercept: self.intercept,
            decisions: self.scores.iter().map(|score| score + self.intercept).collect(),
            epochs,
            converged,
        }
    }
}

impl LinearClassifier {
    /// Decision values of other pictures from `products` `(m, n)`: m rows, one column per training row.
    pub fn decision_values(&self, products: &Products) -> Vec<f64> {
        let decision = |row: &[f32]| {
            let terms = row.iter().zip(&self.coefficients).map(|(p, c)| f64::from(*p) * c);
            terms.sum::<f64>() + self.intercept
        };
        products.rows().map(decision).collect()
    }
}
