//! Measurements of a representation while it is trained. What is measured is the caller's matter ([`Monitor`]); here are
//! the schedule, the bound on the time that it takes, and what a checkpoint keeps of both.
//!
//! Nothing is measured on what the training reads or changes: weights are bit-identical with and without a monitor, and
//! with any budget. Which measurements are left out for lack of time differs between machines.
//!
//! A measurement has two parts: the representation is read with the weights of its step, while training waits, and its
//! measures are computed from that on a thread of their own. Where a GPU trains, updates go on meanwhile; where the
//! processor does, they would slow each other down, and training waits for both. What training waits for is the cost.

use super::task::Task;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::{
    panic::resume_unwind,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Measures a task's representation.
pub trait Monitor {
    /// Reads what all measurements need. Called once, before the first.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn prepare(&mut self) -> Result<()>;

    /// Reads the representation with the task's present weights, which are not changed; returns what computes its
    /// measures.
    ///
    /// # Errors
    /// A task that cannot be measured.
    fn read(&mut self, task: &dyn Task) -> Result<Measures>;

    /// Whether updates go on while measures are computed.
    fn is_beside(&self, task: &dyn Task) -> bool {
        !task.params().device().is_cpu()
    }
}

/// Computes the measures of a representation that was read.
pub type Measures = Box<dyn FnOnce() -> Result<Measurement> + Send>;

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
    /// Updates between measurements. The first is due before the first update, the last after the last one.
    pub every: usize,
    /// Most time that it takes, as a share of the time of the updates. The last measurement is made in any case.
    pub budget: f64,
    /// A measurement takes about as long as so many updates, as foretold before one has been made.
    updates: f64,
    is_prepared: bool,
    begun: Option<Begun>,
}

/// A measurement whose measures are being computed.
struct Begun {
    at: Moment,
    /// Time of reading it.
    read: Duration,
    measures: JoinHandle<Result<Measurement>>,
    /// Whether updates go on meanwhile.
    is_beside: bool,
}

/// A moment between two updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Updates before it.
    pub step: usize,
    /// Passes over the training pictures before it.
    pub epoch: f64,
}

/// A measurement that is complete.
pub struct Measured {
    pub at: Moment,
    /// Time that training has waited for it.
    pub waited: Duration,
    pub found: Result<Measurement>,
}

impl Monitoring {
    /// A monitor that measures every so many updates; nothing is foretold of its time.
    pub fn new(monitor: Box<dyn Monitor>, every: usize, budget: f64) -> Self {
        Self { monitor, every, budget, updates: 0.0, is_prepared: false, begun: None }
    }

    /// The same, of which a measurement is foretold to take as long as so many updates.
    pub fn foretold(self, updates: f64) -> Self {
        Self { updates, ..self }
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

    /// Reads the representation and begins to compute its measures.
    ///
    /// # Errors
    /// Those of [`Monitor::read`].
    pub fn begin(&mut self, task: &dyn Task, at: Moment) -> Result<()> {
        let began = Instant::now();
        let measures = thread::spawn(self.monitor.read(task)?);
        self.begun =
            Some(Begun { at, read: began.elapsed(), measures, is_beside: self.monitor.is_beside(task) });
        Ok(())
    }

    /// Whether a measurement was begun that training waits for, or that is complete by now.
    pub fn is_awaited(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| !begun.is_beside || begun.measures.is_finished())
    }

    /// The measurement that was begun, if there is one; waits until it is complete.
    pub fn complete(&mut self) -> Option<Measured> {
        let Begun { at, read, measures, .. } = self.begun.take()?;
        let began = Instant::now();
        let found = measures.join().unwrap_or_else(|panic| resume_unwind(panic));
        Some(Measured { at, waited: read + began.elapsed(), found })
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

    /// Whether a measurement after `step` of `total` updates stays within the budget and leaves room for the last one,
    /// each as long as the newest. The last is made in any case.
    ///
    /// Before the first update no time is known: a measurement's is then foretold in updates.
    pub fn allows(&self, Monitoring { budget, updates, .. }: &Monitoring, step: usize, total: usize) -> bool {
        let update = if step == 0 { 1.0 } else { self.training / step as f64 };
        let cost = self.newest.map_or(updates * update, |(_, seconds)| seconds);
        let fits = |costs: f64, steps: usize| self.measuring + costs <= budget * update * steps as f64;
        step == total || (fits(2.0 * cost, total) && (step == 0 || fits(cost, step)))
    }

    /// The most telling values after `step` updates, with their own step if it is an earlier one.
    pub fn told(&self, step: usize) -> Option<String> {
        let (newest, _) = self.newest.filter(|_| !self.summary.is_empty())?;
        let summary = &self.summary;
        Some(if newest == step { summary.clone() } else { format!("{summary} (after {newest})") })
    }

    /// Seconds of the newest measurement; None before the first.
    pub fn seconds(&self) -> Option<f64> {
        self.newest.map(|(_, seconds)| seconds)
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
        fn read(&mut self, _: &dyn Task) -> Result<Measures> {
            Ok(Box::new(|| Ok(Measurement::default())))
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

    /// Updates of 1 s, 200 of them, and measurements of 3 s: the steps that are measured, every tenth being due.
    fn measured(budget: f64, updates: f64) -> (Vec<usize>, f64) {
        let monitoring = Monitoring::new(Box::new(Nothing), 10, budget).foretold(updates);
        let (mut state, mut measured) = (MonitorState::default(), vec![]);
        for step in 0..=200 {
            if step > 0 {
                state.trained(seconds(1.0));
            }
            if monitoring.is_due(step, 200) && state.allows(&monitoring, step, 200) {
                if measured.is_empty() {
                    state.prepared(seconds(2.0));
                }
                state.measured(step, seconds(3.0), vec![]);
                measured.push(step);
                // that of step 0 is a share of no time
                let is_kept = state.share().is_none_or(|share| share <= budget);
                assert!(is_kept || [0, 200].contains(&step), "after {step}: {:?}", state.share());
            }
        }
        assert_eq!(state.seconds(), Some(3.0));
        (measured, state.share().unwrap())
    }

    /// With what is measured before the first update, the share is kept from then on at every step, the last included.
    #[test]
    fn the_budget_is_kept_at_every_step() {
        // 2 + 3 are spent: the second fits after 80 s, the third after 110 s, and so on, and the last after all
        assert_eq!(measured(0.1, 3.0), (vec![0, 80, 110, 140, 170, 200], 0.1));
        // two fit, which are the first and the last
        assert_eq!(measured(0.04, 3.0), (vec![0, 200], 0.04));
    }

    /// Where two do not fit, the one before the first update is left out, and the last is made.
    #[test]
    fn the_last_measurement_comes_before_the_first() {
        assert_eq!(measured(0.025, 3.0), (vec![200], 0.025));
        // Two of as long as a hundred updates do not fit into 99 % of two hundred, however fast they turn out to be.
        assert_eq!(measured(0.99, 100.0), (vec![200], 0.025));
        // What is not foretold seems to take no time.
        assert_eq!(measured(0.025, 0.0), (vec![0, 200], 0.04));
    }

    /// Even one of 3 s, and 2 s to prepare it, is more than 2 % of 200 s.
    #[test]
    fn the_last_measurement_is_made_in_any_case() {
        assert_eq!(measured(0.02, 3.0), (vec![200], 0.025));
        assert_eq!(measured(0.0, 3.0), (vec![200], 0.025));
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
