//! Network inputs for methods that inspect data before training: initialization and calibration.

use crate::{backbones::input::Input, data::loader::Loader};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// Reads the loader's next `batches` batches (fewer if it ends) and converts them to network inputs, f32 `(B, H, W,
/// C)`.
///
/// # Errors
/// Unreadable pictures; an empty data set.
pub fn inputs(loader: &mut Loader, input: Input, batches: usize) -> Result<Vec<Tensor>> {
    let mut inputs = vec![];
    while inputs.len() < batches {
        let Some(batch) = loader.next_batch()? else { break };
        inputs.push(input.read(&batch.pixels)?);
    }
    inputs.first().context("the data set has no picture that can be read")?;
    Ok(inputs)
}
