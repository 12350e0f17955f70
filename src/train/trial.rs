//! Measures the cost of training from a few updates and part of a validation. All results are discarded.

use super::{
    collective::Ranks,
    deferred::DeferredScalars,
    interval_means::IntervalMeans,
    learner::Learner,
    spec::TrainOptions,
    task::Task,
    update::{StepContext, flush, update},
};
use crate::{data::loader::Loader, rng::Rng};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Minimum time over which updates are timed, separately for new pictures and for repeated ones.
const MIN_TIME: Duration = Duration::from_millis(700);
/// Minimum number of updates timed in each case.
const MIN_UPDATES: usize = 2;
/// Warm-up: at most so many updates, or this long, are not timed while queues fill and memory is first touched.
const WARM_UP: (usize, Duration) = (4, Duration::from_millis(500));

/// Measured times, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Per update on new pictures.
    pub first: f64,
    /// Per update on pictures seen before: decoded images and frozen features may be cached.
    pub later: f64,
    /// Per validation picture.
    pub validation: f64,
    /// Bytes that the task caches per training picture, beside the picture itself.
    pub cached_bytes: usize,
}

/// Times `task` on loaders of a few pictures; the training loader must have several batches.
///
/// # Errors
/// As those of an update and of a validation.
pub fn trial(
    task: &mut dyn Task,
    train: &mut Loader,
    val: &mut Loader,
    spec: &TrainOptions,
    rng: &Rng,
) -> Result<Trial> {
    let (mut learner, mut pending) = (Learner::new(task, spec)?, DeferredScalars::default());
    let ranks = Ranks::default();
    let [mut cold, mut first, mut later] = [const { Durations(vec![]) }; 3];
    let mut step = 0;
    let start = Instant::now();
    while !later.is_enough() && step < spec.steps.get() {
        let (epoch, began) = (train.position().epoch, Instant::now());
        let lr = spec.schedule.rate(learner.optimizer.base_lr(), step, spec.steps.get());
        let key = rng.split("step").split(&step.to_string());
        let context = StepContext { step: step + 1, key, lr, spec, ranks: &ranks };
        let mut window = IntervalMeans::default();
        update(&mut learner, train, &context, &mut pending, &mut window)?;
        flush(&mut pending, &mut window)?;
        let is_cold = step == 0 || (step < WARM_UP.0 && start.elapsed() < WARM_UP.1);
        match epoch {
            _ if is_cold => cold.add(began.elapsed()),
            0 => first.add(began.elapsed()),
            _ => later.add(began.elapsed()),
        }
        if first.is_enough() && learner.task.cached_bytes() == 0 {
            break; // nothing is cached, so repeated pictures cost the same
        }
        step += 1;
    }
    let (began, pictures) = (Instant::now(), val.dataset().len());
    val.rewind();
    learner.averaged(|task| task.evaluate(val))?;
    Ok(Trial {
        first: first.median().or(later.median()).or(cold.median()).unwrap_or_default(),
        later: later.median().or(first.median()).or(cold.median()).unwrap_or_default(),
        validation: began.elapsed().as_secs_f64() / pictures as f64,
        cached_bytes: learner.task.cached_bytes(),
    })
}

/// Durations of one kind of update.
#[derive(Default)]
struct Durations(Vec<Duration>);

impl Durations {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn is_enough(&self) -> bool {
        self.0.len() >= MIN_UPDATES && self.0.iter().sum::<Duration>() >= MIN_TIME
    }

    /// Median in seconds, robust against other load on the machine.
    fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(Duration::as_secs_f64)
    }
}
