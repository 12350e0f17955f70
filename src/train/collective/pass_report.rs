//! What ranks tell one another of a pass.

use super::ranks::Ranks;
use crate::{data::Fault, train::interrupt};
use anyhow::Result;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A pass of one rank. Numbers are bits, since JSON has none for what is not finite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassReport {
    pub images: usize,
    /// Whether this rank was asked to stop.
    pub stop: bool,
    loss: u64,
    scalars: Vec<u64>,
    /// Seconds for which it waited for pictures.
    waited: u64,
    /// Seconds of its forward and backward pass.
    busy: u64,
    /// Pictures that it found unreadable.
    pub faults: Vec<(usize, Fault)>,
}

impl PassReport {
    /// # Errors
    /// A loss or a scalar that is not one number.
    pub fn new(
        images: usize,
        loss: &Tensor,
        scalars: &[(&'static str, Tensor)],
        [waited, busy]: [Duration; 2],
        faults: Vec<(usize, Fault)>,
    ) -> Result<Self> {
        let bits =
            |value: &Tensor| -> Result<u64> { Ok(value.to_dtype(DType::F64)?.to_scalar::<f64>()?.to_bits()) };
        Ok(Self {
            images,
            stop: interrupt::requested(),
            loss: bits(loss)?,
            scalars: scalars.iter().map(|(_, value)| bits(value)).collect::<Result<_>>()?,
            waited: waited.as_secs_f64().to_bits(),
            busy: busy.as_secs_f64().to_bits(),
            faults,
        })
    }

    /// Those of all ranks, by rank.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn gather(&self, ranks: &Ranks) -> Result<Vec<Self>> {
        ranks.gather(self)
    }

    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss)
    }

    pub fn scalars(&self) -> impl Iterator<Item = f64> {
        self.scalars.iter().copied().map(f64::from_bits)
    }

    /// Seconds for which the rank waited for pictures, and of its pass.
    pub fn seconds(&self) -> [f64; 2] {
        [self.waited, self.busy].map(f64::from_bits)
    }
}
