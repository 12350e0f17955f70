//! The training loop of every process but the first: updates and validations, as rank 0 tells. It writes nothing.

use super::{
    collective::{Command, Ranks, take_state},
    deferred::DeferredScalars,
    interrupt,
    interval_means::IntervalMeans,
    learner::Learner,
    spec::TrainOptions,
    task::Task,
    update::{StepContext, update},
};
use crate::{data::loader::Loader, rng::Rng};
use anyhow::{Context, Result, bail};

/// Trains as rank 0 tells. The weights are then those of rank 0.
///
/// # Errors
/// Those of an update; a rank that is gone.
pub fn follow(
    task: &mut dyn Task,
    train: &mut Loader,
    val: &mut Loader,
    spec: &TrainOptions,
    rng: &Rng,
    ranks: &Ranks,
) -> Result<()> {
    interrupt::install()?;
    let total = spec.steps.get();
    let mut learner = Learner::new(task, spec)?;
    let (mut step, position) = take_state(ranks, &mut learner)?;
    train.seek(position);
    let mut window = IntervalMeans::default();
    loop {
        match ranks.hear()? {
            Command::Rest => return Ok(()),
            Command::Step => {}
            Command::Validate => {
                val.rewind();
                learner.averaged(|task| task.evaluate(val))?;
                continue;
            }
            other => bail!("rank 0 tells {other:?} within a training: use one build on all nodes"),
        }
        let lr = spec.schedule.rate(learner.optimizer.base_lr(), step, total);
        let key = rng.split("step").split(&step.to_string());
        step += 1;
        let context = StepContext { step, key, lr, spec, ranks };
        // Rank 0 reads the same numbers.
        let mut unread = DeferredScalars::default();
        update(&mut learner, train, &context, &mut unread, &mut window)
            .with_context(|| format!("step {step}"))?;
        window.clear();
    }
}
