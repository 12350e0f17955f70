//! Ctrl-C and SIGTERM handling. The first signal asks the loop to finish its step, write a checkpoint and return; the
//! second exits at once. While a [`ScratchDir`] folder exists there is nothing to save: the first signal removes the
//! folder and exits.
//!
//! The flag is process-wide, as signals are: once set, every loop that polls it stops.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
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
        *installed = true;
    }
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

/// Whether an interrupt was requested.
pub fn requested() -> bool {
    SIGNALS.load(Ordering::SeqCst) > 0
}

/// Removes `folder` and ends the process.
fn leave(folder: &Path) -> ! {
    let _ = (0..REMOVE_ATTEMPTS).find(|_| fs::remove_dir_all(folder).is_ok());
    std::process::exit(EXIT_CODE)
}

fn on_signal() {
    // Locked until the signal is counted: a folder made meanwhile would not be seen here, nor the signal there.
    let scratch = SCRATCH_DIR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = scratch.as_deref() {
        leave(folder);
    }
    if SIGNALS.fetch_add(1, Ordering::SeqCst) > 0 {
        std::process::exit(EXIT_CODE);
    }
    eprintln!(
        "\nstopping: finishing this step and writing a checkpoint; press Ctrl-C again to stop immediately"
    );
}
