//! Networks: named parameters, layers, fillers, optimizers, schedules, weight files.

pub mod init;
pub mod layers;
pub mod optim;
pub mod params;
pub mod schedule;
pub mod weights;

use candle_core::{Tensor, Var};

/// Mode of a pass: which statistics a layer uses, whether dropout is active, and whether gradients of the parameters
/// are recorded.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Training: batch statistics, and dropout from the random stream `rng.split(layer name).at(0, 0)`. The caller
    /// passes an `rng` already keyed by the step.
    Train(crate::rng::Rng),
    /// Evaluation statistics, no dropout; the graph for gradients of the parameters is recorded.
    Eval,
    /// As `Eval`, with constant parameters: for an input without a graph none is recorded, so activations are freed as
    /// soon as the next layer has used them. For probes, validation and colorization.
    Frozen,
    /// As `Frozen`, with batch statistics that are not recorded: used by data-dependent initialization and
    /// calibration.
    Initialization,
}

impl Mode {
    /// A parameter for the forward pass: tracked by autograd, or a constant in `Frozen`.
    pub fn see(&self, var: &Var) -> Tensor {
        match self {
            Self::Frozen | Self::Initialization => var.as_detached_tensor(),
            Self::Train(_) | Self::Eval => var.as_tensor().clone(),
        }
    }
}
