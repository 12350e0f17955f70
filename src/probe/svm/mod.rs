//! Linear SVMs on frozen features, one per class: FAIR's VOC07 protocol (Goyal et al. 2019), also used by VISSL with
//! other costs. Features are divided by (their norm + 1e-5). Each class takes the cost with the best mean average
//! precision over stratified, unshuffled folds of the training pictures (ties go to the first) and is refitted on all
//! of them. The metric is mean average precision on the test pictures.
//!
//! Pictures in which a class is only difficult are negatives in training, as in FAIR and VISSL (apparently an
//! oversight), and are excluded from the test.
//!
//! Pictures with one label each are classified by all of these SVMs together ([`one_vs_rest`]), by top-1 accuracy.
//!
//! All features must fit in memory (see [`super::products`]).

pub mod descent;
pub mod folds;
pub mod one_vs_rest; // pictures with one label each

use super::{features::Examples, products::Products};
use crate::{
    bounded::{Count, Positive},
    data::annotated::Presence,
    metrics::average_precision::{ApInterpolation, Relevance, interpolated, steps},
    progress::Progress,
    rng::Rng,
};
use anyhow::{Context, Result, ensure};
use descent::{LinearClassifier, SvmObjective, fit_classifier};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Added to a row's norm before division.
const EPSILON: f64 = 1e-5;

/// Linear SVMs, one for each class. The defaults are FAIR's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "SVM")]
pub struct SvmSpec {
    /// Costs to choose from.
    pub costs: Costs,
    /// Number of folds on which the cost is chosen; at least 2.
    pub folds: Count,
    /// Factor on the cost of positives.
    pub positive_weight: Positive,
    /// Factor on the cost of negatives.
    pub negative_weight: Positive,
    /// Value of the constant feature whose weight is the intercept.
    pub intercept_scaling: Positive,
    /// Convergence threshold on the range of projected gradients.
    pub tolerance: Positive,
    /// Maximum number of epochs of a fit.
    pub max_epochs: Count,
    /// Role of training pictures in which a class is only difficult.
    pub ignored: Ignored,
}

/// Costs C of SVMs to choose from. In YAML: `costs: fair`, `costs: vissl` or `costs: { list: [0.1, 1] }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Costs of SVMs")]
pub enum Costs {
    /// Ten decades from 1e-7 to 100, then 0.5⁴ … 0.5¹⁹.
    #[default]
    Fair,
    /// 0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000.
    Vissl,
    /// These costs.
    List(Vec<Positive>),
}

/// Role of training pictures in which a class is only difficult.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Difficult pictures")]
pub enum Ignored {
    /// They are negatives of the class.
    #[default]
    Negative,
    /// They are left out for the class.
    Dropped,
}

impl Default for SvmSpec {
    fn default() -> Self {
        Self {
            costs: Costs::Fair,
            folds: Count::of(3),
            positive_weight: Positive::of(2.0),
            negative_weight: Positive::of(1.0),
            intercept_scaling: Positive::of(1.0),
            tolerance: Positive::of(1e-4),
            max_epochs: Count::of(2000),
            ignored: Ignored::Negative,
        }
    }
}

impl SvmSpec {
    /// The objective of a fit at this cost.
    pub fn objective(&self, cost: f64) -> SvmObjective {
        SvmObjective {
            cost,
            positive_weight: self.positive_weight.get(),
            negative_weight: self.negative_weight.get(),
            intercept_scaling: self.intercept_scaling.get(),
            tolerance: self.tolerance.get(),
            max_epochs: self.max_epochs.get(),
        }
    }

    /// Checks that every class can be fitted, given the presence of each class in the training pictures.
    ///
    /// # Errors
    /// Those of [`run`] that depend only on the labels.
    pub fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        self.check()?;
        classes
            .iter()
            .enumerate()
            .try_for_each(|(c, name)| TrainingRows::new(self, &of_class(c), name).map(drop))
    }

    pub(super) fn check(&self) -> Result<()> {
        ensure!(self.folds.get() > 1, "svm: folds is 1; a cost is chosen over at least 2 folds");
        ensure!(!self.costs.values().is_empty(), "svm: the list of costs is empty; give at least one");
        Ok(())
    }
}

impl Costs {
    /// The costs in the order in which they are tried.
    pub fn values(&self) -> Vec<f64> {
        match self {
            Self::Fair => {
                let decades = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];
                decades.into_iter().chain((4..20).map(|n| 0.5f64.powi(n))).collect()
            }
            Self::Vissl => vec![0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0],
            Self::List(costs) => costs.iter().map(|cost| cost.get()).collect(),
        }
    }
}

/// Result for one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassPrecision {
    pub class: String,
    /// The chosen cost, and its mean average precision over the folds.
    pub cost: f64,
    pub validation: f64,
    /// Test average precision, 0 to 1; None if no test picture shows the class.
    pub average_precision: Option<f64>,
    /// Whether the final fit converged.
    pub converged: bool,
}

/// Results of all classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SvmReport {
    pub classes: Vec<ClassPrecision>,
    /// Mean over the classes that appear in test pictures, 0 to 1.
    pub mean_average_precision: f64,
}

