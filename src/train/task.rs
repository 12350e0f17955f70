//! A thing that can be trained.
use crate::{
    data::{Batch, loader::Loader},
    nn::params::Params,
    rng::Rng,
};
use anyhow::Result;
use candle_core::Tensor;

/// What one forward pass gives the loop, which owns backward and update.
pub struct Step {
    pub loss: Tensor,
    /// named scalars to log, already plain numbers; the first is shown as "loss"
    pub scalars: Vec<(&'static str, f64)>,
}
/// A named result of validation. `better` says which direction is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    pub value: f64,
    pub better: Better,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
    Neither,
}
/// A picture for people: packed RGB.
#[derive(Clone, Debug)]
pub struct Panel {
    pub name: String,
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

pub trait Task {
    fn params(&self) -> &Params;
    /// `rng` is keyed by the step already.
    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step>;
    /// The first metric decides which checkpoint is best.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>>;
    fn picture(&mut self, val: &mut Loader) -> Result<Option<Panel>>;
    /// What the picture or metrics warn about: (what, advice). Called after each evaluation.
    fn warnings(&self) -> Vec<(String, String)> {
        vec![]
    }
}
