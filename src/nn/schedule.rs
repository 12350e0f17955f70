//! Learning-rate schedules as a pure function of the step, so that a resumed run needs no schedule state.
//!
//! Steps count from 0. The warm-up factor (step + 1) / warm-up multiplies the decayed rate until it reaches 1.

use super::length::{self, Length, TrainScale};
use crate::bounded::{Count, NonNegative, Portion, Positive};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// Learning rate over the updates. In YAML: `schedule: { decay: cosine, warmup: 500 }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// How the rate falls.
    #[serde(default)]
    pub decay: Decay,
    /// Length of the linear warm-up; 0 or absent: none.
    #[serde(default, with = "length::or_zero")]
    #[schemars(schema_with = "length::or_zero::schema")]
    pub warmup: Option<Length>,
}

/// Learning-rate schedule of a run, in updates.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Schedule {
    pub decay: Decay<Count>,
    /// Linear warm-up steps: the factor is 1/warmup at step 0 and 1 at step warmup − 1.
    pub warmup: usize,
}

/// Decay of the learning rate, without warm-up. `base` is the optimizer's rate, `total` the number of updates of the
/// run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[serde(bound(deserialize = "L: Deserialize<'de> + PartialOrd + Display"))]
#[schemars(rename = "Decay")]
pub enum Decay<L = Length> {
    /// The rate stays.
    #[default]
    Constant,
    /// base · factor^⌊step / every⌋.
    Step {
        /// Length between two reductions.
        every: L,
        /// Factor of a reduction.
        factor: Portion,
    },
    /// base · factor^((step − after) / every) from `after` on; base before it.
    Exponential {
        /// Length in which the rate falls by `factor`.
        every: L,
        /// Factor over that length.
        factor: Portion,
        /// Where it begins to fall; absent: at once.
        #[serde(default)]
        after: Option<L>,
    },
    /// Explicit rates from given steps on; base before the first step.
    MultiStep(Milestones<L>),
    /// base · (1 − step / total)^power.
    Poly {
        /// The power.
        power: Positive,
    },
    /// Half a cosine from base to the rate `floor` at `total`.
    Cosine {
        /// The last rate.
        #[serde(default = "none")]
        floor: NonNegative,
    },
}

impl<L> Decay<L> {
    /// Name of the decay if the rate depends on the total number of steps: a run with such a decay is not a prefix of
    /// a longer run.
    pub fn over_all_steps(&self) -> Option<&'static str> {
        match self {
            Self::Poly { .. } => Some("poly"),
            Self::Cosine { .. } => Some("cosine"),
            Self::Constant | Self::Step { .. } | Self::Exponential { .. } | Self::MultiStep(_) => None,
        }
    }
}

fn none() -> NonNegative {
    NonNegative::of(0.0)
}

/// Rates that apply from given steps on: one rate per step, steps ascending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawMilestones<L>")]
#[serde(bound(deserialize = "L: Deserialize<'de> + PartialOrd + Display"))]
#[schemars(rename = "Milestones")]
pub struct Milestones<L = Length> {
    at: Vec<L>,
    rates: Vec<Positive>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawMilestones<L> {
    /// Lengths from the beginning, ascending.
    #[schemars(length(min = 1))]
    at: Vec<L>,
    /// The rate from each of these on: one rate for each.
    #[schemars(length(min = 1))]
    rates: Vec<Positive>,
}

/// Error of an invalid milestone list.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum BadMilestones {
    #[error("multi_step: `at` lists {at} steps and `rates` lists {rates} rates: give one rate for each step")]
    Lengths { at: usize, rates: usize },
    #[error("multi_step: `at` must ascend, but {next} follows {previous}")]
    Order { previous: String, next: String },
    #[error("multi_step: `at` lists no step: use `constant` for a rate that does not change")]
    Empty,
}

