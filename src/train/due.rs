//! What is due after an update: by the count of updates, and for checkpoints by the clock too, so that a short or slow run
//! has one early. When checkpoints are written changes nothing of what is learned.

use super::spec::TrainSpec;
use std::time::{Duration, Instant};

/// No run is longer without a first checkpoint …
const FIRST: Duration = Duration::from_secs(30);
/// … nor later without a new one …
const NEXT: Duration = Duration::from_secs(10 * 60);
/// … except that writing them takes no more than one part in so many of the time.
const SHARE: u32 = 20;

/// The clock of the checkpoints.
pub struct SaveClock {
    since: Instant,
    wait: Duration,
}

impl SaveClock {
    /// A process begins; `resumed` where there is a checkpoint already.
    pub fn new(now: Instant, resumed: bool) -> Self {
        Self { since: now, wait: if resumed { NEXT } else { FIRST } }
    }

    /// Whether the next checkpoint is due by time.
    pub fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= self.wait
    }

    /// A checkpoint was written, from `began` to `now`.
    pub fn saved(&mut self, began: Instant, now: Instant) {
        *self = Self { since: now, wait: NEXT.max(now.duration_since(began) * SHARE) };
    }
}

/// What an update is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub log: bool,
    pub validate: bool,
    pub save: bool,
}

impl Due {
    /// After `step` updates.
    pub fn after(step: usize, spec: &TrainSpec, saving: &SaveClock, now: Instant) -> Self {
        let last = step == spec.steps.get();
        let every = |count: usize| last || step.is_multiple_of(count);
        Self {
            log: every(spec.log_every.get()),
            validate: spec.evaluate_every.map_or(last, |count| every(count.get())),
            save: every(spec.checkpoint_every.get()) || saving.is_due(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_first_checkpoint_comes_within_a_minute_and_later_ones_rarely() {
        let began = Instant::now();
        let mut clock = SaveClock::new(began, false);
        assert!(!clock.is_due(began + seconds(29)) && clock.is_due(began + seconds(30)));
        clock.saved(began + seconds(30), began + seconds(31));
        assert!(!clock.is_due(began + seconds(630)) && clock.is_due(began + seconds(631)));
        clock.saved(began + seconds(700), began + seconds(800));
        assert!(!clock.is_due(began + seconds(2700)), "a slow disk is not kept busy");
        assert!(!SaveClock::new(began, true).is_due(began + seconds(60)), "a resumed run has one");
    }
}
