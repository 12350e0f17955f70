//! Training length and hyperparameters.
use crate::{
    bounded::{BatchSize, Count, Positive},
    nn::{
        optim::{EmaSpec, OptimizerSpec},
        schedule::{Decay, ScheduleSpec},
    },
};
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Number of updates.
    pub steps: Count,
    /// Images per micro-batch (the batch seen by batch norm).
    pub batch: BatchSize,
    /// Micro-batches per update whose gradients are averaged.
    #[serde(default = "one")]
    pub iter_size: BatchSize,
    pub optimizer: OptimizerSpec,
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Clips the gradient to this global L2 norm.
    #[serde(default)]
    pub clip: Option<Positive>,
    /// Averages the weights over the updates. The averaged ones are validated and written to the weight file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaSpec>,
    #[serde(default = "twenty")]
    pub log_every: Count,
    /// Steps between validations; absent: only at the end.
    #[serde(default)]
    pub evaluate_every: Option<Count>,
    #[serde(default = "five_hundred")]
    pub checkpoint_every: Count,
    /// Best checkpoints retained in addition to the last.
    #[serde(default = "one")]
    pub keep: Count,
}

impl TrainSpec {
    /// Settings that have no effect in this many steps.
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
        [warmup, self.late_rates(), self.slow_average(), evaluate].into_iter().flatten().collect()
    }

    /// An average that is still near the initial weights at the end.
    fn slow_average(&self) -> Option<String> {
        let (steps, decay) = (self.steps.get(), self.ema?.decay.get());
        let initial = decay.powf(steps as f64);
        (initial > 0.1).then(|| {
            format!(
                "`ema` with a decay of {decay} in {steps} steps: the initial weights make up {:.0} % of the average",
                100.0 * initial
            )
        })
    }

    /// Rates that start after the last step.
    fn late_rates(&self) -> Option<String> {
        let steps = self.steps.get();
        let decay = ScheduleSpec { warmup: 0, ..self.schedule.clone() };
        // Listed rates are never negative, so a base of −1 can be told apart from them.
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
fn one<const MOST: usize>() -> Count<MOST> {
    Count::of(1)
}
fn twenty() -> Count {
    Count::of(20)
}
fn five_hundred() -> Count {
    Count::of(500)
}
