//! What a run warns about: each says what was seen and what to change, and each is said once.

use std::fmt;

/// Share of the time spent waiting for data from which a run counts as starved.
pub const STARVED: f64 = 0.3;

/// Something that does not stop a run but that its owner should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The steps wait for decoded images.
    StarvedOfData { share: f64 },
    /// A step's gradient was exactly zero: its batch taught nothing.
    ZeroGradient { step: usize },
    /// Images that could not be read and were replaced.
    UnreadableImages { first: String, reason: String },
    /// A checkpoint that the list of the best names is gone.
    BestCheckpointGone { step: usize },
    /// What a task says of itself.
    Task { what: String, advice: String },
}

impl Warning {
    /// Warnings with the same key are said once.
    pub fn key(&self) -> String {
        match self {
            Self::StarvedOfData { .. } => "starved".into(),
            Self::ZeroGradient { .. } => "zero gradient".into(),
            Self::UnreadableImages { .. } => "unreadable".into(),
            Self::BestCheckpointGone { step } => format!("gone {step}"),
            Self::Task { advice, .. } => format!("task {advice}"), // `what` may hold a number that moves
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StarvedOfData { share } => write!(
                f,
                "{:.0} % of the time goes into waiting for data: give the loader more threads (data.threads), \
                 or store the images smaller (a short side near data.resize)",
                100.0 * share
            ),
            Self::ZeroGradient { step } => write!(
                f,
                "the gradient of step {step} is exactly zero, so its batch taught nothing: are its images all grey \
                 or one colour, or all layers frozen? A larger batch makes such steps rarer"
            ),
            Self::UnreadableImages { first, reason } => write!(
                f,
                "unreadable images are skipped, the first being {first} ({reason}): log.txt names each; repair or \
                 remove them"
            ),
            Self::BestCheckpointGone { step } => write!(
                f,
                "the checkpoint of step {step} is on the list of the best but its file is gone: it is taken off the \
                 list; to keep a checkpoint for good, copy it out of the run directory"
            ),
            Self::Task { what, advice } => write!(f, "{what}: {advice}"),
        }
    }
}