/// Fits on `train` and scores on `test`; `classes` are the class names. `rng` orders the coordinate steps.
///
/// # Errors
/// Mismatched or too large sets; a class with fewer positive or negative training pictures than folds; test pictures
/// without any class.
pub fn run(
    spec: &SvmSpec,
    train: &Examples,
    test: &Examples,
    classes: &[String],
    rng: &Rng,
) -> Result<SvmReport> {
    spec.check()?;
    let products = FeatureProducts::new(train, test, classes)?;
    let training =
        classes.iter().enumerate().map(|(c, name)| TrainingRows::new(spec, &train.of_class(c), name));
    let training = training.collect::<Result<Vec<_>>>()?;
    let bar = Progress::new(classes.len() * spec.costs.values().len(), "svm");
    let one = |(c, name): (usize, &String)| {
        let (training, rng) = (&training[c], rng.split(name));
        let choice =
            choose_cost(spec, &products.train, &training.positive, &training.rows, &rng, &|| bar.add(1));
        let fitted = fit_classifier(
            &products.train,
            &training.positive,
            &training.rows,
            &spec.objective(choice.cost),
            &rng.split("all"),
        );
        ClassPrecision {
            class: name.clone(),
            cost: choice.cost,
            validation: choice.validation,
            average_precision: test_precision(
                &test.of_class(c),
                &products.decision_values(&fitted, &training.rows),
            ),
            converged: fitted.converged,
        }
    };
    let classes: Vec<ClassPrecision> = classes.par_iter().enumerate().map(one).collect();
    drop(bar);
    warn(&classes, spec);
    let mean = mean(classes.iter().map(|c| c.average_precision)).context(NO_TEST_POSITIVES)?;
    Ok(SvmReport { mean_average_precision: mean, classes })
}

pub(super) const NO_TEST_POSITIVES: &str =
    "svm: no test picture shows any of the classes; use more test pictures";