impl<L: PartialOrd + Display> Milestones<L> {
    /// The rate is `rates[i]` from step `at[i]` on.
    ///
    /// # Errors
    /// Lists that are empty, of different lengths, or not ascending.
    pub fn new(at: Vec<L>, rates: Vec<Positive>) -> Result<Self, BadMilestones> {
        if at.len() != rates.len() {
            return Err(BadMilestones::Lengths { at: at.len(), rates: rates.len() });
        }
        if at.is_empty() {
            return Err(BadMilestones::Empty);
        }
        match at.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => {
                Err(BadMilestones::Order { previous: pair[0].to_string(), next: pair[1].to_string() })
            }
            None => Ok(Self { at, rates }),
        }
    }
}

impl Milestones<Count> {
    fn rate(&self, base: f64, step: usize) -> f64 {
        let passed = self.at.partition_point(|at| at.get() <= step);
        if passed == 0 { base } else { self.rates[passed - 1].get() }
    }
}

impl<L: PartialOrd + Display> TryFrom<RawMilestones<L>> for Milestones<L> {
    type Error = BadMilestones;
    fn try_from(raw: RawMilestones<L>) -> Result<Self, BadMilestones> {
        Self::new(raw.at, raw.rates)
    }
}

impl ScheduleSpec {
    /// The schedule in updates.
    ///
    /// # Errors
    /// Milestones that do not ascend in updates.
    pub fn in_steps(&self, scale: TrainScale) -> Result<Schedule, BadMilestones> {
        let warmup = self.warmup.map_or(0, |warmup| scale.steps(warmup).get());
        Ok(Schedule { decay: self.decay.in_steps(scale)?, warmup })
    }
}

impl Decay {
    fn in_steps(&self, scale: TrainScale) -> Result<Decay<Count>, BadMilestones> {
        Ok(match self {
            Self::Constant => Decay::Constant,
            Self::Step { every, factor } => Decay::Step { every: scale.steps(*every), factor: *factor },
            Self::Exponential { every, factor, after } => Decay::Exponential {
                every: scale.steps(*every),
                factor: *factor,
                after: after.map(|after| scale.steps(after)),
            },
            Self::MultiStep(Milestones { at, rates }) => {
                let mut kept: Vec<(Count, Positive)> = vec![];
                for (at, rate) in at.iter().zip(rates) {
                    let step = scale.steps(*at);
                    // In a short training, milestones in percent coincide: the last of them applies.
                    if !matches!(at, Length::Steps(_)) && kept.last().is_some_and(|(last, _)| *last == step) {
                        kept.pop();
                    }
                    kept.push((step, *rate));
                }
                let (at, rates) = kept.into_iter().unzip();
                Decay::MultiStep(Milestones::new(at, rates)?)
            }
            Self::Poly { power } => Decay::Poly { power: *power },
            Self::Cosine { floor } => Decay::Cosine { floor: *floor },
        })
    }
}

impl Schedule {
    /// Learning rate of update `step` (from 0) in a run of `total` steps, for the optimizer's rate `base`.
    pub fn rate(&self, base: f64, step: usize, total: usize) -> f64 {
        let warm = if step < self.warmup { (step + 1) as f64 / self.warmup as f64 } else { 1.0 };
        warm * self.decay.rate(base, step, total)
    }
}

