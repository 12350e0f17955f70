//! The one thread that owns the database of a running study. Requests that arrive while it syncs a commit to disk share the
//! next commit (group commit), and each is answered only after its commit: what was acknowledged survives `kill -9` and a
//! power cut. Requests see one another's changes in order, so that no lock and no retry is needed.

use super::session::SessionError;
use crossbeam_channel::{Receiver, Sender, unbounded};
use rusqlite::Connection;
use std::{io, thread};
use tokio::sync::oneshot;

/// Most requests of one commit.
const GROUP: usize = 256;

/// Sends the result of a request, if it was committed, to the one who waits for it.
type Reply = Box<dyn FnOnce(bool) + Send>;
/// A request: whether its changes are to be kept, and its reply.
type Request = Box<dyn FnOnce(&Connection) -> (bool, Reply) + Send>;

/// A handle of the thread, which ends with the last one.
#[derive(Clone)]
pub struct Recorder {
    requests: Sender<Request>,
}

/// The thread of a [`Recorder`].
pub type RecorderThread = thread::JoinHandle<()>;

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(db: Connection) -> io::Result<(Self, RecorderThread)> {
        let (requests, receiver) = unbounded();
        let thread = thread::Builder::new().name("recorder".into()).spawn(move || record(&db, &receiver))?;
        Ok((Self { requests }, thread))
    }

    /// Carries out `request`, and returns its result after it is durable. Changes of a request that fails are undone.
    ///
    /// # Errors
    /// Those of the request; [`SessionError::NotStored`] if the commit failed.
    pub async fn call<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Connection) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let (reply, result) = oneshot::channel();
        let request: Request = Box::new(move |db| {
            let result = request(db);
            let keeps = result.is_ok();
            let reply = move |committed| {
                // The one who waited may be gone.
                let _ = reply.send(if committed { result } else { Err(SessionError::NotStored) });
            };
            (keeps, Box::new(reply))
        });
        self.requests.send(request).map_err(|_| SessionError::NotStored)?;
        result.await.unwrap_or(Err(SessionError::NotStored))
    }
}

fn record(db: &Connection, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let group: Vec<Request> = [first].into_iter().chain(requests.try_iter().take(GROUP - 1)).collect();
        let mut replies = Vec::with_capacity(group.len());
        let committed = commit(db, group, &mut replies).inspect_err(|error| {
            tracing::error!("answers could not be stored: {error}; is the disk full?");
            // Without an open transaction there is nothing to undo.
            let _ = db.execute_batch("ROLLBACK");
        });
        replies.into_iter().for_each(|reply| reply(committed.is_ok()));
    }
}

/// Carries out a group in one transaction, each request in a savepoint. Without a change, nothing is synced.
fn commit(db: &Connection, group: Vec<Request>, replies: &mut Vec<Reply>) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    for request in group {
        db.execute_batch("SAVEPOINT request")?;
        let (keeps, reply) = request(db);
        replies.push(reply);
        db.execute_batch(if keeps { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" })?;
    }
    db.execute_batch("COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_request_that_fails_are_undone() {
        let folder = tempfile::tempdir().unwrap();
        let db = Connection::open(folder.path().join("db")).unwrap();
        db.execute_batch("CREATE TABLE t (x INTEGER UNIQUE) STRICT").unwrap();
        let (recorder, thread) = Recorder::start(db).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let insert = |x: i64, fails: bool| {
            let request = move |db: &Connection| {
                db.execute("INSERT INTO t VALUES (?1)", [x])?;
                if fails { Err(SessionError::NotCurrent) } else { Ok(x) }
            };
            runtime.block_on(recorder.call(request))
        };
        assert_eq!(insert(1, false).unwrap(), 1);
        assert!(matches!(insert(2, true), Err(SessionError::NotCurrent)));
        assert!(matches!(insert(1, false), Err(SessionError::Database(_))));
        assert_eq!(insert(3, false).unwrap(), 3);
        drop(recorder);
        thread.join().unwrap();
        let db = Connection::open(folder.path().join("db")).unwrap();
        let sum: i64 = db.query_row("SELECT sum(x) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 4);
    }
}
