//! The section `optimizer` of a spec.

use super::multipliers::Multiplier;
use crate::{
    bounded::{DecayRate, Fraction, NonNegative, Positive},
    nn::params::ParamKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// The update rule and its constants. In YAML: `optimizer: { sgd: { lr: 0.1, momentum: 0.9 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Adam, whose L2 decay is added to the gradient.
    Adam(AdamSpec),
    /// Adam with decoupled decay.
    #[serde(rename = "adamw")]
    AdamW(AdamSpec),
    /// Stochastic gradient descent with momentum.
    #[serde(deserialize_with = "sgd")]
    Sgd(SgdSpec),
    /// SGD whose rate is adapted to each layer, for large batches.
    Lars(LarsSpec),
}

/// Constants of Adam, whose L2 decay is added to the gradient before the moments, and of AdamW, whose decay is
/// decoupled: it shrinks the weights by the factor 1 − lr · decay. Without `decay` the two differ only in epsilon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Adam and AdamW")]
pub struct AdamSpec {
    /// Base learning rate, which the schedule changes.
    pub lr: Positive,
    /// Share of the first moment that an update keeps.
    #[serde(default = "beta1")]
    pub beta1: DecayRate,
    /// Share of the second moment that an update keeps.
    #[serde(default = "beta2")]
    pub beta2: DecayRate,
    /// Weight decay.
    #[serde(default = "zero")]
    pub decay: NonNegative,
    /// Factors on rate and decay for the parameters that match a pattern; the last match applies.
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}

/// Stochastic gradient descent; the velocity includes the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "SGD")]
pub struct SgdSpec {
    /// Base learning rate, which the schedule changes.
    pub lr: Positive,
    /// Share of the velocity that an update keeps.
    #[serde(default = "momentum")]
    pub momentum: Fraction,
    /// Nesterov momentum; needs a `momentum` above 0.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay, added to the gradient.
    #[serde(default = "zero")]
    pub decay: NonNegative,
    /// Factors on rate and decay for the parameters that match a pattern; the last match applies.
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}

/// LARS (You et al. 2017) as in SimCLR's `lars_optimizer.py`: SGD with momentum whose rate is multiplied, for each
/// weight w with the gradient g, by η‖w‖ / ‖g + decay · w‖, or by 1 if one of the norms is 0. Biases and the scales and
/// shifts of normalization layers keep the plain rate and have no decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "LARS")]
pub struct LarsSpec {
    /// Base learning rate, which the schedule changes.
    pub lr: Positive,
    /// Share of the velocity that an update keeps.
    #[serde(default = "momentum")]
    pub momentum: Fraction,
    /// η, the ratio of an update's norm to that of the weight at a learning rate of 1.
    #[serde(default = "trust_coefficient")]
    pub trust_coefficient: Positive,
    /// Weight decay, added to the gradient of weights.
    #[serde(default = "zero")]
    pub decay: NonNegative,
    /// Factors on rate and decay for the parameters that match a pattern; the last match applies.
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}

fn beta1() -> DecayRate {
    DecayRate::of(0.9)
}
fn beta2() -> DecayRate {
    DecayRate::of(0.999)
}
fn momentum() -> Fraction {
    Fraction::of(0.9)
}
fn trust_coefficient() -> Positive {
    Positive::of(0.001)
}
fn zero() -> NonNegative {
    NonNegative::of(0.0)
}

/// Refuses Nesterov momentum without momentum, which would be plain SGD.
fn sgd<'de, D: Deserializer<'de>>(from: D) -> Result<SgdSpec, D::Error> {
    let sgd = SgdSpec::deserialize(from)?;
    if sgd.nesterov && sgd.momentum.get() == 0.0 {
        return Err(D::Error::custom("sgd: `nesterov` needs a `momentum` above 0"));
    }
    Ok(sgd)
}

impl OptimizerSpec {
    /// The base rate of schedules.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.lr.get(),
            Self::Sgd(sgd) => sgd.lr.get(),
            Self::Lars(lars) => lars.lr.get(),
        }
    }
    /// Key in a spec.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
            Self::Sgd(_) => "sgd",
            Self::Lars(_) => "lars",
        }
    }
    /// Learning-rate and decay factors by pattern.
    pub fn multipliers(&self) -> &[Multiplier] {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => &adam.multipliers,
            Self::Sgd(sgd) => &sgd.multipliers,
            Self::Lars(lars) => &lars.multipliers,
        }
    }
    /// Weight decay of a parameter of this kind, without its multiplier.
    pub(super) fn decay(&self, kind: ParamKind) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.decay.get(),
            Self::Sgd(sgd) => sgd.decay.get(),
            Self::Lars(lars) if kind == ParamKind::Weight => lars.decay.get(),
            Self::Lars(_) => 0.0,
        }
    }
    /// Trust coefficient of a parameter of this kind; None if its rate is not adapted.
    pub(super) fn trust_coefficient(&self, kind: ParamKind) -> Option<f64> {
        match self {
            Self::Lars(lars) if kind == ParamKind::Weight => Some(lars.trust_coefficient.get()),
            _ => None,
        }
    }
    /// Names of the moments in a checkpoint.
    pub(super) fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Adam(_) => &["adam.m", "adam.v"],
            Self::AdamW(_) => &["adamw.m", "adamw.v"],
            Self::Sgd(_) => &["sgd.velocity"],
            Self::Lars(_) => &["lars.velocity"],
        }
    }
}
