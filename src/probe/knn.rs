//! k-nearest-neighbor classification on frozen features, without training. Similarity is the cosine of the features.
//! The k most similar training pictures vote, weighted by exp(similarity / τ) (Wu, Xiong, Yu and Lin 2018, τ 0.07) or
//! equally. With one label per picture the metric is top-1. For multi-label pictures each class is scored by its share
//! of the votes, and the metric is mean average precision.
//!
//! Ties between neighbors go to the lower index in the set, ties between classes to the lower class.

use super::{
    features::{Examples, Features},
    products::Products,
    svm::{mean, test_precision},
};
use crate::{
    bounded::{Count, Positive},
    data::annotated::Presence,
    old_key::OldKey,
    progress::Progress,
    text::counted,
};
use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Test pictures per block of similarities.
const BLOCK: usize = 256;

/// Classification by the nearest neighbors. In YAML: `classifier: { neighbors: [5, 20] }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Nearest neighbors", transform = OldKey("neighbours", "neighbors"))]
pub struct KnnSpec {
    /// Numbers of neighbors, each evaluated separately.
    #[serde(alias = "neighbours")]
    pub neighbors: Vec<Count>,
    /// Weights of the votes.
    pub vote: Vote,
    /// Temperature τ of the weighted vote.
    pub temperature: Positive,
}

/// Weights of the votes of neighbors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Vote of neighbors")]
pub enum Vote {
    /// exp(similarity / τ).
    #[default]
    Weighted,
    /// One neighbor, one vote.
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

/// Result for one k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnnResult {
    pub k: usize,
    /// Number of voting neighbors: k, or the size of the training set if that is smaller.
    pub voters: usize,
    /// Top-1 or mean average precision, 0 to 1.
    pub value: f64,
}

/// Index of a neighbor, and its vote or similarity.
pub type Neighbor = (usize, f64);

/// Predicts the class of each test row for each k, in the order of the spec; `labels` are those of the training rows.
///
/// # Errors
/// Mismatched sets; no k.
pub fn predict(spec: &KnnSpec, train: &Features, labels: &[u32], test: &Features) -> Result<Vec<Vec<u32>>> {
    ensure!(train.len() == labels.len(), "knn: {} rows with {} labels", train.len(), labels.len());
    let classes = labels.iter().max().map_or(0, |last| *last as usize + 1);
    per_k(spec, train, test, |voters| {
        let mut votes = vec![0.0; classes];
        voters.iter().for_each(|(i, vote)| votes[labels[*i] as usize] += vote);
        (1..classes).fold(0, |best, c| if votes[c] > votes[best] { c } else { best }) as u32
    })
}

/// Top-1 accuracy for each k, in the order of the spec.
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
    let vote_share = |predicted: &Vec<u32>| {
        predicted.iter().zip(truth).filter(|(p, t)| p == t).count() as f64 / truth.len() as f64
    };
    Ok(results(spec, train.len(), predictions.iter().map(vote_share)))
}

/// Mean average precision of the vote shares, for each k in the order of the spec. Neighbors that are ignored for a
/// class do not vote on it; test pictures ignored for a class are excluded from its average precision.
///
/// # Errors
/// As [`predict`], and test pictures without any class.
pub fn mean_average_precision(spec: &KnnSpec, train: &Examples, test: &Examples) -> Result<Vec<KnnResult>> {
    let classes = train.classes();
    ensure!(
        test.classes() == classes,
        "knn: labels for {classes} classes in training and for {} in the test",
        test.classes()
    );
    let presence: Vec<Vec<Presence>> = (0..classes).map(|c| train.of_class(c)).collect();
    let shares = per_k(spec, train.features(), test.features(), |voters| {
        presence.iter().map(|class| vote_share(class, voters)).collect::<Vec<f64>>()
    })?;
    let precision = |pictures: &Vec<Vec<f64>>| {
        let class = |c: usize| {
            let scores: Vec<f64> = pictures.iter().map(|shares| shares[c]).collect();
            test_precision(&test.of_class(c), &scores)
        };
        mean((0..classes).map(class))
            .context("knn: no test picture shows any of the classes; use more of them")
    };
    let values = shares.iter().map(precision).collect::<Result<Vec<_>>>()?;
    Ok(results(spec, train.features().len(), values))
}

/// Share of the votes for the presence of a class; 0 without votes.
fn vote_share(class: &[Presence], voters: &[Neighbor]) -> f64 {
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

/// Applies `read` to the neighbors of every test picture, for each k.
fn per_k<T: Send>(
    spec: &KnnSpec,
    train: &Features,
    test: &Features,
    read: impl Fn(&[Neighbor]) -> T + Sync,
) -> Result<Vec<Vec<T>>> {
    check(spec, train, test)?;
    let (train, test) = (train.normalized(0.0), test.normalized(0.0));
    let most = spec.neighbors.iter().map(|k| k.get()).max().unwrap_or(0);
    let mut all: Vec<Vec<T>> = spec.neighbors.iter().map(|_| Vec::with_capacity(test.len())).collect();
    let bar = Progress::new(test.len(), "nearest neighbors");
    for rows in test.values().chunks(BLOCK * test.width()) {
        let products = Products::block(rows, train.values(), train.width())?;
        let of_row = |i: usize| {
            let nearest = nearest(products.row(i), most);
            spec.neighbors.iter().map(|k| read(&votes(spec, &nearest, k.get()))).collect::<Vec<T>>()
        };
        let read: Vec<Vec<T>> = (0..products.rows().len()).into_par_iter().map(of_row).collect();
        bar.add(read.len());
        read.into_iter().for_each(|row| all.iter_mut().zip(row).for_each(|(all, value)| all.push(value)));
    }
    drop(bar);
    Ok(all)
}

fn check(spec: &KnnSpec, train: &Features, test: &Features) -> Result<()> {
    ensure!(!spec.neighbors.is_empty(), "knn: no number of neighbors is given; give `neighbors: [5, 20]`");
    ensure!(!train.is_empty() && !test.is_empty(), "knn: there are no pictures to compare");
    ensure!(
        train.width() == test.width(),
        "knn: features of {} and of {} values: both sets must come from the same layer",
        train.width(),
        test.width()
    );
    for k in spec.neighbors.iter().filter(|k| k.get() > train.len()) {
        tracing::warn!(
            "knn: {k} neighbors of {}: all of them vote",
            counted(train.len(), "training picture")
        );
    }
    Ok(())
}

/// The `k` most similar pictures with their similarities, most similar first.
pub fn nearest(similarities: &[f32], k: usize) -> Vec<Neighbor> {
    let order = |a: &usize, b: &usize| similarities[*b].total_cmp(&similarities[*a]).then(a.cmp(b));
    let mut pictures: Vec<usize> = (0..similarities.len()).collect();
    if k < pictures.len() {
        pictures.select_nth_unstable_by(k, order);
        pictures.truncate(k);
    }
    pictures.sort_unstable_by(order);
    pictures.into_iter().map(|i| (i, f64::from(similarities[i]))).collect()
}

/// Votes of the first `k` of `nearest`, scaled so that the first vote is 1; only ratios matter.
fn votes(spec: &KnnSpec, nearest: &[Neighbor], k: usize) -> Vec<Neighbor> {
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
        assert_eq!(vote_share(&[Present, Absent, Ignored], &voters), 1.0 / 1.5);
        assert_eq!(vote_share(&[Ignored; 3], &voters), 0.0);
    }
}
