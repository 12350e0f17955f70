//! Checks that weights are finite. A NaN propagates through every layer, or is hidden by a ReLU or a maximum.

use crate::nn::weights::Named;
use candle_core::{DType, Device, Result, Storage, Tensor, WithDType, bail};
use rayon::prelude::*;

/// Values that one thread checks at a time.
const PIECE: usize = 1 << 16;

/// Rejects values that are not finite and running variances below 0; the error names tensor and channel.
///
/// # Errors
/// The first such value; a tensor that cannot be read.
pub fn check_finite(tensors: &Named) -> Result<()> {
    let wrong = tensors.par_iter().find_map_first(|(name, tensor)| check(name, tensor).err());
    wrong.map_or(Ok(()), Err)
}

fn check(name: &str, tensor: &Tensor) -> Result<()> {
    if !tensor.dtype().is_float() {
        return Ok(());
    }
    // A tensor of f32 on the CPU is not copied.
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        bail!("`{name}` cannot be read")
    };
    let values = &f32::cpu_storage_as_slice(storage)?[from..to];
    let is_variance = name.ends_with(".running_var");
    let wrong = |v: &f32| !v.is_finite() || is_variance && *v < 0.0;
    // The search for the first one is only made where a piece has any.
    let fine = |piece: &[f32]| !piece.iter().fold(false, |any, v| any | wrong(v));
    if values.par_chunks(PIECE).all(fine) {
        return Ok(());
    }
    let Some(at) = values.iter().position(wrong) else { return Ok(()) };
    let channels = tensor.dims().first().copied().unwrap_or(1).max(1);
    let channel = at / (values.len() / channels).max(1);
    let what = if values[at].is_finite() { "a variance below 0" } else { "not a finite number" };
    bail!(
        "`{name}`, channel {channel}: {} is {what}: the weights are damaged, or the training diverged",
        values[at]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn tensor_and_channel_are_named() -> Result<()> {
        let said = |name: &str, dims: (usize, usize), at: usize, value: f32| -> Result<String> {
            let mut values = vec![1f32; dims.0 * dims.1];
            values[at] = value;
            let tensor = Tensor::from_vec(values, dims, &Device::Cpu)?;
            Ok(check_finite(&Named::from([(name.to_string(), tensor)]))
                .map_or_else(|e| e.to_string(), |()| String::new()))
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let text = said("conv1.weight", (3, 4), 9, value)?;
            assert!(text.contains("`conv1.weight`, channel 2: ") && text.contains("not a finite"), "{text}");
        }
        assert!(
            said("bn1.running_var", (3, 1), 1, -1e-3)?.contains("channel 1: -0.001 is a variance below 0")
        );
        assert_eq!(said("conv1.bias", (3, 1), 1, -1e-3)?, "");
        Ok(())
    }
}
