//! What a study compares and how long a session is: everything that is decided before the first participant.

use serde::{Deserialize, Serialize};

/// Share of the test trials in which the Random baseline stands in for the algorithm.
const VIGILANCE: f64 = 0.1;

/// The design of a study, stored with it and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyDesign {
    /// Names of the compared algorithms, in the order of the tables.
    pub algorithms: Vec<String>,
    /// Names of the photographs: paths below their folder.
    pub photographs: Vec<String>,
    /// Participants wanted for each algorithm.
    pub participants: usize,
    /// Trials with feedback at the start of a session, which are not scored.
    pub practice: usize,
    /// Trials after them.
    pub trials: usize,
    /// Seed of the assignment to algorithms, and of the photographs, orders, and places of every session.
    pub seed: u64,
    /// What participants agree to; paragraphs are separated by blank lines.
    pub consent: String,
}

impl StudyDesign {
    /// Trials of a session, each of another photograph.
    pub fn session_length(&self) -> usize {
        self.practice + self.trials
    }

    /// Test trials of a session that show the Random baseline.
    pub fn vigilance(&self) -> usize {
        (self.trials as f64 * VIGILANCE).round() as usize
    }
}

/// The consent text unless a file replaces it.
pub const DEFAULT_CONSENT: &str = "\
You are invited to a research study on how real the colors of photographs look. It takes about five minutes. You will see pairs of \
pictures and say which picture of each pair has colors that were made by a computer program.

Taking part is voluntary. You may stop at any time, without giving a reason, by closing this page.

Your answers are stored with their times, under a number. Your name, your address on the internet, and other personal data are not \
stored. A cookie lets you continue after the page was reloaded; it is deleted when you close the browser.";

#[cfg(test)]
pub(super) fn sample_design(algorithms: usize, photographs: usize) -> StudyDesign {
    StudyDesign {
        algorithms: (0..algorithms).map(|a| format!("algorithm {a}")).collect(),
        photographs: (0..photographs).map(|p| format!("{p}.png")).collect(),
        participants: 40,
        practice: 10,
        trials: 40,
        seed: 7,
        consent: DEFAULT_CONSENT.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_test_trials_is_for_vigilance() {
        let vigilance = |trials| StudyDesign { trials, ..sample_design(1, 60) }.vigilance();
        assert_eq!([40, 10, 4, 5, 44, 45].map(vigilance), [4, 1, 0, 1, 4, 5]);
    }
}
