//! The trials of one session: which photographs, in which order, against what, and in which place the fake is.

use super::{
    design::StudyDesign,
    trial::{PairPlace, TrialKind},
};
use crate::rng::Rng;
use rand::{
    RngExt,
    seq::{SliceRandom, index::sample},
};

/// A trial of a session before it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedTrial {
    /// Index of the photograph in the design.
    pub photograph: usize,
    pub kind: TrialKind,
    /// Where the fake is.
    pub fake: PairPlace,
}

/// The trials of session `session`, a pure function of the design's seed. No photograph occurs twice. In practice and in the
/// test, the fake is in either place equally often; trials of vigilance are anywhere in the test.
///
/// # Panics
/// If the design has fewer photographs than a session has trials, which `study new` refuses.
pub fn plan(design: &StudyDesign, session: u64) -> Vec<PlannedTrial> {
    let rng = &mut Rng::new(design.seed).split("study").split("session").at(0, session);
    let photographs = sample(rng, design.photographs.len(), design.session_length());
    let mut kinds = vec![TrialKind::Test; design.trials];
    kinds[..design.vigilance()].fill(TrialKind::Vigilance);
    kinds.shuffle(rng);
    let kinds = std::iter::repeat_n(TrialKind::Practice, design.practice).chain(kinds);
    let places = [balanced(design.practice, rng), balanced(design.trials, rng)].concat();
    let planned = |((photograph, kind), fake)| PlannedTrial { photograph, kind, fake };
    photographs.into_iter().zip(kinds).zip(places).map(planned).collect()
}

/// Places of `count` fakes in random order, each place equally often; which one has one more, if `count` is odd, is random.
fn balanced(count: usize, rng: &mut impl rand::Rng) -> Vec<PairPlace> {
    let start = usize::from(rng.random::<bool>());
    let mut places: Vec<_> = (start..start + count).map(|i| PairPlace::ALL[i % 2]).collect();
    places.shuffle(rng);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::design::sample_design;
    use std::collections::HashSet;

    #[test]
    fn a_session_shows_no_photograph_twice_and_has_its_shares() {
        let design = sample_design(2, 50);
        for session in 0..50 {
            let trials = plan(&design, session);
            let photographs: HashSet<usize> = trials.iter().map(|t| t.photograph).collect();
            assert_eq!((trials.len(), photographs.len()), (50, 50));
            assert!(trials[..10].iter().all(|t| t.kind == TrialKind::Practice));
            let vigilance = trials[10..].iter().filter(|t| t.kind == TrialKind::Vigilance).count();
            assert!(vigilance == 4 && trials[10..].iter().all(|t| t.kind != TrialKind::Practice));
            for part in [&trials[..10], &trials[10..]] {
                let first = part.iter().filter(|t| t.fake == PairPlace::First).count();
                assert_eq!(2 * first, part.len());
            }
        }
        assert_eq!(plan(&design, 3), plan(&design, 3));
    }

    /// Over 2,000 sessions every count is within five standard deviations of its expectation.
    #[test]
    fn orders_and_places_are_random() {
        let design = sample_design(2, 60);
        let sessions: Vec<_> = (0..2000).map(|session| plan(&design, session)).collect();
        let near = |count: usize, n: f64, p: f64| {
            assert!((count as f64 - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "{count} of {n} × {p}");
        };
        for at in 0..50 {
            let of = |has: &dyn Fn(&PlannedTrial) -> bool| sessions.iter().filter(|s| has(&s[at])).count();
            near(of(&|t| t.fake == PairPlace::First), 2000.0, 0.5);
            near(of(&|t| t.photograph == 17), 2000.0, 1.0 / 60.0);
            if at >= 10 {
                near(of(&|t| t.kind == TrialKind::Vigilance), 2000.0, 0.1);
            }
        }
    }

    #[test]
    fn an_odd_count_favors_neither_place() {
        let design = StudyDesign { practice: 0, trials: 5, ..sample_design(1, 5) };
        let firsts = |s| plan(&design, s).iter().filter(|t| t.fake == PairPlace::First).count();
        let counts: Vec<usize> = (0..200).map(firsts).collect();
        assert!(counts.iter().all(|n| [2, 3].contains(n)));
        assert!((70..130).contains(&counts.iter().filter(|n| **n == 2).count()));
    }
}
