//! One linear SVM a class on frozen features: FAIR's VOC07 protocol (Goyal et al. 2019), which VISSL shares but for its
//! costs. Features are divided by (their norm + 1e-5). For each class the cost with the best mean average precision over
//! stratified, unshuffled folds of the training pictures is chosen (the first of equals), and the classifier is fitted again
//! on all of them. The result is the mean over classes of the average precision on the test pictures.
//!
//! Pictures that show a class only in difficult examples are its negatives in training, as FAIR and VISSL have it (by
//! oversight, it seems), and are left out when it is tested.
//!
//! Does not: read features from files, or go beyond what fits in memory (see [`super::products`]).

pub mod descent;
pub mod folds;

use super::{
    features::{Examples, progress},
    products::Products,
};
use crate::{
    bounded::{Count, Positive},
    data::annotated::Presence,
    metrics::average_precision::{ApInterpolation, Relevance, interpolated, steps},
    rng::Rng,
};
use anyhow::{Context, Result, ensure};
use descent::{Problem, Separator, separate};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Added to a row's norm before the row is divided by it.
const EPSILON: f64 = 1e-5;

/// How the classifiers are fitted; the defaults are FAIR's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SvmSpec {
    pub costs: Costs,
    /// Parts of the training pictures that each cost is tried on; at least 2.
    pub folds: Count,
    /// Factors on the cost of a class's own pictures and of the others.
    pub positive_weight: Positive,
    pub negative_weight: Positive,
    /// Value of the constant feature whose weight is the intercept.
    pub intercept_scaling: Positive,
    /// Spread of the projected gradients at which a fit ends.
    pub tolerance: Positive,
    /// Passes over the pictures after which it ends anyhow.
    pub max_epochs: Count,
    pub ignored: Ignored,
}

/// In YAML: `costs: fair`, `costs: vissl` or `costs: { list: [0.1, 1] }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Costs {
    /// Ten decades from 1e-7 to 100, then 0.5⁴ … 0.5¹⁹.
    #[default]
    Fair,
    /// 0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000.
    Vissl,
    List(Vec<Positive>),
}

/// What a training picture is to a class that it shows only in difficult examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    #[default]
    Negative,
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
    /// What a fit at this cost minimizes.
    pub fn problem(&self, cost: f64) -> Problem {
        Problem {
            cost,
            positive_weight: self.positive_weight.get(),
            negative_weight: self.negative_weight.get(),
            intercept_scaling: self.intercept_scaling.get(),
            tolerance: self.tolerance.get(),
            max_epochs: self.max_epochs.get(),
        }
    }

    /// Whether every class can be fitted, given what `of_class` says of its training pictures.
    ///
    /// # Errors
    /// As [`run`], of what the pictures' labels tell.
    pub fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        self.check()?;
        classes.iter().enumerate().try_for_each(|(c, name)| Side::new(self, &of_class(c), name).map(drop))
    }

    pub(super) fn check(&self) -> Result<()> {
        ensure!(self.folds.get() > 1, "svm: folds is 1; a cost is chosen over at least 2 folds");
        ensure!(!self.costs.values().is_empty(), "svm: the list of costs is empty; give at least one");
        Ok(())
    }
}

impl Costs {
    /// In the order in which they are tried.
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

/// What came of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassPrecision {
    pub class: String,
    /// The chosen cost, and what it reached over the folds.
    pub cost: f64,
    pub validation: f64,
    /// On the test pictures, 0 to 1; None where none of them shows the class.
    pub average_precision: Option<f64>,
    /// Whether the last fit met its tolerance.
    pub converged: bool,
}

/// What came of all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SvmReport {
    pub classes: Vec<ClassPrecision>,
    /// Over the classes that test pictures show, 0 to 1.
    pub mean_average_precision: f64,
}

/// Fits on `train` and scores on `test`; `classes` are the names of their classes. `rng` orders the steps of the fits.
///
/// # Errors
/// Sets that do not belong together or are too large, a class with fewer training pictures than folds on either side, test
/// pictures that show no class at all.
pub fn run(
    spec: &SvmSpec,
    train: &Examples,
    test: &Examples,
    classes: &[String],
    rng: &Rng,
) -> Result<SvmReport> {
    spec.check()?;
    let compared = Compared::new(train, test, classes)?;
    let sides = classes.iter().enumerate().map(|(c, name)| Side::new(spec, &train.of_class(c), name));
    let sides = sides.collect::<Result<Vec<_>>>()?;
    let bar = progress(classes.len() * spec.costs.values().len(), "svm");
    let one = |(c, name): (usize, &String)| {
        let (side, rng) = (&sides[c], rng.split(name));
        let choice = choose(spec, &compared.train, &side.positive, &side.rows, &rng, &|| bar.inc(1));
        let fitted = separate(
            &compared.train,
            &side.positive,
            &side.rows,
            &spec.problem(choice.cost),
            &rng.split("all"),
        );
        ClassPrecision {
            class: name.clone(),
            cost: choice.cost,
            validation: choice.validation,
            average_precision: tested(&test.of_class(c), &compared.decide(&fitted, &side.rows)),
            converged: fitted.converged,
        }
    };
    let classes: Vec<ClassPrecision> = classes.par_iter().enumerate().map(one).collect();
    bar.finish_and_clear();
    warn(&classes, spec);
    let mean = mean(classes.iter().map(|c| c.average_precision)).context(NOTHING_TO_TEST)?;
    Ok(SvmReport { mean_average_precision: mean, classes })
}

