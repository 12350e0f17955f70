//! Every trial of a study as it ended, for the score, the researcher's page, and CSV files. Clock times and names of pictures
//! are left out.

use super::{
    design::StudyDesign,
    trial::{PairPlace, TrialKind, VoidReason},
};
use crate::report::table::TextTable;
use rusqlite::{Connection, Row};

/// How long each picture is to be shown, in milliseconds.
pub const EXPOSURE: f64 = 1000.0;
/// Longest frame that an exposure may be off by: that of a slow screen (20 per second), whatever a browser claims.
const LONGEST_FRAME: f64 = 50.0;
/// Browsers round times to a millisecond against fingerprinting.
const ROUNDING: f64 = 1.0;

/// A trial and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// Number of the session.
    pub participant: i64,
    /// Whether the session is complete.
    pub completed: bool,
    pub algorithm: usize,
    /// In the session, from 0.
    pub number: usize,
    pub kind: TrialKind,
    pub photograph: usize,
    pub fake: PairPlace,
    pub end: TrialEnd,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrialEnd {
    /// Not yet.
    Open,
    Void(VoidReason),
    Answered(RecordedAnswer),
}

/// An answer with its times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedAnswer {
    pub chosen: PairPlace,
    pub exposures: [f64; 2],
    pub frame: f64,
    pub response: f64,
    /// From the beginning to the answer, by the server's clock.
    pub elapsed: f64,
}

impl RecordedAnswer {
    /// Whether a picture was shown longer or shorter than a second by more than a frame.
    pub fn is_off(&self) -> bool {
        let tolerance = self.frame.min(LONGEST_FRAME) + ROUNDING;
        self.exposures.iter().any(|exposure| (exposure - EXPOSURE).abs() > tolerance)
    }

    /// Whether it came before both pictures can have been shown: no page of this program has sent it.
    pub fn is_early(&self) -> bool {
        self.elapsed < 2.0 * (EXPOSURE - LONGEST_FRAME)
    }
}

/// How a trial counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrialStatus {
    Answered,
    ExposureOff,
    TooEarly,
    Hidden,
    Reload,
    Open,
}

impl TrialStatus {
    /// As in CSV files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ExposureOff => "exposure off",
            Self::TooEarly => "too early",
            Self::Hidden => "hidden",
            Self::Reload => "reload",
            Self::Open => "open",
        }
    }
}

impl TrialRecord {
    pub fn status(&self) -> TrialStatus {
        match &self.end {
            TrialEnd::Open => TrialStatus::Open,
            TrialEnd::Void(VoidReason::Hidden) => TrialStatus::Hidden,
            TrialEnd::Void(VoidReason::Reload) => TrialStatus::Reload,
            TrialEnd::Answered(answer) if answer.is_early() => TrialStatus::TooEarly,
            TrialEnd::Answered(answer) if answer.is_off() => TrialStatus::ExposureOff,
            TrialEnd::Answered(_) => TrialStatus::Answered,
        }
    }

    /// Whether the photograph was called fake; None without an answer.
    pub fn fooled(&self) -> Option<bool> {
        self.answer().map(|answer| answer.chosen != self.fake)
    }

    pub fn answer(&self) -> Option<&RecordedAnswer> {
        if let TrialEnd::Answered(answer) = &self.end { Some(answer) } else { None }
    }
}

/// All trials by participant and number.
///
/// # Errors
/// A damaged database.
pub fn read_trials(db: &Connection) -> rusqlite::Result<Vec<TrialRecord>> {
    let mut query = db.prepare(
        "SELECT session, completed IS NOT NULL, algorithm, number, kind, photograph, fake,
                ended IS NULL, void, chosen, exposure_first, exposure_second, frame, response, ended - begun
         FROM trial JOIN session ON session.id = trial.session ORDER BY session, number",
    )?;
    query.query_map([], record)?.collect()
}

fn record(row: &Row) -> rusqlite::Result<TrialRecord> {
    let index = |column| row.get::<_, i64>(column).map(|value| value as usize);
    Ok(TrialRecord {
        participant: row.get(0)?,
        completed: row.get(1)?,
        algorithm: index(2)?,
        number: index(3)?,
        kind: row.get(4)?,
        photograph: index(5)?,
        fake: row.get(6)?,
        end: end(row)?,
    })
}