impl Decay<Count> {
    fn rate(&self, base: f64, step: usize, total: usize) -> f64 {
        let done = (step as f64 / total.max(1) as f64).min(1.0);
        match self {
            Self::Constant => base,
            Self::Step { every, factor } => base * factor.get().powf((step / every.get()) as f64),
            Self::Exponential { every, factor, after } => {
                let passed = step.saturating_sub(after.map_or(0, Count::get));
                base * factor.get().powf(passed as f64 / every.get() as f64)
            }
            Self::MultiStep(milestones) => milestones.rate(base, step),
            Self::Poly { power } => base * (1.0 - done).powf(power.get()),
            Self::Cosine { floor } => {
                let floor = floor.get();
                floor + (base - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay<Count>) -> Schedule {
        Schedule { decay, warmup: 0 }
    }
    fn near(got: f64, wanted: f64) {
        assert!((got - wanted).abs() <= 1e-12 * wanted.abs().max(1.0), "{got} is not {wanted}");
    }
    fn milestones(at: &[usize], rates: &[f64]) -> Result<Milestones<Count>, BadMilestones> {
        let at = at.iter().map(|&n| Count::of(n)).collect();
        Milestones::new(at, rates.iter().map(|&r| Positive::of(r)).collect())
    }

    /// The released solver of the AlexNet colorizer: 3e-5, then 1e-5, 3e-6 and 1e-6 at 240, 300 and 400 thousand.
    #[test]
    fn multi_step_is_the_papers_schedule() {
        let at = milestones(&[240_000, 300_000, 400_000], &[1e-5, 3e-6, 1e-6]).expect("ascending");
        let s = schedule(Decay::MultiStep(at));
        for (step, rate) in [(0, 3e-5), (239_999, 3e-5), (240_000, 1e-5), (399_999, 3e-6), (449_999, 1e-6)] {
            assert_eq!(s.rate(3e-5, step, 450_000), rate, "step {step}");
        }
    }

    #[test]
    fn rates_by_hand() {
        let step = schedule(Decay::Step { every: Count::of(10), factor: Portion::of(0.1) });
        near(step.rate(2.0, 9, 100), 2.0);
        near(step.rate(2.0, 25, 100), 0.02);
        let (every, factor) = (Count::of(10), Portion::of(0.01));
        let at_once = schedule(Decay::Exponential { every, factor, after: None });
        near(at_once.rate(2.0, 5, 100), 0.2);
        near(at_once.rate(2.0, 20, 100), 2e-4);
        let later = schedule(Decay::Exponential { every, factor, after: Some(Count::of(50)) });
        for (step, rate) in [(0, 2.0), (50, 2.0), (55, 0.2), (60, 0.02)] {
            near(later.rate(2.0, step, 60), rate);
        }
        near(schedule(Decay::Poly { power: Positive::of(2.0) }).rate(4.0, 50, 100), 1.0);
        let cosine = schedule(Decay::Cosine { floor: NonNegative::of(0.5) });
        near(cosine.rate(1.5, 0, 8), 1.5);
        near(cosine.rate(1.5, 4, 8), 1.0);
        near(cosine.rate(1.5, 8, 8), 0.5);
        near(cosine.rate(1.5, 99, 8), 0.5);
        near(schedule(Decay::Constant).rate(0.3, 7, 8), 0.3);
    }

    #[test]
    fn warm_up_is_linear_and_ends_at_the_full_rate() {
        let s = Schedule { decay: Decay::Constant, warmup: 4 };
        let rates: Vec<f64> = (0..6).map(|step| s.rate(8.0, step, 100)).collect();
        assert_eq!(rates, [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]);
    }

    #[test]
    fn milestones_that_coincide_in_a_short_training_are_one() {
        let parse = |json: &str| serde_json::from_str::<Decay>(json).unwrap();
        let decay = parse(r#"{"multi_step": {"at": ["60 %", "85 %"], "rates": [0.1, 0.01]}}"#);
        let steps = |total| decay.in_steps(TrainScale { pictures: 8, batch: 8, total }).unwrap();
        assert_eq!(steps(1), Decay::MultiStep(milestones(&[1], &[0.01]).unwrap()));
        assert_eq!(steps(20), Decay::MultiStep(milestones(&[12, 17], &[0.1, 0.01]).unwrap()));
    }

    #[test]
    fn wrong_milestones_are_refused_while_parsing() {
        let parse = |json: &str| serde_json::from_str::<Decay>(json).map_err(|e| e.to_string());
        assert!(parse(r#"{"multi_step": {"at": [10, 20], "rates": [0.1, 0.01]}}"#).is_ok());
        for (json, message) in [
            (r#"{"multi_step": {"at": [10, 20], "rates": [0.1]}}"#, "2 steps and `rates` lists 1 rates"),
            (r#"{"multi_step": {"at": [20, 10], "rates": [0.1, 0.01]}}"#, "10 steps follows 20 steps"),
            (r#"{"multi_step": {"at": [], "rates": []}}"#, "lists no step"),
            (r#"{"multi_step": {"at": [1], "rates": [0.1], "rate": 3}}"#, "unknown field `rate`"),
            (r#"{"multi_step": {"at": [1], "rates": [-0.1]}}"#, "above 0"),
        ] {
            let error = parse(json).expect_err(json);
            assert!(error.contains(message), "{error}");
        }
    }
}
