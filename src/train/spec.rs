//! How long and how a task is trained.
use crate::{
    bounded::{BatchSize, Count, Positive},
    nn::{
        optim::OptimizerSpec,
        schedule::{Decay, ScheduleSpec},
    },
};
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Updates.
    pub steps: Count,
    /// Images in a micro-batch (batch norm sees this many).
    pub batch: BatchSize,
    /// Micro-batches a gradient is averaged over.
    #[serde(default = "once")]
    pub iter_size: BatchSize,
    pub optimizer: OptimizerSpec,
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Global L2 norm that the gradient is clipped to.
    #[serde(default)]
    pub clip: Option<Positive>,
    #[serde(default = "twenty")]
    pub log_every: Count,
    /// Steps between validations; absent: only at the end.
    #[serde(default)]
    pub evaluate_every: Option<Count>,
    #[serde(default = "five_hundred")]
    pub checkpoint_every: Count,
    /// Best checkpoints kept beside the last one.
    #[serde(default = "once")]
    pub keep: Count,
}

impl TrainSpec {
    /// What of it comes to nothing in so few steps.
    pub fn notes(&self) -> Vec<String> {
        let steps = self.steps.get();
        let warmup = (self.schedule.warmup > steps).then(|| {
            format!(
                "`warmup` takes {} of {steps} steps: the full rate is never reached",
                self.schedule.warmup
            )
        });
        let evaluate = self.evaluate_every.filter(|every| every.get() > steps);
        let evaluate = evaluate
            .map(|every| format!("`evaluate_every` is {every} of {steps} steps: only the end is validated"));
        [warmup, self.late_rates(), evaluate].into_iter().flatten().collect()
    }

    /// Rates that begin after the last step.
    fn late_rates(&self) -> Option<String> {
        let steps = self.steps.get();
        let decay = ScheduleSpec { warmup: 0, ..self.schedule.clone() };
        // No rate of a list is below zero: the last one is told from the base.
        let rate = |step| decay.rate(-1.0, step, steps);
        match &decay.decay {
            Decay::MultiStep(_) if rate(steps - 1) != rate(usize::MAX) => Some(format!(
                "`multi_step` has rates that begin after all {steps} steps: they are never used"
            )),
            Decay::Step { every, .. } if every.get() >= steps => {
                Some(format!("`step` lowers the rate every {every} of {steps} steps: it stays as it is"))
            }
            _ => None,
        }
    }
}
fn once<const MOST: usize>() -> Count<MOST> {
    Count::of(1)
}
fn twenty() -> Count {
    Count::of(20)
}
fn five_hundred() -> Count {
    Count::of(500)
}
