//! An experiment of several ranks. Processes plan it alike, threads share a plan; rank 0 runs it, and the others train with it.

use super::run::PlannedRun;
use crate::{
    device, progress,
    train::collective::{Command, Ranks},
};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use std::{
    panic::{self, AssertUnwindSafe},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::subscriber::NoSubscriber;

/// Trains with rank 0 until it ends the experiment.
///
/// # Errors
/// Those of a stage; a rank that is gone.
pub fn follow(ranks: &Ranks, fits: &[&PlannedRun]) -> Result<()> {
    loop {
        match ranks.hear()? {
            Command::End => return Ok(()),
            Command::Fit(hash) => {
                let known = fits.iter().find(|planned| planned.fit.hash == hash);
                known.context("rank 0 trains what this process does not plan")?.follow()?;
            }
            other => bail!("rank 0 tells {other:?} between trainings: use one build on all nodes"),
        }
    }
}

/// The place of another thread of this process.
pub struct Seat {
    pub device: Device,
    pub ranks: Ranks,
}

/// Time for the other threads to end after a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `lead` in this thread, and lets the others train with it.
///
/// # Errors
/// Those of `lead`; of another thread, with its rank.
pub fn seated<T>(
    ranks: &Ranks,
    fits: &[&PlannedRun],
    others: Vec<Seat>,
    lead: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let threads: Vec<JoinHandle<()>> =
        others.into_iter().map(|seat| seat.start(fits)).collect::<Result<_>>()?;
    let done = lead();
    if let Err(error) = &done {
        ranks.fail(&format!("rank 0: {error:#}"));
    }
    // A thread that waits for a GPU whose work never ends would not come back.
    let since = Instant::now();
    for thread in threads {
        while done.is_err() && !thread.is_finished() && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        if done.is_ok() || thread.is_finished() {
            let _ = thread.join();
        }
    }
    done
}

impl Seat {
    /// Follows rank 0 in a thread of its own, silently.
    fn start(self, fits: &[&PlannedRun]) -> Result<JoinHandle<()>> {
        let Self { device, ranks } = self;
        let fits: Vec<PlannedRun> = fits.iter().map(|planned| planned.seated(&device, &ranks)).collect();
        let name = format!("rank {}", ranks.rank());
        let work = move || {
            progress::set_quiet_here();
            tracing::subscriber::with_default(NoSubscriber::new(), || {
                let fits: Vec<&PlannedRun> = fits.iter().collect();
                let followed = || {
                    ranks.connect()?;
                    follow(&ranks, &fits)?;
                    ranks.disconnect()
                };
                let name = format!("rank {}, on {}", ranks.rank(), device::place(&device));
                match panic::catch_unwind(AssertUnwindSafe(followed)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => ranks.fail(&format!("{name}: {error:#}")),
                    Err(_) => {
                        ranks.fail(&format!("{name}: a fault of this program (above); please report it"))
                    }
                }
            });
        };
        thread::Builder::new().name(name).spawn(work).context("cannot start a thread")
    }
}
