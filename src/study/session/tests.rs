//! The rules of a session, each on a database of its own.

use super::*;
use crate::study::{database, design::sample_design, recorder::Recorder};
use std::collections::HashSet;

/// A study in a temporary folder.
struct Home {
    design: StudyDesign,
    db: Connection,
    _folder: tempfile::TempDir,
}

impl Home {
    fn new(design: StudyDesign) -> Self {
        let folder = tempfile::tempdir().unwrap();
        database::create(folder.path(), &design, &[0; 32]).unwrap();
        let db = database::open(folder.path()).unwrap().connection;
        Self { design, db, _folder: folder }
    }

    fn sign_up(&self, key: u8, now: Millis) -> Result<Session> {
        sign_up(&self.db, &self.design, &[key; 32], now)?;
        find(&self.db, &[key; 32])
    }

    fn next(&self, session: &Session) -> NextStep {
        next(&self.db, &self.design, session, 0).unwrap()
    }

    fn trial(&self, session: &Session) -> NextTrial {
        match self.next(session) {
            NextStep::Trial(trial) => trial,
            NextStep::Done => panic!("the session is over"),
        }
    }

    fn answer(&self, session: &Session, trial: usize) -> Result<Option<PairPlace>> {
        let given = TrialAnswer {
            trial,
            chosen: PairPlace::First,
            exposures: [1000.0; 2],
            frame: 16.7,
            response: 400.0,
        };
        answer(&self.db, session, &given, 3000)
    }
}

fn short(algorithms: usize) -> StudyDesign {
    StudyDesign { practice: 1, trials: 2, ..sample_design(algorithms, 4) }
}

#[test]
fn a_trial_is_begun_once_and_answered_once_in_order() {
    let home = Home::new(short(1));
    let session = home.sign_up(1, 0).unwrap();
    let refused = |result: Result<()>| assert!(matches!(result, Err(SessionError::NotCurrent)));
    let begin_now = |trial| begin(&home.db, &session, trial, 0);
    // not begun, or not the current one
    refused(home.answer(&session, 0).map(|_| ()));
    refused(begin_now(1));
    begin_now(0).unwrap();
    refused(begin_now(0));
    refused(home.answer(&session, 1).map(|_| ()));
    assert!(home.answer(&session, 0).unwrap().is_some(), "practice tells where the fake was");
    refused(home.answer(&session, 0).map(|_| ()));
    refused(void(&home.db, &session, 0, VoidReason::Hidden, 0));
    begin_now(1).unwrap();
    assert_eq!(home.answer(&session, 1).unwrap(), None, "the test does not");
    begin_now(2).unwrap();
    void(&home.db, &session, 2, VoidReason::Hidden, 0).unwrap();
    assert_eq!(home.next(&session), NextStep::Done);
    assert!(find(&home.db, &[1; 32]).unwrap().completed);
    assert!(matches!(find(&home.db, &[2; 32]), Err(SessionError::NoSession)));
}

#[test]
fn a_reload_drops_what_was_perhaps_seen_and_nothing_else() {
    let home = Home::new(short(1));
    let session = home.sign_up(1, 0).unwrap();
    let first = home.trial(&session);
    assert_eq!((first.trial, first.practice, first.number, first.of, first.dropped), (0, true, 1, 1, false));
    // before it begins, the same pair comes again
    assert_eq!(home.trial(&session), first);
    begin(&home.db, &session, 0, 0).unwrap();
    let second = home.trial(&session);
    assert_eq!(
        (second.trial, second.practice, second.number, second.of, second.dropped),
        (1, false, 1, 2, true)
    );
    assert!(!home.trial(&session).dropped);
    assert!(matches!(home.answer(&session, 0), Err(SessionError::NotCurrent)));
}

