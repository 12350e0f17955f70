//! One parameter update, and the errors for non-finite values.

use super::{
    collective::{GradientSum, PassReport, Ranks, learn_from_all},
    deferred::{DeferredScalars, NORM, NonFinite},
    interrupt,
    interval_means::IntervalMeans,
    learner::Learner,
    spec::TrainOptions,
    task::StepOutput,
};
use crate::{data::loader::Loader, nn::TrainingPass, rng::Rng};
use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor};
use std::time::Instant;

/// Inputs of one update.
pub struct StepContext<'a> {
    /// Counts from 1.
    pub step: usize,
    /// The random family of this step.
    pub key: Rng,
    pub lr: f64,
    pub spec: &'a TrainOptions,
    pub ranks: &'a Ranks,
}

/// What is known of an update beside its scalars.
#[derive(Debug, Default)]
pub struct Updated {
    /// Number of images seen, by all ranks.
    pub images: usize,
    /// Whether a rank was asked to stop.
    pub stop: bool,
    /// Of each rank, seconds for which it waited for pictures, and of its passes; empty of a single process.
    pub seconds: Vec<[f64; 2]>,
}

/// Runs `iter_size` forward and backward passes, clips, steps the optimizer, and moves the average of the weights, if
/// there is one. On the CPU the scalars are read at once, and a non-finite one is an
/// error: of a loss, or of gradients that are summed or clipped, before any parameter changes. On a GPU they stay in
/// `pending` without synchronization, and a non-finite one disables this and later updates.
///
/// Of several ranks, each runs its share of the passes, in the common order of batches and of random streams.
pub fn update(
    learner: &mut Learner,
    train: &mut Loader,
    step: &StepContext,
    pending: &mut DeferredScalars,
    window: &mut IntervalMeans,
) -> Result<Updated> {
    let mut updated = update_weights(learner, train, step, pending, window)?;
    learner.average.update()?;
    updated.stop |= interrupt::requested();
    Ok(updated)
}

fn update_weights(
    learner: &mut Learner,
    train: &mut Loader,
    step: &StepContext,
    pending: &mut DeferredScalars,
    window: &mut IntervalMeans,
) -> Result<Updated> {
    let Learner { task, optimizer, .. } = learner;
    let mut gradients = optimizer.gradients(task.params());
    let (mut updated, mut total) = (Updated::default(), None);
    for micro in 0..step.spec.iter_size.get() {
        let (began, waited) = (Instant::now(), train.waited());
        let batch =
            train.next_batch()?.context("the training loader has an end: open it with Pass::Train")?;
        let pass = micro * step.ranks.size() + step.ranks.rank();
        let training = TrainingPass::new(step.key.split(&pass.to_string()));
        let training = if step.ranks.are_many() { training.deferring() } else { training };
        let StepOutput { loss, scalars } = task.step(&batch, &training)?;
        let value = loss.detach();
        if step.ranks.are_many() {
            let sum = GradientSum::begin(step.ranks, &gradients, &training.tape, loss)?;
            let report = PassReport::new(
                batch.indices.len(),
                &value,
                &scalars,
                [train.waited() - waited, began.elapsed()],
                train.take_new_faults(),
            )?;
            let reports = report.gather(step.ranks)?;
            for (_, other) in reports.iter().enumerate().filter(|(rank, _)| *rank != step.ranks.rank()) {
                train.learn_faults(other.faults.clone())?;
            }
            updated.add(&reports, step.step, &scalars, pending)?;
            learn_from_all(step.ranks, training.take_statistics())?;
            sum.finish(step.ranks, &mut gradients)?;
            total = Some(value);
            continue;
        }
        updated.images += batch.indices.len();
        pending.loss(step.step, &value, scalars.is_empty());
        for (name, value) in scalars {
            pending.scalar(step.step, name, &value);
        }
        if can_update_at_once(step.spec, &value)? {
            update_at_once(learner, step, (&training, loss), pending, window)?;
            return Ok(updated);
        }
        gradients.add(&training.tape, loss)?;
        total = Some(if let Some(sum) = total { (sum + value)? } else { value });
    }
    let total: Tensor = total.context("a step of no passes")?;
    pending.norm(step.step, gradients.measure(step.spec.clip.map(|c| c.get()), &total)?);
    if total.device().is_cpu()
        && let Some(broken) = pending.flush(window)?
    {
        bail!(of_update(&broken, &first_broken(gradients.non_finite(task.params())?.as_deref())));
    }
    optimizer.step(task.params(), &gradients, step.lr)?;
    Ok(updated)
}

impl Updated {
    /// Adds a pass of every rank, whose scalars are those of this one by name.
    fn add(
        &mut self,
        reports: &[PassReport],
        step: usize,
        scalars: &[(&'static str, Tensor)],
        pending: &mut DeferredScalars,
    ) -> Result<()> {
        self.seconds.resize(reports.len(), [0.0; 2]);
        for (rank, (report, sums)) in reports.iter().zip(&mut self.seconds).enumerate() {
            let loss = report.loss();
            if !loss.is_finite() {
                bail!(non_finite(&format!("the loss of rank {rank}"), loss, ""));
            }
            pending.loss(step, &Tensor::new(loss, &Device::Cpu)?, scalars.is_empty());
            for ((name, _), value) in scalars.iter().zip(report.scalars()) {
                pending.scalar(step, name, &Tensor::new(value, &Device::Cpu)?);
            }
            self.images += report.images;
            self.stop |= report.stop;
            sums.iter_mut().zip(report.seconds()).for_each(|(sum, seconds)| *sum += seconds);
        }
        Ok(())
    }
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
        Some(broken) => bail!(of_update(&broken, &first_broken(update.non_finite()))),
        None => Ok(()),
    }
}

/// Reads the pending scalars; errors on a non-finite loss or norm.
pub fn flush(pending: &mut DeferredScalars, window: &mut IntervalMeans) -> Result<()> {
    match pending.flush(window)? {
        Some(broken) => Err(anyhow!(of_update(&broken, "")).context(format!("step {}", broken.step))),
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

/// Error text of an update's scalar.
fn of_update(broken: &NonFinite, layer: &str) -> String {
    let what = if broken.name == NORM { "the gradient's norm" } else { "the loss" };
    non_finite(what, broken.value, layer)
}

/// Error text: which value is not finite, in which parameter first, and what helps.
fn non_finite(what: &str, value: f64, layer: &str) -> String {
    format!(
        "{what} is {value}{layer}. Lower the learning rate (optimizer lr), warm up longer (schedule.warmup) or clip the \
         gradient (train clip); the last checkpoint is from before this step"
    )
}
