//! Training length and hyperparameters, as in YAML and as the training takes them.

use crate::{
    bounded::{BatchSize, Count, Positive},
    key_error::KeyError,
    nn::{
        length::{Length, TrainScale},
        optim::{EmaSpec, OptimizerSpec},
        schedule::{Decay, Schedule, ScheduleSpec},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length, batches, optimizer and bookkeeping of a training. Lengths are in updates, or `2 epochs`, `100000 images`,
/// `10 %` of all updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Training", extend("allOf" = [{ "oneOf": [
    { "required": ["steps"] }, { "required": ["epochs"] }, { "required": ["images"] }
] }]))]
pub struct TrainSpec {
    /// Number of updates; or give `epochs` or `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Count>,
    /// Passes over the training pictures, in place of `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<Positive>,
    /// Pictures to be seen, repeated ones counted again, in place of `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Count>,
    /// Pictures per micro-batch (the batch seen by batch normalization).
    pub batch: BatchSize,
    /// Micro-batches per update whose gradients are averaged.
    #[serde(default = "one_batch")]
    pub iter_size: BatchSize,
    /// The update rule and its constants.
    pub optimizer: OptimizerSpec,
    /// Learning rate over the updates.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Clips the gradient to this global L2 norm; absent: not at all.
    #[serde(default)]
    pub clip: Option<Positive>,
    /// Averages the weights over the updates. The averaged ones are validated and written to the weight file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaSpec>,
    /// Length between lines of the log.
    #[serde(default = "twenty")]
    pub log_every: Length,
    /// Length between validations; absent: only at the end.
    #[serde(default)]
    pub evaluate_every: Option<Length>,
    /// Longest length between checkpoints, from which an interrupted run resumes.
    #[serde(default = "five_hundred")]
    pub checkpoint_every: Length,
    /// Number of best checkpoints kept in addition to the last.
    #[serde(default = "one")]
    pub keep: Count,
}

/// Training length and hyperparameters, all lengths in updates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainOptions {
    /// Number of updates.
    pub steps: Count,
    /// Images per micro-batch.
    pub batch: BatchSize,
    /// Micro-batches per update.
    pub iter_size: BatchSize,
    pub optimizer: OptimizerSpec,
    pub schedule: Schedule,
    /// Largest global L2 norm of the gradient.
    pub clip: Option<Positive>,
    /// Moving average of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaSpec>,
    pub log_every: Count,
    /// Steps between validations; None: only at the end.
    pub evaluate_every: Option<Count>,
    pub checkpoint_every: Count,
    /// Best checkpoints retained in addition to the last.
    pub keep: Count,
    /// What other lengths of the same training amount to.
    #[serde(skip)]
    pub scale: TrainScale,
}

impl TrainSpec {
    /// The length of the training.
    ///
    /// # Errors
    /// None of `steps`, `epochs` and `images`, or several of them.
    pub fn length(&self) -> Result<Length, KeyError> {
        let given = [
            self.steps.map(|steps| ("steps", Length::Steps(steps))),
            self.epochs.map(|epochs| ("epochs", Length::Epochs(epochs))),
            self.images.map(|images| ("images", Length::Images(images))),
        ];
        match given.into_iter().flatten().collect::<Vec<_>>().as_slice() {
            [(_, length)] => Ok(*length),
            [] => {
                Err(KeyError::new(["train"], "how long is not said")
                    .advice("give `steps`, `epochs` or `images`"))
            }
            [(first, _), .., (last, _)] => {
                let reason = format!("`{first}` and `{last}` both say how long");
                Err(KeyError::new(["train", last], reason).advice("take one of them out"))
            }
        }
    }

    /// The options in updates, for a training split of so many pictures.
    ///
    /// # Errors
    /// As [`Self::length`]; milestones that do not ascend in updates.
    pub fn in_steps(&self, pictures: usize) -> Result<TrainOptions, KeyError> {
        let scale = TrainScale { pictures, batch: self.batch.get() * self.iter_size.get(), total: 0 };
        let length = self.length()?;
        let steps = scale.steps(length);
        if steps == Count::of(usize::MAX) && length != Length::Steps(steps) {
            let reason = format!("{length} of {pictures} pictures are more than {steps} updates");
            return Err(KeyError::new(["train"], reason).advice("give fewer"));
        }
        let scale = TrainScale { total: steps.get(), ..scale };
        let schedule = self.schedule.in_steps(scale).map_err(|wrong| {
            KeyError::new(["train", "schedule", "decay", "multi_step", "at"], wrong.to_string())
        })?;
        Ok(TrainOptions {
            steps,
            batch: self.batch,
            iter_size: self.iter_size,
            optimizer: self.optimizer.clone(),
            schedule,
            clip: self.clip,
            ema: self.ema,
            log_every: scale.steps(self.log_every),
            evaluate_every: self.evaluate_every.map(|every| scale.steps(every)),
            checkpoint_every: scale.steps(self.checkpoint_every),
            keep: self.keep,
            scale,
        })
    }
}

impl TrainOptions {
    /// Settings that have no effect in this many steps.
    pub fn notes(&self) -> Vec<String> {
        let steps = self.steps.get();
        let warmup = (self.schedule.warmup > steps).then(|| {
            format!(
                "`warmup` takes {} of {steps} steps: the full rate is never reached",
                self.schedule.warmup
            )
        });
        let evaluate = self.evaluate_every.filter(|every| every.get() > steps);
        let evaluate = evaluate
            .map(|every| format!("`evaluate_every` is {every} of {steps} steps: only the end is validated"));
        [warmup, self.late_rates(), self.slow_average(), evaluate].into_iter().flatten().collect()
    }

    /// An average that is still near the initial weights at the end.
    fn slow_average(&self) -> Option<String> {
        let (steps, decay) = (self.steps.get(), self.ema?.decay.get());
        let initial = decay.powf(steps as f64);
        (initial > 0.1).then(|| {
            format!(
                "`ema` with a decay of {decay} in {steps} steps: the initial weights make up {:.0} % of the average",
                100.0 * initial
            )
        })
    }

    /// Rates that start after the last step.
    fn late_rates(&self) -> Option<String> {
        let steps = self.steps.get();
        let decay = Schedule { warmup: 0, ..self.schedule.clone() };
        // Listed rates are never negative, so a base of −1 can be told apart from them.
        let rate = |step| decay.rate(-1.0, step, steps);
        match &decay.decay {
            Decay::MultiStep(_) if rate(steps - 1) != rate(usize::MAX) => Some(format!(
                "`multi_step` has rates that begin after all {steps} steps: they are never used"
            )),
            Decay::Step { every, .. } if every.get() >= steps => {
                Some(format!("`step` lowers the rate every {every} of {steps} steps: it stays as it is"))
            }
            Decay::Exponential { after: Some(after), .. } if after.get() >= steps => Some(format!(
                "`exponential` lowers the rate after {after} of {steps} steps: it stays as it is"
            )),
            _ => None,
        }
    }
}
fn one() -> Count {
    Count::of(1)
}
fn one_batch() -> BatchSize {
    Count::of(1)
}
fn twenty() -> Length {
    Length::Steps(Count::of(20))
}
fn five_hundred() -> Length {
    Length::Steps(Count::of(500))
}
