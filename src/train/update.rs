//! One update of the parameters, and what is said when its numbers are not finite.

use super::{
    checkpoint::State,
    spec::TrainSpec,
    task::{Step, Task},
};
use crate::{
    data::loader::Loader,
    nn::optim::{Gradients, Optimizer},
    ops::backward::backward,
    rng::Rng,
};
use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};

/// What an update saw.
pub struct Pass {
    pub images: usize,
    /// Of the gradient, before clipping.
    pub norm: f64,
}

/// `iter_size` forward and backward passes, clipping, the optimizer's step. `key` is the random family of this step.
/// Errors on a loss or gradient that is not finite, before any parameter has moved.
pub fn update(
    task: &mut dyn Task,
    train: &mut Loader,
    optimizer: &mut Optimizer,
    spec: &TrainSpec,
    key: &Rng,
    lr: f64,
    state: &mut State,
) -> Result<Pass> {
    let mut gradients = optimizer.gradients(task.params());
    let (mut images, mut worst) = (0, 0.0);
    for micro in 0..spec.iter_size.get() {
        let batch =
            train.next_batch()?.context("the training loader has an end: open it with Pass::Train")?;
        images += batch.indices.len();
        let Step { loss, scalars } = task.step(&batch, &key.split(&micro.to_string()))?;
        let value = number(&loss)?;
        let mut store = backward(&loss)?;
        drop(loss); // the graph goes before the next one is built
        gradients.add(task.params(), &mut store)?;
        worst = if value.is_finite() { worst } else { value };
        if scalars.is_empty() {
            state.window.add("loss", value);
        }
        for (name, scalar) in &scalars {
            state.window.add(name, number(scalar)?);
        }
    }
    let norm = gradients.finish(spec.clip.map(|c| c.get()))?;
    if !f64::is_finite(worst + norm) {
        bail!(non_finite(worst, norm, &gradients, task)?);
    }
    state.window.add("gradient_norm", norm);
    optimizer.step(task.params(), &gradients, lr)?;
    Ok(Pass { images, norm })
}

fn number(scalar: &Tensor) -> Result<f64> {
    let value = scalar.to_dtype(DType::F64).and_then(|s| s.to_scalar());
    value.with_context(|| format!("a task's losses must be single numbers, got shape {:?}", scalar.dims()))
}

/// Why training cannot go on: which number is broken, in which layer first, and what helps.
fn non_finite(loss: f64, norm: f64, gradients: &Gradients, task: &dyn Task) -> Result<String> {
    let broken = if loss.is_finite() {
        format!("the gradient's norm is {norm}")
    } else {
        format!("the loss is {loss}")
    };
    let layer = match gradients.non_finite(task.params())? {
        Some(name) => format!("the first parameter with a non-finite gradient is {name}"),
        None => "every parameter's own gradient is finite".into(),
    };
    Ok(format!(
        "{broken}; {layer}. Lower the learning rate (optimizer lr), warm up longer (schedule.warmup) or clip the \
         gradient (train clip); the last checkpoint is from before this step"
    ))
}
