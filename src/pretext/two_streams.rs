//! Passes of the network with a local and a global stream ([`crate::backbones::iizuka`]): the global stream sees the whole
//! picture at a fixed size, the local one at its own.

use crate::{
    backbones::{
        iizuka::{COLOR_HEAD, FUSION, GLOBAL, LOCAL},
        kinds::fused,
        network::Network,
    },
    device::keep_layouts,
    nn::Mode,
    ops::resize::resize_bilinear,
};
use candle_core::{Result, Tensor};

/// Outputs of `heads` for inputs `(B, H, W, 1)`, whose sides are multiples of 8; the global stream sees `side` × `side`
/// pixels. If that is the input's size, both streams share the low-level features.
///
/// # Errors
/// A size that the network does not take.
pub(super) fn forward(
    net: &Network,
    side: usize,
    input: &Tensor,
    heads: &[&str],
    mode: &Mode,
) -> Result<Vec<Tensor>> {
    let _layouts = keep_layouts(input.device());
    let (_, height, width, _) = input.dims4()?;
    if (height, width) == (side, side) {
        return net.forward(input, heads, mode);
    }
    let whole = resize_bilinear(input, (side, side), false)?;
    let of_whole: Vec<&str> = heads.iter().copied().filter(|head| *head != COLOR_HEAD).collect();
    let mut others = net.forward(&whole, &[&of_whole[..], &[GLOBAL]].concat(), mode)?;
    let Some(vector) = others.pop().filter(|_| heads.contains(&COLOR_HEAD)) else { return Ok(others) };
    let local = net.forward(input, &[LOCAL], mode)?.remove(0);
    let ab = net.forward_from(FUSION, &fused(&local, &vector)?, &[COLOR_HEAD], mode)?.remove(0);
    let mut others = others.into_iter();
    let output = |head: &&str| if *head == COLOR_HEAD { Some(ab.clone()) } else { others.next() };
    Ok(heads.iter().filter_map(output).collect())
}
