//! Adam with coupled L2 and SGD with Caffe's momentum; per-pattern multipliers; accumulation and clipping.
use super::params::Params;
use crate::bounded::{Fraction, NonNegative, Positive};
use candle_core::{Result, Tensor, backprop::GradStore};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSpec {
    Adam(AdamSpec),
    Sgd(SgdSpec),
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSpec {
    pub lr: Positive,
    #[serde(default = "beta1")]
    pub beta1: Fraction,
    #[serde(default = "beta2")]
    pub beta2: Fraction,
    #[serde(default)]
    pub decay: NonNegative0,
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdSpec {
    pub lr: Positive,
    #[serde(default = "momentum")]
    pub momentum: Fraction,
    #[serde(default)]
    pub nesterov: bool,
    #[serde(default)]
    pub decay: NonNegative0,
    #[serde(default)]
    pub multipliers: Vec<Multiplier>,
}
/// Learning-rate and decay factors for the parameters whose names match `pattern` (`*` matches anything).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiplier {
    pub pattern: String,
    #[serde(default = "one")]
    pub lr: NonNegative,
    #[serde(default = "one")]
    pub decay: NonNegative,
}
type NonNegative0 = NonNegative; // the author gives NonNegative a Default of 0 or a serde default function
impl Default for NonNegative {
    fn default() -> Self {
        Self::of(0.0)
    }
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
fn one() -> NonNegative {
    NonNegative::of(1.0)
}

/// Gradients by parameter, in the order of `Params`; sums over `iter_size` passes.
pub struct Gradients {
    sums: Vec<Option<Tensor>>,
    passes: usize,
}
impl Gradients {
    pub fn new(params: &Params) -> Self {
        let _ = params;
        todo!()
    }
    /// Adds one backward pass; takes the tensors out of the store.
    pub fn add(&mut self, params: &Params, store: &mut GradStore) -> Result<()> {
        let _ = (params, store);
        todo!()
    }
    /// Caffe's order: clip the summed gradient to this global L2 norm, then divide by the number of passes. Returns the norm before.
    pub fn finish(&mut self, clip: Option<f64>) -> Result<f64> {
        let _ = clip;
        todo!()
    }
    /// Name of the first parameter whose gradient is not finite.
    pub fn non_finite(&self, params: &Params) -> Result<Option<String>> {
        let _ = params;
        todo!()
    }
}

pub struct Optimizer {/* … */}
impl Optimizer {
    /// Errors when a multiplier pattern matches no parameter.
    pub fn new(spec: &OptimizerSpec, params: &Params) -> Result<Self> {
        let _ = (spec, params);
        todo!()
    }
    /// One update with learning rate `lr` (already scheduled). Parameters without a gradient stay.
    pub fn step(&mut self, params: &Params, grads: &Gradients, lr: f64) -> Result<()> {
        let _ = (params, grads, lr);
        todo!()
    }
    pub fn base_lr(&self) -> f64 {
        todo!()
    }
    /// Everything that a bit-exact resume needs (moments, step count).
    pub fn state(&self) -> Vec<(String, Tensor)> {
        todo!()
    }
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let _ = state;
        todo!()
    }
}
