//! How many threads compute.

use anyhow::{Context, Result};

/// Sets the threads of the whole process; None leaves one per core.
pub(super) fn set(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
    pool.build_global().context("cannot set the number of threads")
}
