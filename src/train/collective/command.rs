//! What rank 0 tells the others to do.

use crate::data::loader::Position;
use serde::{Deserialize, Serialize};

/// The next thing that all do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Prepare the fit of this hash, and train it as told.
    Fit(String),
    /// The training goes on from here; the tensors follow.
    From { step: usize, position: Position },
    /// One update.
    Step,
    /// A validation of the weights, or of their averages.
    Validate,
    /// The training is complete, or interrupted.
    Rest,
    /// The experiment is finished, or interrupted.
    End,
}
