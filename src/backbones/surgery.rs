//! Function-preserving conversions of weights: fully connected layers as matrices or as convolutions, lightness or Lab
//! as input; and the difference between two networks. Batch normalization is absorbed by [`super::absorb`].

use super::{kinds::ConvRow, network::Network, table::Layer};
use crate::{
    extremes::{between, largest_of},
    nn::{Mode, weights::Named},
};
use candle_core::{Result, Tensor, bail};

/// Number of Lab channels.
const LAB: usize = 3;

/// Converts fully connected layers, which are convolutions here, to matrices: `(O, K, K, C)` → `(O, C·K·K)`, flattened
/// as in Caffe and PyTorch, C slowest. Other tensors are unchanged.
///
/// # Errors
/// A weight of neither shape.
pub fn to_matrices(rows: &[Layer], tensors: &Named) -> Result<Named> {
    reshaped(rows, tensors, |conv, weight| match weight.rank() {
        2 => Ok(weight.clone()),
        _ => weight.permute((0, 3, 1, 2))?.reshape((shape(conv, weight)[0], ()))?.contiguous(),
    })
}

/// The inverse of [`to_matrices`]: `(O, C·K·K)` → `(O, K, K, C)`.
///
/// # Errors
/// A weight of neither shape.
pub fn to_convolutions(rows: &[Layer], tensors: &Named) -> Result<Named> {
    reshaped(rows, tensors, |conv, weight| match weight.rank() {
        2 => {
            let [outputs, height, width, inputs] = shape(conv, weight);
            weight.reshape((outputs, inputs, height, width))?.permute((0, 2, 3, 1))?.contiguous()
        }
        _ => Ok(weight.clone()),
    })
}

/// A convolution's own shape, with the number of outputs of the file, since heads differ.
fn shape(conv: &ConvRow, weight: &Tensor) -> [usize; 4] {
    let outputs = weight.dims().first().copied().unwrap_or(conv.outputs);
    [outputs, conv.window.kernel, conv.window.kernel, conv.inputs / conv.groups]
}

fn reshaped(
    rows: &[Layer],
    tensors: &Named,
    change: impl Fn(&ConvRow, &Tensor) -> Result<Tensor>,
) -> Result<Named> {
    let mut out = tensors.clone();
    for row in rows {
        let name = format!("{}.weight", row.name);
        let (Some(conv), Some(weight)) = (row.conv().filter(|conv| conv.fully_connected), tensors.get(&name))
        else {
            continue;
        };
        let window = shape(conv, weight);
        let matrix = [window[0], window[1..].iter().product()];
        if weight.dims() != window && weight.dims() != matrix {
            bail!(
                "`{name}` is {:?}; a layer of this network is {window:?} or, as a matrix, {matrix:?}",
                weight.dims()
            )
        }
        out.insert(name, change(conv, weight)?);
    }
    Ok(out)
}

/// Converts weights for lightness to weights for Lab (L, a, b): in the first convolution the weights of a and b are
/// zero, so the function does not depend on them until fine-tuning changes these weights.
///
/// # Errors
/// A first convolution that is missing or has more than one input channel.
pub fn lightness_to_lab_weights(rows: &[Layer], tensors: &Named) -> Result<Named> {
    let first = rows.iter().find(|row| row.conv().is_some());
    let name = first.map_or_else(String::new, |row| format!("{}.weight", row.name));
    let Some(weight) = tensors.get(&name) else { bail!("the first convolution `{name}` is missing") };
    let (outputs, height, width, channels) = weight.dims4()?;
    if channels != 1 {
        bail!(
            "`{name}` already takes {channels} channels; only weights for one lightness channel can be converted"
        )
    }
    let chroma = Tensor::zeros((outputs, height, width, LAB - 1), weight.dtype(), weight.device())?;
    let mut out = tensors.clone();
    out.insert(name, Tensor::cat(&[weight, &chroma], 3)?);
    Ok(out)
}

/// Difference between the outputs of two networks; NaN if an output is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Largest |a − b|.
    pub largest: f64,
    /// Largest |a|, for comparison.
    pub scale: f64,
}

/// Runs both networks on the inputs `x` `(B, H, W, C)` and compares their outputs.
///
/// # Errors
/// Outputs of different shapes; maps too small.
pub fn difference(a: &Network, b: &Network, x: &Tensor) -> Result<Difference> {
    let output = |net: &Network| -> Result<Tensor> {
        Ok(net.forward(x, &[net.head().label()], &Mode::Frozen)?.remove(0))
    };
    let (a, b) = (output(a)?, output(b)?);
    Ok(Difference { largest: between(&a, &b)?, scale: largest_of(&a)? })
}
