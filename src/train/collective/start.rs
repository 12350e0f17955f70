//! Start and end of the connection between the processes of a launcher.

use super::{launcher::Launcher, operations::WireFormat, ranks::Ranks};
use anyhow::{Result, bail};
use std::time::Duration;

/// How processes come together.
#[derive(Clone, Copy, Debug)]
pub struct RankOptions {
    /// The number that there must be; None: as many as there are.
    pub size: Option<usize>,
    /// A rank that is not heard of for so long is taken for dead.
    pub silence: Duration,
    /// Of gradients between processes.
    pub wire: WireFormat,
}

/// Processes that cannot come together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error(
        "--ranks {wanted}, but {}: start it by `mpirun -n {wanted} hueristic run …`, or in a Slurm job by `srun`",
        if *found == 1 { "this process was started alone".into() } else { format!("the launcher started {found} processes") }
    )]
    Size { wanted: usize, found: usize },
    #[error(
        "the launcher started this program {size} times, and it was built without `mpi`: `cargo install --path . --locked \
         --features mpi` lets the processes train together"
    )]
    Unsupported { size: usize },
}

/// Connects this process with the others of its launcher, if there are others.
///
/// # Errors
/// [`StartError`]; a message layer that does not start.
pub fn start(options: RankOptions) -> Result<Ranks> {
    let launcher = Launcher::from_env();
    let found = launcher.map_or(1, |launcher| launcher.size);
    if let Some(wanted) = options.size.filter(|wanted| *wanted != found) {
        bail!(StartError::Size { wanted, found });
    }
    match launcher {
        None => Ok(Ranks::default()),
        #[cfg(feature = "mpi")]
        Some(_) => super::mpi::start(options),
        #[cfg(not(feature = "mpi"))]
        Some(Launcher { size, .. }) => bail!(StartError::Unsupported { size }),
    }
}

/// Ends the connection in order; all ranks call it.
pub fn finish() {
    #[cfg(feature = "mpi")]
    super::mpi::finish();
}

/// Ends all ranks with an exit code from 1 to 255. Returns if there are no others.
pub fn abort(_code: u8) {
    #[cfg(feature = "mpi")]
    super::mpi::abort(_code);
}
