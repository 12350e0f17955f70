//! An experiment of several ranks. Processes plan it alike, threads share a plan; rank 0 runs it, and the others train with it.

use super::{load::SweepPoint, run::PlannedRun};
use crate::{
    device, progress, spec,
    train::{
        collective::{Command, Ranks, WireFormat},
        manifest, program,
    },
};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::subscriber::NoSubscriber;

/// What one process is about to run.
#[derive(Debug, Serialize, Deserialize)]
struct RankOutlook {
    host: String,
    build: String,
    wire: WireFormat,
    /// Hashes of the resolved specs of all points.
    spec: String,
    fits: Vec<FitOutlook>,
}

/// A fit as one process plans it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FitOutlook {
    label: String,
    /// Fingerprints of its pictures, by split.
    data: BTreeMap<String, String>,
    hash: String,
}

/// Checks that all processes are about to run the same.
///
/// # Errors
/// Another build, spec, or data, by rank and host.
pub fn agree(ranks: &Ranks, points: &[SweepPoint], fits: &[&PlannedRun]) -> Result<()> {
    if !ranks.are_many() {
        return Ok(());
    }
    let outlooks = ranks.gather(&outlook(ranks.wire(), points, fits)?)?;
    let Some((first, others)) = outlooks.split_first() else { return Ok(()) };
    for (rank, other) in (1..).zip(others) {
        if let Some(what) = difference(first, other) {
            bail!("rank {rank}, on {}, {what} than rank 0, on {}", other.host, first.host);
        }
    }
    Ok(())
}

fn outlook(wire: WireFormat, points: &[SweepPoint], fits: &[&PlannedRun]) -> Result<RankOutlook> {
    let specs: Vec<String> =
        points.iter().map(|point| spec::hash(&point.experiment)).collect::<Result<_, _>>()?;
    let fits = fits.iter().map(|PlannedRun { fit, .. }| FitOutlook {
        label: fit.label.clone(),
        data: fit.sets.fingerprints(),
        hash: fit.hash.clone(),
    });
    let commit = program::commit().unwrap_or("unknown");
    Ok(RankOutlook {
        host: manifest::host().unwrap_or_else(|| "a machine without a name".into()),
        build: format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        wire,
        spec: specs.join(" "),
        fits: fits.collect(),
    })
}

/// In what another process differs, as part of a sentence.
fn difference(first: &RankOutlook, other: &RankOutlook) -> Option<String> {
    if first.build != other.build {
        return Some(format!("runs another build ({}, against {})", other.build, first.build));
    }
    if first.wire != other.wire {
        return Some("sends gradients in another format (--wire)".into());
    }
    if first.spec != other.spec {
        return Some("has another spec, or another --set or --seeds,".into());
    }
    let unlike = first.fits.iter().zip(&other.fits).find(|(a, b)| a != b);
    match unlike {
        Some((a, b)) if a.data != b.data => {
            let split = a.data.iter().find(|(split, print)| b.data.get(*split) != Some(print));
            let split = split.map_or("", |(split, _)| split);
            Some(format!("has other {split} pictures of `{}`", a.label))
        }
        Some((a, _)) => Some(format!("starts `{}` from other weights or files", a.label)),
        None if first.fits.len() != other.fits.len() => Some("plans other stages".into()),
        None => None,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook() -> RankOutlook {
        let data = [("train".to_string(), "t".to_string()), ("val".to_string(), "v".to_string())];
        let fit = FitOutlook { label: "color, seed 0".into(), data: data.into(), hash: "h".into() };
        RankOutlook {
            host: "a".into(),
            build: "1".into(),
            wire: WireFormat::F32,
            spec: "s".into(),
            fits: vec![fit],
        }
    }

    #[test]
    fn what_differs_is_named() {
        let said = |change: &dyn Fn(&mut RankOutlook)| {
            let mut other = outlook();
            change(&mut other);
            difference(&outlook(), &other).unwrap_or_default()
        };
        assert_eq!(said(&|other| other.host = "b".into()), "");
        assert!(said(&|other| other.build = "2".into()).contains("another build (2, against 1)"));
        assert!(said(&|other| other.wire = WireFormat::Bf16).contains("--wire"));
        assert!(said(&|other| other.spec = "x".into()).contains("another spec"));
        let other_val = |other: &mut RankOutlook| drop(other.fits[0].data.insert("val".into(), "x".into()));
        assert!(said(&other_val).contains("other val pictures of `color, seed 0`"));
        assert!(said(&|other| other.fits[0].hash = "x".into()).contains("from other weights"));
        assert!(said(&|other| other.fits.clear()).contains("other stages"));
    }
}
