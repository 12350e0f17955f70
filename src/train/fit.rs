//! The training loop shared by all tasks.

use super::{
    checkpoint::{self, Resumed, State},
    collective::{Command, Ranks, give_state},
    deferred::DeferredScalars,
    due::{Due, SaveClock},
    interrupt,
    learner::Learner,
    log::Log,
    monitor::{Measured, Moment, Monitoring},
    progress::Pace,
    retention,
    run_dir::RunDir,
    spec::TrainOptions,
    task::{Metric, Task},
    update::{StepContext, Updated, flush, update},
    warning::Warning,
};
use crate::{data::loader::Loader, progress::Progress, rng::Rng};
use anyhow::{Context, Result};
use std::time::Instant;

/// How a task is trained.
#[derive(Clone, Copy)]
pub struct FitOptions<'a> {
    pub spec: &'a TrainOptions,
    pub rng: &'a Rng,
    /// This process, which leads, and those that train with it.
    pub ranks: &'a Ranks,
}

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FitOutcome {
    /// Metrics of the last validation; empty without validation data.
    Finished(Vec<Metric>),
    /// Stopped by Ctrl-C or SIGTERM after writing a checkpoint.
    Interrupted { step: usize },
}

/// Trains to `spec.steps`, resuming from the last checkpoint in `run`, and validates, checkpoints and draws panels at
/// the scheduled steps. If the spec averages the weights, those are validated and drawn from, and a finished training
/// leaves them in the task; the checkpoints hold both. A monitor measures at its own steps, as a validation does, and
/// changes nothing.
///
/// The same spec and `rng` give bit-identical parameters, optimizer state and metrics, however often the process is
/// stopped or killed. Errors leave the last checkpoint in place.
pub fn fit(
    task: &mut dyn Task,
    train: &mut Loader,
    mut val: Option<&mut Loader>,
    FitOptions { spec, rng, ranks }: FitOptions,
    run: &mut RunDir,
    mut monitoring: Option<Monitoring>,
) -> Result<FitOutcome> {
    interrupt::install()?;
    let total = spec.steps.get();
    let mut learner = Learner::new(task, spec)?;
    let Resumed { mut state, warnings } = checkpoint::resume(run, &mut learner, train, rng)?;
    state.divide_among(ranks.size());
    train.seek(state.position);
    give_state(ranks, &learner, state.step, state.position)?;
    let mut log = Log::open(run, &state, total, learner.task.params().device())?;
    warnings.into_iter().try_for_each(|warning| log.warn(run, warning))?;
    if state.step > 0 {
        run.resumed();
        let gone = checkpoint::sync_retained(run, &mut state)?;
        gone.into_iter().try_for_each(|step| log.warn(run, Warning::BestCheckpointGone { step }))?;
    }
    match &monitoring {
        Some(_) => {
            state.monitor.get_or_insert_default();
        }
        // What was measured before the run went on without a monitor is not shown as news.
        None => state.monitor.iter_mut().for_each(|monitor| monitor.summary.clear()),
    }
    if state.step == 0 {
        monitor(&mut learner, monitoring.as_mut(), total, epoch(train), &mut state, &mut log, run)?;
    }
    train.take_wait(); // Discard start-up time: it must not count as data wait.

    let mut pending = DeferredScalars::default();
    let mut saving = SaveClock::new(Instant::now(), state.step > 0);
    while state.step < total {
        let began = Instant::now();
        let lr = spec.schedule.rate(learner.optimizer.base_lr(), state.step, total);
        let key = rng.split("step").split(&state.step.to_string());
        let context = StepContext { step: state.step + 1, key, lr, spec, ranks };
        ranks.tell(&Command::Step)?;
        let Updated { images, stop, seconds } =
            update(&mut learner, train, &context, &mut pending, &mut state.window)
                .with_context(|| format!("step {}", context.step))?;
        state.step += 1;
        state.position = train.position();

        let due = Due::after(state.step, spec, &saving, Instant::now());
        let stop = stop && state.step < total;
        let is_told = log.is_told(state.step);
        if due.log || due.save || due.validate || stop || is_told {
            // Synchronizes with the device, so that the step time below includes the device's work.
            flush(&mut pending, &mut state.window)?;
        }
        pending.first_loss().into_iter().for_each(|loss| state.levels.begin(loss));
        if let Some(step) = pending.take_zero_gradient() {
            log.warn(run, Warning::ZeroGradient { step })?;
        }
        let busy = began.elapsed();
        log.step(&state, lr, Pace { busy, waited: train.take_wait(), images }, is_told);
        log.ranks(&seconds);
        state.monitor.iter_mut().for_each(|monitor| monitor.trained(busy));
        let epoch = epoch(train);
        if due.log {
            log.train(run, &mut state, epoch, lr)?;
            log.faults(run, train.faults())?;
        }
        let mut is_best = false;
        // The last validation runs after its checkpoint is written, so a failure in it loses no training.
        if let Some(val) = val.as_deref_mut().filter(|_| due.validate && state.step < total) {
            is_best = validate(&mut learner, val, (spec, ranks), epoch, &mut state, &mut log, run)?;
        }
        if state.step < total {
            monitor(&mut learner, monitoring.as_mut(), total, epoch, &mut state, &mut log, run)?;
        }
        if let Some(what) = state.levels.diverged(newest(&state)) {
            log.warn(run, Warning::Diverged { what })?;
        }
        if stop {
            interrupt::confirm();
        }
        if due.save || is_best || stop || state.step == total {
            // A checkpoint knows nothing of a measurement that is not complete.
            complete(monitoring.as_mut(), &mut state, &mut log, run)?;
            let began = Instant::now();
            save(&learner, &mut state, &mut log, run)?;
            saving.saved(began, Instant::now());
        }
        if stop {
            ranks.tell(&Command::Rest)?;
            return Ok(FitOutcome::Interrupted { step: state.step });
        }
    }
    if let Some(val) = val.filter(|_| state.validated.as_ref().is_none_or(|(step, _)| *step < total)) {
        let epoch = epoch(train);
        validate(&mut learner, val, (spec, ranks), epoch, &mut state, &mut log, run)?;
        if let Some(what) = state.levels.diverged(newest(&state)) {
            log.warn(run, Warning::Diverged { what })?;
        }
        save(&learner, &mut state, &mut log, run)?;
    }
    ranks.tell(&Command::Rest)?;
    if monitor(&mut learner, monitoring.as_mut(), total, epoch(train), &mut state, &mut log, run)? {
        complete(monitoring.as_mut(), &mut state, &mut log, run)?;
        save(&learner, &mut state, &mut log, run)?;
    }
    log.finish(run, state.step, newest(&state))?;
    learner.average.swap()?;
    run.set_diverged(state.levels.diverged(newest(&state)));
    Ok(FitOutcome::Finished(state.validated.map(|(_, metrics)| metrics).unwrap_or_default()))
}

