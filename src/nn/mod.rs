//! Networks: named parameters, layers, fillers, optimizers, schedules, weight files.

pub mod init;
pub mod layers;
pub mod optim;
pub mod params;
pub mod schedule;
pub mod weights;

use candle_core::{Tensor, Var};

/// Which statistics a layer uses, whether dropout drops, and whether the parameters take part in the graph.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Training: batch statistics, and dropout drawn from this random family at `rng.split(layer name).at(0, 0)`.
    /// The caller hands in a family already keyed by its step.
    Train(crate::rng::Rng),
    /// Evaluation statistics, no dropout; gradients still flow to the parameters, and the graph is kept for them.
    Eval,
    /// As `Eval`, with parameters that are constants: on an input without a graph no graph is built, so
    /// activations are freed as soon as the next layer has used them. For probes, validation and pictures.
    Frozen,
    /// As `Frozen`, with the statistics of the batch at hand, which are recorded nowhere: what initialization from data and
    /// calibration see between the layers.
    Initialization,
}

impl Mode {
    /// A parameter as the forward pass should see it: part of the graph, or in `Frozen` a constant.
    pub fn see(&self, var: &Var) -> Tensor {
        match self {
            Self::Frozen | Self::Initialization => var.as_detached_tensor(),
            Self::Train(_) | Self::Eval => var.as_tensor().clone(),
        }
    }
}
