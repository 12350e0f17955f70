//! Nearest neighbors on frozen features, the probe that trains nothing. Pictures are alike by the cosine of their
//! features; the k training pictures most alike vote, each with exp(similarity / τ) (Wu, Xiong, Yu and Lin 2018, τ 0.07) or
//! all equally. With one label a picture the result is top-1; where pictures show several classes, each class scores the
//! share of the votes that show it, and the result is the mean over classes of the average precision.
//!
//! Of equally similar neighbors the one earlier in the set comes first; of classes with equal votes, the lower index.

use super::{
    features::{Examples, Features, progress},
    products::Products,
    svm::{mean, tested},
};
use crate::{
    bounded::{Count, Positive},
    data::annotated::Presence,
};
use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Test pictures compared at a time.
const BLOCK: usize = 256;

/// Who votes, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnSpec {
    /// Numbers of neighbors, each with a result of its own.
    #[serde(alias = "neighbours")]
    pub neighbors: Vec<Count>,
    pub vote: Vote,
    /// τ of the weighted vote.
    pub temperature: Positive,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// exp(similarity / τ)
    #[default]
    Weighted,
    /// one neighbor, one vote
    Majority,
}

impl Default for KnnSpec {
    fn default() -> Self {
        Self {
            neighbors: [1, 5, 20, 200].map(Count::of).to_vec(),
            vote: Vote::default(),
            temperature: Positive::of(0.07),
        }
    }
}

/// What came of one k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnnResult {
    pub k: usize,
    /// Neighbors that voted: k, or all training pictures where there are fewer.
    pub voters: usize,
    /// Top-1, or the mean average precision; 0 to 1.
    pub value: f64,
}

/// A neighbor and its vote.
type Voter = (usize, f64);

/// The class of each test row at each k, in the order of the spec; `labels` are those of the training rows.
///
/// # Errors
/// Sets that do not belong together, no k.
pub fn predict(spec: &KnnSpec, train: &Features, labels: &[u32], test: &Features) -> Result<Vec<Vec<u32>>> {
    ensure!(train.len() == labels.len(), "knn: {} rows with {} labels", train.len(), labels.len());
    let classes = labels.iter().max().map_or(0, |last| *last as usize + 1);
    per_k(spec, train, test, |voters| {
        let mut votes = vec![0.0; classes];
        voters.iter().for_each(|(i, vote)| votes[labels[*i] as usize] += vote);
        (1..classes).fold(0, |best, c| if votes[c] > votes[best] { c } else { best }) as u32
    })
}

/// The share of test pictures whose class wins the vote, for each k in the order of the spec.
///
/// # Errors
/// As [`predict`], and test rows without labels.
pub fn top1(
    spec: &KnnSpec,
    (train, labels): (&Features, &[u32]),
    (test, truth): (&Features, &[u32]),
) -> Result<Vec<KnnResult>> {
    ensure!(test.len() == truth.len(), "knn: {} test rows with {} labels", test.len(), truth.len());
    let predictions = predict(spec, train, labels, test)?;
    let share = |predicted: &Vec<u32>| {
        predicted.iter().zip(truth).filter(|(p, t)| p == t).count() as f64 / truth.len() as f64
    };
    Ok(results(spec, train.len(), predictions.iter().map(share)))
}

/// The mean over classes of the average precision of the votes' shares, for each k in the order of the spec. A neighbor
/// that is ignored for a class does not vote on it; a test picture that is, is left out of the class's precision.
///
/// # Errors
/// As [`predict`], and test pictures that show no class at all.
pub fn mean_average_precision(spec: &KnnSpec, train: &Examples, test: &Examples) -> Result<Vec<KnnResult>> {
    let classes = train.classes();
    ensure!(
        test.classes() == classes,
        "knn: labels for {classes} classes in training and for {} in the test",
        test.classes()
    );
    let presence: Vec<Vec<Presence>> = (0..classes).map(|c| train.of_class(c)).collect();
    let shares = per_k(spec, train.features(), test.features(), |voters| {
        presence.iter().map(|class| share(class, voters)).collect::<Vec<f64>>()
    })?;
    let precision = |pictures: &Vec<Vec<f64>>| {
        let class = |c: usize| {
            let scores: Vec<f64> = pictures.iter().map(|shares| shares[c]).collect();
            tested(&test.of_class(c), &scores)
        };
        mean((0..classes).map(class))
            .context("knn: no test picture shows any of the classes; use more of them")
    };
    let values = shares.iter().map(precision).collect::<Result<Vec<_>>>()?;
    Ok(results(spec, train.features().len(), values))
}

/// Of the votes on a class, the share that says it is there; 0 where nobody votes.
fn share(class: &[Presence], voters: &[Voter]) -> f64 {
    let (mut shown, mut all) = (0.0, 0.0);
    for (i, vote) in voters {
        match class[*i] {
            Presence::Present => (shown, all) = (shown + vote, all + vote),
            Presence::Absent => all += vote,
            Presence::Ignored => {}
        }
    }
    if all > 0.0 { shown / all } else { 0.0 }
}

fn results(spec: &KnnSpec, train: usize, values: impl IntoIterator<Item = f64>) -> Vec<KnnResult> {
    let result = |(k, value): (&Count, f64)| KnnResult { k: k.get(), voters: k.get().min(train), value };
    spec.neighbors.iter().zip(values).map(result).collect()
}