fn end(row: &Row) -> rusqlite::Result<TrialEnd> {
    if row.get(7)? {
        return Ok(TrialEnd::Open);
    }
    if let Some(reason) = row.get(8)? {
        return Ok(TrialEnd::Void(reason));
    }
    let exposures = [row.get(10)?, row.get(11)?];
    let (chosen, frame, response) = (row.get(9)?, row.get(12)?, row.get(13)?);
    let elapsed = row.get::<_, i64>(14)? as f64;
    Ok(TrialEnd::Answered(RecordedAnswer { chosen, exposures, frame, response, elapsed }))
}

const COLUMNS: [&str; 14] = [
    "participant",
    "completed",
    "algorithm",
    "trial",
    "kind",
    "photograph",
    "fake",
    "status",
    "chosen",
    "fooled",
    "exposure_first_ms",
    "exposure_second_ms",
    "frame_ms",
    "response_ms",
];

/// A line for each trial; `fooled` is 1 if the photograph was called fake.
pub fn trials_csv(design: &StudyDesign, trials: &[TrialRecord]) -> String {
    TextTable::new(COLUMNS, trials.iter().map(|trial| cells(design, trial))).csv()
}

fn cells(design: &StudyDesign, trial: &TrialRecord) -> Vec<String> {
    let flag = |flag: bool| u8::from(flag).to_string();
    let mut cells = vec![
        trial.participant.to_string(),
        flag(trial.completed),
        design.algorithms[trial.algorithm].clone(),
        (trial.number + 1).to_string(),
        trial.kind.name().into(),
        design.photographs[trial.photograph].clone(),
        trial.fake.name().into(),
        trial.status().name().into(),
    ];
    if let (Some(answer), Some(fooled)) = (trial.answer(), trial.fooled()) {
        cells.extend([answer.chosen.name().into(), flag(fooled)]);
        cells.extend(answer.exposures.map(|exposure| format!("{exposure:.1}")));
        cells.extend([format!("{:.2}", answer.frame), format!("{:.0}", answer.response)]);
    }
    cells.resize(COLUMNS.len(), String::new());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(exposures: [f64; 2], frame: f64, elapsed: f64) -> RecordedAnswer {
        RecordedAnswer { chosen: PairPlace::First, exposures, frame, response: 500.0, elapsed }
    }

    #[test]
    fn exposures_may_be_off_by_a_frame() {
        let is_off = |exposures, frame| answer(exposures, frame, 5000.0).is_off();
        assert!(!is_off([1000.0, 1016.7], 16.7) && !is_off([983.3, 1000.0], 16.7));
        assert!(is_off([1000.0, 1033.3], 16.7) && is_off([966.6, 1000.0], 16.7));
        assert!(!is_off([1006.9, 1000.0], 6.9) && is_off([1016.7, 1000.0], 6.9));
        // a frame of half a second is no excuse
        assert!(is_off([1400.0, 1000.0], 500.0));
        assert!(
            answer([1000.0; 2], 16.7, 1500.0).is_early() && !answer([1000.0; 2], 16.7, 2600.0).is_early()
        );
    }

    #[test]
    fn a_line_has_every_column() {
        let design = crate::study::design::sample_design(1, 2);
        let design = StudyDesign { algorithms: vec!["a,\"b\"".into()], ..design };
        let trial = |end| TrialRecord {
            participant: 3,
            completed: true,
            algorithm: 0,
            number: 11,
            kind: TrialKind::Vigilance,
            photograph: 1,
            fake: PairPlace::Second,
            end,
        };
        let ends = [
            TrialEnd::Answered(answer([1000.0, 1016.66], 16.6667, 4000.0)),
            TrialEnd::Void(VoidReason::Hidden),
            TrialEnd::Open,
        ];
        let text = trials_csv(&design, &ends.map(trial));
        let lines: Vec<&str> = text.lines().collect();
        let name = "\"a,\"\"b\"\"\"";
        assert_eq!(
            lines[1],
            format!("3,1,{name},12,vigilance,1.png,second,answered,first,1,1000.0,1016.7,16.67,500")
        );
        assert_eq!(lines[2], format!("3,1,{name},12,vigilance,1.png,second,hidden,,,,,,"));
        assert_eq!(lines[3], format!("3,1,{name},12,vigilance,1.png,second,open,,,,,,"));
        assert_eq!(lines[0].matches(',').count(), lines[2].replace(name, "").matches(',').count());
    }
}
