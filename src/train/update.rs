//! One update of the parameters, and what is said when its numbers are not finite.

use super::{
    pending::{Broken, NORM, Pending},
    spec::TrainSpec,
    task::{Step, Task},
    window::Window,
};
use crate::{
    data::loader::Loader,
    nn::optim::{Gradients, Optimizer},
    ops::backward::backward,
    rng::Rng,
};
use anyhow::{Context, Result, anyhow, bail};
use candle_core::Tensor;

/// Which update this is, and with what.
pub struct Turn<'a> {
    /// From 1.
    pub step: usize,
    /// The random family of this step.
    pub key: Rng,
    pub lr: f64,
    pub spec: &'a TrainSpec,
}

/// `iter_size` forward and backward passes, clipping, the optimizer's step; returns how many images were seen. On the
/// processor the numbers are read at once, and one that is not finite is an error before any parameter has moved. On a
/// GPU they stay in `pending`, nothing waits, and such a number keeps this and later updates from moving anything.
pub fn update(
    task: &mut dyn Task,
    train: &mut Loader,
    optimizer: &mut Optimizer,
    turn: &Turn,
    pending: &mut Pending,
    window: &mut Window,
) -> Result<usize> {
    let mut gradients = optimizer.gradients(task.params());
    let (mut images, mut total) = (0, None);
    for micro in 0..turn.spec.iter_size.get() {
        let batch =
            train.next_batch()?.context("the training loader has an end: open it with Pass::Train")?;
        images += batch.indices.len();
        let Step { loss, scalars } = task.step(&batch, &turn.key.split(&micro.to_string()))?;
        let mut store = backward(&loss)?;
        let loss = loss.detach(); // the graph goes before the next one is built
        gradients.add(task.params(), &mut store)?;
        pending.loss(turn.step, &loss, scalars.is_empty());
        for (name, value) in scalars {
            pending.scalar(turn.step, name, &value);
        }
        total = Some(if let Some(sum) = total { (sum + loss)? } else { loss });
    }
    let total: Tensor = total.context("a step of no passes")?;
    pending.norm(turn.step, gradients.measure(turn.spec.clip.map(|c| c.get()), &total)?);
    if total.device().is_cpu()
        && let Some(broken) = pending.settle(window)?
    {
        bail!(non_finite(&broken, &first_broken(&gradients, task)?));
    }
    optimizer.step(task.params(), &gradients, turn.lr)?;
    Ok(images)
}

/// Reads what is pending; an error where a loss or norm was not finite.
pub fn settle(pending: &mut Pending, window: &mut Window) -> Result<()> {
    match pending.settle(window)? {
        Some(broken) => Err(anyhow!(non_finite(&broken, "")).context(format!("step {}", broken.step))),
        None => Ok(()),
    }
}

/// Which parameter's gradient is broken first.
fn first_broken(gradients: &Gradients, task: &dyn Task) -> Result<String> {
    Ok(match gradients.non_finite(task.params())? {
        Some(name) => format!("; the first parameter with a non-finite gradient is {name}"),
        None => "; every parameter's own gradient is finite".into(),
    })
}

/// Why training cannot go on: which number is broken, in which layer first, and what helps.
fn non_finite(broken: &Broken, layer: &str) -> String {
    let what = if broken.name == NORM { "the gradient's norm" } else { "the loss" };
    format!(
        "{what} is {}{layer}. Lower the learning rate (optimizer lr), warm up longer (schedule.warmup) or clip the \
         gradient (train clip); the last checkpoint is from before this step",
        broken.value
    )
}
