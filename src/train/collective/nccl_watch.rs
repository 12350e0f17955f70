//! A watch over the sums of GPUs. A host waits for its GPU without a limit, so that a sum that never ends would be noticed by
//! nobody.

use super::{end::abort, ranks::Ranks};
use crate::device::cuda::nccl::Completion;
use anyhow::{Context, Result};
use std::{
    io::{Write, stderr},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

/// Time between looks at a sum that goes on.
const LOOK: Duration = Duration::from_millis(100);
/// Each rank waits so much longer than the one before, so that one speaks for all.
const TURN: Duration = Duration::from_secs(1);

/// Ends the program when a sum does not end.
pub struct Watch(Sender<(Completion, Instant)>);

impl Watch {
    /// Watches in a thread of its own until this is dropped. `patience` is that for messages of the host, which know better who
    /// is late: sums get a quarter more.
    ///
    /// # Errors
    /// No more threads.
    pub fn start(host: Ranks, patience: Duration) -> Result<Self> {
        let (sums, begun) = mpsc::channel();
        let patience = patience + patience / 4 + TURN * host.rank() as u32;
        let watch = move || watch(&begun, &host, patience);
        thread::Builder::new().name("sums".into()).spawn(watch).context("cannot start a thread")?;
        Ok(Self(sums))
    }

    /// Watches over a sum that has just begun.
    pub fn over(&self, sum: Completion) {
        // A thread that is gone was told to go.
        let _ = self.0.send((sum, Instant::now()));
    }
}

fn watch(sums: &Receiver<(Completion, Instant)>, host: &Ranks, patience: Duration) {
    for (sum, begun) in sums {
        while !sum.is_reached() {
            if begun.elapsed() > patience {
                give_up(&reason(&host.progress(), patience));
            }
            thread::sleep(LOOK);
        }
    }
}

/// Who is behind, by the number of sums that each rank has begun.
fn reason(begun: &[u64], patience: Duration) -> String {
    let most = begun.iter().max().copied().unwrap_or_default();
    let late = begun.iter().position(|begun| *begun < most);
    let who = match late {
        Some(rank) => format!("rank {rank} has not begun a sum over GPUs for which others have waited"),
        None => "a sum over GPUs that all ranks began has not ended for".into(),
    };
    let what = match late {
        Some(_) => "it hangs in a file or a device that does not answer",
        None => "a GPU or a link between them does not answer",
    };
    format!("{who} {} s: {what}; the last checkpoint resumes", patience.as_secs())
}

/// Ends all processes at once: the thread that trains waits for the GPU and does not come back, and what the GPU would give it is
/// not to be written.
fn give_up(why: &str) -> ! {
    let _ = writeln!(stderr(), "error: {why}");
    abort(1);
    signal_hook::low_level::exit(1)
}

#[cfg(test)]
mod tests {
    use super::reason;
    use std::time::Duration;

    #[test]
    fn who_is_late_is_named() {
        let said = |begun: &[u64]| reason(begun, Duration::from_secs(750));
        assert!(
            said(&[57, 57, 56, 57])
                .starts_with("rank 2 has not begun a sum over GPUs for which others have waited 750 s")
        );
        assert!(said(&[57, 57]).starts_with("a sum over GPUs that all ranks began has not ended for 750 s"));
    }
}
