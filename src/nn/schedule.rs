//! Learning-rate schedules as a pure function of the step.
use crate::bounded::{Count, Fraction, NonNegative, Positive};
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    #[serde(default)]
    pub decay: Decay,
    /// linear warm-up steps
    #[serde(default)]
    pub warmup: usize,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    #[default]
    Constant,
    Step {
        every: Count,
        factor: Fraction,
    },
    /// rates[i] from step at[i] on
    MultiStep {
        at: Vec<Count>,
        rates: Vec<Positive>,
    },
    Poly {
        power: Positive,
    },
    Cosine {
        #[serde(default)]
        floor: NonNegative,
    },
}
impl ScheduleSpec {
    pub fn rate(&self, base: f64, step: usize, total: usize) -> f64 {
        let _ = (base, step, total);
        todo!()
    }
}
