//! A linear classifier with squared hinge loss and L2 penalty, by dual coordinate descent (Hsieh, Chang, Lin, Keerthi and
//! Sundararajan, ICML 2008, algorithm 3), with the shrinking and the stopping rule that LIBLINEAR gives its solver 1:
//!
//! minimize ½ ‖w‖² + Σ Cᵢ max(0, 1 − yᵢ w·xᵢ)²  over w = Σ αᵢ yᵢ xᵢ, α ≥ 0
//!
//! The examples are seen through their inner products only: the decision values of all pictures are kept instead of w, so
//! that a step costs n numbers instead of d, and pictures outside the training rows are scored on the way.
//!
//! Own code, since nothing at hand fits. linfa-svm has the hinge loss without the square, on a kernel of its own. The
//! bindings of LIBLINEAR (crate `liblinear`) wrap a C++ library of 2019, copy the features into 16 bytes a number for every
//! fit, and shuffle with C's `rand`, whose one stream for all threads makes parallel fits differ from run to run.

use crate::{probe::products::Products, rng::Rng};
use rand::seq::SliceRandom;

/// Projected gradients below this move nothing.
const STILL: f64 = 1e-12;

/// What is minimized, and how closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// C: weight of the losses beside the penalty.
    pub cost: f64,
    /// Factors on the cost of either side's examples.
    pub positive_weight: f64,
    pub negative_weight: f64,
    /// Value of the constant feature whose weight is the intercept; it is penalized like the others.
    pub intercept_scaling: f64,
    /// Spread of the projected gradients at which an epoch is the last.
    pub tolerance: f64,
    pub max_epochs: usize,
}

/// A fitted classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Separator {
    /// αᵢ yᵢ of each training row, in the order of the rows; w is the sum of the rows' features times these.
    pub coefficients: Vec<f64>,
    pub intercept: f64,
    /// w·x + intercept for every column of the products, training row or not.
    pub decisions: Vec<f64>,
    pub epochs: usize,
    /// Whether the tolerance was met within the epochs allowed.
    pub converged: bool,
}

/// Fits on the pictures `rows`, of which `positive` (one for each column of `products`, a square matrix) are the class.
/// `rng` orders the steps.
///
/// # Panics
/// When `products` is not square, or a row is not among its columns.
pub fn separate(
    products: &Products,
    positive: &[bool],
    rows: &[usize],
    problem: &Problem,
    rng: &Rng,
) -> Separator {
    let mut descent = Descent::new(products, positive, rows, problem);
    let mut epochs = 0;
    let mut converged = rows.is_empty();
    while epochs < problem.max_epochs && !converged {
        converged = descent.epoch(rng, epochs as u64);
        epochs += 1;
    }
    descent.finish(epochs, converged)
}

struct Descent<'a> {
    products: &'a Products,
    rows: &'a [usize],
    problem: &'a Problem,
    /// yᵢ, 1 / (2 Cᵢ) and αᵢ of each training row
    sign: Vec<f64>,
    slack: Vec<f64>,
    alpha: Vec<f64>,
    /// w·x without the intercept, of every column
    scores: Vec<f64>,
    intercept: f64,
    /// Places in `rows`; those beyond `active` are left alone because their α is 0 and looks likely to stay so.
    order: Vec<usize>,
    active: usize,
    /// Gradients above this shrink a row whose α is 0: the largest projected gradient of the last epoch.
    bound: f64,
}

impl<'a> Descent<'a> {
    fn new(products: &'a Products, positive: &[bool], rows: &'a [usize], problem: &'a Problem) -> Self {
        let side = |i: &usize| if positive[*i] { 1.0 } else { -1.0 };
        let weight = |i: &usize| if positive[*i] { problem.positive_weight } else { problem.negative_weight };
        Self {
            products,
            rows,
            problem,
            sign: rows.iter().map(side).collect(),
            slack: rows.iter().map(|i| 0.5 / (problem.cost * weight(i))).collect(),
            alpha: vec![0.0; rows.len()],
            scores: vec![0.0; products.columns()],
            intercept: 0.0,
            order: (0..rows.len()).collect(),
            active: rows.len(),
            bound: f64::INFINITY,
        }
    }

    /// One pass over the active rows; whether the tolerance is met over all rows.
    fn epoch(&mut self, rng: &Rng, epoch: u64) -> bool {
        self.order[..self.active].shuffle(&mut rng.at(epoch, 0));
        let (lowest, highest) = self.pass();
        if highest - lowest <= self.problem.tolerance {
            let all = self.active == self.rows.len();
            (self.active, self.bound) = (self.rows.len(), f64::INFINITY);
            return all;
        }
        self.bound = if highest > 0.0 { highest } else { f64::INFINITY };
        false
    }

    /// Steps along each active row; the lowest and the highest projected gradient met.
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
            if projected.abs() > STILL {
                self.step(i, gradient);
            }
            place += 1;
        }
        (lowest, highest)
    }

    /// Of the dual objective along αᵢ.
    fn gradient(&self, i: usize) -> f64 {
        let decision = self.scores[self.rows[i]] + self.intercept;
        self.sign[i] * decision - 1.0 + self.alpha[i] * self.slack[i]
    }

    /// To the minimum along αᵢ.
    fn step(&mut self, i: usize, gradient: f64) {
        let products = self.products.row(self.rows[i]);
        let constant = self.problem.intercept_scaling.powi(2);
        let curvature = f64::from(products[self.rows[i]]) + constant + self.slack[i];
        let before = self.alpha[i];
        self.alpha[i] = (before - gradient / curvature).max(0.0);
        let change = (self.alpha[i] - before) * self.sign[i];
        self.intercept += change * constant;
        self.scores.iter_mut().zip(products).for_each(|(score, p)| *score += change * f64::from(*p));
    }

    fn finish(self, epochs: usize, converged: bool) -> Separator {
        Separator {
            coefficients: self.alpha.iter().zip(&self.sign).map(|(alpha, sign)| alpha * sign).collect(),
            intercept: self.intercept,
            decisions: self.scores.iter().map(|score| score + self.intercept).collect(),
            epochs,
            converged,
        }
    }
}

impl Separator {
    /// Decision values of other pictures from `products` `(m, n)`: m rows, one column for each training row.
    pub fn decide(&self, products: &Products) -> Vec<f64> {
        let decision = |row: &[f32]| {
            let terms = row.iter().zip(&self.coefficients).map(|(p, c)| f64::from(*p) * c);
            terms.sum::<f64>() + self.intercept
        };
        products.rows().map(decision).collect()
    }
}
