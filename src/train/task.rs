//! A thing that can be trained.

use super::exact;
use crate::{
    data::{Batch, loader::Loader},
    nn::params::Params,
    rng::Rng,
};
use anyhow::Result;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// What one forward pass gives the loop, which owns backward and update.
pub struct Step {
    /// What the gradient is taken of: one number, shape `()`.
    pub loss: Tensor,
    /// Named numbers to log, of shape `()` and any floating type, without a graph: nobody reads them here, since that would
    /// wait for the GPU. The first is the one on the progress line. Without any, the loss itself is logged as `loss`.
    pub scalars: Vec<(&'static str, Tensor)>,
}

impl Step {
    /// The scalars as plain numbers. Waits until the device has computed them.
    ///
    /// # Errors
    /// A scalar that is not one floating number.
    pub fn numbers(&self) -> candle_core::Result<Vec<(&'static str, f64)>> {
        self.scalars
            .iter()
            .map(|(name, value)| Ok((*name, value.to_dtype(DType::F64)?.to_scalar()?)))
            .collect()
    }
}

/// A named result of validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub name: String,
    #[serde(with = "exact")]
    pub value: f64,
    pub better: Better,
}

/// Which direction of a metric is good; `Neither` picks no best checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
    Neither,
}
/// A picture for people: packed RGB, `rgb.len() == 3·width·height`.
#[derive(Clone, Debug)]
pub struct Panel {
    pub name: String,
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// A pretext task, a probe or a transfer head.
///
/// For a run that was killed and resumed to equal one that was not, `step` must be a function of the parameters, the
/// batch and `rng` alone, and `evaluate` and `picture` must leave no trace that `step` would see.
pub trait Task {
    fn params(&self) -> &Params;
    /// One forward pass. `rng` is keyed by the step and the micro-batch already.
    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step>;
    /// One pass over `val`, which stands at its beginning. The first metric decides which checkpoint is best.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>>;
    /// What a person would look at; `val` stands at its beginning.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<Panel>>;
    /// Bytes that it will keep of the training pictures when it has seen each once: it then computes less.
    fn kept(&self) -> usize {
        0
    }
    /// What the picture or metrics warn about: (what, advice). Called after each evaluation.
    fn warnings(&self) -> Vec<(String, String)> {
        vec![]
    }
}
