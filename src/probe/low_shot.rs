//! Low-shot classification with the SVMs of [`super::svm`] (Goyal et al. 2019, section 6.2): for each class, k
//! positives and (classes − 1)·k negatives (19·k for VOC's twenty classes) are drawn independently for each sample.
//! The metric is mean average precision on the whole test set, averaged over the samples.
//!
//! FAIR reports the cost that performs best **on the test set**, one for all classes at each k. That is the default
//! here, since published numbers are defined this way, but it is optimistic. `choose: folds` does not use the test
//! set: each class takes the cost that performs best over folds of its own sample. A single positive cannot be split
//! into folds; the cost nearest to 1 is then used.
//!
//! Of pictures with one label each, k are drawn of every class, and the SVMs of all classes are fitted on all of them
//! ([`super::svm::one_vs_rest`]). The metric is top-1, and one cost is chosen for all classes.

use super::{
    features::{Examples, Labeled},
    svm::{
        FeatureProducts, NO_TEST_POSITIVES, SvmSpec, choose_cost, descent::fit_classifier, mean,
        one_vs_rest::LabeledProducts, test_precision,
    },
};
use crate::{
    bounded::{BatchSize, Count},
    data::annotated::Presence,
    progress::Progress,
    rng::Rng,
};
use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SVMs on a few pictures per class. The defaults are FAIR's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Low-shot SVM")]
pub struct LowShotSpec {
    /// Numbers of positives per class, each evaluated separately.
    pub shots: Vec<Count>,
    /// Independent samples for each number of shots.
    pub samples: BatchSize,
    /// Negatives per positive; absent: the number of classes minus one.
    pub negatives: Option<Count>,
    /// Pictures on which the cost is chosen.
    pub choose: CostSelection,
    /// Options of the SVMs. `ignored` has no effect here: pictures in which a class is only difficult are never drawn
    /// for it.
    pub svm: SvmSpec,
}

/// Pictures on which the cost of low-shot SVMs is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Choice of the cost")]
pub enum CostSelection {
    /// The test set, as in FAIR's protocol: the result is the best over all costs.
    #[default]
    Test,
    /// Folds of each class's sample.
    Folds,
}

impl Default for LowShotSpec {
    fn default() -> Self {
        Self {
            shots: [1, 2, 4, 8, 16, 32, 64, 96].map(Count::of).to_vec(),
            samples: Count::of(5),
            negatives: None,
            choose: CostSelection::default(),
            svm: SvmSpec::default(),
        }
    }
}

impl LowShotSpec {
    /// Checks that every class can be fitted, given the presence of each class in the training pictures.
    ///
    /// # Errors
    /// Those of [`run`] that depend only on the labels.
    pub fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        self.check()?;
        classes
            .iter()
            .enumerate()
            .try_for_each(|(c, name)| positives_and_negatives(name, &of_class(c)).map(drop))
    }

    fn check(&self) -> Result<()> {
        self.svm.check()?;
        ensure!(!self.shots.is_empty(), "low_shot: no number of shots is given; give `shots: [1, 2, 4]`");
        Ok(())
    }
}

/// Result for one k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LowShotResult {
    pub k: usize,
    /// The cost shared by all classes, if it was chosen on the test set.
    pub cost: Option<f64>,
    /// Mean average precision or top-1 accuracy of each sample, 0 to 1.
    pub samples: Vec<f64>,
    /// Mean over the samples.
    pub mean: f64,
    /// Classes with fewer positives or negatives than requested; all available ones were used.
    pub fewer: Vec<String>,
}

/// Fits on samples of `train` and scores on all of `test`; one result per k, in the order of the spec. `rng` draws the
/// samples and orders the coordinate steps.
///
/// # Errors
/// Mismatched or too large sets; a class with no or only positive training pictures; test pictures without any class.
pub fn run(
    spec: &LowShotSpec,
    train: &Examples,
    test: &Examples,
    classes: &[String],
    rng: &Rng,
) -> Result<Vec<LowShotResult>> {
    spec.feasible(classes, &|class| train.of_class(class))?;
    let draws = SamplePools::new(spec, train, classes, rng)?;
    let products = FeatureProducts::new(train, test, classes)?;
    let presence: Vec<Vec<Presence>> = (0..classes.len()).map(|c| test.of_class(c)).collect();
    let fits = LowShotRun { spec, products: &products, draws: &draws, presence: &presence };
    let bar = Progress::new(spec.shots.len() * spec.samples.get() * classes.len(), "low-shot svm");
    let shots = spec.shots.iter().map(|k| fits.shot(k.get(), classes, &|| bar.add(1)));
    let shots = shots.collect::<Result<Vec<_>>>()?;
    drop(bar);
    warn_of_fewer(&shots);
    Ok(shots)
}

