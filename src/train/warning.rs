//! What a run warns about: each says what was seen and what to change, and each is said once.

use std::{fmt, path::PathBuf};

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
    /// The last checkpoint could not be read; the newest whole one stands in.
    FellBack { damaged: PathBuf, why: String, used: PathBuf, step: usize },
    /// There is no last checkpoint, and what lies there of the best is damaged.
    StartsOver { gone: PathBuf, damaged: PathBuf },
    /// The run has taken steps, but there is no checkpoint of it.
    NoCheckpoint { folder: PathBuf },
    /// A checkpoint of an earlier version.
    Unchecked { file: PathBuf },
    /// `metrics.jsonl` is not what the checkpoint knows of it.
    MetricsDamaged { file: PathBuf, lines: u64, expected: Option<u64> },
    /// The loss is far above where it began, or no number.
    Diverged { what: String },
    /// What a run starts from has diverged.
    StandsOnDiverged { stage: String, what: String },
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
            Self::FellBack { .. } => "fell back".into(),
            Self::StartsOver { .. } => "starts over".into(),
            Self::NoCheckpoint { .. } => "no checkpoint".into(),
            Self::Unchecked { .. } => "unchecked".into(),
            Self::MetricsDamaged { .. } => "metrics".into(),
            Self::Diverged { .. } => "diverged".into(),
            Self::StandsOnDiverged { .. } => "stands on diverged".into(),
            Self::Task { advice, .. } => format!("task {advice}"), // `what` may hold a number that moves
        }
    }
}

/// What has become of the lines of a log.
fn lost(lines: u64, expected: Option<u64>) -> String {
    match expected {
        Some(expected) if lines > expected => format!("it has {lines} lines where {expected} were written"),
        Some(expected) if lines < expected => format!("{lines} of {expected} lines are whole"),
        Some(_) => "its lines are not those that were written".into(),
        None => format!("only its {lines} whole lines are kept"),
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
                "the gradient of step {step} is exactly zero, so its batch taught nothing: are its images all gray \
                 or one color, or all layers frozen? A larger batch makes such steps rarer"
            ),
            Self::UnreadableImages { first, reason } => write!(
                f,
                "unreadable images are skipped, the first being {first} ({reason}): log.txt names each; repair or \
                 remove them"
            ),
            Self::BestCheckpointGone { step } => write!(
                f,
                "the checkpoint of step {step} is on the list of the best but its file is gone or damaged: it is taken \
                 off the list; to keep a checkpoint for good, copy it out of the run directory"
            ),
            Self::FellBack { damaged, why, used, step } => write!(
                f,
                "the checkpoint {} is {why}: continuing from the newest whole one, {} of step {step}; to start from the \
                 beginning, delete the folder that they are in",
                damaged.display(),
                used.display()
            ),
            Self::StartsOver { gone, damaged } => write!(
                f,
                "{} is gone and {} is damaged: the run starts from the beginning",
                gone.display(),
                damaged.display()
            ),
            Self::NoCheckpoint { folder } => write!(
                f,
                "no checkpoint is left in {}, though the run has taken steps before: it starts from the beginning",
                folder.display()
            ),
            Self::Unchecked { file } => write!(
                f,
                "{} has no checksum, since an earlier version wrote it: damage would not be noticed; the next one has",
                file.display()
            ),
            Self::MetricsDamaged { file, lines, expected } => write!(
                f,
                "{} is damaged: {}; training goes on as it would have, but curves drawn from this file are not those of \
                 the run",
                file.display(),
                lost(*lines, *expected)
            ),
            Self::Diverged { what } => write!(
                f,
                "the training has diverged: {what}. Lower the learning rate (optimizer lr), warm up longer \
                 (schedule.warmup) or clip the gradient (train clip)"
            ),
            Self::StandsOnDiverged { stage, what } => {
                write!(f, "it starts from {stage}, whose training has diverged: {what}")
            }
            Self::Task { what, advice } => write!(f, "{what}: {advice}"),
        }
    }
}
