//! The loop that every task is trained by, in reading order.

use super::{
    checkpoint::{self, Resumed, State},
    due::{Due, SaveClock},
    interrupt, keep,
    log::Log,
    pending::Pending,
    progress::Pace,
    run_dir::RunDir,
    spec::TrainSpec,
    task::{Metric, Task},
    update::{Turn, settle, update},
    warning::Warning,
};
use crate::{data::loader::Loader, nn::optim::Optimizer, rng::Rng};
use anyhow::{Context, Result};
use std::time::Instant;

/// How a fit ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With the last validation's results; none without validation data.
    Finished(Vec<Metric>),
    /// By Ctrl-C or SIGTERM, after writing a checkpoint.
    Interrupted { step: usize },
}

/// Trains to `spec.steps`, resuming from the last checkpoint in `run`; validates, checkpoints and draws on the way.
///
/// The same spec and `rng` give the same parameters, optimizer state and metrics bit for bit, however often the
/// process was stopped or killed on the way. Errors leave the last checkpoint in place.
pub fn fit(
    task: &mut dyn Task,
    train: &mut Loader,
    mut val: Option<&mut Loader>,
    spec: &TrainSpec,
    rng: &Rng,
    run: &mut RunDir,
) -> Result<Ended> {
    interrupt::install()?;
    let total = spec.steps.get();
    let mut optimizer = Optimizer::new(&spec.optimizer, task.params())?;
    let Resumed { mut state, warnings } = checkpoint::resume(run, task.params(), &mut optimizer, train, rng)?;
    let mut log = Log::open(run, &state, total, task.params().device())?;
    warnings.into_iter().try_for_each(|warning| log.warn(run, warning))?;
    if state.step > 0 {
        run.resumed();
        let gone = checkpoint::settle(run, &mut state)?;
        gone.into_iter().try_for_each(|step| log.warn(run, Warning::BestCheckpointGone { step }))?;
    }
    train.take_wait(); // what the loader did before the first step is nobody's waiting

    let mut pending = Pending::default();
    let mut saving = SaveClock::new(Instant::now(), state.step > 0);
    while state.step < total {
        let began = Instant::now();
        let lr = spec.schedule.rate(optimizer.base_lr(), state.step, total);
        let key = rng.split("step").split(&state.step.to_string());
        let turn = Turn { step: state.step + 1, key, lr, spec };
        let images = update(task, train, &mut optimizer, &turn, &mut pending, &mut state.window)
            .with_context(|| format!("step {}", turn.step))?;
        state.step += 1;
        state.position = train.position();

        let due = Due::after(state.step, spec, &saving, Instant::now());
        let stop = interrupt::requested() && state.step < total;
        if due.log || due.save || due.validate || stop {
            // waits for the device, so that the time of the step below is that of its work
            settle(&mut pending, &mut state.window)?;
        }
        pending.first_loss().into_iter().for_each(|loss| state.levels.begin(loss));
        if let Some(step) = pending.take_motionless() {
            log.warn(run, Warning::ZeroGradient { step })?;
        }
        log.step(&state, lr, Pace { busy: began.elapsed(), waited: train.take_wait(), images });
        let epoch = epoch(train);
        if due.log {
            log.train(run, &mut state, epoch, lr)?;
            log.faults(run, train.faults())?;
        }
        let mut is_best = false;
        // The last validation waits until its checkpoint is written: what fails in it costs no training.
        if let Some(val) = val.as_deref_mut().filter(|_| due.validate && state.step < total) {
            is_best = validate(task, val, spec, epoch, &mut state, &mut log, run)?;
        }
        if let Some(what) = state.levels.diverged(newest(&state)) {
            log.warn(run, Warning::Diverged { what })?;
        }
        if due.save || is_best || stop || state.step == total {
            let began = Instant::now();
            save(task, &optimizer, &mut state, &mut log, run)?;
            saving.saved(began, Instant::now());
        }
        if stop {
            return Ok(Ended::Interrupted { step: state.step });
        }
    }
    if let Some(val) = val.filter(|_| state.validated.as_ref().is_none_or(|(step, _)| *step < total)) {
        let epoch = epoch(train);
        validate(task, val, spec, epoch, &mut state, &mut log, run)?;
        if let Some(what) = state.levels.diverged(newest(&state)) {
            log.warn(run, Warning::Diverged { what })?;
        }
        save(task, &optimizer, &mut state, &mut log, run)?;
    }
    run.set_diverged(state.levels.diverged(newest(&state)));
    Ok(Ended::Finished(state.validated.map(|(_, metrics)| metrics).unwrap_or_default()))
}

/// What the newest validation gave.
fn newest(state: &State) -> &[Metric] {
    state.validated.as_ref().map_or(&[], |(_, metrics)| metrics)
}

/// One validation: metrics, warnings, a picture. Says whether it is among the best so far.
fn validate(
    task: &mut dyn Task,
    val: &mut Loader,
    spec: &TrainSpec,
    epoch: f64,
    state: &mut State,
    log: &mut Log,
    run: &mut RunDir,
) -> Result<bool> {
    val.rewind();
    let at = || format!("validation after step {}", state.step);
    let metrics = task.evaluate(val).with_context(at)?;
    log.validation(run, state, epoch, &metrics)?;
    for (what, advice) in task.warnings() {
        log.warn(run, Warning::Task { what, advice })?;
    }
    val.rewind();
    if let Some(panel) = task.picture(val)? {
        log.picture(run, state.step, &panel)?;
    }
    log.faults(run, val.faults())?;
    let is_best = keep::rank(&mut state.best, state.step, &metrics, spec.keep.get());
    state.validated = Some((state.step, metrics));
    Ok(is_best)
}

/// Writes a checkpoint after everything that it must not be ahead of.
fn save(
    task: &dyn Task,
    optimizer: &Optimizer,
    state: &mut State,
    log: &mut Log,
    run: &mut RunDir,
) -> Result<()> {
    log.sync()?;
    let gone = checkpoint::save(run, state, task.params(), optimizer)?;
    gone.into_iter().try_for_each(|step| log.warn(run, Warning::BestCheckpointGone { step }))?;
    run.reached(state.step)
}

fn epoch(train: &Loader) -> f64 {
    let at = train.position();
    at.epoch as f64 + at.batch as f64 / train.batches_per_epoch().max(1) as f64
}
