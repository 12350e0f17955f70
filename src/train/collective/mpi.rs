//! Ranks by MPI. One thread makes every call, so that sums go on beside the backward pass, and so that a rank shows that it
//! lives while it validates or writes.
//!
//! Only messages between two ranks are used: reductions of MPI libraries choose their order by place and size, and their bits
//! depend on it.

mod packing;
mod wire;

use super::{
    operations::{Bucket, Collective, PendingSum, RankOptions, WireFormat},
    ranks::Ranks,
};
use anyhow::{Context, Result, anyhow, bail};
use candle_core::Tensor;
use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use wire::Wire;

/// How often an idle thread looks for signs of life.
const IDLE: Duration = Duration::from_millis(200);
/// How long an abort may take before the process ends by itself.
const ABORT: Duration = Duration::from_secs(5);

static CONNECTION: OnceLock<Connection> = OnceLock::new();

/// The thread that talks to the others.
struct Connection {
    requests: Mutex<Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Request {
    Sum { bucket: Bucket, done: Sender<Result<Vec<Tensor>>> },
    Gather { bytes: Vec<u8>, done: Sender<Vec<Vec<u8>>> },
    Broadcast { bytes: Option<Vec<u8>>, done: Sender<Vec<u8>> },
    Finish,
}

/// This process among those of MPI.
struct MpiRanks {
    rank: usize,
    size: usize,
    wire: WireFormat,
    /// Of every rank, by rank.
    progress: Arc<[AtomicU64]>,
    requests: Mutex<Sender<Request>>,
}

/// Starts MPI in a thread of its own.
///
/// # Errors
/// MPI does not start, or was started before.
pub fn start(options: RankOptions) -> Result<Ranks> {
    let (requests, inbox) = mpsc::channel();
    let (ready, started) = mpsc::channel();
    let serve = move || match Wire::new(options) {
        Ok(wire) => {
            let _ = ready.send(Ok((wire.rank(), wire.size(), wire.progress())));
            serve(wire, &inbox);
        }
        Err(error) => drop(ready.send(Err(error))),
    };
    let thread = thread::Builder::new().name("mpi".into()).spawn(serve).context("cannot start a thread")?;
    let (rank, size, progress) = started.recv().context("MPI did not start")??;
    let connection = Connection { requests: Mutex::new(requests.clone()), thread: Mutex::new(Some(thread)) };
    CONNECTION.set(connection).ok().context("MPI was started before")?;
    Ok(Ranks::new(MpiRanks { rank, size, wire: options.wire, progress, requests: Mutex::new(requests) }))
}

/// Carries out requests until the last.
fn serve(mut wire: Wire, inbox: &Receiver<Request>) {
    loop {
        // Whoever asked may be gone.
        match inbox.recv_timeout(IDLE) {
            Ok(Request::Sum { bucket, done }) => drop(done.send(packing::sum(&mut wire, &bucket))),
            Ok(Request::Gather { bytes, done }) => drop(done.send(wire.gather(bytes))),
            Ok(Request::Broadcast { bytes, done }) => drop(done.send(wire.broadcast(bytes))),
            Ok(Request::Finish) => {
                // Nobody leaves while another still sends.
                let _ = wire.gather(vec![]);
                return;
            }
            Err(RecvTimeoutError::Timeout) => wire.live(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Ends MPI in order.
pub fn finish() {
    let Some(connection) = CONNECTION.get() else { return };
    let _ = lock(&connection.requests).send(Request::Finish);
    if let Some(thread) = lock(&connection.thread).take() {
        let _ = thread.join();
    }
}

/// Ends all processes, if there are others.
pub fn abort(code: u8) {
    if CONNECTION.get().is_some() {
        wire::abort(code);
        thread::sleep(ABORT);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MpiRanks {
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Receiver<T> {
        let (done, answer) = mpsc::channel();
        // A thread that is gone drops `done`, which the receiver tells.
        let _ = lock(&self.requests).send(request(done));
        answer
    }
}

/// The answer of the thread, which does not come back once it has failed.
fn received<T>(answer: &Receiver<T>) -> Result<T> {
    loop {
        match answer.recv_timeout(IDLE) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => bail!("the connection to the other processes is closed"),
            Err(RecvTimeoutError::Timeout) => wire::failure().map_or(Ok(()), |why| Err(anyhow!(why)))?,
        }
    }
}

impl fmt::Debug for MpiRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

impl Collective for MpiRanks {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.size
    }
    fn wire(&self) -> WireFormat {
        self.wire
    }
    fn show_progress(&self, progress: u64) {
        self.progress[self.rank].store(progress, Relaxed);
    }
    fn progress(&self) -> Vec<u64> {
        self.progress.iter().map(|progress| progress.load(Relaxed)).collect()
    }
    fn sum(&self, bucket: Bucket) -> Result<PendingSum> {
        let answer = self.ask(|done| Request::Sum { bucket, done });
        Ok(PendingSum::Waiting(Box::new(move || received(&answer)?)))
    }
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        received(&self.ask(|done| Request::Gather { bytes, done }))
    }
    fn broadcast(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        received(&self.ask(|done| Request::Broadcast { bytes, done }))
    }
}