fn warn_of_fewer(shots: &[LowShotResult]) {
    for LowShotResult { k, fewer, .. } in shots.iter().filter(|shot| !shot.fewer.is_empty()) {
        tracing::warn!("low-shot svm: fewer pictures than {k} shots ask for: {}", fewer.join(", "));
    }
}

/// The sampling pools: positives and negatives of each class.
struct SamplePools {
    positives_and_negatives: Vec<[Vec<usize>; 2]>,
    /// Negatives per positive.
    ratio: usize,
    streams: Vec<Rng>,
}

/// Indices of the positives and the negatives of a class.
fn positives_and_negatives(name: &str, presence: &[Presence]) -> Result<[Vec<usize>; 2]> {
    let all = |wanted| (0..presence.len()).filter(|i| presence[*i] == wanted).collect::<Vec<_>>();
    let (shown, absent) = (all(Presence::Present), all(Presence::Absent));
    ensure!(
        !shown.is_empty() && !absent.is_empty(),
        "low_shot: {} training pictures show class `{name}` and {} do not; it needs some of both",
        shown.len(),
        absent.len()
    );
    Ok([shown, absent])
}

/// Training pictures of one class in one sample.
struct Sample {
    rows: Vec<usize>,
    /// Number of positives, which come first in `rows`.
    shown: usize,
}

impl SamplePools {
    fn new(spec: &LowShotSpec, train: &Examples, classes: &[String], rng: &Rng) -> Result<Self> {
        ensure!(
            train.classes() == classes.len(),
            "low_shot: {} class names with labels for {}",
            classes.len(),
            train.classes()
        );
        let ratio = spec.negatives.map_or(classes.len() - 1, Count::get).max(1);
        let positives_and_negatives =
            classes.iter().enumerate().map(|(c, name)| positives_and_negatives(name, &train.of_class(c)));
        let positives_and_negatives = positives_and_negatives.collect::<Result<_>>()?;
        Ok(Self {
            positives_and_negatives,
            ratio,
            streams: classes.iter().map(|name| rng.split(name)).collect(),
        })
    }

    /// Draws sample number `sample` with k positives. Draws for different k are independent.
    fn draw(&self, class: usize, k: usize, sample: usize) -> Sample {
        let mut stream = self.streams[class].split("sample").at(sample as u64, k as u64);
        let [mut shown, mut absent] = self.positives_and_negatives[class].clone();
        for (side, count) in [(&mut shown, k), (&mut absent, self.ratio * k)] {
            side.shuffle(&mut stream);
            side.truncate(count);
        }
        let count = shown.len();
        Sample { rows: [shown, absent].concat(), shown: count }
    }

    fn has_fewer(&self, class: usize, k: usize) -> bool {
        let [shown, absent] = &self.positives_and_negatives[class];
        shown.len() < k || absent.len() < self.ratio * k
    }
}

struct LowShotRun<'a> {
    spec: &'a LowShotSpec,
    products: &'a FeatureProducts,
    draws: &'a SamplePools,
    presence: &'a [Vec<Presence>],
}

