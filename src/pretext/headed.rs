//! Tasks whose network is a backbone with a head of the task's own ([`TaskHead`]).

use crate::{
    backbones::{
        BackboneSpec, kinds::MapSize, network::Network, summary::Summary, table::Layer, task_head::TaskHead,
    },
    key_error::KeyError,
    rng::Rng,
    train::task::Task,
};
use anyhow::Result;
use candle_core::Device;

/// The section of such a task in the YAML. The keys of its errors begin with those of the stage: `task`, `bigan`, `side`.
pub trait HeadedTaskSpec {
    /// Key of the task in the YAML.
    fn key(&self) -> &'static str;

    /// Keys of the layer that the head reads, below that of the task.
    fn tap_keys(&self) -> &'static [&'static str] {
        &["head", "tap"]
    }

    /// Keys of the size of the network's input.
    fn size_keys(&self) -> &'static [&'static str] {
        &["data", "crop"]
    }

    /// The head for square pictures of `crop` pixels.
    ///
    /// # Errors
    /// Pictures that are too small; options that contradict one another or have no effect.
    fn task_head(&self, crop: usize) -> Result<TaskHead>;

    /// The networks that are trained beside the backbone, for square pictures of `crop` pixels.
    ///
    /// # Errors
    /// Sizes that they cannot have.
    fn beside(&self, _crop: usize) -> Result<Vec<NetworkBeside>> {
        Ok(vec![])
    }

    /// Fewest validation pictures that it can be measured on.
    fn fewest_pictures(&self) -> usize {
        1
    }

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

/// A network that a task trains beside the backbone: a generator, a discriminator. The names of its parameters begin with
/// its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkBeside {
    pub name: &'static str,
    pub rows: Vec<Layer>,
    /// Height and width of its input.
    pub input: MapSize,
}

impl NetworkBeside {
    /// A network whose size an option of the task sets.
    ///
    /// # Errors
    /// A network that is too large for memory, at `keys`.
    pub fn new(name: &'static str, rows: Vec<Layer>, input: MapSize, keys: [&str; 3]) -> Result<Self> {
        let network = Self { name, rows, input };
        network.summary().map_err(|error| KeyError::new(keys, error.to_string()))?;
        Ok(network)
    }

    /// Its layers and their cost.
    ///
    /// # Errors
    /// A network that is too large for memory.
    pub fn summary(&self) -> candle_core::Result<Summary> {
        Summary::of(&self.rows, self.input)
    }
}

/// A task in training whose network begins with a backbone.
pub trait HeadedTask: Task {
    /// The backbone with the task's head.
    fn network(&self) -> &Network;
}