/// `read` of the voters of every test picture, for each k.
fn per_k<T: Send>(
    spec: &KnnSpec,
    train: &Features,
    test: &Features,
    read: impl Fn(&[Voter]) -> T + Sync,
) -> Result<Vec<Vec<T>>> {
    check(spec, train, test)?;
    let (train, test) = (train.normalized(0.0), test.normalized(0.0));
    let most = spec.neighbors.iter().map(|k| k.get()).max().unwrap_or(0);
    let mut all: Vec<Vec<T>> = spec.neighbors.iter().map(|_| Vec::with_capacity(test.len())).collect();
    let bar = progress(test.len(), "nearest neighbors");
    for rows in test.values().chunks(BLOCK * test.width()) {
        let products = Products::block(rows, train.values(), train.width())?;
        let of_row = |i: usize| {
            let nearest = nearest(products.row(i), most);
            spec.neighbors.iter().map(|k| read(&votes(spec, &nearest, k.get()))).collect::<Vec<T>>()
        };
        let read: Vec<Vec<T>> = (0..products.rows().len()).into_par_iter().map(of_row).collect();
        bar.inc(read.len() as u64);
        read.into_iter().for_each(|row| all.iter_mut().zip(row).for_each(|(all, value)| all.push(value)));
    }
    bar.finish_and_clear();
    Ok(all)
}

fn check(spec: &KnnSpec, train: &Features, test: &Features) -> Result<()> {
    ensure!(!spec.neighbors.is_empty(), "knn: no number of neighbors is given; give `neighbors: [5, 20]`");
    ensure!(!train.is_empty() && !test.is_empty(), "knn: there are no pictures to compare");
    ensure!(
        train.width() == test.width(),
        "knn: features of {} numbers beside features of {}: both sets must come from the same layer",
        train.width(),
        test.width()
    );
    for k in spec.neighbors.iter().filter(|k| k.get() > train.len()) {
        tracing::warn!("knn: {k} neighbors of {} training pictures: all of them vote", train.len());
    }
    Ok(())
}

/// The `k` most similar pictures, the most similar first, with their similarity.
fn nearest(similarities: &[f32], k: usize) -> Vec<Voter> {
    let order = |a: &usize, b: &usize| similarities[*b].total_cmp(&similarities[*a]).then(a.cmp(b));
    let mut pictures: Vec<usize> = (0..similarities.len()).collect();
    if k < pictures.len() {
        pictures.select_nth_unstable_by(k, order);
        pictures.truncate(k);
    }
    pictures.sort_unstable_by(order);
    pictures.into_iter().map(|i| (i, f64::from(similarities[i]))).collect()
}

/// What the first `k` of the `nearest` vote. Only ratios of votes count, so the first one's is 1.
fn votes(spec: &KnnSpec, nearest: &[Voter], k: usize) -> Vec<Voter> {
    let first = nearest.first().map_or(0.0, |(_, similarity)| *similarity);
    let vote = |similarity: f64| match spec.vote {
        Vote::Weighted => ((similarity - first) / spec.temperature.get()).exp(),
        Vote::Majority => 1.0,
    };
    nearest.iter().take(k).map(|(i, similarity)| (*i, vote(*similarity))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_come_in_order_and_ties_by_index() {
        let similarities = [0.1, 0.9, 0.5, 0.9, 0.5, 0.5];
        let indices = |k| nearest(&similarities, k).into_iter().map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(indices(4), [1, 3, 2, 4]);
        assert_eq!(indices(1), [1]);
        assert_eq!(indices(200), [1, 3, 2, 4, 5, 0]);
    }

    #[test]
    fn a_near_neighbor_outvotes_two_far_ones_only_by_weight() -> Result<()> {
        let train = Features::new(vec![1.0, 0.0, 0.0, 1.0, 0.1, 1.0], 2)?;
        let test = Features::new(vec![2.0, 0.4], 2)?;
        let vote = |vote| {
            let spec = KnnSpec { neighbors: vec![Count::of(1), Count::of(3)], vote, ..KnnSpec::default() };
            predict(&spec, &train, &[0, 1, 1], &test)
        };
        assert_eq!(vote(Vote::Weighted)?, [[0], [0]]);
        assert_eq!(vote(Vote::Majority)?, [[0], [1]]);
        Ok(())
    }

    #[test]
    fn equal_votes_go_to_the_lower_class_and_small_temperatures_do_not_overflow() -> Result<()> {
        let train = Features::new(vec![1.0, 1.0, 1.0], 1)?;
        let spec =
            KnnSpec { neighbors: vec![Count::of(2)], temperature: Positive::of(1e-6), ..KnnSpec::default() };
        assert_eq!(predict(&spec, &train, &[1, 0, 0], &train)?, [[0, 0, 0]]);
        Ok(())
    }

    #[test]
    fn shares_leave_out_who_is_ignored() {
        use Presence::{Absent, Ignored, Present};
        let voters = [(0, 1.0), (1, 0.5), (2, 0.5)];
        assert_eq!(share(&[Present, Absent, Ignored], &voters), 1.0 / 1.5);
        assert_eq!(share(&[Ignored; 3], &voters), 0.0);
    }
}
