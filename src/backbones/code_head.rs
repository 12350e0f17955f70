//! The head of an encoder: a linear map from the whole map of a backbone's layer to a code.

use super::{table::TableBuilder, task_head::Head};
use crate::{
    bounded::Positive,
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use candle_core::Result;
use std::fmt;

/// Variance of numbers that are uniform between −1 and 1.
const CODE_VARIANCE: f64 = 1.0 / 3.0;
/// Name of the code's tap.
pub const CODE: &str = "code";

/// A code of pictures of `side` pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeHead {
    pub side: usize,
    /// Numbers of the code.
    pub numbers: usize,
    /// Layer of the backbone that the head reads; absent: the last with a map (pool5 of an AlexNet, layer4 of a ResNet).
    pub tap: Option<String>,
    /// Batch normalization in the backbone, where it can have one.
    pub batch_norm: bool,
}

impl Head for CodeHead {
    fn side(&self) -> usize {
        self.side
    }

    fn batch_norm(&self) -> bool {
        self.batch_norm
    }

    fn reads(&self) -> Option<&str> {
        self.tap.as_deref()
    }

    fn needs_map(&self) -> bool {
        true
    }

    fn append(&self, table: &mut TableBuilder, map: usize, _norm: Option<BatchNormOptions>) -> Result<()> {
        // Rectified features of unit variance have a mean square of about 2: first codes are as large as random ones.
        let inputs = (map * map * table.channels()) as f64;
        let std = Positive::of((CODE_VARIANCE / (2.0 * inputs)).sqrt());
        let fillers = Fillers { weight: Filler::Gaussian { std }, bias: Some(Filler::Zero) };
        table.fully_connected(CODE, [map, 1, 0, 1, 1], self.numbers, fillers).tap(CODE);
        Ok(())
    }
}

impl fmt::Display for CodeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, numbers, .. } = self;
        write!(f, "a code of {numbers} numbers from pictures of {side}×{side} pixels")
    }
}
