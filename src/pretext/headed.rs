//! Tasks whose network is a backbone with a head of the task's own ([`TaskHead`]).

use crate::{
    backbones::{BackboneSpec, network::Network, task_head::TaskHead},
    rng::Rng,
    train::task::Task,
};
use anyhow::Result;
use candle_core::Device;

/// The section of such a task in the YAML.
pub trait HeadedTaskSpec {
    /// The head for square pictures of `crop` pixels.
    ///
    /// # Errors
    /// Pictures that are too small; options that contradict one another.
    fn task_head(&self, crop: usize) -> Result<TaskHead>;

    /// Names of the metrics.
    fn metrics(&self) -> &'static [&'static str];

    /// The task with a new network for pictures of `crop` pixels on `device`.
    ///
    /// # Errors
    /// As [`Self::task_head`]; a backbone that the head does not fit.
    fn task(
        &self,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Box<dyn HeadedTask>>;
}

/// A task in training whose network begins with a backbone.
pub trait HeadedTask: Task {
    /// The backbone with the task's head.
    fn network(&self) -> &Network;
}
