//! The state of a session: sign-up, the current trial, its beginning and its end. Every change is conditional on the state
//! that it follows from, so that no pair is shown twice and no answer is given twice, whatever a page sends.
//!
//! A trial goes open → begun → ended. Its pictures are handed out until it begins. A trial that was begun when the page asks
//! for the next one, after a reload, is dropped: it was perhaps seen, and is not shown again nor replaced.

use super::{
    answer::TrialAnswer,
    assignment::assign,
    design::StudyDesign,
    pictures::PictureVersion,
    secret::{SecretHash, hex, random_name},
    session_plan::plan,
    trial::{PairPlace, TrialKind, VoidReason},
};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use std::io;

/// Milliseconds since 1970.
pub type Millis = i64;

/// After so long without a request, an unfinished session no longer counts as a participant of its algorithm.
pub const ABANDONED: Millis = 30 * 60 * 1000;

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("there is no session: start from the first page")]
    NoSession,
    #[error("the study has all its participants")]
    Full,
    #[error("this is not the session's current trial: reload the page")]
    NotCurrent,
    #[error("there is no such picture")]
    NoPicture,
    #[error("the answer could not be stored")]
    NotStored,
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("no randomness from the operating system: {0}")]
    Entropy(#[from] io::Error),
}

type Result<T> = std::result::Result<T, SessionError>;

/// What a page is to do next.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum NextStep {
    Trial(NextTrial),
    Done,
}

/// A trial as a page sees it: nothing in it depends on which picture is fake.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextTrial {
    /// In the session, from 0.
    pub trial: usize,
    pub practice: bool,
    /// In the practice or in the test, from 1.
    pub number: usize,
    pub of: usize,
    /// Names of the pictures.
    pub pictures: [String; 2],
    /// Whether the trial before was dropped because the page was reloaded.
    pub dropped: bool,
}

/// Which picture of the file a page asked for.
pub type PictureIndex = (usize, PictureVersion);

/// Creates a session with all its trials; the algorithm has the fewest participants.
///
/// # Errors
/// A study that has all its participants.
pub fn sign_up(db: &Connection, design: &StudyDesign, key: &SecretHash, now: Millis) -> Result<()> {
    let id: i64 = db.query_row("SELECT coalesce(max(id), 0) + 1 FROM session", [], |row| row.get(0))?;
    let counted = participants(db, design, now)?;
    let algorithm = assign(design, &counted, id as u64).ok_or(SessionError::Full)?;
    let mut insert = db.prepare("INSERT INTO session VALUES (?1, ?2, ?3, ?4, NULL)")?;
    insert.execute((id, key, algorithm as i64, now))?;
    let mut insert = db.prepare(
        "INSERT INTO trial (session, number, kind, photograph, fake, first, second) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (number, trial) in plan(design, id as u64).iter().enumerate() {
        let names = [random_name()?, random_name()?];
        insert.execute((
            id,
            number as i64,
            trial.kind,
            trial.photograph as i64,
            trial.fake,
            names[0],
            names[1],
        ))?;
    }
    Ok(())
}

/// Participants of each algorithm: those who have finished, and those who are at it.
fn participants(db: &Connection, design: &StudyDesign, now: Millis) -> Result<Vec<usize>> {
    let mut counted = vec![0; design.algorithms.len()];
    let mut query = db.prepare(
        "SELECT algorithm, count(*) FROM session WHERE completed IS NOT NULL OR seen > ?1 GROUP BY algorithm",
    )?;
    let mut rows = query.query([now - ABANDONED])?;
    while let Some(row) = rows.next()? {
        counted[row.get::<_, i64>(0)? as usize] = row.get::<_, i64>(1)? as usize;
    }
    Ok(counted)
}

/// Whether another participant would be accepted.
///
/// # Errors
/// A damaged database.
pub fn is_open(db: &Connection, design: &StudyDesign, now: Millis) -> Result<bool> {
    Ok(participants(db, design, now)?.iter().any(|counted| *counted < design.participants))
}

/// A participant's session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    id: i64,
    algorithm: usize,
    pub completed: bool,
}

/// Finds the session of a cookie.
///
/// # Errors
/// [`SessionError::NoSession`].
pub fn find(db: &Connection, key: &SecretHash) -> Result<Session> {
    let mut query = db.prepare("SELECT id, algorithm, completed IS NOT NULL FROM session WHERE key = ?1")?;
    let session = query.query_row([key], |row| {
        Ok(Session { id: row.get(0)?, algorithm: row.get::<_, i64>(1)? as usize, completed: row.get(2)? })
    });
    session.optional()?.ok_or(SessionError::NoSession)
}

/// The first trial that has not ended.
struct CurrentTrial {
    number: usize,
    kind: TrialKind,
    photograph: usize,
    fake: PairPlace,
    names: [[u8; 16]; 2],
    begun: bool,
}

fn current(db: &Connection, session: &Session) -> Result<Option<CurrentTrial>> {
    let mut query = db.prepare(
        "SELECT number, kind, photograph, fake, first, second, begun IS NOT NULL FROM trial
         WHERE session = ?1 AND ended IS NULL ORDER BY number LIMIT 1",
    )?;
    let trial = query.query_row([session.id], |row| {
        Ok(CurrentTrial {
            number: row.get::<_, i64>(0)? as usize,
            kind: row.get(1)?,
            photograph: row.get::<_, i64>(2)? as usize,
            fake: row.get(3)?,
            names: [row.get(4)?, row.get(5)?],
            begun: row.get(6)?,
        })
    });
    Ok(trial.optional()?)
}

