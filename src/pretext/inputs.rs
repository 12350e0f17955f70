//! Pictures as the networks here see them, for what looks at data before training: initialization and calibration.

use crate::{backbones::input::Input, data::loader::Loader};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// The loader's next `batches` batches, or all it has, as a network with that input reads them, f32 `(B, H, W, C)`.
///
/// # Errors
/// Pictures that cannot be read; a data set without any.
pub fn inputs(loader: &mut Loader, input: Input, batches: usize) -> Result<Vec<Tensor>> {
    let mut inputs = vec![];
    while inputs.len() < batches {
        let Some(batch) = loader.next_batch()? else { break };
        inputs.push(input.read(&batch.pixels)?);
    }
    inputs.first().context("the data set has no picture that can be read")?;
    Ok(inputs)
}
