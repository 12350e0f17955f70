//! How often participants were fooled by each algorithm, and how sure that is (section 3.1 of the paper).
//!
//! A participant's score is the share of scored test trials in which the photograph was called fake, an algorithm's the mean
//! over its participants: 50 % if its pictures cannot be told from photographs. Trials of one participant are not independent,
//! so that the bootstrap draws participants with replacement, and for each of them their trials with replacement.

use super::{
    design::StudyDesign,
    trial::TrialKind,
    trial_record::{TrialRecord, TrialStatus},
};
use crate::metrics::bootstrap::{Bootstrap, Interval, share_below};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is scored, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoringOptions {
    pub bootstrap: Bootstrap,
    /// Participants who detect a smaller share of the Random baseline are excluded.
    pub vigilance: f64,
    /// Also scores trials whose exposure was off, or whose answer came too early.
    pub all_trials: bool,
}

/// Scores of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyScores {
    pub bootstrap: Bootstrap,
    /// See [`ScoringOptions::vigilance`].
    pub required_vigilance: f64,
    pub all_trials: bool,
    pub algorithms: Vec<AlgorithmScore>,
    /// Of all ordered pairs of algorithms that have participants.
    pub comparisons: Vec<AlgorithmComparison>,
}

/// The score of one algorithm. Shares are between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlgorithmScore {
    pub algorithm: String,
    pub participants: ParticipantCounts,
    pub trials: TrialCounts,
    /// Share of trials in which participants were fooled, a mean over participants; None without a scored trial.
    pub fooled: Option<f64>,
    /// Bootstrap over participants and their trials.
    pub over_participants: Option<Interval>,
    /// Bootstrap over photographs.
    pub over_pairs: Option<Interval>,
    pub vigilance: VigilanceCounts,
    /// Every photograph with a scored trial.
    pub pairs: Vec<PairScore>,
    #[serde(skip)]
    replicates: Vec<f64>,
}

/// Participants by what became of them. Those of `scored` are the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParticipantCounts {
    pub scored: usize,
    /// Sessions that were not finished.
    pub incomplete: usize,
    /// Finished, but below the required vigilance.
    pub inattentive: usize,
    /// Finished, but without a test trial that counts.
    pub without_trials: usize,
}

/// Test trials of finished sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrialCounts {
    pub scored: usize,
    pub exposure_off: usize,
    pub too_early: usize,
    pub hidden: usize,
    pub reload: usize,
}

/// Trials against the Random baseline, of finished sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VigilanceCounts {
    pub shown: usize,
    pub detected: usize,
}

impl VigilanceCounts {
    /// None if nothing was shown.
    pub fn share(&self) -> Option<f64> {
        (self.shown > 0).then(|| self.detected as f64 / self.shown as f64)
    }
}

/// How often one pair fooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PairScore {
    pub photograph: usize,
    pub shown: usize,
    pub fooled: usize,
}

/// Whether `a` fools more often than `b`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlgorithmComparison {
    pub a: String,
    pub b: String,
    /// Share of replicates in which `a` is below `b`: the one-sided p-value of "`a` is better".
    pub a_below_b: f64,
}

/// Scores the trials of a study.
pub fn score(design: &StudyDesign, trials: &[TrialRecord], options: &ScoringOptions) -> StudyScores {
    let of = |algorithm| trials.iter().filter(move |trial| trial.algorithm == algorithm);
    let algorithms: Vec<AlgorithmScore> = (design.algorithms.iter().enumerate())
        .map(|(index, name)| algorithm_score(name, &by_participant(of(index)), options))
        .collect();
    let ScoringOptions { bootstrap, vigilance, all_trials } = *options;
    let comparisons = comparisons(&algorithms);
    StudyScores { bootstrap, required_vigilance: vigilance, all_trials, algorithms, comparisons }
}

/// Trials of each participant.
type Sessions<'a> = BTreeMap<i64, Vec<&'a TrialRecord>>;

fn by_participant<'a>(trials: impl Iterator<Item = &'a TrialRecord>) -> Sessions<'a> {
    let mut sessions = Sessions::new();
    trials.for_each(|trial| sessions.entry(trial.participant).or_default().push(trial));
    sessions
}

/// What is counted session by session.
#[derive(Default)]
struct AlgorithmCounts {
    participants: ParticipantCounts,
    trials: TrialCounts,
    vigilance: VigilanceCounts,
    /// For each scored participant the photograph of each scored trial, and whether it was called fake.
    scored: Vec<Vec<(usize, bool)>>,
}

impl AlgorithmCounts {
    fn of(sessions: &Sessions, options: &ScoringOptions) -> Self {
        let mut counts = Self::default();
        sessions.values().for_each(|session| counts.add(session, options));
        counts
    }

    fn add(&mut self, session: &[&TrialRecord], options: &ScoringOptions) {
        if !session.iter().all(|trial| trial.completed) {
            self.participants.incomplete += 1;
            return;
        }
        let attention = attention(session, options);
        self.vigilance.shown += attention.shown;
        self.vigilance.detected += attention.detected;
        let answers = scored_answers(session, options, &mut self.trials);
        if attention.share().is_some_and(|share| share < options.vigilance) {
            self.participants.inattentive += 1;
        } else if answers.is_empty() {
            self.participants.without_trials += 1;
        } else {
            self.participants.scored += 1;
            self.trials.scored += answers.len();
            self.scored.push(answers);
        }
    }
}

