//! The database of a study: its design, its sessions with their trials, the hash of the admin token. One SQLite file with a
//! write-ahead log; a commit is on disk before it returns.

use super::{design::StudyDesign, secret::SecretHash};
use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::{path::Path, time::Duration};

/// File name in the folder of a study.
pub const DATABASE: &str = "study.sqlite";
/// Version of the tables, in SQLite's `user_version`.
const VERSION: i64 = 1;
/// How long a query waits for another process, such as `study score` beside `study serve`.
const PATIENCE: Duration = Duration::from_secs(5);

/// Times are milliseconds since 1970. `key` and `token` are SHA-256 hashes; `first` and `second` name the pictures of a trial
/// in addresses. A trial has ended when it was answered (`chosen`) or dropped (`void`).
const TABLES: &str = "
CREATE TABLE study (design TEXT NOT NULL, pictures BLOB NOT NULL) STRICT;
CREATE TABLE admin (token BLOB NOT NULL) STRICT;
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    algorithm INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    completed INTEGER
) STRICT;
CREATE TABLE trial (
    session INTEGER NOT NULL REFERENCES session (id),
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    photograph INTEGER NOT NULL,
    fake TEXT NOT NULL,
    first BLOB NOT NULL,
    second BLOB NOT NULL,
    begun INTEGER,
    ended INTEGER,
    chosen TEXT,
    exposure_first REAL,
    exposure_second REAL,
    frame REAL,
    response REAL,
    void TEXT,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
";

/// The completion code came after the first studies.
const CODE: &str = "CREATE TABLE IF NOT EXISTS completion (code TEXT NOT NULL) STRICT";

/// Creates the database of a study whose picture file has the given SHA-256, in an existing folder.
///
/// # Errors
/// A file that cannot be written.
pub fn create(folder: &Path, design: &StudyDesign, pictures: &[u8; 32]) -> Result<()> {
    let path = folder.join(DATABASE);
    let created = || -> Result<()> {
        let db = Connection::open(&path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.execute_batch(TABLES)?;
        db.execute("INSERT INTO study VALUES (?1, ?2)", (serde_json::to_string(design)?, pictures))?;
        db.pragma_update(None, "user_version", VERSION)?;
        // On closing, the log is written back.
        db.close().map_err(|(_, error)| error.into())
    };
    created().with_context(|| format!("cannot write {}: is the disk full?", path.display()))
}

/// An open study.
pub struct StudyDatabase {
    pub connection: Connection,
    pub design: StudyDesign,
    /// SHA-256 of the picture file.
    pub pictures: Vec<u8>,
}

/// Opens the study in `folder`.
///
/// # Errors
/// Not the folder of a study; a study of another version of this program; a damaged database.
pub fn open(folder: &Path) -> Result<StudyDatabase> {
    let path = folder.join(DATABASE);
    ensure!(
        path.is_file(),
        "{} is not the folder of a study: it has no {DATABASE}; `hueristic study new` creates one",
        folder.display()
    );
    let opened = || -> Result<StudyDatabase> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        ensure!(version == VERSION, "it has version {version}, this program reads {VERSION}");
        connection.pragma_update(None, "synchronous", "FULL")?;
        let (design, pictures): (String, Vec<u8>) =
            connection
                .query_row("SELECT design, pictures FROM study", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(StudyDatabase { connection, design: serde_json::from_str(&design)?, pictures })
    };
    opened()
        .with_context(|| format!("cannot open {}: is it the database of a study, and whole?", path.display()))
}

/// The hash of the admin token; None before the first start.
///
/// # Errors
/// A damaged database.
pub fn token(db: &Connection) -> rusqlite::Result<Option<SecretHash>> {
    db.query_row("SELECT token FROM admin", [], |row| row.get(0)).optional()
}

/// Replaces the hash of the admin token.
///
/// # Errors
/// A database that cannot be written.
pub fn set_token(db: &Connection, token: &SecretHash) -> rusqlite::Result<()> {
    db.execute("DELETE FROM admin", [])?;
    db.execute("INSERT INTO admin VALUES (?1)", [token]).map(|_| ())
}

/// The completion code that participants see at the end, if there is one.
///
/// # Errors
/// A damaged database, or one that cannot be written.
pub fn code(db: &Connection) -> rusqlite::Result<Option<String>> {
    db.execute(CODE, [])?;
    db.query_row("SELECT code FROM completion", [], |row| row.get(0)).optional()
}

/// Replaces the completion code; an empty one takes it away.
///
/// # Errors
/// A database that cannot be written.
pub fn set_code(db: &Connection, code: &str) -> rusqlite::Result<()> {
    db.execute(CODE, [])?;
    db.execute("DELETE FROM completion", [])?;
    db.execute("INSERT INTO completion SELECT ?1 WHERE ?1 <> ''", [code]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::design::sample_design;

    #[test]
    fn a_study_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let design = sample_design(2, 50);
        create(folder.path(), &design, &[3; 32]).unwrap();
        let study = open(folder.path()).unwrap();
        assert_eq!((study.design, study.pictures), (design, vec![3; 32]));
        assert_eq!(token(&study.connection), Ok(None));
        for hash in [[1; 32], [2; 32]] {
            set_token(&study.connection, &hash).unwrap();
            assert_eq!(token(&study.connection), Ok(Some(hash)));
        }
        for text in ["A-1", "B-2", ""] {
            set_code(&study.connection, text).unwrap();
            assert_eq!(code(&study.connection), Ok(Some(text.to_string()).filter(|text| !text.is_empty())));
        }
        let pragma = |name| study.connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        assert_eq!(pragma("journal_mode"), Ok("wal".into()));
        let full: i64 = study.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!(full, 2);
    }

    #[test]
    fn other_folders_and_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = || format!("{:#}", open(folder.path()).err().unwrap());
        assert!(refused().contains("has no study.sqlite; `hueristic study new` creates one"));
        std::fs::write(folder.path().join(DATABASE), "no database").unwrap();
        assert!(
            refused().contains("study.sqlite: is it the database of a study, and whole?"),
            "{}",
            refused()
        );
        std::fs::remove_file(folder.path().join(DATABASE)).unwrap();
        Connection::open(folder.path().join(DATABASE))
            .unwrap()
            .pragma_update(None, "user_version", 2)
            .unwrap();
        assert!(refused().contains("it has version 2, this program reads 1"), "{}", refused());
    }
}
