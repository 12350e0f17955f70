//! The loop that every task is trained by, in reading order.
use super::{
    run_dir::RunDir,
    spec::TrainSpec,
    task::{Metric, Task},
};
use crate::{data::loader::Loader, rng::Rng};
use anyhow::Result;
/// How a fit ended.
#[derive(Clone, Debug)]
pub enum Ended {
    Finished(Vec<Metric>),
    Interrupted { step: usize },
}
/// Trains to `spec.steps`, resuming from the last checkpoint in `run`; validates, checkpoints and draws on the way.
pub fn fit(
    task: &mut dyn Task,
    train: &mut Loader,
    val: Option<&mut Loader>,
    spec: &TrainSpec,
    rng: &Rng,
    run: &mut RunDir,
) -> Result<Ended> {
    let _ = (task, train, val, spec, rng, run);
    todo!()
}
