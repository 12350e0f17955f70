//! Runs the fits of an experiment: one after the other, or shared with other processes that run the same experiment with
//! `--shard-jobs`.
//!
//! Those processes need nothing but the folder of run directories. Each takes the next fit that nobody runs and whose
//! earlier stage is finished, beginning at another place of the queue, so that they seldom meet. Whoever holds the lock of
//! a run directory ([`crate::train::lock`]) runs its fit, and looks once more whether it is finished when the lock is its own;
//! so none is run twice. A process with nothing to take waits, takes over what others leave unfinished, and ends when
//! all is finished or what is missing has failed.

use super::run::{Attempt, PlannedRun};
use crate::{
    text::counted,
    train::{
        interrupt,
        manifest::{Manifest, Status},
    },
};
use anyhow::{Result, bail};
use std::{fmt, str::FromStr, thread::sleep, time::Duration};

/// Shortest and longest time between two looks at what others run.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// How often a waiting process looks for a signal.
const GLANCE: Duration = Duration::from_millis(50);

/// One of several processes that share the fits of an experiment: `0/8` to `7/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobShard {
    index: usize,
    jobs: usize,
}

impl FromStr for JobShard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let advice =
            "write I/N, as `0/8` to `7/8`, in an array of Slurm `$SLURM_ARRAY_TASK_ID/8` with `--array=0-7`";
        let number = |part: &str| part.parse::<usize>().ok();
        let parts = text.split_once('/').and_then(|(index, jobs)| Some((number(index)?, number(jobs)?)));
        let (index, jobs) = parts.ok_or_else(|| format!("`{text}` is no job of an array: {advice}"))?;
        match jobs {
            0 => Err(format!("there are no jobs to share with: {advice}")),
            _ if index >= jobs => {
                Err(format!("jobs count from 0, so that there is no job {index} of {jobs}: {advice}"))
            }
            _ => Ok(Self { index, jobs }),
        }
    }
}

impl fmt::Display for JobShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}/{}", self.index, self.jobs)
    }
}

/// Runs all fits in turn; returns false if the user interrupted one.
///
/// # Errors
/// Those of the first fit that fails.
pub fn run_all(fits: &[&PlannedRun]) -> Result<bool> {
    for planned in fits {
        if !planned.run()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs fits with other processes until all are finished; returns false if the user interrupted this one.
///
/// # Errors
/// Those of a fit that fails here; a fit that has failed in another process, once nothing else is left to run.
pub fn share(fits: &[&PlannedRun], shard: &JobShard) -> Result<bool> {
    interrupt::install()?;
    let mut queue = Queue::of(fits, *shard)?;
    let mut pause = PAUSES[0];
    loop {
        match queue.round()? {
            Round::Finished => return Ok(true),
            Round::Interrupted => return Ok(false),
            Round::Ran => pause = PAUSES[0],
            Round::Waits => {
                wait(pause);
                pause = (2 * pause).min(PAUSES[1]);
            }
        }
    }
}

/// Sleeps, unless a signal comes.
fn wait(pause: Duration) {
    let mut slept = Duration::ZERO;
    while slept < pause && !interrupt::requested() {
        sleep(GLANCE);
        slept += GLANCE;
    }
}

/// The fits, and what is known of them.
struct Queue<'a> {
    shard: JobShard,
    fits: Vec<Queued<'a>>,
    /// What this process has said that it waits for.
    said: String,
}

struct Queued<'a> {
    planned: &'a PlannedRun,
    /// When a process recorded a failure, before this one began: it may be tried again.
    failed_before: Option<String>,
    state: FitState,
}

#[derive(Clone, Debug, PartialEq)]
enum FitState {
    Unfinished,
    /// By whom, in words.
    Running(String),
    Finished,
    /// In another process, with its error.
    Failed(String),
}

/// What came of looking at every fit once.
enum Round {
    Finished,
    Interrupted,
    Ran,
    Waits,
}

