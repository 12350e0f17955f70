//! Ctrl-C and SIGTERM: the first asks the loop to finish its step, write a checkpoint and return; the second ends the
//! process at once. While there is a [`Scratch`] folder, nothing is to be kept: the first removes it and ends the process.
//!
//! The flag belongs to the process, since signals do: once it is up, every loop that looks at it stops.

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
static SCRATCH: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Times that the removal of a folder is tried into which others still write.
const TRIES: usize = 5;

/// The exit code of a process that an interrupt ended: 128 + SIGINT, as shells report it.
pub const EXIT_CODE: i32 = 130;

/// Catches interrupts from now on. Further calls do nothing.
pub fn install() -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        ctrlc::set_handler(caught).context("cannot catch Ctrl-C")?;
        *installed = true;
    }
    Ok(())
}

/// A temporary folder, one at a time, that is removed when it is dropped and when an interrupt ends the process.
pub struct Scratch(TempDir);

impl Scratch {
    /// An empty one; interrupts are caught from now on.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn new() -> Result<Self> {
        install()?;
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        *SCRATCH.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.path().into());
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        *SCRATCH.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether an interrupt has been asked for.
pub fn requested() -> bool {
    SIGNALS.load(Ordering::SeqCst) > 0
}

fn caught() {
    if let Some(folder) = SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).as_deref() {
        let _ = (0..TRIES).find(|_| fs::remove_dir_all(folder).is_ok());
        std::process::exit(EXIT_CODE);
    }
    if SIGNALS.fetch_add(1, Ordering::SeqCst) > 0 {
        std::process::exit(EXIT_CODE);
    }
    eprintln!("\nstopping: finishing this step and writing a checkpoint; once more to stop at once");
}