impl LowShotRun<'_> {
    fn shot(&self, k: usize, classes: &[String], fitted: &(dyn Fn() + Sync)) -> Result<LowShotResult> {
        let sample = |s: usize| {
            let class = |c: usize| {
                let precisions = self.precisions(c, k, s);
                fitted();
                precisions
            };
            let table: Vec<Vec<Option<f64>>> = (0..classes.len()).into_par_iter().map(class).collect();
            let column = |i: usize| mean(table.iter().map(|row| row[i])).context(NO_TEST_POSITIVES);
            (0..table[0].len()).map(column).collect::<Result<Vec<f64>>>()
        };
        let samples: Vec<Vec<f64>> =
            (0..self.spec.samples.get()).into_par_iter().map(sample).collect::<Result<_>>()?;
        let fewer = (0..classes.len()).filter(|c| self.draws.has_fewer(*c, k)).map(|c| classes[c].clone());
        Ok(self.spec.best(k, &samples, fewer.collect()))
    }

    /// Average precision of one class on the test set, at every cost or at the cost chosen on its sample.
    fn precisions(&self, class: usize, k: usize, sample: usize) -> Vec<Option<f64>> {
        let Sample { rows, shown } = self.draws.draw(class, k, sample);
        let train = self.products.train.select(&rows, &rows);
        let every: Vec<usize> = (0..self.products.test.rows().len()).collect();
        let test = self.products.test.select(&every, &rows);
        let (places, positive): (Vec<usize>, Vec<bool>) = (0..rows.len()).map(|i| (i, i < shown)).unzip();
        let rng = self.draws.streams[class].split(&format!("fit {k} {sample}"));
        let costs = match self.spec.choose {
            CostSelection::Test => self.spec.svm.costs.values(),
            CostSelection::Folds if shown < 2 || rows.len() - shown < 2 => vec![self.spec.nearest_to_one()],
            CostSelection::Folds => {
                vec![choose_cost(&self.spec.svm, &train, &positive, &places, &rng, &|| {}).cost]
            }
        };
        let precision = |cost: &f64| {
            let objective = self.spec.svm.objective(*cost);
            let fitted = fit_classifier(&train, &positive, &places, &objective, &rng.split("all"));
            test_precision(&self.presence[class], &fitted.decision_values(&test))
        };
        costs.iter().map(precision).collect()
    }
}

impl LowShotSpec {
    /// The cost where none can be chosen.
    fn nearest_to_one(&self) -> f64 {
        let costs = self.svm.costs.values();
        let distance = |cost: &f64| cost.ln().abs();
        costs.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(1.0)
    }

    /// The result of one k from the metric of each sample at each cost; the cost with the best mean counts.
    fn best(&self, k: usize, samples: &[Vec<f64>], fewer: Vec<String>) -> LowShotResult {
        let average = |i: usize| samples.iter().map(|row| row[i]).sum::<f64>() / samples.len() as f64;
        let best = (1..samples[0].len()).fold(0, |best, i| if average(i) > average(best) { i } else { best });
        LowShotResult {
            k,
            cost: (self.choose == CostSelection::Test).then(|| self.svm.costs.values()[best]),
            samples: samples.iter().map(|row| row[best]).collect(),
            mean: average(best),
            fewer,
        }
    }
}

/// As [`run`], for pictures with one label each: top-1 accuracy.
///
/// # Errors
/// Mismatched or too large sets; a class without training pictures.
pub fn run_single_label(
    spec: &LowShotSpec,
    train: &Labeled,
    test: &Labeled,
    classes: &[String],
    rng: &Rng,
) -> Result<Vec<LowShotResult>> {
    spec.check()?;
    let of_class = |class: u32| (0..).zip(train.labels()).filter(move |(_, l)| **l == class).map(|(i, _)| i);
    let pools: Vec<Vec<usize>> = (0..classes.len() as u32).map(|class| of_class(class).collect()).collect();
    if let Some(class) = pools.iter().position(Vec::is_empty) {
        anyhow::bail!("low_shot: no training picture shows class `{}`; use more of them", classes[class]);
    }
    let fits = SingleLabelRun {
        spec,
        products: LabeledProducts::new(train, test, classes)?,
        pools: pools.into_iter().zip(classes).map(|(pool, name)| (pool, rng.split(name))).collect(),
        truth: test.labels(),
        rng,
    };
    let bar = Progress::new(spec.shots.len() * spec.samples.get(), "low-shot svm");
    let shot = |k: &Count| {
        let sample = |s: usize| {
            let accuracies = fits.accuracies(k.get(), s);
            bar.add(1);
            accuracies
        };
        let samples: Vec<Vec<f64>> = (0..spec.samples.get()).into_par_iter().map(sample).collect();
        let few = |(class, (pool, _)): (usize, &(Vec<usize>, Rng))| {
            (pool.len() < k.get()).then(|| classes[class].clone())
        };
        spec.best(k.get(), &samples, fits.pools.iter().enumerate().filter_map(few).collect())
    };
    let shots: Vec<LowShotResult> = spec.shots.iter().map(shot).collect();
    drop(bar);
    warn_of_fewer(&shots);
    Ok(shots)
}

