//! Warnings of a run: each says what was observed and what to change, and is printed once.

use std::{fmt, path::PathBuf};

/// Share of the time spent waiting for data above which a run counts as starved.
pub const STARVED: f64 = 0.3;

/// A problem that does not stop a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// Steps wait for decoded images.
    StarvedOfData { share: f64 },
    /// The gradient of a step was exactly zero.
    ZeroGradient { step: usize },
    /// Unreadable images were replaced.
    UnreadableImages { first: String, reason: String },
    /// A retained best checkpoint is missing.
    BestCheckpointGone { step: usize },
    /// The last checkpoint is unreadable; the newest intact one is used.
    FellBack { damaged: PathBuf, why: String, used: PathBuf, step: usize },
    /// The last checkpoint is missing and the best ones are damaged.
    StartsOver { gone: PathBuf, damaged: PathBuf },
    /// The run has taken steps but has no checkpoint.
    NoCheckpoint { folder: PathBuf },
    /// A checkpoint without a checksum, from an earlier version.
    Unchecked { file: PathBuf },
    /// `metrics.jsonl` does not match the checkpoint's digest.
    MetricsDamaged { file: PathBuf, lines: u64, expected: Option<u64> },
    /// The loss is not finite or far above its first value.
    Diverged { what: String },
    /// The run that this one starts from has diverged.
    StartsFromDiverged { stage: String, what: String },
    /// The features of a layer have become nearly the same for all pictures.
    Collapsed { layer: String, what: String },
    /// Measurements of the representation do not fit into their share of the time: the first of them, and how long the one
    /// before it took.
    MeasurementsLeftOut { step: usize, seconds: Option<f64>, budget: f64 },
    /// Those that were made took a larger share of it.
    MonitorOverBudget { share: f64, budget: f64 },
    /// A warning of the task.
    Task { what: String, advice: String },
}

impl Warning {
    /// Warnings with the same key are printed once.
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
            Self::StartsFromDiverged { .. } => "stands on diverged".into(),
            Self::Collapsed { layer, .. } => format!("collapsed {layer}"),
            Self::MeasurementsLeftOut { .. } => "left out".into(),
            Self::MonitorOverBudget { .. } => "over budget".into(),
            Self::Task { advice, .. } => format!("task {advice}"), // `what` may contain a changing number
        }
    }
}

/// A share in percent, without the digits that a binary fraction adds.
fn percent(share: f64) -> String {
    format!("{} %", (1e5 * share).round() / 1e3)
}

/// Describes how the lines of a log differ from those written.
fn line_mismatch(lines: u64, expected: Option<u64>) -> String {
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
                "{:.0} % of the time is spent waiting for data: give the loader more threads (data.threads), \
                 or store the images smaller (a short side near data.resize)",
                100.0 * share
            ),
            Self::ZeroGradient { step } => write!(
                f,
                "the gradient of step {step} is exactly zero: its images may be all gray or uniform, or all \
                 layers frozen; a larger batch makes such steps rarer"
            ),
            Self::UnreadableImages { first, reason } => write!(
                f,
                "unreadable images are skipped, the first being {first} ({reason}): log.txt names each; repair or \
                 remove them"
            ),
            Self::BestCheckpointGone { step } => write!(
                f,
                "the file of the best checkpoint of step {step} is missing or damaged: it is removed from the \
                 list; to keep a checkpoint permanently, copy it out of the run directory"
            ),
            Self::FellBack { damaged, why, used, step } => write!(
                f,
                "the checkpoint {} is {why}: continuing from the newest intact one, {} of step {step}; to start \
                 from the beginning, delete their folder",
                damaged.display(),
                used.display()
            ),
            Self::StartsOver { gone, damaged } => write!(
                f,
                "{} is missing and {} is damaged: the run starts from the beginning",
                gone.display(),
                damaged.display()
            ),
            Self::NoCheckpoint { folder } => write!(
                f,
                "there is no checkpoint in {} although the run has taken steps: it starts from the beginning",
                folder.display()
            ),
            Self::Unchecked { file } => write!(
                f,
                "{} has no checksum because an earlier version wrote it: damage cannot be detected; the next \
                 checkpoint has one",
                file.display()
            ),
            Self::MetricsDamaged { file, lines, expected } => write!(
                f,
                "{} is damaged: {}; training is not affected, but curves from this file are wrong",
                file.display(),
                line_mismatch(*lines, *expected)
            ),
            Self::Diverged { what } => write!(
                f,
                "the training has diverged: {what}. Lower the learning rate (optimizer lr), warm up longer \
                 (schedule.warmup) or clip the gradient (train clip)"
            ),
            Self::StartsFromDiverged { stage, what } => {
                write!(f, "it starts from {stage}, whose training has diverged: {what}")
            }
            Self::Collapsed { layer, what } => write!(
                f,
                "the features of {layer} have collapsed, in two measurements in a row: {what}. Lower the learning rate \
                 (optimizer lr), warm up longer (schedule.warmup), or use another loss or stronger augmentation; \
                 metrics.jsonl tells when it began"
            ),
            Self::MeasurementsLeftOut { step, seconds, budget } => {
                match seconds {
                    Some(seconds) => {
                        write!(f, "a measurement of the representation takes {seconds:.1} s, too long")?
                    }
                    None => write!(
                        f,
                        "a measurement of the representation takes too long, by its multiplications,"
                    )?,
                }
                write!(
                    f,
                    " for {} of the time: some are left out, first that after step {step}, and the last is made; raise \
                     monitor.every{}, or lower monitor.pictures",
                    percent(*budget),
                    if *budget < 1.0 { " or monitor.budget" } else { "" }
                )
            }
            Self::MonitorOverBudget { share, budget } => write!(
                f,
                "measurements of the representation took {:.1} % of the time, more than the {} of monitor.budget: the last \
                 one is made in any case; lower monitor.pictures",
                100.0 * share,
                percent(*budget)
            ),
            Self::Task { what, advice } => write!(f, "{what}: {advice}"),
        }
    }
}
