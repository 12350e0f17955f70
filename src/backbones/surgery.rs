//! Weights of a network as another graph of the same function wants them: fully connected layers as matrices or as
//! convolutions, lightness or Lab as input; and how much two networks differ. Batch normalization is taken in by
//! [`super::absorb`].

use super::{kinds::ConvRow, network::Network, table::Layer};
use crate::{
    extremes::{between, largest_of},
    nn::{Mode, weights::Named},
};
use candle_core::{Result, Tensor, bail};

/// Channels of Lab.
const LAB: usize = 3;

/// Fully connected layers that are convolutions here: `(O, K, K, C)` → `(O, C·K·K)`, flattened as Caffe and PyTorch
/// flatten maps, C slowest. All else stays.
///
/// # Errors
/// A weight that is neither.
pub fn to_matrices(rows: &[Layer], tensors: &Named) -> Result<Named> {
    reshaped(rows, tensors, |conv, weight| match weight.rank() {
        2 => Ok(weight.clone()),
        _ => weight.permute((0, 3, 1, 2))?.reshape((shape(conv, weight)[0], ()))?.contiguous(),
    })
}

/// The way back: `(O, C·K·K)` → `(O, K, K, C)`.
///
/// # Errors
/// A weight that is neither.
pub fn to_convolutions(rows: &[Layer], tensors: &Named) -> Result<Named> {
    reshaped(rows, tensors, |conv, weight| match weight.rank() {
        2 => {
            let [outputs, height, width, inputs] = shape(conv, weight);
            weight.reshape((outputs, inputs, height, width))?.permute((0, 2, 3, 1))?.contiguous()
        }
        _ => Ok(weight.clone()),
    })
}

/// A convolution's own shape; its number of outputs is that of the file, since heads differ.
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

/// Weights for lightness → weights for Lab (L, a, b): the first convolution sees a and b with weights of zero, so the
/// function is the same whatever the colors, and fine-tuning can begin to use them.
///
/// # Errors
/// A first convolution that is missing or does not take one channel.
pub fn lightness_to_lab_weights(rows: &[Layer], tensors: &Named) -> Result<Named> {
    let first = rows.iter().find(|row| row.conv().is_some());
    let name = first.map_or_else(String::new, |row| format!("{}.weight", row.name));
    let Some(weight) = tensors.get(&name) else { bail!("the first convolution `{name}` is missing") };
    let (outputs, height, width, channels) = weight.dims4()?;
    if channels != 1 {
        bail!(
            "`{name}` takes {channels} channels already; only weights for lightness alone can be given color"
        )
    }
    let chroma = Tensor::zeros((outputs, height, width, LAB - 1), weight.dtype(), weight.device())?;
    let mut out = tensors.clone();
    out.insert(name, Tensor::cat(&[weight, &chroma], 3)?);
    Ok(out)
}

/// How far the last rows of two networks are apart; not a number where an output is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Largest |a − b|.
    pub largest: f64,
    /// Largest |a|, to compare with.
    pub scale: f64,
}

/// Both networks on the inputs `x` `(B, H, W, C)`.
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
