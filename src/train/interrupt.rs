//! Ctrl-C, SIGTERM and SIGUSR1 handling. The first signal asks the loop to finish its step, write a checkpoint and return;
//! the second exits at once. While a [`ScratchDir`] folder exists there is nothing to save: the first signal removes the
//! folder and exits.
//!
//! SIGUSR1 is what schedulers send some time before the end of a job (`#SBATCH --signal=USR1@120`). It only asks: neither a
//! second one nor the SIGTERM that follows it ends the process before its checkpoint is written.
//!
//! The flag is process-wide, as signals are: once set, every loop that polls it stops.

use crate::progress;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

/// Signals that end the process the second time.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static ANNOUNCED: AtomicBool = AtomicBool::new(false);
/// Whether several processes train together.
static TOGETHER: AtomicBool = AtomicBool::new(false);
static INSTALLED: Mutex<bool> = Mutex::new(false);
static SCRATCH_DIR: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Attempts to remove a folder that other threads may still write to.
const REMOVE_ATTEMPTS: usize = 5;

/// Exit code of an interrupted process: 128 + SIGINT, as shells report it.
pub const EXIT_CODE: i32 = 130;

/// Installs the signal handler. Repeated calls have no effect.
pub fn install() -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        ctrlc::set_handler(on_signal).context("cannot catch Ctrl-C")?;
        catch_announcements().context("cannot catch SIGUSR1")?;
        *installed = true;
    }
    Ok(())
}

/// Waits for SIGUSR1 in a thread of its own, as `ctrlc` does for the others.
#[cfg(unix)]
fn catch_announcements() -> std::io::Result<()> {
    use signal_hook::{consts::SIGUSR1, iterator::Signals};
    let mut signals = Signals::new([SIGUSR1])?;
    let wait = move || signals.forever().for_each(|_| on_announcement());
    std::thread::Builder::new().name("SIGUSR1".into()).spawn(wait).map(drop)
}

#[cfg(not(unix))]
fn catch_announcements() -> std::io::Result<()> {
    Ok(())
}

/// A temporary folder, at most one at a time, removed on drop and when an interrupt exits the process.
pub struct ScratchDir(TempDir);

impl ScratchDir {
    /// Creates an empty folder and installs the signal handler.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn new() -> Result<Self> {
        install()?;
        Ok(Self::of(tempfile::tempdir().context("cannot create a temporary folder")?))
    }

    /// As [`ScratchDir::new`], hidden in `folder`, so that what is written there can be moved into `folder`.
    ///
    /// # Errors
    /// As [`ScratchDir::new`].
    pub fn within(folder: &Path) -> Result<Self> {
        install()?;
        let hidden = tempfile::Builder::new().prefix(".partial-").tempdir_in(folder);
        Ok(Self::of(hidden.with_context(|| format!("cannot write to {}", folder.display()))?))
    }

    /// A signal that came before the handler knew the folder is obeyed here.
    fn of(folder: TempDir) -> Self {
        let mut known = SCRATCH_DIR.lock().unwrap_or_else(PoisonError::into_inner);
        if requested() {
            leave(folder.path());
        }
        *known = Some(folder.path().into());
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        *SCRATCH_DIR.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Of several processes, one that is asked to stop says nothing: the others may be gone, so that its step never ends.
/// [`confirm`] says it.
pub fn set_together() {
    TOGETHER.store(true, Ordering::SeqCst);
}

/// Says that a checkpoint is written, once all processes have agreed to stop.
pub fn confirm() {
    if TOGETHER.load(Ordering::SeqCst) {
        progress::tell("\nstopping: writing a checkpoint");
    }
}

/// Whether an interrupt was requested.
pub fn requested() -> bool {
    SIGNALS.load(Ordering::SeqCst) > 0 || ANNOUNCED.load(Ordering::SeqCst)
}

/// Removes `folder` and ends the process.
fn leave(folder: &Path) -> ! {
    let _ = (0..REMOVE_ATTEMPTS).find(|_| fs::remove_dir_all(folder).is_ok());
    std::process::exit(EXIT_CODE)
}

fn on_signal() {
    let _known = leave_scratch();
    if SIGNALS.fetch_add(1, Ordering::SeqCst) > 0 {
        std::process::exit(EXIT_CODE);
    }
    say("; press Ctrl-C again to stop immediately");
}

#[cfg(unix)]
fn on_announcement() {
    let _known = leave_scratch();
    if !ANNOUNCED.swap(true, Ordering::SeqCst) {
        say("");
    }
}

/// Ends the process if there is a folder to remove. Held until the signal is counted: a folder made meanwhile would not be
/// seen here, nor the signal there.
fn leave_scratch() -> MutexGuard<'static, Option<PathBuf>> {
    let scratch = SCRATCH_DIR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = scratch.as_deref() {
        leave(folder);
    }
    scratch
}

fn say(advice: &str) {
    if !TOGETHER.load(Ordering::SeqCst) {
        progress::tell(&format!("\nstopping: finishing this step and writing a checkpoint{advice}"));
    }
}
