//! Ctrl-C and SIGTERM: the first asks the loop to finish its step, write a checkpoint and return; the second ends the
//! process at once.
//!
//! The flag belongs to the process, since signals do: once it is up, every loop that looks at it stops.

use anyhow::{Context, Result};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static INSTALLED: Mutex<bool> = Mutex::new(false);

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

/// Whether an interrupt has been asked for.
pub fn requested() -> bool {
    SIGNALS.load(Ordering::SeqCst) > 0
}

fn caught() {
    if SIGNALS.fetch_add(1, Ordering::SeqCst) > 0 {
        std::process::exit(EXIT_CODE);
    }
    eprintln!("\nstopping: finishing this step and writing a checkpoint; once more to stop at once");
}
