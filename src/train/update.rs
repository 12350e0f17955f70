//! One parameter update, and the errors for non-finite values.

use super::{
    deferred::{DeferredScalars, NORM, NonFinite},
    interval_means::IntervalMeans,
    learner::Learner,
    spec::TrainOptions,
    task::StepOutput,
};
use crate::{data::loader::Loader, nn::TrainingPass, rng::Rng};
use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor};

/// Inputs of one update.
pub struct StepContext<'a> {
    /// Counts from 1.
    pub step: usize,
    /// The random family of this step.
    pub key: Rng,
    pub lr: f64,
    pub spec: &'a TrainOptions,
}

/// Runs `iter_size` forward and backward passes, clips, steps the optimizer, and moves the average of the weights, if
/// there is one; returns the number of images seen. On the CPU the scalars are read at once, and a non-finite one is an
/// error: of a loss, or of gradients that are summed or clipped, before any parameter changes. On a GPU they stay in
/// `pending` without synchronization, and a non-finite one disables this and later updates.
pub fn update(
    learner: &mut Learner,
    train: &mut Loader,
    step: &StepContext,
    pending: &mut DeferredScalars,
    window: &mut IntervalMeans,
) -> Result<usize> {
    let images = update_weights(learner, train, step, pending, window)?;
    learner.average.update()?;
    Ok(images)
}

fn update_weights(
    learner: &mut Learner,
    train: &mut Loader,
    step: &StepContext,
    pending: &mut DeferredScalars,
    window: &mut IntervalMeans,
) -> Result<usize> {
    let Learner { task, optimizer, .. } = learner;
    let mut gradients = optimizer.gradients(task.params());
    let (mut images, mut total) = (0, None);
    for micro in 0..step.spec.iter_size.get() {
        let batch =
            train.next_batch()?.context("the training loader has an end: open it with Pass::Train")?;
        images += batch.indices.len();
        let training = TrainingPass::new(step.key.split(&micro.to_string()));
        let StepOutput { loss, scalars } = task.step(&batch, &training)?;
        let value = loss.detach();
        pending.loss(step.step, &value, scalars.is_empty());
        for (name, value) in scalars {
            pending.scalar(step.step, name, &value);
        }
        if can_update_at_once(step.spec, &value)? {
            update_at_once(learner, step, (&training, loss), pending, window)?;
            return Ok(images);
        }
        gradients.add(&training.tape, loss)?;
        total = Some(if let Some(sum) = total { (sum + value)? } else { value });
    }
    let total: Tensor = total.context("a step of no passes")?;
    pending.norm(step.step, gradients.measure(step.spec.clip.map(|c| c.get()), &total)?);
    if total.device().is_cpu()
        && let Some(broken) = pending.flush(window)?
    {
        bail!(non_finite(&broken, &first_broken(gradients.non_finite(task.params())?.as_deref())));
    }
    optimizer.step(task.params(), &gradients, step.lr)?;
    Ok(images)
}

/// Whether parameters may change while the backward pass runs: nothing asks for the gradients of a whole step, and the
/// loss is known to be finite.
fn can_update_at_once(spec: &TrainOptions, loss: &Tensor) -> Result<bool> {
    if spec.iter_size.get() > 1 || spec.clip.is_some() || !loss.device().is_cpu() {
        return Ok(false);
    }
    Ok(loss.to_dtype(DType::F64)?.to_scalar::<f64>()?.is_finite())
}

/// The backward pass of the step's only loss, with the update in it.
fn update_at_once(
    Learner { task, optimizer, .. }: &mut Learner,
    step: &StepContext,
    (training, loss): (&TrainingPass, Tensor),
    pending: &mut DeferredScalars,
    window: &mut IntervalMeans,
) -> Result<()> {
    let mut update = optimizer.begin(task.params(), step.lr)?;
    training.tape.backward(loss, &mut update)?;
    pending.norm(step.step, Tensor::new(update.norm(), &Device::Cpu)?);
    match pending.flush(window)? {
        Some(broken) => bail!(non_finite(&broken, &first_broken(update.non_finite()))),
        None => Ok(()),
    }
}

/// Reads the pending scalars; errors on a non-finite loss or norm.
pub fn flush(pending: &mut DeferredScalars, window: &mut IntervalMeans) -> Result<()> {
    match pending.flush(window)? {
        Some(broken) => Err(anyhow!(non_finite(&broken, "")).context(format!("step {}", broken.step))),
        None => Ok(()),
    }
}

/// The first parameter with a non-finite gradient.
fn first_broken(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("; the first parameter with a non-finite gradient is {name}"),
        None => "; every parameter's own gradient is finite".into(),
    }
}

/// Error text: which value is not finite, in which parameter first, and what helps.
fn non_finite(broken: &NonFinite, layer: &str) -> String {
    let what = if broken.name == NORM { "the gradient's norm" } else { "the loss" };
    format!(
        "{what} is {}{layer}. Lower the learning rate (optimizer lr), warm up longer (schedule.warmup) or clip the \
         gradient (train clip); the last checkpoint is from before this step",
        broken.value
    )
}
