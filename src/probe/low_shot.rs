//! The SVMs of [`super::svm`] from few examples (Goyal et al. 2019, section 6.2): for each class k pictures that show it and
//! (classes − 1)·k that do not (19·k for VOC's twenty), drawn anew for each sample; the mean average precision on the whole
//! test set, averaged over the samples.
//!
//! FAIR reports the cost that does best **on the test set**, one for all classes at each k; that is the default here, since
//! it is what published numbers are, and it flatters. `choose: folds` sees no test picture: each class takes the cost that
//! does best over folds of its own sample. One positive has no folds, and then the cost nearest to 1 is taken.

use super::{
    features::{Examples, progress},
    svm::{Compared, NOTHING_TO_TEST, SvmSpec, choose, descent::separate, mean, tested},
};
use crate::{
    bounded::{BatchSize, Count},
    data::annotated::Presence,
    rng::Rng,
};
use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How much is shown, and how the cost is chosen; the defaults are FAIR's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowShotSpec {
    /// Pictures of a class, k.
    pub shots: Vec<Count>,
    /// Independent draws for each k.
    pub samples: BatchSize,
    /// Other pictures for each picture of a class; absent: one less than there are classes.
    pub negatives: Option<Count>,
    pub choose: Choose,
    /// `ignored` does not matter here: pictures that show a class only in difficult examples are never drawn for it.
    pub svm: SvmSpec,
}

/// What the cost is chosen on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// The test set, as FAIR does: the result is the best of as many results as there are costs.
    #[default]
    Test,
    /// Folds of the drawn pictures, class by class.
    Folds,
}

impl Default for LowShotSpec {
    fn default() -> Self {
        Self {
            shots: [1, 2, 4, 8, 16, 32, 64, 96].map(Count::of).to_vec(),
            samples: Count::of(5),
            negatives: None,
            choose: Choose::default(),
            svm: SvmSpec::default(),
        }
    }
}

impl LowShotSpec {
    /// Whether every class can be fitted, given what `of_class` says of its training pictures.
    ///
    /// # Errors
    /// As [`run`], of what the pictures' labels tell.
    pub fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        self.svm.check()?;
        ensure!(!self.shots.is_empty(), "low_shot: no number of shots is given; give `shots: [1, 2, 4]`");
        classes.iter().enumerate().try_for_each(|(c, name)| sides(name, &of_class(c)).map(drop))
    }
}

/// What came of one k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shot {
    pub k: usize,
    /// The cost of all classes, where it was chosen on the test set.
    pub cost: Option<f64>,
    /// Mean average precision of each sample, 0 to 1.
    pub samples: Vec<f64>,
    /// Over the samples.
    pub mean: f64,
    /// Classes with fewer pictures, on either side, than were to be drawn; all that there are were used.
    pub fewer: Vec<String>,
}

/// Fits on samples of `train` and scores on all of `test`; one row for each k, in the order of the spec. Samples are drawn
/// from `rng`, which also orders the steps of the fits.
///
/// # Errors
/// Sets that do not belong together or are too large, a class that no training picture shows or that all show, test
/// pictures that show no class at all.
pub fn run(
    spec: &LowShotSpec,
    train: &Examples,
    test: &Examples,
    classes: &[String],
    rng: &Rng,
) -> Result<Vec<Shot>> {
    spec.feasible(classes, &|class| train.of_class(class))?;
    let draws = Draws::new(spec, train, classes, rng)?;
    let compared = Compared::new(train, test, classes)?;
    let presence: Vec<Vec<Presence>> = (0..classes.len()).map(|c| test.of_class(c)).collect();
    let fits = Fits { spec, compared: &compared, draws: &draws, presence: &presence };
    let bar = progress(spec.shots.len() * spec.samples.get() * classes.len(), "low-shot svm");
    let shots = spec.shots.iter().map(|k| fits.shot(k.get(), classes, &|| bar.inc(1)));
    let shots = shots.collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    for shot in shots.iter().filter(|shot| !shot.fewer.is_empty()) {
        tracing::warn!(
            "low-shot svm: fewer pictures than {} shots ask for: {}",
            shot.k,
            shot.fewer.join(", ")
        );
    }
    Ok(shots)
}

/// Where samples are drawn from: for each class, who shows it and who does not.
struct Draws {
    sides: Vec<[Vec<usize>; 2]>,
    /// Negatives for each positive.
    ratio: usize,
    streams: Vec<Rng>,
}

