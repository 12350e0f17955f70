//! The label grid: sampling of label pixels, prediction at these pixels, and upsampling back to the picture; maps of other
//! layers. Labels
//! are point samples at multiples of the network's stride, not averages.

use crate::{
    backbones::{
        network::{Network, PixelGrid},
        table::heads as heads_of,
        vgg,
    },
    device::{keep_layouts, table},
    nn::Mode,
    ops::resize::resize_bilinear,
};
use candle_core::{Result, Tensor};

/// The network's deep-supervision heads, then its own head, with their loss weights.
pub(super) fn heads(network: &Network) -> Vec<(String, f64)> {
    let weight = |name: &str| vgg::BRANCHES.iter().find(|(branch, _)| *branch == name).map_or(1.0, |b| b.1);
    heads_of(network.layers()).map(|head| (head.into(), weight(head))).collect()
}

/// Samples every `stride`-th pixel, starting at 0, without averaging: `(B, H, W, C)` → `(B, h, w, C)`.
pub(super) fn subsample(picture: &Tensor, stride: usize) -> Result<Tensor> {
    let every = |n: usize| table(&(0..n as u32).step_by(stride).collect::<Vec<_>>(), picture.device());
    let _layouts = keep_layouts(picture.device());
    let (_, h, w, _) = picture.dims4()?;
    picture.contiguous()?.index_select(&every(h)?, 1)?.index_select(&every(w)?, 2)
}

/// Outputs of the named heads at the label pixels: network input `(B, H, W, C)` → each `(B, h, w, Q)`, with h = ⌈H /
/// stride⌉. If the sides are not multiples of what the network needs, the input is padded at the bottom and right by
/// replication, and the output is cropped again.
pub(super) fn predict(net: &Network, input: &Tensor, heads: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
    predict_by(net.grid(), input, |padded| net.forward(padded, heads, mode))
}

/// As [`predict`], of outputs that `forward` computes from the padded input.
pub(super) fn predict_by(
    grid: PixelGrid,
    input: &Tensor,
    forward: impl Fn(&Tensor) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let _layouts = keep_layouts(input.device());
    let (_, height, width, _) = input.dims4()?;
    let PixelGrid { stride, align_corners, .. } = grid;
    let (padded, sides) = padded(grid, input)?;
    let labels = sides.map(|n| n.div_ceil(stride));
    let at_labels = |map: Tensor| -> Result<Tensor> {
        let (_, h, w, _) = map.dims4()?;
        let map = if [h, w] == labels {
            map
        } else {
            resize_bilinear(&map, (labels[0], labels[1]), align_corners)?
        };
        crop(&crop(&map, 1, height.div_ceil(stride))?, 2, width.div_ceil(stride))
    };
    forward(&padded)?.into_iter().map(at_labels).collect()
}

/// Maps of the named layers `(B, h, w, C)`, without gradient, of a network input `(B, H, W, C)`, padded as in [`predict`].
pub(super) fn maps(net: &Network, input: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
    let _layouts = keep_layouts(input.device());
    net.forward(&padded(net.grid(), input)?.0, layers, &Mode::Frozen)
}

/// The input with the height and width that the network needs.
fn padded(grid: PixelGrid, input: &Tensor) -> Result<(Tensor, [usize; 2])> {
    let (_, height, width, _) = input.dims4()?;
    let sides = [height, width].map(|n| n.next_multiple_of(grid.multiple));
    Ok((pad_edge(&pad_edge(input, 1, sides[0])?, 2, sides[1])?, sides))
}

/// Upsamples bilinearly from the label pixels `(B, h, w, C)` to every pixel: `(B, height, width, C)`.
pub(super) fn upsampled(grid: PixelGrid, map: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let PixelGrid { stride, align_corners, .. } = grid;
    if align_corners {
        return resize_bilinear(map, (height, width), true);
    }
    // The last label's cell may extend beyond the picture.
    let (_, h, w, _) = map.dims4()?;
    let whole = resize_bilinear(map, (h * stride, w * stride), false)?;
    crop(&crop(&whole, 1, height)?, 2, width)?.contiguous()
}

/// Pads `x` along `axis` to `length` by repeating its last slice.
fn pad_edge(x: &Tensor, axis: usize, length: usize) -> Result<Tensor> {
    let n = x.dim(axis)?;
    if n == length { Ok(x.clone()) } else { x.pad_with_same(axis, 0, length - n) }
}

/// Crops `x` to the first `length` slices along `axis`.
fn crop(x: &Tensor, axis: usize, length: usize) -> Result<Tensor> {
    if x.dim(axis)? == length { Ok(x.clone()) } else { x.narrow(axis, 0, length) }
}
