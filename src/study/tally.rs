//! How far a running study is: participants of each algorithm, and whether pictures are shown for a second.

use super::{
    design::StudyDesign,
    session::{ABANDONED, Millis},
    trial_record::{TrialRecord, TrialStatus},
};
use rusqlite::Connection;

/// Numbers of one algorithm. How often participants were fooled is not among them: a study that is stopped when its result
/// pleases proves nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlgorithmTally {
    pub name: String,
    pub complete: usize,
    pub underway: usize,
    /// Unfinished and without a sign of life for half an hour.
    pub abandoned: usize,
    pub answered: usize,
    /// Answers that do not count, by their exposure or time.
    pub marked: usize,
    pub void: usize,
    /// Median exposure in milliseconds.
    pub exposure: Option<f64>,
    /// Median time between two frames in milliseconds.
    pub frame: Option<f64>,
}

/// The tally of every algorithm.
///
/// # Errors
/// A damaged database.
pub fn tally(
    db: &Connection,
    design: &StudyDesign,
    trials: &[TrialRecord],
    now: Millis,
) -> rusqlite::Result<Vec<AlgorithmTally>> {
    let of_name = |name: &String| AlgorithmTally { name: name.clone(), ..AlgorithmTally::default() };
    let mut tallies: Vec<AlgorithmTally> = design.algorithms.iter().map(of_name).collect();
    let mut query = db.prepare("SELECT algorithm, completed IS NOT NULL, seen > ?1 FROM session")?;
    let mut rows = query.query([now - ABANDONED])?;
    while let Some(row) = rows.next()? {
        let tally = &mut tallies[row.get::<_, i64>(0)? as usize];
        match (row.get(1)?, row.get(2)?) {
            (true, _) => tally.complete += 1,
            (false, true) => tally.underway += 1,
            (false, false) => tally.abandoned += 1,
        }
    }
    for (algorithm, tally) in tallies.iter_mut().enumerate() {
        count_trials(tally, trials.iter().filter(|trial| trial.algorithm == algorithm));
    }
    Ok(tallies)
}

fn count_trials<'a>(tally: &mut AlgorithmTally, trials: impl Iterator<Item = &'a TrialRecord>) {
    let (mut exposures, mut frames) = (vec![], vec![]);
    for trial in trials {
        match trial.status() {
            TrialStatus::Answered => tally.answered += 1,
            TrialStatus::ExposureOff | TrialStatus::TooEarly => tally.marked += 1,
            TrialStatus::Hidden | TrialStatus::Reload => tally.void += 1,
            TrialStatus::Open => {}
        }
        exposures.extend(trial.answer().iter().flat_map(|answer| answer.exposures));
        frames.extend(trial.answer().map(|answer| answer.frame));
    }
    (tally.exposure, tally.frame) = (median(exposures), median(frames));
}

/// The lower of the two middle values, if there are two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 9.0]), Some(4.0));
        assert_eq!(median(vec![4.0, 1.0, 9.0, 5.0]), Some(4.0));
    }
}
