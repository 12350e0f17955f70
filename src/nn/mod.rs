//! Networks: named parameters, layers, fillers, optimizers, schedules, weight files.

pub mod init;
pub mod layers;
pub mod optim;
pub mod params;
pub mod schedule;
pub mod weights;

/// Whether batch statistics move and dropout drops.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Training, with the random family that dropout draws from: `rng.split(layer name).at(0, 0)`. The caller
    /// hands in a family already keyed by its step.
    Train(crate::rng::Rng),
    /// Evaluation: running statistics, no dropout.
    Eval,
}