pub(super) const NOTHING_TO_TEST: &str =
    "svm: no test picture shows any of the classes; use more test pictures";

fn warn(classes: &[ClassPrecision], spec: &SvmSpec) {
    let names = |which: fn(&&ClassPrecision) -> bool| -> String {
        classes.iter().filter(which).map(|c| c.class.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (unseen, hasty) = (names(|c| c.average_precision.is_none()), names(|c| !c.converged));
    if !unseen.is_empty() {
        tracing::warn!("svm: no test picture shows {unseen}; left out of the mean");
    }
    if !hasty.is_empty() {
        tracing::warn!("svm: not converged after {} epochs: {hasty}", spec.max_epochs);
    }
}

/// The inner products that all classes share.
pub(super) struct Compared {
    /// `(train, train)`
    pub train: Products,
    /// `(test, train)`
    pub test: Products,
}

impl Compared {
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
    fn decide(&self, fitted: &Separator, rows: &[usize]) -> Vec<f64> {
        let every: Vec<usize> = (0..self.test.rows().len()).collect();
        match rows.len() == self.test.columns() {
            true => fitted.decide(&self.test),
            false => fitted.decide(&self.test.select(&every, rows)),
        }
    }
}

/// A class's training pictures.
struct Side {
    rows: Vec<usize>,
    positive: Vec<bool>,
}

impl Side {
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

/// A cost, and the mean average precision over the folds that spoke for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub cost: f64,
    pub validation: f64,
}

/// The cost that does best over the folds of `rows`, the first of equals; `tried` is called after each.
///
/// Every fold must hold both sides.
pub(super) fn choose(
    spec: &SvmSpec,
    products: &Products,
    positive: &[bool],
    rows: &[usize],
    rng: &Rng,
    tried: &(dyn Fn() + Sync),
) -> Choice {
    let labels: Vec<bool> = rows.iter().map(|i| positive[*i]).collect();
    let shown = labels.iter().filter(|p| **p).count();
    let folds = folds::stratified(&labels, spec.folds.get().min(shown).max(2));
    let attempt = |(i, cost): (usize, &f64)| {
        let rng = rng.split("cost").split(&i.to_string());
        let validation = validate(products, positive, rows, &folds, &spec.problem(*cost), &rng);
        tried();
        Choice { cost: *cost, validation }
    };
    let costs = spec.costs.values();
    let choices: Vec<Choice> = costs.par_iter().enumerate().map(attempt).collect();
    let better = |best: Choice, next: &Choice| if next.validation > best.validation { *next } else { best };
    choices.iter().fold(choices[0], better)
}

/// Mean over the folds of the average precision on one of classifiers fitted on the others.
fn validate(
    products: &Products,
    positive: &[bool],
    rows: &[usize],
    folds: &[usize],
    problem: &Problem,
    rng: &Rng,
) -> f64 {
    let count = folds.iter().max().map_or(0, |last| last + 1);
    let part = |fold: usize, inside: bool| -> Vec<usize> {
        rows.iter().zip(folds).filter(|(_, f)| (**f == fold) == inside).map(|(i, _)| *i).collect()
    };
    let precision = |fold: usize| {
        let (others, own) = (part(fold, false), part(fold, true));
        let fitted = separate(products, positive, &others, problem, &rng.split(&fold.to_string()));
        let relevance = |i: usize| if positive[i] { Relevance::Relevant } else { Relevance::Irrelevant };
        // scikit-learn's, as the benchmark chooses its costs by; what is reported is the area under the envelope.
        steps(own.iter().map(|i| (fitted.decisions[*i], relevance(*i)))).unwrap_or(0.0)
    };
    (0..count).map(precision).sum::<f64>() / count as f64
}

/// Average precision of `scores` over the pictures that are not ignored; None where none shows the class.
pub(super) fn tested(presence: &[Presence], scores: &[f64]) -> Option<f64> {
    let relevance = |presence: &Presence| match presence {
        Presence::Present => Relevance::Relevant,
        Presence::Absent => Relevance::Irrelevant,
        Presence::Ignored => Relevance::Ignored,
    };
    interpolated(scores.iter().copied().zip(presence.iter().map(relevance)), ApInterpolation::Area)
}

/// Of those that are there; None of none.
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
        let side = Side::new(&spec, &presence, "cat")?;
        assert_eq!((side.rows, &side.positive[..2]), (vec![0, 1, 2, 3, 4], &[true, false][..]));
        let dropped = SvmSpec { ignored: Ignored::Dropped, ..spec };
        assert_eq!(Side::new(&dropped, &presence, "cat")?.rows, [0, 2, 3, 4]);
        // In the test they are left out: the hit is first among what counts.
        assert_eq!(tested(&presence[..3], &[1.0, 2.0, 0.0]), Some(1.0));
        Ok(())
    }
}