impl<'a> Queue<'a> {
    fn of(fits: &[&'a PlannedRun], shard: JobShard) -> Result<Self> {
        let mut queued: Vec<Queued> = vec![];
        for &planned in fits {
            let dir = &planned.fit.place.dir;
            if queued.iter().any(|known| known.planned.fit.place.dir == *dir) {
                continue;
            }
            let failed = Manifest::read(dir)?.filter(|manifest| manifest.status == Status::Failed);
            let failed_before = failed.and_then(|manifest| manifest.ended);
            queued.push(Queued { planned, failed_before, state: FitState::Unfinished });
        }
        let finished = queued.iter().filter(|fit| fit.planned.is_finished()).count();
        tracing::info!("{shard}: {finished} of {} are finished", counted(queued.len(), "fit"));
        Ok(Self { shard, fits: queued, said: String::new() })
    }

    /// Looks at every fit once, beginning at this process's place, and runs what it can.
    fn round(&mut self) -> Result<Round> {
        let (all, mut ran) = (self.fits.len(), false);
        let first = self.shard.index * all / self.shard.jobs;
        for at in (first..all).chain(0..first) {
            if interrupt::requested() {
                return Ok(Round::Interrupted);
            }
            let before = self.fits[at].state.clone();
            if matches!(before, FitState::Finished | FitState::Failed(_)) {
                continue;
            }
            self.fits[at].state = self.look(at)?;
            if self.fits[at].state == FitState::Unfinished && self.is_ready(at)? {
                match self.fits[at].planned.attempt()? {
                    Attempt::Interrupted => return Ok(Round::Interrupted),
                    Attempt::InUse(other) => {
                        self.fits[at].state = FitState::Running(other.holder.to_string())
                    }
                    Attempt::Finished => (self.fits[at].state, ran) = (FitState::Finished, true),
                }
            }
        }
        if ran { Ok(Round::Ran) } else { self.rest() }
    }

    /// The state of a fit as its run directory tells it.
    fn look(&self, at: usize) -> Result<FitState> {
        let Queued { planned, failed_before, .. } = &self.fits[at];
        let Some(manifest) = Manifest::read(&planned.fit.place.dir)? else { return Ok(FitState::Unfinished) };
        Ok(match manifest.status {
            Status::Finished => FitState::Finished,
            Status::Failed if manifest.ended != *failed_before => {
                FitState::Failed(manifest.error.unwrap_or_default())
            }
            _ => FitState::Unfinished,
        })
    }

    /// Index of the fit that this one starts from, if it is among these.
    fn upstream(&self, at: usize) -> Option<usize> {
        let dir = self.fits[at].planned.fit.upstream.as_ref()?;
        self.fits.iter().position(|other| other.planned.fit.place.dir == *dir)
    }

    /// Whether the fit that this one starts from is finished.
    fn is_ready(&self, at: usize) -> Result<bool> {
        let Some(upstream) = self.upstream(at) else { return Ok(true) };
        Ok(self.fits[upstream].state == FitState::Finished || self.look(upstream)? == FitState::Finished)
    }

    /// What to do when nothing could be run: end, wait, or say what has failed.
    fn rest(&mut self) -> Result<Round> {
        if self.fits.iter().all(|fit| fit.state == FitState::Finished) {
            return Ok(Round::Finished);
        }
        if let Some((planned, holder)) = self.awaited() {
            self.say_awaited(planned, &holder);
            return Ok(Round::Waits);
        }
        let failed = self.fits.iter().find_map(|fit| match &fit.state {
            FitState::Failed(why) => Some((&fit.planned.fit, why)),
            _ => None,
        });
        // Without one, a process has just ended, and what it left can be taken next.
        let Some((fit, why)) = failed else { return Ok(Round::Waits) };
        let (label, dir) = (&fit.label, fit.place.dir.display());
        bail!("{label} failed in another job ({dir}): {why}; remove the cause and start the jobs again")
    }

    /// A fit that another process runs, and which; one that others start from if there is one.
    fn awaited(&self) -> Option<(&'a PlannedRun, String)> {
        let unfinished = |at: &usize| self.fits[*at].state == FitState::Unfinished;
        let needed: Vec<usize> =
            (0..self.fits.len()).filter(unfinished).filter_map(|at| self.upstream(at)).collect();
        let running = |at: usize| match &self.fits[at].state {
            FitState::Running(holder) => Some((self.fits[at].planned, holder.clone())),
            _ => None,
        };
        needed.into_iter().find_map(running).or_else(|| (0..self.fits.len()).find_map(running))
    }

    /// Says once for what this process waits.
    fn say_awaited(&mut self, planned: &PlannedRun, holder: &str) {
        let what = format!("{}, which {holder} runs: {}", planned.fit.label, planned.fit.place.dir.display());
        if what != self.said {
            tracing::info!("{} waits for {what}", self.shard);
            self.said = what;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_count_from_zero() {
        let read = |text: &str| text.parse::<JobShard>();
        assert_eq!(read("0/1"), Ok(JobShard { index: 0, jobs: 1 }));
        assert_eq!(read("7/8").map(|shard| shard.to_string()), Ok("job 7/8".into()));
        for (text, why) in [
            ("8/8", "jobs count from 0, so that there is no job 8 of 8"),
            ("0/0", "there are no jobs to share with"),
            ("3/", "`3/` is no job of an array"),
            ("/3", "`/3` is no job"),
            ("3", "`3` is no job"),
            ("-1/3", "`-1/3` is no job"),
            ("a/3", "`a/3` is no job"),
            ("", "`` is no job"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(why) && error.contains("`--array=0-7`"), "{text}: {error}");
        }
    }
}