fn warn(classes: &[ClassPrecision], spec: &SvmSpec) {
    let names = |which: fn(&&ClassPrecision) -> bool| -> String {
        classes.iter().filter(which).map(|c| c.class.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (without_positives, not_converged) =
        (names(|c| c.average_precision.is_none()), names(|c| !c.converged));
    if !without_positives.is_empty() {
        tracing::warn!("svm: no test picture shows {without_positives}; left out of the mean");
    }
    if !not_converged.is_empty() {
        tracing::warn!("svm: not converged after {} epochs: {not_converged}", spec.max_epochs);
    }
}

/// Inner products shared by all classes.
pub(super) struct FeatureProducts {
    /// `(train, train)`
    pub train: Products,
    /// `(test, train)`
    pub test: Products,
}

impl FeatureProducts {
    pub fn new(train: &Examples, test: &Examples, classes: &[String]) -> Result<Self> {
        ensure!(
            train.classes() == classes.len() && test.classes() == classes.len(),
            "svm: {} class names with labels for {} in training and for {} in the test",
            classes.len(),
            train.classes(),
            test.classes()
        );
        let (train, test) = (train.features().normalized(EPSILON), test.features().normalized(EPSILON));
        Ok(Self { train: Products::of(&train, &train)?, test: Products::of(&test, &train)? })
    }

    /// Decision values of all test pictures.
    fn decision_values(&self, fitted: &LinearClassifier, rows: &[usize]) -> Vec<f64> {
        let every: Vec<usize> = (0..self.test.rows().len()).collect();
        match rows.len() == self.test.columns() {
            true => fitted.decision_values(&self.test),
            false => fitted.decision_values(&self.test.select(&every, rows)),
        }
    }
}

/// Training rows and labels of one class.
struct TrainingRows {
    rows: Vec<usize>,
    positive: Vec<bool>,
}

impl TrainingRows {
    fn new(spec: &SvmSpec, presence: &[Presence], class: &str) -> Result<Self> {
        let kept = |i: &usize| spec.ignored == Ignored::Negative || presence[*i] != Presence::Ignored;
        let rows: Vec<usize> = (0..presence.len()).filter(kept).collect();
        let positive: Vec<bool> = presence.iter().map(|p| *p == Presence::Present).collect();
        let shown = rows.iter().filter(|i| positive[**i]).count();
        for (count, what) in [(shown, "show"), (rows.len() - shown, "do not show")] {
            ensure!(
                count >= spec.folds.get(),
                "svm: {count} training pictures {what} class `{class}`, fewer than the {} folds; use more \
                 pictures, or fewer folds",
                spec.folds
            );
        }
        Ok(Self { rows, positive })
    }
}

/// A cost and its mean average precision over the folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ChosenCost {
    pub cost: f64,
    pub validation: f64,
}

impl ChosenCost {
    /// The best of some, of equal ones the first.
    fn best(choices: &[Self]) -> Self {
        let better = |best: Self, next: &Self| if next.validation > best.validation { *next } else { best };
        choices.iter().fold(choices[0], better)
    }
}

/// The cost that performs best over the folds of `rows` (ties go to the first); `tried` is called after each cost.
///
/// Every fold must contain positives and negatives.
pub(super) fn choose_cost(
    spec: &SvmSpec,
    products: &Products,
    positive: &[bool],
    rows: &[usize],
    rng: &Rng,
    tried: &(dyn Fn() + Sync),
) -> ChosenCost {
    let labels: Vec<bool> = rows.iter().map(|i| positive[*i]).collect();
    let shown = labels.iter().filter(|p| **p).count();
    let folds = folds::stratified(&labels, spec.folds.get().min(shown).max(2));
    let attempt = |(i, cost): (usize, &f64)| {
        let rng = rng.split("cost").split(&i.to_string());
        let validation = validate(products, positive, rows, &folds, &spec.objective(*cost), &rng);
        tried();
        ChosenCost { cost: *cost, validation }
    };
    let costs = spec.costs.values();
    let choices: Vec<ChosenCost> = costs.par_iter().enumerate().map(attempt).collect();
    ChosenCost::best(&choices)
}

/// Cross-validated average precision: the mean over the folds.
fn validate(
    products: &Products,
    positive: &[bool],
    rows: &[usize],
    folds: &[usize],
    objective: &SvmObjective,
    rng: &Rng,
) -> f64 {
    let count = folds.iter().max().map_or(0, |last| last + 1);
    let part = |fold: usize, inside: bool| -> Vec<usize> {
        rows.iter().zip(folds).filter(|(_, f)| (**f == fold) == inside).map(|(i, _)| *i).collect()
    };
    let precision = |fold: usize| {
        let (others, own) = (part(fold, false), part(fold, true));
        let fitted = fit_classifier(products, positive, &others, objective, &rng.split(&fold.to_string()));
        let relevance = |i: usize| if positive[i] { Relevance::Relevant } else { Relevance::Irrelevant };
        // scikit-learn's definition, by which the benchmark chooses costs. The reported metric is the area under the
        // envelope.
        steps(own.iter().map(|i| (fitted.decisions[*i], relevance(*i)))).unwrap_or(0.0)
    };
    (0..count).map(precision).sum::<f64>() / count as f64
}

/// Average precision of `scores` over the pictures that are not ignored; None if none shows the class.
pub(super) fn test_precision(presence: &[Presence], scores: &[f64]) -> Option<f64> {
    let relevance = |presence: &Presence| match presence {
        Presence::Present => Relevance::Relevant,
        Presence::Absent => Relevance::Irrelevant,
        Presence::Ignored => Relevance::Ignored,
    };
    interpolated(scores.iter().copied().zip(presence.iter().map(relevance)), ApInterpolation::Area)
}

/// Mean of the values that exist; None if there are none.
pub(super) fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_costs() {
        let fair = Costs::Fair.values();
        assert_eq!(
            (fair.len(), fair[0], fair[9], fair[10], fair[25]),
            (26, 1e-7, 100.0, 0.0625, 0.5f64.powi(19))
        );
        let distinct: std::collections::BTreeSet<u64> = fair.iter().map(|c| c.to_bits()).collect();
        assert_eq!(distinct.len(), 26);
        assert_eq!(Costs::Vissl.values().len(), 11);
    }

    #[test]
    fn specs_say_what_they_mean() -> Result<()> {
        let spec: SvmSpec = serde_json::from_str(r#"{"costs": "vissl", "ignored": "dropped"}"#)?;
        assert_eq!((spec.costs, spec.ignored, spec.folds), (Costs::Vissl, Ignored::Dropped, Count::of(3)));
        let list: SvmSpec = serde_json::from_str(r#"{"costs": {"list": [0.5, 2]}}"#)?;
        assert_eq!(list.costs.values(), [0.5, 2.0]);
        assert!(serde_json::from_str::<SvmSpec>(r#"{"costs": {"list": [0]}}"#).is_err());
        assert!(serde_json::from_str::<SvmSpec>(r#"{"cost": 1}"#).is_err());
        let one_fold: SvmSpec = serde_json::from_str(r#"{"folds": 1}"#)?;
        assert!(one_fold.check().is_err());
        assert!(SvmSpec { costs: Costs::List(vec![]), ..SvmSpec::default() }.check().is_err());
        Ok(())
    }

    #[test]
    fn ignored_pictures_train_as_negatives_unless_dropped() -> Result<()> {
        use Presence::{Absent, Ignored as Difficult, Present};
        let presence = [Present, Difficult, Absent, Present, Absent];
        let spec: SvmSpec = serde_json::from_str(r#"{"folds": 2}"#)?;
        let training = TrainingRows::new(&spec, &presence, "cat")?;
        assert_eq!((training.rows, &training.positive[..2]), (vec![0, 1, 2, 3, 4], &[true, false][..]));
        let dropped = SvmSpec { ignored: Ignored::Dropped, ..spec };
        assert_eq!(TrainingRows::new(&dropped, &presence, "cat")?.rows, [0, 2, 3, 4]);
        // Ignored pictures are excluded from the test, so the positive ranks first.
        assert_eq!(test_precision(&presence[..3], &[1.0, 2.0, 0.0]), Some(1.0));
        Ok(())
    }
}
