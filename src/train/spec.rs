//! How long and how a task is trained.
use crate::{
    bounded::{BatchSize, Count, Positive},
    nn::{optim::OptimizerSpec, schedule::ScheduleSpec},
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
fn once<const MOST: usize>() -> Count<MOST> {
    Count::of(1)
}
fn twenty() -> Count {
    Count::of(20)
}
fn five_hundred() -> Count {
    Count::of(500)
}