/// The next trial. One that was begun before is dropped.
///
/// # Errors
/// A database that cannot be written.
pub fn next(db: &Connection, design: &StudyDesign, session: &Session, now: Millis) -> Result<NextStep> {
    let mut trial = current(db, session)?;
    let dropped = trial.as_ref().filter(|trial| trial.begun).map(|trial| trial.number);
    if let Some(number) = dropped {
        end_void(db, session, number, VoidReason::Reload, now)?;
        trial = current(db, session)?;
    }
    let Some(trial) = trial else { return Ok(NextStep::Done) };
    let practice = trial.kind == TrialKind::Practice;
    let (number, of) = match practice {
        true => (trial.number, design.practice),
        false => (trial.number - design.practice, design.trials),
    };
    let pictures = trial.names.map(|name| hex(&name));
    let dropped = dropped.is_some();
    Ok(NextStep::Trial(NextTrial {
        trial: trial.number,
        practice,
        number: number + 1,
        of,
        pictures,
        dropped,
    }))
}

/// Where the picture `name` of the current trial is, as long as the trial has not begun.
///
/// # Errors
/// [`SessionError::NoPicture`] for any other name.
pub fn picture(db: &Connection, session: &Session, name: &[u8; 16]) -> Result<PictureIndex> {
    let trial = current(db, session)?.filter(|trial| !trial.begun).ok_or(SessionError::NoPicture)?;
    let at = trial.names.iter().position(|known| known == name).ok_or(SessionError::NoPicture)?;
    let version = match (PairPlace::ALL[at] == trial.fake, trial.kind) {
        (false, _) => PictureVersion::Real,
        (true, TrialKind::Vigilance) => PictureVersion::Random,
        (true, TrialKind::Test | TrialKind::Practice) => PictureVersion::Recolored(session.algorithm),
    };
    Ok((trial.photograph, version))
}

/// Notes that the pictures of the current trial, `number`, are about to be shown.
///
/// # Errors
/// [`SessionError::NotCurrent`] for any other trial, or one that was begun before.
pub fn begin(db: &Connection, session: &Session, number: usize, now: Millis) -> Result<()> {
    let trial = current(db, session)?.filter(|trial| trial.number == number && !trial.begun);
    let trial = trial.ok_or(SessionError::NotCurrent)?;
    let mut update = db.prepare("UPDATE trial SET begun = ?3 WHERE session = ?1 AND number = ?2")?;
    update.execute((session.id, trial.number as i64, now))?;
    seen(db, session, now)
}

/// Stores the answer to the current trial, which has begun. In practice, returns where the fake was.
///
/// # Errors
/// [`SessionError::NotCurrent`] for any other trial.
pub fn answer(
    db: &Connection,
    session: &Session,
    answer: &TrialAnswer,
    now: Millis,
) -> Result<Option<PairPlace>> {
    let trial = begun(db, session, answer.trial)?;
    let mut update = db.prepare(
        "UPDATE trial SET ended = ?3, chosen = ?4, exposure_first = ?5, exposure_second = ?6, frame = ?7, response = ?8
         WHERE session = ?1 AND number = ?2",
    )?;
    let [first, second] = answer.exposures;
    let (chosen, frame, response) = (answer.chosen, answer.frame, answer.response);
    update.execute((session.id, trial.number as i64, now, chosen, first, second, frame, response))?;
    seen(db, session, now)?;
    Ok((trial.kind == TrialKind::Practice).then_some(trial.fake))
}

/// Drops the current trial, `number`, which has begun.
///
/// # Errors
/// As [`answer`].
pub fn void(
    db: &Connection,
    session: &Session,
    number: usize,
    reason: VoidReason,
    now: Millis,
) -> Result<()> {
    let trial = begun(db, session, number)?;
    end_void(db, session, trial.number, reason, now)
}

/// The current trial, if it is `number` and has begun.
fn begun(db: &Connection, session: &Session, number: usize) -> Result<CurrentTrial> {
    let trial = current(db, session)?.filter(|trial| trial.number == number && trial.begun);
    trial.ok_or(SessionError::NotCurrent)
}

fn end_void(
    db: &Connection,
    session: &Session,
    number: usize,
    reason: VoidReason,
    now: Millis,
) -> Result<()> {
    let mut update =
        db.prepare("UPDATE trial SET ended = ?3, void = ?4 WHERE session = ?1 AND number = ?2")?;
    update.execute((session.id, number as i64, now, reason))?;
    seen(db, session, now)
}

/// Notes a sign of life; a session without an open trial is complete.
fn seen(db: &Connection, session: &Session, now: Millis) -> Result<()> {
    let completed = current(db, session)?.is_none().then_some(now);
    let mut update = db.prepare("UPDATE session SET seen = ?2, completed = ?3 WHERE id = ?1")?;
    update.execute((session.id, now, completed))?;
    Ok(())
}

#[cfg(test)]
mod tests;