#[test]
fn pictures_are_handed_out_by_fresh_names_until_the_trial_begins() {
    let home = Home::new(StudyDesign { practice: 0, trials: 10, ..sample_design(2, 10) });
    let sessions = [1, 2].map(|key| home.sign_up(key, 0).unwrap());
    let mut names = HashSet::new();
    for session in &sessions {
        for trial in 0..10 {
            let next = home.trial(session);
            let [a, b] = next.pictures.map(|name| u128::from_str_radix(&name, 16).unwrap().to_be_bytes());
            let [found, other] = [a, b].map(|name| picture(&home.db, session, &name).unwrap());
            assert_eq!(found.0, other.0, "both are of one photograph");
            let real = [found.1, other.1].iter().filter(|version| **version == PictureVersion::Real).count();
            assert_eq!(real, 1);
            assert!(names.insert(a) && names.insert(b), "names are fresh");
            let stranger = if session.id == 1 { &sessions[1] } else { &sessions[0] };
            assert!(matches!(picture(&home.db, stranger, &a), Err(SessionError::NoPicture)));
            begin(&home.db, session, trial, 0).unwrap();
            assert!(matches!(picture(&home.db, session, &a), Err(SessionError::NoPicture)));
            home.answer(session, trial).unwrap();
        }
    }
}

#[test]
fn fakes_are_those_of_the_session_and_vigilance_is_random() {
    let home = Home::new(StudyDesign { practice: 5, trials: 20, ..sample_design(2, 30) });
    let session = home.sign_up(1, 0).unwrap();
    let mut random = 0;
    for trial in 0..25 {
        let names = home.trial(&session).pictures;
        let versions = names.map(|name| {
            let name = u128::from_str_radix(&name, 16).unwrap().to_be_bytes();
            picture(&home.db, &session, &name).unwrap().1
        });
        random += usize::from(versions.contains(&PictureVersion::Random));
        assert!(
            versions.contains(&PictureVersion::Random)
                || versions.contains(&PictureVersion::Recolored(session.algorithm))
        );
        begin(&home.db, &session, trial, 0).unwrap();
        home.answer(&session, trial).unwrap();
    }
    assert_eq!(random, 2);
}

#[test]
fn who_drops_out_is_replaced() {
    let home = Home::new(StudyDesign { participants: 1, ..short(2) });
    let first = home.sign_up(1, 0).unwrap();
    let second = home.sign_up(2, 1000).unwrap();
    assert_ne!(first.algorithm, second.algorithm);
    assert!(matches!(home.sign_up(3, 2000), Err(SessionError::Full)));
    assert!(!is_open(&home.db, &home.design, 2000).unwrap());
    // the second goes on, the first does not
    begin(&home.db, &second, 0, 20 * 60_000).unwrap();
    let third = home.sign_up(3, ABANDONED + 1).unwrap();
    assert_eq!(third.algorithm, first.algorithm);
    assert!(matches!(home.sign_up(4, ABANDONED + 1), Err(SessionError::Full)));
}

/// A hundred sign up at once, a third of them drops out at random, and others come in their places.
#[test]
fn assignment_is_balanced_under_concurrent_sign_ups_and_dropouts() {
    let design = StudyDesign { participants: 25, ..short(4) };
    let folder = tempfile::tempdir().unwrap();
    database::create(folder.path(), &design, &[0; 32]).unwrap();
    let (recorder, thread) = Recorder::start(database::open(folder.path()).unwrap().connection).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let sign_up_all = |keys: std::ops::Range<u16>, now: Millis| -> usize {
        let tasks: Vec<_> = keys
            .map(|key| {
                let (recorder, design) = (recorder.clone(), design.clone());
                let mut hash = [0; 32];
                hash[..2].copy_from_slice(&key.to_le_bytes());
                runtime.spawn(async move { recorder.call(move |db| sign_up(db, &design, &hash, now)).await })
            })
            .collect();
        tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).filter(|r| r.is_ok()).count()
    };
    assert_eq!(sign_up_all(0..100, 0), 100);
    let db = database::open(folder.path()).unwrap().connection;
    assert_eq!(participants(&db, &design, 0).unwrap(), [25; 4]);
    // every third finishes nothing; the others are still at it half an hour later
    let later = ABANDONED + 1;
    db.execute("UPDATE session SET seen = ?1 WHERE id % 3 != 0", [later]).unwrap();
    let left: usize = participants(&db, &design, later).unwrap().iter().sum();
    assert_eq!(left, 67);
    assert_eq!(sign_up_all(100..200, later), 33, "as many as have dropped out");
    assert_eq!(participants(&db, &design, later).unwrap(), [25; 4]);
    drop(recorder);
    thread.join().unwrap();
}
