//! The section `optimizer` of a spec.

use super::multipliers::Multiplier;
use crate::bounded::{Fraction, NonNegative, Positive};
use serde::{Deserialize, Serialize};

/// The update rule and its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSpec {
    Adam(AdamSpec),
    Sgd(SgdSpec),
}

/// Adam with L2 decay added to the gradient before the moments (not the decoupled AdamW).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSpec {
    pub lr: Positive,
    #[serde(default = "beta1")]
    pub beta1: Fraction,
    #[serde(default = "beta2")]
    pub beta2: Fraction,
    #[serde(default = "zero")]
    pub decay: NonNegative,
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}

/// Stochastic gradient descent; the velocity includes the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdSpec {
    pub lr: Positive,
    #[serde(default = "momentum")]
    pub momentum: Fraction,
    #[serde(default)]
    pub nesterov: bool,
    #[serde(default = "zero")]
    pub decay: NonNegative,
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}

fn beta1() -> Fraction {
    Fraction::of(0.9)
}
fn beta2() -> Fraction {
    Fraction::of(0.999)
}
fn momentum() -> Fraction {
    Fraction::of(0.9)
}
fn zero() -> NonNegative {
    NonNegative::of(0.0)
}

impl OptimizerSpec {
    /// The base rate of schedules.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Adam(adam) => adam.lr.get(),
            Self::Sgd(sgd) => sgd.lr.get(),
        }
    }
    /// Learning-rate and decay factors by pattern.
    pub fn multipliers(&self) -> &[Multiplier] {
        match self {
            Self::Adam(adam) => &adam.multipliers,
            Self::Sgd(sgd) => &sgd.multipliers,
        }
    }
    pub(super) fn decay(&self) -> f64 {
        match self {
            Self::Adam(adam) => adam.decay.get(),
            Self::Sgd(sgd) => sgd.decay.get(),
        }
    }
    /// Names of the moments in a checkpoint.
    pub(super) fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Adam(_) => &["adam.m", "adam.v"],
            Self::Sgd(_) => &["sgd.velocity"],
        }
    }
}
