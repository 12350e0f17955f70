//! Number of compute threads.

use crate::train::collective::Launcher;
use anyhow::{Context, Result};
use std::thread;

/// Sets the thread count of the process. None: one per core, of which the processes that a launcher started on this machine
/// have equal parts.
pub(super) fn set(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads.map(usize::from).or_else(share) else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().context("cannot set the number of threads")
}

/// This process's part of the cores that it may use.
fn share() -> Option<usize> {
    let processes = Launcher::from_env()?.local?;
    let threads = (thread::available_parallelism().ok()?.get() / processes).max(1);
    tracing::info!(
        "{processes} processes on this machine, {threads} compute {} each",
        if threads == 1 { "thread" } else { "threads" }
    );
    Some(threads)
}