/// Metrics of the newest validation.
fn newest(state: &State) -> &[Metric] {
    state.validated.as_ref().map_or(&[], |(_, metrics)| metrics)
}

/// Runs one validation: metrics, warnings, a panel. Returns whether it ranks among the best.
fn validate(
    learner: &mut Learner,
    val: &mut Loader,
    (spec, ranks): (&TrainOptions, &Ranks),
    epoch: f64,
    state: &mut State,
    log: &mut Log,
    run: &mut RunDir,
) -> Result<bool> {
    ranks.tell(&Command::Validate)?;
    learner.averaged(|task| {
        val.rewind();
        let at = || format!("validation after step {}", state.step);
        val.watch(Progress::new(val.dataset().len(), "  validation"));
        let metrics = task.evaluate(val).with_context(at)?;
        val.unwatch();
        log.validation(run, state, epoch, &metrics)?;
        for (what, advice) in task.warnings() {
            log.warn(run, Warning::Task { what, advice })?;
        }
        val.rewind();
        if let Some(panel) = task.picture(val)? {
            log.picture(run, state.step, &panel)?;
        }
        log.faults(run, val.faults())?;
        let is_best = retention::rank(&mut state.best, state.step, &metrics, spec.keep.get());
        state.validated = Some((state.step, metrics));
        Ok(is_best)
    })
}

/// Measures the representation if that is due and fits into the time for it; returns whether it did. The last measurement is
/// made in any case. What was begun at an earlier step is completed first.
fn monitor(
    learner: &mut Learner,
    monitoring: Option<&mut Monitoring>,
    total: usize,
    epoch: f64,
    state: &mut State,
    log: &mut Log,
    run: &mut RunDir,
) -> Result<bool> {
    let Some(monitoring) = monitoring else { return Ok(false) };
    let step = state.step;
    let is_due = monitoring.is_due(step, total);
    if is_due || monitoring.is_awaited() {
        complete(Some(monitoring), state, log, run)?;
    }
    let Some(mut kept) = state.monitor.clone().filter(|kept| is_due && !kept.has(step)) else {
        return Ok(false);
    };
    let budget = monitoring.budget;
    if !kept.allows(monitoring, step, total) {
        kept.left_out += 1;
        let seconds = kept.seconds();
        state.monitor = Some(kept);
        return log.warn(run, Warning::MeasurementsLeftOut { step, seconds, budget }).map(|()| false);
    }
    let at = || format!("monitor after step {step}");
    let began = Instant::now();
    monitoring.prepare().with_context(at)?;
    kept.prepared(began.elapsed());
    state.monitor = Some(kept);
    learner.averaged(|task| monitoring.begin(task, Moment { step, epoch })).with_context(at)?;
    if monitoring.is_awaited() {
        complete(Some(monitoring), state, log, run)?;
    }
    Ok(true)
}

/// Waits for the measurement that was begun, if there is one, and logs it.
fn complete(
    monitoring: Option<&mut Monitoring>,
    state: &mut State,
    log: &mut Log,
    run: &mut RunDir,
) -> Result<()> {
    let Some(monitoring) = monitoring else { return Ok(()) };
    let Some(Measured { at, waited, found }) = monitoring.complete() else { return Ok(()) };
    let mut found = found.with_context(|| format!("monitor after step {}", at.step))?;
    let mut kept = state.monitor.clone().unwrap_or_default();
    for (layer, what) in kept.measured(at.step, waited, std::mem::take(&mut found.collapsed)) {
        log.warn(run, Warning::Collapsed { layer, what })?;
    }
    kept.summary.clone_from(&found.summary);
    log.monitor(run, state, at, found, &kept)?;
    let budget = monitoring.budget;
    if let Some(share) = kept.share().filter(|share| *share > budget) {
        log.warn(run, Warning::MonitorOverBudget { share, budget })?;
    }
    state.monitor = Some(kept);
    Ok(())
}

/// Writes a checkpoint after syncing the logs, which must not lag behind it.
fn save(learner: &Learner, state: &mut State, log: &mut Log, run: &mut RunDir) -> Result<()> {
    log.sync()?;
    let gone = checkpoint::save(run, state, learner)?;
    gone.into_iter().try_for_each(|step| log.warn(run, Warning::BestCheckpointGone { step }))?;
    run.reached(state.step)
}

fn epoch(train: &Loader) -> f64 {
    let at = train.position();
    at.epoch as f64 + at.batch as f64 / train.batches_per_epoch().max(1) as f64
}
