//! Networks: named parameters, layers, fillers, optimizers, schedules, weight files.

pub mod init;
pub mod layers;
pub mod length; // of training, in updates, epochs, images or percent
pub mod optim;
pub mod params;
pub mod schedule;
pub mod weights;

use crate::{
    ops::{
        batch_norm::{DeferredStatistics, SeenStatistics},
        tape::Tape,
    },
    rng::Rng,
};
use std::sync::PoisonError;

/// A training pass: its random stream, already keyed by the step, and the tape on which networks record it.
#[derive(Clone, Debug)]
pub struct TrainingPass {
    pub rng: Rng,
    pub tape: Tape,
    /// Where the statistics of its batches are left, if the running ones do not learn them at once.
    statistics: Option<DeferredStatistics>,
    /// Whether parameters and running statistics learn from it.
    learns: bool,
}

impl TrainingPass {
    /// A pass with an empty tape.
    pub fn new(rng: Rng) -> Self {
        Self { rng, tape: Tape::default(), statistics: None, learns: true }
    }

    /// The same pass, whose running statistics do not learn from it yet.
    pub fn deferring(self) -> Self {
        Self { statistics: Some(DeferredStatistics::default()), ..self }
    }

    /// Takes what the running statistics are to learn from it, in order.
    pub fn take_statistics(&self) -> Vec<SeenStatistics> {
        let seen = self.statistics.as_ref().map(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.map(|mut seen| std::mem::take(&mut *seen)).unwrap_or_default()
    }

    /// The same pass through a network that does not learn from it, such as the adversary of the network in training:
    /// gradients pass through to its input, and its parameters and running statistics stay.
    pub fn through(&self) -> Self {
        Self { learns: false, ..self.clone() }
    }
}

/// Mode of a pass: which statistics a layer uses, whether dropout is active, and whether the pass is recorded.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Batch statistics, and dropout from the random stream `rng.split(layer name).at(0, 0)`.
    Train(TrainingPass),
    /// Evaluation statistics, no dropout; the pass is recorded.
    Eval(Tape),
    /// As `Eval`, with nothing recorded: activations are freed as soon as the next layer has used them, and the result
    /// is a constant. For probes, validation and colorization.
    Frozen,
    /// As `Frozen`, with batch statistics, which the running ones do not learn: used by data-dependent initialization and
    /// calibration.
    Initialization,
}

impl Mode {
    /// Whether parameters get gradients.
    pub fn learns(&self) -> bool {
        match self {
            Self::Train(training) => training.learns,
            Self::Eval(_) => true,
            Self::Frozen | Self::Initialization => false,
        }
    }

    /// The tape of this pass, if it is recorded.
    pub fn tape(&self) -> Option<&Tape> {
        match self {
            Self::Train(training) => Some(&training.tape),
            Self::Eval(tape) => Some(tape),
            Self::Frozen | Self::Initialization => None,
        }
    }
}
