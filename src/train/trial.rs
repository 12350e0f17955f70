//! What training costs, by a few updates and a part of a validation: nothing of it is kept.

use super::{
    pending::Pending,
    spec::TrainSpec,
    task::Task,
    update::{Turn, settle, update},
    window::Window,
};
use crate::{data::loader::Loader, nn::optim::Optimizer, rng::Rng};
use anyhow::Result;
use std::time::{Duration, Instant};

/// How long updates are timed, those on new pictures and those on pictures seen before, if they are that quick.
const ENOUGH: Duration = Duration::from_millis(700);
/// Updates timed in either case, at the least.
const LEAST: usize = 2;
/// The first updates pay for empty queues and fresh memory: so many are not timed, unless they take that long together.
const WARM: (usize, Duration) = (4, Duration::from_millis(500));

/// Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// An update on pictures that were not seen before.
    pub first: f64,
    /// An update on pictures that were: decoded ones and frozen features may be kept.
    pub later: f64,
    /// A validation, for each of its pictures.
    pub validation: f64,
    /// Bytes that the task keeps of each training picture, beside the picture.
    pub kept: usize,
}

/// Times `task` on loaders of a few pictures: the training one must have several batches.
///
/// # Errors
/// As those of an update and of a validation.
pub fn trial(
    task: &mut dyn Task,
    train: &mut Loader,
    val: &mut Loader,
    spec: &TrainSpec,
    rng: &Rng,
) -> Result<Trial> {
    let (mut optimizer, mut pending) = (Optimizer::new(&spec.optimizer, task.params())?, Pending::default());
    let (mut first, mut later, mut step) = (Timed::default(), Timed::default(), 0);
    let start = Instant::now();
    while !later.is_enough() {
        let (epoch, began) = (train.position().epoch, Instant::now());
        let lr = spec.schedule.rate(optimizer.base_lr(), step, spec.steps.get());
        let key = rng.split("step").split(&step.to_string());
        let turn = Turn { step: step + 1, key, lr, spec };
        let mut window = Window::default();
        update(task, train, &mut optimizer, &turn, &mut pending, &mut window)?;
        settle(&mut pending, &mut window)?;
        let cold = step == 0 || (step < WARM.0 && start.elapsed() < WARM.1);
        match epoch {
            _ if cold => {}
            0 => first.add(began.elapsed()),
            _ => later.add(began.elapsed()),
        }
        if first.is_enough() && task.kept() == 0 {
            break; // what is seen again costs as much
        }
        step += 1;
    }
    let (began, pictures) = (Instant::now(), val.dataset().len());
    val.rewind();
    task.evaluate(val)?;
    Ok(Trial {
        first: first.median().or(later.median()).unwrap_or_default(),
        later: later.median().or(first.median()).unwrap_or_default(),
        validation: began.elapsed().as_secs_f64() / pictures as f64,
        kept: task.kept(),
    })
}

/// Updates of one kind.
#[derive(Default)]
struct Timed(Vec<Duration>);

impl Timed {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn is_enough(&self) -> bool {
        self.0.len() >= LEAST && self.0.iter().sum::<Duration>() >= ENOUGH
    }

    /// Seconds; what else the machine does in between lengthens a few of them.
    fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(Duration::as_secs_f64)
    }
}