fn algorithm_score(name: &str, sessions: &Sessions, options: &ScoringOptions) -> AlgorithmScore {
    let AlgorithmCounts { participants, trials, vigilance, scored } = AlgorithmCounts::of(sessions, options);
    let fooled_in =
        |answers: &Vec<(usize, bool)>| answers.iter().map(|(_, fooled)| f64::from(*fooled)).collect();
    let fooled: Vec<Vec<f64>> = scored.iter().map(fooled_in).collect();
    let replicates = options.bootstrap.clustered_means(name, &fooled);
    let pairs = pair_scores(&scored);
    AlgorithmScore {
        algorithm: name.into(),
        participants,
        trials,
        fooled: mean_of_means(&fooled),
        over_participants: Interval::of(&replicates),
        over_pairs: over_pairs(&pairs, &options.bootstrap),
        vigilance,
        pairs,
        replicates,
    }
}

fn counts(trial: &TrialRecord, options: &ScoringOptions) -> bool {
    match trial.status() {
        TrialStatus::Answered => true,
        TrialStatus::ExposureOff | TrialStatus::TooEarly => options.all_trials,
        TrialStatus::Hidden | TrialStatus::Reload | TrialStatus::Open => false,
    }
}

fn attention(session: &[&TrialRecord], options: &ScoringOptions) -> VigilanceCounts {
    let shown = session.iter().filter(|trial| trial.kind == TrialKind::Vigilance && counts(trial, options));
    let fooled: Vec<bool> = shown.filter_map(|trial| trial.fooled()).collect();
    VigilanceCounts { shown: fooled.len(), detected: fooled.iter().filter(|fooled| !**fooled).count() }
}

/// The photograph of each test trial that counts, and whether it was called fake; the others are added to `trials`.
fn scored_answers(
    session: &[&TrialRecord],
    options: &ScoringOptions,
    trials: &mut TrialCounts,
) -> Vec<(usize, bool)> {
    let mut answers = vec![];
    for trial in session.iter().filter(|trial| trial.kind == TrialKind::Test) {
        match (trial.fooled(), trial.status()) {
            (Some(fooled), _) if counts(trial, options) => answers.push((trial.photograph, fooled)),
            (_, TrialStatus::ExposureOff) => trials.exposure_off += 1,
            (_, TrialStatus::TooEarly) => trials.too_early += 1,
            (_, TrialStatus::Hidden) => trials.hidden += 1,
            (_, TrialStatus::Reload) => trials.reload += 1,
            (_, TrialStatus::Answered | TrialStatus::Open) => {}
        }
    }
    answers
}

fn mean_of_means(clusters: &[Vec<f64>]) -> Option<f64> {
    let means = clusters.iter().map(|values| values.iter().sum::<f64>() / values.len() as f64);
    (!clusters.is_empty()).then(|| means.sum::<f64>() / clusters.len() as f64)
}

fn pair_scores(scored: &[Vec<(usize, bool)>]) -> Vec<PairScore> {
    let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (photograph, fooled) in scored.iter().flatten() {
        let (shown, times) = counts.entry(*photograph).or_default();
        *shown += 1;
        *times += usize::from(*fooled);
    }
    counts.into_iter().map(|(photograph, (shown, fooled))| PairScore { photograph, shown, fooled }).collect()
}

/// The bootstrap over photographs: all answers to the drawn ones, pooled.
fn over_pairs(pairs: &[PairScore], bootstrap: &Bootstrap) -> Option<Interval> {
    let share = |times: &[u32]| {
        let sum = |of: fn(&PairScore) -> usize| -> f64 {
            pairs.iter().zip(times).map(|(pair, times)| of(pair) as f64 * f64::from(*times)).sum()
        };
        sum(|pair| pair.fooled) / sum(|pair| pair.shown)
    };
    Interval::of(&bootstrap.replicates(pairs.len(), share))
}

fn comparisons(algorithms: &[AlgorithmScore]) -> Vec<AlgorithmComparison> {
    let ordered = algorithms.iter().flat_map(|a| algorithms.iter().map(move |b| (a, b)));
    let different = ordered.filter(|(a, b)| a.algorithm != b.algorithm);
    let compare = |(a, b): (&AlgorithmScore, &AlgorithmScore)| {
        let a_below_b = share_below(&a.replicates, &b.replicates)?;
        Some(AlgorithmComparison { a: a.algorithm.clone(), b: b.algorithm.clone(), a_below_b })
    };
    different.filter_map(compare).collect()
}

/// The pairs that fooled most often first. A pair that was seen seldom is near the middle: the share is (fooled + 1) / (shown
/// + 2), its expectation for a uniform prior.
pub fn by_success(pairs: &[PairScore]) -> Vec<PairScore> {
    let expected = |pair: &PairScore| (pair.fooled + 1) as f64 / (pair.shown + 2) as f64;
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| expected(b).total_cmp(&expected(a)).then(a.photograph.cmp(&b.photograph)));
    sorted
}

#[cfg(test)]
mod tests;
