//! An exponential moving average (EMA) of the weights: after each update a ← a + (1 − decay)(w − a).
//!
//! It starts at the initial weights, as timm's `ModelEmaV2` and momentum teachers do. Running statistics are not averaged:
//! the averaged network uses those of the trained one, as `torch.optim.swa_utils.AveragedModel` does, which copies
//! buffers after every update. They are moving averages already, and averaging them twice would only make them lag. A
//! frozen parameter equals its average, so that none is kept.

use super::{
    optimizer::{Optimizer, copies},
    update::{approach, exchange},
};
use crate::{bounded::DecayRate, nn::params::Params};
#[cfg(feature = "cuda")]
use candle_core::Device;
use candle_core::{Result, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exponential moving average of the weights. In YAML: `ema: { decay: 0.999 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Average of the weights")]
pub struct EmaSpec {
    /// Share of the average that one update keeps.
    pub decay: DecayRate,
}

/// The averaged weights beside the trained ones; of no parameter without a spec.
#[derive(Debug)]
pub struct WeightAverage {
    /// 1 − decay.
    part: f64,
    averages: Vec<ParamAverage>,
}

/// The average of one parameter.
#[derive(Debug)]
struct ParamAverage {
    name: String,
    /// The trained weight; shares its memory.
    var: Var,
    value: Tensor,
}

impl WeightAverage {
    /// The average of the parameters that `optimizer` changes, which are those of `params` that are not frozen.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(spec: Option<&EmaSpec>, params: &Params, optimizer: &Optimizer) -> Result<Self> {
        let Some(spec) = spec else { return Ok(Self { part: 0.0, averages: vec![] }) };
        let moving = params.iter().filter(|param| !optimizer.is_frozen(&param.name));
        let averages = moving.map(|param| {
            let (name, var) = (param.name.clone(), param.var.clone());
            Ok(ParamAverage { name, value: var.as_detached_tensor().copy()?, var })
        });
        Ok(Self { part: 1.0 - spec.decay.get(), averages: averages.collect::<Result<_>>()? })
    }

    /// Moves the average toward the weights; called after each update of them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn update(&mut self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(Device::Cuda(device)) = self.averages.first().map(|average| average.var.device()) {
            let pairs: Vec<_> = self.averages.iter().map(|average| (&average.var, &average.value)).collect();
            return super::cuda::average(device, &pairs, self.part);
        }
        let part = self.part;
        self.averages.iter_mut().try_for_each(|ParamAverage { var, value, .. }| approach(value, var, part))
    }

    /// Exchanges the weights for their averages, and back when called again, bit for bit. On a GPU it needs the memory of
    /// one more parameter.
    ///
    /// # Errors
    /// Those of the device.
    pub fn swap(&mut self) -> Result<()> {
        self.averages.iter_mut().try_for_each(|ParamAverage { var, value, .. }| exchange(value, var))
    }

    /// The averages by the names of their parameters. They share memory with this struct, so that the next update
    /// changes them: write or copy them first.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.averages.iter().map(|average| (average.name.clone(), average.value.clone())).collect()
    }

    /// Restores `state` by copying. Strict: a missing, unexpected or differently shaped entry is an error, and nothing
    /// is changed.
    ///
    /// # Errors
    /// Those, and those of the device.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let own = self.averages.iter().map(|average| (average.name.clone(), &average.value)).collect();
        let copies = copies("ema", own, state)?;
        self.averages.iter_mut().zip(copies).for_each(|(average, copy)| average.value = copy);
        Ok(())
    }
}