struct SingleLabelRun<'a> {
    spec: &'a LowShotSpec,
    products: LabeledProducts<'a>,
    /// Training pictures of each class, and the stream that draws from them.
    pools: Vec<(Vec<usize>, Rng)>,
    truth: &'a [u32],
    rng: &'a Rng,
}

impl SingleLabelRun<'_> {
    /// Top-1 accuracy on the test set with k pictures of each class, at every cost or at the cost chosen on the sample.
    fn accuracies(&self, k: usize, sample: usize) -> Vec<f64> {
        let draw = |(pool, stream): &(Vec<usize>, Rng)| {
            let mut pool = pool.clone();
            pool.shuffle(&mut stream.split("sample").at(sample as u64, k as u64));
            pool.truncate(k);
            pool
        };
        let drawn: Vec<Vec<usize>> = self.pools.iter().map(draw).collect();
        let (rows, svm) = (drawn.concat(), &self.spec.svm);
        let rng = self.rng.split(&format!("fit {k} {sample}"));
        let costs = match self.spec.choose {
            CostSelection::Test => svm.costs.values(),
            CostSelection::Folds if drawn.iter().any(|of_class| of_class.len() < 2) => {
                vec![self.spec.nearest_to_one()]
            }
            CostSelection::Folds => {
                let most = drawn.iter().map(Vec::len).min().unwrap_or(2);
                let folds = Count::of(svm.folds.get().min(most));
                let svm = SvmSpec { folds, ..svm.clone() };
                vec![self.products.choose_cost(&svm, &rows, &rng, &|| {}).cost]
            }
        };
        let accuracy = |cost: &f64| {
            let fitted = self.products.fit(&rows, &svm.objective(*cost), &rng.split("all"));
            let predicted = self.products.classify(&fitted, &rows);
            let right =
                predicted.iter().zip(self.truth).filter(|(predicted, truth)| predicted == truth).count();
            right as f64 / self.truth.len() as f64
        };
        costs.iter().map(accuracy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::features::Features;

    fn examples(presence: &[Presence]) -> Result<Examples> {
        let features = Features::new(vec![1.0; presence.len()], 1)?;
        Examples::new(features, presence.iter().map(|p| vec![*p]).collect())
    }

    #[test]
    fn draws_differ_repeat_and_take_no_ignored_picture() -> Result<()> {
        use Presence::{Absent, Ignored, Present};
        let presence: Vec<_> = (0..90).map(|i| [Present, Absent, Ignored, Absent, Absent][i % 5]).collect();
        let spec = LowShotSpec { negatives: Some(Count::of(3)), ..LowShotSpec::default() };
        let names = ["cat".to_string()];
        let draws = SamplePools::new(&spec, &examples(&presence)?, &names, &Rng::new(4))?;
        let Sample { rows, shown } = draws.draw(0, 8, 0);
        assert_eq!((rows.len(), shown), (32, 8));
        assert!(rows[..8].iter().all(|i| presence[*i] == Present));
        assert!(rows[8..].iter().all(|i| presence[*i] == Absent));
        let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
        assert_eq!(distinct.len(), 32);
        assert_eq!(draws.draw(0, 8, 0).rows, rows);
        assert_ne!(draws.draw(0, 8, 1).rows, rows);
        // 18 positives and 54 negatives: enough for 18 shots, not for 19.
        assert!(!draws.has_fewer(0, 18) && draws.has_fewer(0, 19));
        assert_eq!(draws.draw(0, 96, 0).shown, 18);
        Ok(())
    }

    #[test]
    fn a_class_that_nothing_or_everything_shows_is_named() -> Result<()> {
        for presence in [[Presence::Absent; 4], [Presence::Present; 4]] {
            let drawn = SamplePools::new(
                &LowShotSpec::default(),
                &examples(&presence)?,
                &["cat".into()],
                &Rng::new(0),
            );
            assert!(drawn.err().is_some_and(|e| e.to_string().contains("`cat`")));
        }
        Ok(())
    }
}
