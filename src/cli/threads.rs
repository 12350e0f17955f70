//! Number of compute threads.

use anyhow::{Context, Result};

/// Sets the thread count of the process; None keeps one per core.
pub(super) fn set(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
    pool.build_global().context("cannot set the number of threads")
}
