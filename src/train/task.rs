//! The interface of everything that can be trained.

use super::exact;
use crate::{
    data::{Batch, loader::Loader},
    nn::{TrainingPass, params::Params},
};
use anyhow::{Result, bail};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// Result of one forward pass; the loop does backward and update.
pub struct StepOutput {
    /// The loss to differentiate: a scalar, shape `()`.
    pub loss: Tensor,
    /// Named scalars to log, shape `()`, any floating type, detached. Do not read them here: that would synchronize
    /// with the GPU. The first is shown on the progress line. If empty, the loss itself is logged as `loss`.
    pub scalars: Vec<(&'static str, Tensor)>,
}

impl StepOutput {
    /// Reads the scalars. Synchronizes with the device.
    ///
    /// # Errors
    /// A scalar that is not a single floating-point number.
    pub fn numbers(&self) -> candle_core::Result<Vec<(&'static str, f64)>> {
        self.scalars
            .iter()
            .map(|(name, value)| Ok((*name, value.to_dtype(DType::F64)?.to_scalar()?)))
            .collect()
    }
}

/// A named metric of a validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub name: String,
    #[serde(with = "exact")]
    pub value: f64,
    pub better: Better,
}

/// Direction in which a metric improves; with `Neither` it ranks no checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
    Neither,
}
/// A picture for people: packed RGB, `rgb.len() == 3·width·height`.
#[derive(Clone, Debug)]
pub struct ImagePanel {
    pub name: String,
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// A pretext task, a probe or a transfer head.
///
/// For a killed and resumed run to equal an uninterrupted one, `step` must depend only on the parameters, the batch
/// and the stream, and `evaluate` and `picture` must not change any state that `step` reads.
pub trait Task {
    fn params(&self) -> &Params;
    /// One forward pass, recorded on the tape of `training`, whose stream is keyed by step and micro-batch.
    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput>;
    /// One pass over `val`, which is rewound. The first metric ranks the checkpoints.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>>;
    /// A panel to inspect, from `val`, which is rewound.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>>;
    /// Maps of named layers of the backbone, each `(B, h, w, C)`, for pictures `(B, H, W, 3)`, u8 RGB, without gradient
    /// and with the statistics of evaluation. Read by a [`super::monitor::Monitor`].
    ///
    /// # Errors
    /// An unknown layer; a task that has none to show.
    fn embed(&self, _pixels: &Tensor, _layers: &[&str]) -> Result<Vec<Tensor>> {
        bail!("this task has no layers that a monitor can read")
    }
    /// Bytes cached from the training pictures after the first epoch, which makes later epochs cheaper.
    fn cached_bytes(&self) -> usize {
        0
    }
    /// Warnings about the panel or the metrics: (problem, advice). Called after each validation.
    fn warnings(&self) -> Vec<(String, String)> {
        vec![]
    }
}
