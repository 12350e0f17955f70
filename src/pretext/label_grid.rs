//! Predictions at every label pixel of a picture: how pixels are sampled for labels, how a network's maps are brought
//! onto the same points, and how what lies on them is enlarged to the picture again. Labels are points at multiples of
//! the network's stride, not averages.

use crate::{
    backbones::{
        network::{Network, PixelGrid},
        table::heads as heads_of,
        vgg,
    },
    nn::Mode,
    ops::resize::resize_bilinear,
};
use candle_core::{Result, Tensor};

/// The heads of deep supervision that the network has, then its own, with the weights of their losses.
pub(super) fn heads(network: &Network) -> Vec<(String, f64)> {
    let weight = |name: &str| vgg::BRANCHES.iter().find(|(branch, _)| *branch == name).map_or(1.0, |b| b.1);
    heads_of(network.layers()).map(|head| (head.into(), weight(head))).collect()
}

/// Every `stride`-th pixel from pixel 0, no averaging: `(B, H, W, C)` → `(B, h, w, C)`.
pub(super) fn sampled(picture: &Tensor, stride: usize) -> Result<Tensor> {
    let every = |n: usize| Tensor::from_iter((0..n as u32).step_by(stride), picture.device());
    let (_, h, w, _) = picture.dims4()?;
    picture.contiguous()?.index_select(&every(h)?, 1)?.index_select(&every(w)?, 2)
}

/// What the named heads put out at the label pixels: a network's input `(B, H, W, C)` → each `(B, h, w, Q)`, with
/// h = ⌈H / stride⌉. A picture whose sides do not divide by what the network needs is continued over its lower and right
/// border by its last pixels; what lies there is cut off again.
pub(super) fn predict(net: &Network, input: &Tensor, heads: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
    let (_, height, width, _) = input.dims4()?;
    let PixelGrid { stride, align_corners, multiple } = net.grid();
    let sides = [height, width].map(|n| n.next_multiple_of(multiple));
    let padded = continued(&continued(input, 1, sides[0])?, 2, sides[1])?;
    let labels = sides.map(|n| n.div_ceil(stride));
    let at_labels = |map: Tensor| -> Result<Tensor> {
        let (_, h, w, _) = map.dims4()?;
        let map = if [h, w] == labels {
            map
        } else {
            resize_bilinear(&map, (labels[0], labels[1]), align_corners)?
        };
        cut(&cut(&map, 1, height.div_ceil(stride))?, 2, width.div_ceil(stride))
    };
    net.forward(&padded, heads, mode)?.into_iter().map(at_labels).collect()
}

/// From the label pixels `(B, h, w, C)` to every pixel of the picture, bilinear: `(B, height, width, C)`.
pub(super) fn enlarged(grid: PixelGrid, map: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let PixelGrid { stride, align_corners, .. } = grid;
    if align_corners {
        return resize_bilinear(map, (height, width), true);
    }
    // The last label's cell may reach beyond the picture.
    let (_, h, w, _) = map.dims4()?;
    let whole = resize_bilinear(map, (h * stride, w * stride), false)?;
    cut(&cut(&whole, 1, height)?, 2, width)?.contiguous()
}

/// `x` with its last slice along `axis` repeated up to `length`.
fn continued(x: &Tensor, axis: usize, length: usize) -> Result<Tensor> {
    let n = x.dim(axis)?;
    if n == length { Ok(x.clone()) } else { x.pad_with_same(axis, 0, length - n) }
}

/// The first `length` slices along `axis`.
fn cut(x: &Tensor, axis: usize, length: usize) -> Result<Tensor> {
    if x.dim(axis)? == length { Ok(x.clone()) } else { x.narrow(axis, 0, length) }
}
