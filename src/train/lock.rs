//! The lock of a run directory: one process at a time writes there, also where several machines share the folder.
//!
//! The operating system's lock on the file `lock` decides. It ends with its process, however that ends; NFS and other
//! network file systems pass it on to the server, and free it when the server knows the machine to be gone. Some are mounted
//! so that a lock holds on one machine only. Therefore the file also says who holds it, `PID HOST SIGN`, and is rewritten
//! every 10 seconds. A lock that the system grants is refused nevertheless while the file names another machine and was
//! written less than two minutes ago, by the clock of the file server. A process that ends by itself empties the file, so
//! that nobody waits for it. What is not covered: a file system with locks of one machine only, and a process there that
//! stands still for two minutes and then goes on.

use super::manifest::host;
use anyhow::{Context, Error, Result};
use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

/// File that is locked while a process writes to the directory.
pub const LOCK: &str = "lock";
/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(10);
/// Time without a sign of life after which a process on another machine is taken for ended.
const SILENCE: Duration = Duration::from_secs(120);

/// A held lock, freed on drop or when the process ends for any reason.
pub struct RunLock {
    file: File,
    /// Dropped to end the signs of life.
    stop: Option<Sender<()>>,
    beat: Option<JoinHandle<()>>,
}

/// A lock that another process holds.
#[derive(Debug, thiserror::Error)]
#[error("{holder} is writing to {}: wait until it ends, stop it, or choose another --out{}", run.display(), holder.lapse())]
pub struct InUse {
    pub holder: Holder,
    pub run: PathBuf,
}

/// The process that a lock file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    pid: Option<u32>,
    host: Option<String>,
}

impl RunLock {
    /// Locks the run directory `run`.
    ///
    /// # Errors
    /// [`InUse`]; the directory cannot be written; a file system without locks.
    pub fn take(run: &Path) -> Result<Self> {
        let path = run.join(LOCK);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.with_context(|| {
            format!("cannot open {}: choose an --out that can be written", path.display())
        })?;
        let in_use = |holder| Err(InUse { holder, run: run.into() }.into());
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return in_use(Holder::read(&mut file).unwrap_or_default()),
            Err(TryLockError::Error(error)) => return Err(without_locks(&path, error)),
        }
        if let Some(holder) = Holder::read(&mut file) {
            if holder.lives_elsewhere(&file, run) {
                return in_use(holder);
            }
            tracing::info!("{holder} has ended without finishing {}; this one takes over", run.display());
        }
        Self::hold(file).with_context(|| format!("cannot write {}: is the disk full?", path.display()))
    }

    /// Writes this process into the locked file, now and at every beat.
    fn hold(mut file: File) -> io::Result<Self> {
        file.set_len(0)?;
        sign(&mut file, 0)?;
        let (stop, stopped) = mpsc::channel();
        let mut own = file.try_clone()?;
        let beats = move || {
            let mut count = 1;
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // The system's lock stands without it.
                let _ = sign(&mut own, count);
                count += 1;
            }
        };
        let beat = thread::Builder::new().name("lock".into()).spawn(beats)?;
        Ok(Self { file, stop: Some(stop), beat: Some(beat) })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        self.stop.take();
        self.beat.take().map(JoinHandle::join);
        let _ = self.file.set_len(0);
    }
}

/// Writes a sign of life: the content changes each time, so that the file server notes the time.
fn sign(file: &mut File, count: u64) -> io::Result<()> {
    file.rewind()?;
    let host = host().unwrap_or_default().replace(char::is_whitespace, "");
    file.write_all(format!("{} {host} {count}\n", std::process::id()).as_bytes())
}

fn without_locks(path: &Path, error: io::Error) -> Error {
    let advice = "choose an --out on a file system with locks (not every network file system has them)";
    Error::from(error).context(format!("cannot lock {}: {advice}", path.display()))
}

impl Holder {
    /// The process that a lock file names; None if it is empty.
    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok();
        Some(Self { pid, host: words.next().map(String::from) })
    }

    /// The machine that it is on, unless that is this one.
    fn elsewhere(&self) -> Option<&str> {
        self.host.as_deref().filter(|name| host().as_deref() != Some(*name))
    }

    /// Whether it is on another machine and has given a sign of life lately.
    fn lives_elsewhere(&self, file: &File, run: &Path) -> bool {
        self.elsewhere().is_some() && silence(file, run).is_ok_and(|silence| silence < SILENCE)
    }

    /// When a lock of another machine ends by itself.
    fn lapse(&self) -> String {
        self.elsewhere().map_or(String::new(), |_| {
            format!("; if it has ended, its lock lapses {} s after its last sign of life", SILENCE.as_secs())
        })
    }
}

/// `process 12`, `process 12 on node3`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        self.elsewhere().map_or(Ok(()), |host| write!(f, " on {host}"))
    }
}

/// Time since a lock file was written, by the clock that dates it: that of the file server, not of this machine. It is
/// asked beside the run directory, whose holder may be listing its files.
fn silence(file: &File, run: &Path) -> io::Result<Duration> {
    let mut now = tempfile::tempfile_in(run.parent().filter(|dir| dir.is_dir()).unwrap_or(run))?;
    now.write_all(b"now")?;
    let modified = |file: &File| -> io::Result<SystemTime> { file.metadata()?.modified() };
    Ok(modified(&now)?.duration_since(modified(file)?).unwrap_or_default())
}

/// Whether a process is writing to the run directory `run`.
pub fn is_in_use(run: &Path) -> bool {
    let Ok(mut file) = File::open(run.join(LOCK)) else { return false };
    // Held for a moment: the lock is released when the file is dropped.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
        Ok(()) => Holder::read(&mut file).is_some_and(|holder| holder.lives_elsewhere(&file, run)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn left_by(text: &str, age: Duration) -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join(LOCK), text).unwrap();
        let file = File::options().write(true).open(run.path().join(LOCK)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        run
    }

    fn here() -> String {
        format!("4 {} 7\n", host().unwrap_or_default())
    }

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let run = tempfile::tempdir().unwrap();
        let first = RunLock::take(run.path()).unwrap();
        assert!(is_in_use(run.path()));
        let error = RunLock::take(run.path()).err().unwrap();
        let expected = format!("process {} is writing to {}: wait", std::process::id(), run.path().display());
        assert!(error.is::<InUse>() && error.to_string().starts_with(&expected), "{error}");
        drop(first);
        assert_eq!(fs::read(run.path().join(LOCK)).unwrap(), b"");
        assert!(!is_in_use(run.path()));
        RunLock::take(run.path()).unwrap();
    }

    #[test]
    fn a_lock_of_another_machine_lapses() {
        let run = left_by("4 elsewhere 7\n", SILENCE - Duration::from_secs(30));
        let error = RunLock::take(run.path()).err().unwrap().to_string();
        let expected =
            ["process 4 on elsewhere is writing to ", "its lock lapses 120 s after its last sign of life"];
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(is_in_use(run.path()));
        let run = left_by("4 elsewhere 7\n", SILENCE + Duration::from_secs(5));
        assert!(!is_in_use(run.path()));
        RunLock::take(run.path()).unwrap();
    }

    #[test]
    fn a_lock_of_a_process_that_ended_here_is_free_at_once() {
        for text in [here().as_str(), "4", ""] {
            let run = left_by(text, Duration::ZERO);
            assert!(!is_in_use(run.path()), "{text:?}");
            RunLock::take(run.path()).unwrap();
        }
    }
}
