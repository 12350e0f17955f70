//! What changes in training: the task's parameters, the optimizer's moments, and the average of the weights, if the spec
//! asks for one.

use super::{spec::TrainOptions, task::Task};
use crate::nn::optim::{Optimizer, WeightAverage};
use anyhow::Result;

/// A task in training.
pub struct Learner<'a> {
    pub task: &'a mut dyn Task,
    pub optimizer: Optimizer,
    pub average: WeightAverage,
}

impl<'a> Learner<'a> {
    /// A task before its first update.
    ///
    /// # Errors
    /// Those of [`Optimizer::new`].
    pub fn new(task: &'a mut dyn Task, spec: &TrainOptions) -> Result<Self> {
        let optimizer = Optimizer::new(&spec.optimizer, task.params())?;
        let average = WeightAverage::new(spec.ema.as_ref(), task.params(), &optimizer)?;
        Ok(Self { task, optimizer, average })
    }

    /// Runs `work`, such as a validation, with the averaged weights in place of the trained ones, if there are any.
    ///
    /// # Errors
    /// Those of `work` and of the device.
    pub fn averaged<T>(&mut self, work: impl FnOnce(&mut dyn Task) -> Result<T>) -> Result<T> {
        self.average.swap()?;
        let done = work(self.task);
        self.average.swap()?;
        done
    }
}
