//! Pictures as the networks here see them, for what looks at data before training: initialisation and calibration.

use super::colorizer::lightness;
use crate::{color::lab, data::loader::Loader};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// The loader's next `batches` batches, or all it has, as network inputs L − 50, f32 `(B, H, W, 1)`.
///
/// # Errors
/// Pictures that cannot be read; a data set without any.
pub fn inputs(loader: &mut Loader, batches: usize) -> Result<Vec<Tensor>> {
    let mut inputs = vec![];
    while inputs.len() < batches {
        let Some(batch) = loader.next_batch()? else { break };
        inputs.push(lightness(&lab::rgb_to_lab(&batch.pixels)?)?);
    }
    inputs.first().context("the data set has no picture that can be read")?;
    Ok(inputs)
}