/// The pictures that show a class, and those that do not.
fn sides(name: &str, presence: &[Presence]) -> Result<[Vec<usize>; 2]> {
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

/// The training pictures of one class in one sample.
struct Sample {
    rows: Vec<usize>,
    /// How many of them, the first ones, show the class.
    shown: usize,
}

impl Draws {
    fn new(spec: &LowShotSpec, train: &Examples, classes: &[String], rng: &Rng) -> Result<Self> {
        ensure!(
            train.classes() == classes.len(),
            "low_shot: {} class names with labels for {}",
            classes.len(),
            train.classes()
        );
        let ratio = spec.negatives.map_or(classes.len() - 1, Count::get).max(1);
        let sides = classes.iter().enumerate().map(|(c, name)| sides(name, &train.of_class(c)));
        let sides = sides.collect::<Result<_>>()?;
        Ok(Self { sides, ratio, streams: classes.iter().map(|name| rng.split(name)).collect() })
    }

    /// Sample number `sample` of k positives; draws of different k are independent.
    fn draw(&self, class: usize, k: usize, sample: usize) -> Sample {
        let mut stream = self.streams[class].split("sample").at(sample as u64, k as u64);
        let [mut shown, mut absent] = self.sides[class].clone();
        for (side, count) in [(&mut shown, k), (&mut absent, self.ratio * k)] {
            side.shuffle(&mut stream);
            side.truncate(count);
        }
        let count = shown.len();
        Sample { rows: [shown, absent].concat(), shown: count }
    }

    fn has_fewer(&self, class: usize, k: usize) -> bool {
        let [shown, absent] = &self.sides[class];
        shown.len() < k || absent.len() < self.ratio * k
    }
}

struct Fits<'a> {
    spec: &'a LowShotSpec,
    compared: &'a Compared,
    draws: &'a Draws,
    presence: &'a [Vec<Presence>],
}

impl Fits<'_> {
    fn shot(&self, k: usize, classes: &[String], fitted: &(dyn Fn() + Sync)) -> Result<Shot> {
        let sample = |s: usize| {
            let class = |c: usize| {
                let precisions = self.precisions(c, k, s);
                fitted();
                precisions
            };
            let table: Vec<Vec<Option<f64>>> = (0..classes.len()).into_par_iter().map(class).collect();
            let column = |i: usize| mean(table.iter().map(|row| row[i])).context(NOTHING_TO_TEST);
            (0..table[0].len()).map(column).collect::<Result<Vec<f64>>>()
        };
        let samples: Vec<Vec<f64>> =
            (0..self.spec.samples.get()).into_par_iter().map(sample).collect::<Result<_>>()?;
        let average = |i: usize| samples.iter().map(|row| row[i]).sum::<f64>() / samples.len() as f64;
        let best = (1..samples[0].len()).fold(0, |best, i| if average(i) > average(best) { i } else { best });
        let fewer = (0..classes.len()).filter(|c| self.draws.has_fewer(*c, k)).map(|c| classes[c].clone());
        Ok(Shot {
            k,
            cost: (self.spec.choose == Choose::Test).then(|| self.spec.svm.costs.values()[best]),
            samples: samples.iter().map(|row| row[best]).collect(),
            mean: average(best),
            fewer: fewer.collect(),
        })
    }

    /// Average precision on the test set of one class at each cost, or at the one that its sample chose.
    fn precisions(&self, class: usize, k: usize, sample: usize) -> Vec<Option<f64>> {
        let Sample { rows, shown } = self.draws.draw(class, k, sample);
        let train = self.compared.train.select(&rows, &rows);
        let every: Vec<usize> = (0..self.compared.test.rows().len()).collect();
        let test = self.compared.test.select(&every, &rows);
        let (places, positive): (Vec<usize>, Vec<bool>) = (0..rows.len()).map(|i| (i, i < shown)).unzip();
        let rng = self.draws.streams[class].split(&format!("fit {k} {sample}"));
        let costs = match self.spec.choose {
            Choose::Test => self.spec.svm.costs.values(),
            Choose::Folds if shown < 2 || rows.len() - shown < 2 => vec![self.nearest_to_one()],
            Choose::Folds => vec![choose(&self.spec.svm, &train, &positive, &places, &rng, &|| {}).cost],
        };
        let precision = |cost: &f64| {
            let problem = self.spec.svm.problem(*cost);
            let fitted = separate(&train, &positive, &places, &problem, &rng.split("all"));
            tested(&self.presence[class], &fitted.decide(&test))
        };
        costs.iter().map(precision).collect()
    }

    fn nearest_to_one(&self) -> f64 {
        let costs = self.spec.svm.costs.values();
        let distance = |cost: &f64| cost.ln().abs();
        costs.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(1.0)
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
        let draws = Draws::new(&spec, &examples(&presence)?, &names, &Rng::new(4))?;
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
            let drawn =
                Draws::new(&LowShotSpec::default(), &examples(&presence)?, &["cat".into()], &Rng::new(0));
            assert!(drawn.err().is_some_and(|e| e.to_string().contains("`cat`")));
        }
        Ok(())
    }
}
