//! Single-label classification with the SVMs of this module: one for each class against all others, as in LIBLINEAR, and
//! the class with the largest decision value wins. All classes share one cost, that with the best top-1 accuracy over
//! stratified, unshuffled folds (ties go to the first), since decision values at different costs do not compare.

use super::{
    ChosenCost, EPSILON, SvmSpec,
    descent::{LinearClassifier, SvmObjective, fit_classifier},
    folds::stratified,
};
use crate::{
    probe::{features::Labeled, products::Products},
    progress::Progress,
    rng::Rng,
};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// Predictions for test pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct SingleLabelReport {
    /// The chosen cost, and its top-1 accuracy over the folds.
    pub cost: f64,
    pub validation: f64,
    /// Class of each test picture.
    pub predicted: Vec<u32>,
}

/// Fits on `train` and classifies `test`; `classes` are the class names. `rng` orders the coordinate steps.
///
/// # Errors
/// Mismatched or too large sets; a class with fewer training pictures than folds.
pub fn run(
    spec: &SvmSpec,
    train: &Labeled,
    test: &Labeled,
    classes: &[String],
    rng: &Rng,
) -> Result<SingleLabelReport> {
    spec.check()?;
    for (class, name) in (0..).zip(classes) {
        let count = train.labels().iter().filter(|label| **label == class).count();
        ensure!(
            count >= spec.folds.get(),
            "svm: {count} training pictures show class `{name}`, fewer than the {} folds; use more pictures, or fewer \
             folds",
            spec.folds
        );
    }
    let products = LabeledProducts::new(train, test, classes)?;
    let rows: Vec<usize> = (0..train.labels().len()).collect();
    let bar = Progress::new(spec.costs.values().len(), "svm");
    let choice = products.choose_cost(spec, &rows, rng, &|| bar.add(1));
    drop(bar);
    let fitted = products.fit(&rows, &spec.objective(choice.cost), &rng.split("all"));
    let left: Vec<&str> =
        fitted.iter().zip(classes).filter(|(f, _)| !f.converged).map(|(_, c)| c.as_str()).collect();
    if !left.is_empty() {
        tracing::warn!("svm: not converged after {} epochs: {}", spec.max_epochs, left.join(", "));
    }
    Ok(SingleLabelReport {
        cost: choice.cost,
        validation: choice.validation,
        predicted: products.classify(&fitted, &rows),
    })
}

/// Inner products of pictures with one label each.
pub(in crate::probe) struct LabeledProducts<'a> {
    /// `(train, train)`
    train: Products,
    /// `(test, train)`
    test: Products,
    labels: &'a [u32],
    names: &'a [String],
}

impl<'a> LabeledProducts<'a> {
    /// # Errors
    /// A label that is not a class; too large sets.
    pub fn new(train: &'a Labeled, test: &Labeled, names: &'a [String]) -> Result<Self> {
        let labels = train.labels();
        ensure!(
            labels.iter().all(|label| (*label as usize) < names.len()),
            "svm: a training picture has a label beyond the {} classes",
            names.len()
        );
        let (train, test) = (train.features().normalized(EPSILON), test.features().normalized(EPSILON));
        Ok(Self { train: Products::of(&train, &train)?, test: Products::of(&test, &train)?, labels, names })
    }

    /// One classifier per class, fitted on the training pictures `rows`.
    pub fn fit(&self, rows: &[usize], objective: &SvmObjective, rng: &Rng) -> Vec<LinearClassifier> {
        let one = |(class, name): (usize, &String)| {
            let positive: Vec<bool> = self.labels.iter().map(|label| *label as usize == class).collect();
            fit_classifier(&self.train, &positive, rows, objective, &rng.split(name))
        };
        self.names.par_iter().enumerate().map(one).collect()
    }

    /// The class of each test picture, by classifiers fitted on `rows`.
    pub fn classify(&self, fitted: &[LinearClassifier], rows: &[usize]) -> Vec<u32> {
        let test: Vec<usize> = (0..self.test.rows().len()).collect();
        let products = self.test.select(&test, rows);
        let decisions: Vec<Vec<f64>> = fitted.iter().map(|one| one.decision_values(&products)).collect();
        test.iter().map(|i| winner(decisions.iter().map(|of_class| of_class[*i]))).collect()
    }

    /// The cost with the best accuracy over the folds of `rows`; `tried` is called after each cost.
    pub fn choose_cost(
        &self,
        spec: &SvmSpec,
        rows: &[usize],
        rng: &Rng,
        tried: &(dyn Fn() + Sync),
    ) -> ChosenCost {
        let labels: Vec<u32> = rows.iter().map(|i| self.labels[*i]).collect();
        let folds = stratified(&labels, spec.folds.get());
        let attempt = |(i, cost): (usize, &f64)| {
            let rng = rng.split("cost").split(&i.to_string());
            let validation = self.validate(rows, &folds, &spec.objective(*cost), &rng);
            tried();
            ChosenCost { cost: *cost, validation }
        };
        let choices: Vec<ChosenCost> = spec.costs.values().par_iter().enumerate().map(attempt).collect();
        ChosenCost::best(&choices)
    }

    /// Top-1 accuracy, a mean over the folds.
    fn validate(&self, rows: &[usize], folds: &[usize], objective: &SvmObjective, rng: &Rng) -> f64 {
        let count = folds.iter().max().map_or(0, |last| last + 1);
        let accuracy = |fold: usize| {
            let part = |inside: bool| -> Vec<usize> {
                rows.iter().zip(folds).filter(|(_, f)| (**f == fold) == inside).map(|(i, _)| *i).collect()
            };
            let fitted = self.fit(&part(false), objective, &rng.split(&fold.to_string()));
            let own = part(true);
            let right = |i: &&usize| winner(fitted.iter().map(|one| one.decisions[**i])) == self.labels[**i];
            own.iter().filter(right).count() as f64 / own.len() as f64
        };
        (0..count).map(accuracy).sum::<f64>() / count as f64
    }
}

/// The class with the largest decision value; of equal ones the lowest.
fn winner(decisions: impl Iterator<Item = f64>) -> u32 {
    let best = |best: (u32, f64), next: (u32, f64)| if next.1 > best.1 { next } else { best };
    (0..).zip(decisions).fold((0, f64::NEG_INFINITY), best).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_wins_and_ties_go_to_the_lower_class() {
        assert_eq!(winner([-3.0, -1.0, -2.0].into_iter()), 1);
        assert_eq!(winner([0.5, 0.5].into_iter()), 0);
    }
}
