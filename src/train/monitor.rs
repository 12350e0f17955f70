//! Measurements of a representation while it is trained. What is measured is the caller's matter ([`Monitor`]); here are
//! the schedule, the bound on the time that it takes, and what a checkpoint keeps of both.
//!
//! Nothing is measured on what the training reads or changes: weights are bit-identical with and without a monitor, and
//! with any budget. Which measurements are left out for lack of time differs between machines.

use super::task::Task;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Measures a task's representation.
pub trait Monitor {
    /// Reads what all measurements need. Called once, before the first.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn prepare(&mut self) -> Result<()>;

    /// Measures the representation with the task's present weights, which are not changed.
    ///
    /// # Errors
    /// A task that cannot be measured.
    fn measure(&mut self, task: &dyn Task) -> Result<Measurement>;
}

/// What a measurement found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Values by name, `conv5/knn`. NaN where there is none.
    pub values: Vec<(String, f64)>,
    /// Layers that look collapsed, and why.
    pub collapsed: Vec<(String, String)>,
    /// The most telling values, for the progress line.
    pub summary: String,
}

/// A monitor and its schedule.
pub struct Monitoring {
    pub monitor: Box<dyn Monitor>,
    /// Updates between measurements. The first is made before the first update, the last after the last one.
    pub every: usize,
    /// Most time that it takes, as a share of the time of the updates.
    pub budget: f64,
    is_prepared: bool,
}

impl Monitoring {
    /// A monitor that measures every so many updates.
    pub fn new(monitor: Box<dyn Monitor>, every: usize, budget: f64) -> Self {
        Self { monitor, every, budget, is_prepared: false }
    }

    /// Prepares the monitor, unless that was done.
    ///
    /// # Errors
    /// Those of [`Monitor::prepare`].
    pub fn prepare(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.is_prepared, true) {
            self.monitor.prepare()?;
        }
        Ok(())
    }

    /// Whether a measurement is due after `step` of `total` updates.
    pub fn is_due(&self, step: usize, total: usize) -> bool {
        step == total || step.is_multiple_of(self.every)
    }
}

/// Times and newest results, kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MonitorState {
    /// Seconds of all updates so far.
    training: f64,
    /// Seconds of all measurements so far.
    measuring: f64,
    /// Step of the newest measurement, and its seconds.
    newest: Option<(usize, f64)>,
    /// Number of measurements left out.
    pub left_out: usize,
    /// Layers that looked collapsed in the newest one.
    collapsed: Vec<String>,
    /// Its most telling values.
    #[serde(default)]
    pub summary: String,
}

impl MonitorState {
    /// Adds the time of an update.
    pub fn trained(&mut self, time: Duration) {
        self.training += time.as_secs_f64();
    }

    /// Adds the time of reading what measurements need.
    pub fn prepared(&mut self, time: Duration) {
        self.measuring += time.as_secs_f64();
    }

    /// Adds a measurement after `step` updates; returns the layers that looked collapsed in it and in the one before.
    pub fn measured(
        &mut self,
        step: usize,
        time: Duration,
        collapsed: Vec<(String, String)>,
    ) -> Vec<(String, String)> {
        self.measuring += time.as_secs_f64();
        self.newest = Some((step, time.as_secs_f64()));
        let layers = collapsed.iter().map(|(layer, _)| layer.clone()).collect();
        let before = std::mem::replace(&mut self.collapsed, layers);
        collapsed.into_iter().filter(|(layer, _)| before.contains(layer)).collect()
    }

    /// Whether there was a measurement after `step` updates.
    pub fn has(&self, step: usize) -> bool {
        self.newest.is_some_and(|(newest, _)| newest == step)
    }

    /// Whether another measurement, as long as the newest, stays within `budget`. The first one always does.
    pub fn allows(&self, budget: f64) -> bool {
        self.newest.is_none_or(|(_, seconds)| self.measuring + seconds <= budget * self.training)
    }

    /// The most telling values after `step` updates, with their own step if it is an earlier one.
    pub fn told(&self, step: usize) -> Option<String> {
        let (newest, _) = self.newest.filter(|_| !self.summary.is_empty())?;
        let summary = &self.summary;
        Some(if newest == step { summary.clone() } else { format!("{summary} (after {newest})") })
    }

    /// Seconds of the newest measurement.
    pub fn seconds(&self) -> f64 {
        self.newest.map_or(0.0, |(_, seconds)| seconds)
    }

    /// Time of all measurements as a share of that of the updates; None before the first update.
    pub fn share(&self) -> Option<f64> {
        (self.training > 0.0).then(|| self.measuring / self.training)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;
    impl Monitor for Nothing {
        fn prepare(&mut self) -> Result<()> {
            Ok(())
        }
        fn measure(&mut self, _: &dyn Task) -> Result<Measurement> {
            Ok(Measurement::default())
        }
    }

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn the_first_the_last_and_every_so_many_are_due() {
        let monitoring = Monitoring::new(Box::new(Nothing), 4, 0.05);
        let due: Vec<usize> = (0..=10).filter(|step| monitoring.is_due(*step, 10)).collect();
        assert_eq!(due, [0, 4, 8, 10]);
    }

    /// Updates of 1 s and measurements of 3 s at a tenth of the time: with those of step 0, the share is kept from then on
    /// at every step.
    #[test]
    fn the_budget_is_kept_at_every_step() {
        let (mut state, mut measured) = (MonitorState::default(), vec![]);
        state.prepared(seconds(2.0));
        for step in 0..200 {
            if step % 10 == 0 && state.allows(0.1) {
                state.measured(step, seconds(3.0), vec![]);
                measured.push(step);
                assert!(step == 0 || state.share().unwrap() <= 0.1, "after {step}");
            }
            state.trained(seconds(1.0));
        }
        // 2 + 3 are spent: the second fits after 80 s, the third after 110 s, and so on
        assert_eq!(measured, [0, 80, 110, 140, 170]);
        assert_eq!(state.seconds(), 3.0);
    }

    #[test]
    fn nothing_is_due_to_a_budget_of_zero_but_the_first() {
        let mut state = MonitorState::default();
        assert!(state.allows(0.0) && state.share().is_none() && !state.has(0));
        state.measured(0, seconds(1.0), vec![]);
        state.trained(seconds(1e6));
        assert!(!state.allows(0.0) && state.has(0) && !state.has(1));
    }

    #[test]
    fn a_layer_has_collapsed_if_it_looks_so_twice_in_a_row() {
        let mut state = MonitorState::default();
        let mut found = |step, layers: &[&str]| -> Vec<String> {
            let layers = layers.iter().map(|layer| (layer.to_string(), "flat".to_string())).collect();
            state.measured(step, seconds(1.0), layers).into_iter().map(|(layer, _)| layer).collect()
        };
        assert!(found(0, &["conv1"]).is_empty());
        assert!(found(1, &["conv2"]).is_empty(), "others do not count");
        assert_eq!(found(2, &["conv1", "conv2"]), ["conv2"]);
        assert!(found(3, &[]).is_empty());
        assert!(found(4, &["conv1"]).is_empty());
    }
}
