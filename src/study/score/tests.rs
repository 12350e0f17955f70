//! Scores against numpy (`scripts/oracles/study.py`) and by hand.

use super::*;
use crate::study::{
    design::sample_design,
    trial::{PairPlace, VoidReason},
    trial_record::{RecordedAnswer, TrialEnd},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Oracle {
    algorithms: Vec<OracleAlgorithm>,
    below: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct OracleAlgorithm {
    answers: Vec<Vec<(usize, u8)>>,
    fooled: f64,
    over_participants: Interval,
    over_pairs: Interval,
}

const OPTIONS: ScoringOptions = ScoringOptions {
    bootstrap: Bootstrap { replicates: 20_000, seed: 0 },
    vigilance: 0.0,
    all_trials: false,
};

fn answered(fooled: bool) -> TrialEnd {
    let chosen = if fooled { PairPlace::Second } else { PairPlace::First };
    TrialEnd::Answered(RecordedAnswer {
        chosen,
        exposures: [1000.0; 2],
        frame: 16.7,
        response: 1.0,
        elapsed: 4000.0,
    })
}

/// The fake is the first.
fn trial(algorithm: usize, participant: i64, photograph: usize, end: TrialEnd) -> TrialRecord {
    let kind = TrialKind::Test;
    TrialRecord {
        participant,
        completed: true,
        algorithm,
        number: 0,
        kind,
        photograph,
        fake: PairPlace::First,
        end,
    }
}

fn near(what: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() < tolerance, "{what}: {got}, not {want}");
}

/// 20,000 replicates know a standard deviation to 0.5 %, a percentile to about 2 % of it, a share to 0.0035.
fn near_interval(what: &str, got: Option<Interval>, want: &Interval) {
    let got = got.unwrap();
    near(what, got.mean, want.mean, 0.04 * want.std);
    near(what, got.std, want.std, 0.03 * want.std);
    near(what, got.low, want.low, 0.15 * want.std);
    near(what, got.high, want.high, 0.15 * want.std);
}

#[test]
fn scores_and_their_errors_are_those_of_numpy() {
    let oracle: Oracle = serde_json::from_str(include_str!("../../../scripts/oracles/study.json")).unwrap();
    let design = sample_design(3, 30);
    let mut trials = vec![];
    for (algorithm, known) in oracle.algorithms.iter().enumerate() {
        for (participant, answers) in known.answers.iter().enumerate() {
            let id = (100 * algorithm + participant) as i64;
            trials.extend(
                answers.iter().map(|(photo, fooled)| trial(algorithm, id, *photo, answered(*fooled == 1))),
            );
        }
    }
    let scores = score(&design, &trials, &OPTIONS);
    for (score, known) in scores.algorithms.iter().zip(&oracle.algorithms) {
        near("fooled", score.fooled.unwrap(), known.fooled, 1e-12);
        near_interval("participants", score.over_participants, &known.over_participants);
        near_interval("pairs", score.over_pairs, &known.over_pairs);
        assert_eq!(score.participants.scored, known.answers.len());
        assert_eq!(score.trials.scored, known.answers.iter().map(Vec::len).sum::<usize>());
    }
    assert_eq!(scores.comparisons.len(), 6);
    for compared in &scores.comparisons {
        let [a, b] =
            [&compared.a, &compared.b].map(|name| design.algorithms.iter().position(|n| n == name).unwrap());
        near("p", compared.a_below_b, oracle.below[a][b], 0.02);
    }
}

#[test]
fn what_does_not_count_is_counted() {
    let design = sample_design(1, 30);
    let off = |exposure: f64, elapsed: f64| {
        let TrialEnd::Answered(answer) = answered(true) else { unreachable!() };
        TrialEnd::Answered(RecordedAnswer { exposures: [1000.0, exposure], elapsed, ..answer })
    };
    let mut trials = vec![
        trial(0, 1, 0, answered(true)),
        trial(0, 1, 1, answered(false)),
        trial(0, 1, 2, off(1050.0, 4000.0)),
        trial(0, 1, 3, off(1000.0, 200.0)),
        trial(0, 1, 4, TrialEnd::Void(VoidReason::Hidden)),
        trial(0, 1, 5, TrialEnd::Void(VoidReason::Reload)),
        trial(0, 2, 6, TrialEnd::Void(VoidReason::Reload)),
        TrialRecord { completed: false, ..trial(0, 3, 7, answered(true)) },
        TrialRecord { kind: TrialKind::Practice, ..trial(0, 1, 8, answered(true)) },
        TrialRecord { kind: TrialKind::Vigilance, ..trial(0, 1, 9, answered(false)) },
        TrialRecord { kind: TrialKind::Vigilance, ..trial(0, 4, 9, answered(true)) },
        trial(0, 4, 10, answered(true)),
    ];
    let of = |trials: &[TrialRecord], options| score(&design, trials, &options).algorithms.remove(0);
    let one = of(&trials, OPTIONS);
    assert_eq!(
        one.participants,
        ParticipantCounts { scored: 2, incomplete: 1, inattentive: 0, without_trials: 1 }
    );
    let counted = TrialCounts { scored: 3, exposure_off: 1, too_early: 1, hidden: 1, reload: 2 };
    assert_eq!((one.trials, one.fooled), (counted, Some(0.75)));
    assert_eq!((one.vigilance.shown, one.vigilance.share()), (2, Some(0.5)));
    let strict = of(&trials, ScoringOptions { vigilance: 0.5, ..OPTIONS });
    assert_eq!(
        (strict.participants.scored, strict.participants.inattentive, strict.fooled),
        (1, 1, Some(0.5))
    );
    let all = of(&trials, ScoringOptions { all_trials: true, ..OPTIONS });
    assert_eq!((all.trials.scored, all.trials.exposure_off, all.fooled), (5, 0, Some((0.75 + 1.0) / 2.0)));
    trials.clear();
    let none = of(&trials, OPTIONS);
    assert_eq!(
        (none.fooled, none.over_participants, none.over_pairs, none.vigilance.share()),
        (None, None, None, None)
    );
}

#[test]
fn a_better_algorithm_is_recognized() {
    let design = sample_design(2, 30);
    let session = |algorithm: usize, id: i64, fooled: usize| {
        (0..10).map(move |photo| trial(algorithm, id, photo, answered(photo < fooled)))
    };
    let trials: Vec<TrialRecord> =
        (0..10).flat_map(|id| session(0, id, 6).chain(session(1, 10 + id, 2))).collect();
    let scores = score(&design, &trials, &OPTIONS);
    let p = |a: usize, b: usize| {
        let names = [a, b].map(|index| &design.algorithms[index]);
        let found = scores.comparisons.iter().find(|c| [&c.a, &c.b] == names);
        found.unwrap().a_below_b
    };
    assert!(p(0, 1) < 0.001 && p(1, 0) > 0.999);
}

#[test]
fn pairs_are_ranked_with_regard_to_how_often_they_were_seen() {
    let pair = |photograph, shown, fooled| PairScore { photograph, shown, fooled };
    let sorted = by_success(&[pair(0, 1, 1), pair(1, 8, 7), pair(2, 1, 0), pair(3, 9, 0), pair(4, 4, 2)]);
    assert_eq!(sorted.iter().map(|pair| pair.photograph).collect::<Vec<_>>(), [1, 0, 4, 2, 3]);
}
