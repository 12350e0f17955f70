//! Which actions follow an update. All are scheduled by step count; checkpoints also by time, so that a short or slow
//! run has one early. The checkpoint schedule does not affect what is learned.

use super::spec::TrainOptions;
use std::time::{Duration, Instant};

/// Longest time until the first checkpoint.
const FIRST_SAVE: Duration = Duration::from_secs(30);
/// Longest time between later checkpoints, unless [`MAX_SAVE_SHARE`] makes it longer.
const SAVE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Writing checkpoints takes at most 1 / `MAX_SAVE_SHARE` of the time.
const MAX_SAVE_SHARE: u32 = 20;

/// Timer that decides when a checkpoint is due.
pub struct SaveClock {
    since: Instant,
    wait: Duration,
}

impl SaveClock {
    /// Starts with the process; `resumed` if a checkpoint exists already.
    pub fn new(now: Instant, resumed: bool) -> Self {
        Self { since: now, wait: if resumed { SAVE_INTERVAL } else { FIRST_SAVE } }
    }

    /// Whether the next checkpoint is due by time.
    pub fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= self.wait
    }

    /// Records that a checkpoint was written between `began` and `now`.
    pub fn saved(&mut self, began: Instant, now: Instant) {
        *self = Self { since: now, wait: SAVE_INTERVAL.max(now.duration_since(began) * MAX_SAVE_SHARE) };
    }
}

/// Actions due after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub log: bool,
    pub validate: bool,
    pub save: bool,
}

impl Due {
    /// After `step` updates.
    pub fn after(step: usize, spec: &TrainOptions, saving: &SaveClock, now: Instant) -> Self {
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
