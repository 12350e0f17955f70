//! From feature maps to pixel-wise scores: interpolation at the actual positions of the network's receptive fields,
//! which are computed from the layer table. Padding and cropping are therefore not specified twice.

use super::Stride;
use crate::{
    backbones::{
        network::Network,
        table::{Lattice, Layer, lattice},
    },
    nn::{
        Mode,
        init::Filler,
        layers::{Conv, ConvShape, Fillers},
        params::Params,
    },
    ops::{conv::ConvGeometry, resize::interpolate},
    rng::Rng,
};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// A network of the dense variant with 1×1 classifiers on its finer maps.
pub struct SegmentationHead {
    net: Network,
    /// Positions of the last layer's outputs.
    coarse: Lattice,
    /// Skip connections, coarse to fine.
    skips: Vec<Skip>,
}

struct Skip {
    layer: String,
    lattice: Lattice,
    score: Conv,
}

impl SegmentationHead {
    /// Adds zero-initialized classifiers on the finer maps to `params`, so that the initial scores are the coarse
    /// ones.
    ///
    /// # Errors
    /// A network without a map at half or a quarter of the last stride.
    pub fn new(net: Network, stride: Stride, params: &mut Params, rng: &Rng) -> Result<Self> {
        let coarse = lattice(net.layers(), net.layers().len());
        let outputs = net.head().outputs;
        let mut skips = vec![];
        for row in skip_rows(net.layers(), stride)? {
            let layer = &net.layers()[row];
            let shape = ConvShape { inputs: layer.outputs, outputs, kernel: 1 };
            let geometry = ConvGeometry { stride: 1, pad: 0, dilation: 1, groups: 1 };
            let zero = Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) };
            let score = Conv::new(params, &score_name(layer), shape, geometry, zero, rng)?;
            skips.push(Skip { layer: layer.label().into(), lattice: lattice(net.layers(), row + 1), score });
        }
        Ok(Self { net, coarse, skips })
    }

    /// Pictures u8 RGB `(B, H, W, 3)` → scores `(B, H, W, classes)`.
    ///
    /// # Errors
    /// Pictures smaller than the last receptive field.
    pub fn forward(&self, pixels: &Tensor, mode: &Mode) -> Result<Tensor> {
        let (_, height, width, _) = pixels.dims4()?;
        let x = self.net.input().read(pixels)?;
        let mut taps = vec![self.net.head().label()];
        taps.extend(self.skips.iter().map(|skip| skip.layer.as_str()));
        let mut maps = self.net.forward(&x, &taps, mode)?.into_iter();
        let (mut scores, mut at) = (maps.next().context("the network gave no map")?, self.coarse);
        for (skip, map) in self.skips.iter().zip(maps) {
            let (_, rows, columns, _) = map.dims4()?;
            let finer = interpolate_onto(&scores, at, skip.lattice, (rows, columns))?;
            scores = (skip.score.forward(&map, mode)? + finer)?;
            at = skip.lattice;
        }
        interpolate_onto(&scores, at, Lattice { stride: 1.0, origin: 0.0 }, (height, width))
    }
}

/// Names of the classifiers on the finer maps of a network of these layers.
///
/// # Errors
/// As [`SegmentationHead::new`].
pub fn scores(layers: &[Layer], stride: Stride) -> Result<Vec<String>> {
    Ok(skip_rows(layers, stride)?.into_iter().map(|row| score_name(&layers[row])).collect())
}

fn score_name(layer: &Layer) -> String {
    format!("score_{}", layer.label())
}

/// The layers with finer maps, coarse to fine.
fn skip_rows(layers: &[Layer], stride: Stride) -> Result<Vec<usize>> {
    let factors: &[f64] = match stride {
        Stride::Coarse => &[],
        Stride::Middle => &[0.5],
        Stride::Fine => &[0.5, 0.25],
    };
    let coarse = lattice(layers, layers.len()).stride;
    let row = |factor| {
        let finer = coarse * factor;
        let row = skip(layers, finer);
        row.with_context(|| format!("the network refines its scores from no map at stride {finer}"))
    };
    factors.iter().map(row).collect()
}

/// The last skip layer with a stride of `stride` pixels.
fn skip(layers: &[Layer], stride: f64) -> Option<usize> {
    (0..layers.len()).rfind(|&i| layers[i].skip && lattice(layers, i + 1).stride == stride)
}

/// Interpolates a map on lattice `from` at the first `size` points of lattice `to`, as a transposed convolution with a
/// bilinear filter does: the map decays to zero beyond the outermost cells.
fn interpolate_onto(map: &Tensor, from: Lattice, to: Lattice, size: (usize, usize)) -> Result<Tensor> {
    let bordered = map.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let at = |i: usize| (to.origin + i as f64 * to.stride - from.origin) / from.stride + 1.0;
    let positions = |n: usize| (0..n).map(at).collect::<Vec<f64>>();
    Ok(interpolate(&bordered, &positions(size.0), &positions(size.1))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{BackboneSpec, Build, Variant, alexnet::AlexNetSpec, vgg16::Vgg16Spec},
        bounded::Positive,
        extremes::between,
        ops::conv_transpose::conv_transpose2d,
    };
    use candle_core::Device;

    #[test]
    fn classifiers_are_named_before_they_are_added() -> Result<()> {
        let spec = BackboneSpec::Vgg16(Vgg16Spec { width: Positive::of(0.05), ..Vgg16Spec::default() });
        for (stride, added) in [(Stride::Coarse, 0), (Stride::Middle, 2), (Stride::Fine, 4)] {
            let build = Build { variant: Variant::Dense, outputs: Some(3), ..spec.plain() };
            let (mut params, rng) = (Params::new(&Device::Cpu), Rng::new(0));
            let net = spec.build(&build, &mut params, &rng)?;
            let (before, named) = (params.iter().count(), scores(net.layers(), stride)?);
            SegmentationHead::new(net, stride, &mut params, &rng)?;
            let news: Vec<&str> = params.iter().skip(before).map(|param| param.name.as_str()).collect();
            let named = named.iter().flat_map(|name| [format!("{name}.weight"), format!("{name}.bias")]);
            assert_eq!(news, named.collect::<Vec<_>>());
            assert_eq!(news.len(), added);
        }
        Ok(())
    }

    fn dense(spec: &BackboneSpec) -> Lattice {
        let build =
            Build { variant: Variant::Dense, batch_norm: false, input_channels: 1, outputs: Some(21) };
        {
            let table = spec.table(&build);
            lattice(&table, table.len())
        }
    }

    /// Long, Shelhamer and Darrell crop their transposed convolutions (63 and 64 pixels wide, centered on 31 and 31.5)
    /// at 18 (AlexNet) and 19 (VGG-16): the center of cell 0 is at pixel 13 and 12.5.
    #[test]
    fn the_published_crops_follow_from_the_tables() {
        let alexnet = dense(&BackboneSpec::Alexnet(AlexNetSpec::default()));
        assert_eq!((alexnet.stride, 31.0 - alexnet.origin), (32.0, 18.0));
        let vgg16 = dense(&BackboneSpec::Vgg16(Vgg16Spec::default()));
        assert_eq!((vgg16.stride, 31.5 - vgg16.origin), (32.0, 19.0));
    }

    /// Equals the release's fixed bilinear transposed convolution, cropped at 18.
    #[test]
    fn interpolation_is_the_released_transposed_convolution() -> Result<()> {
        let (rows, columns, size) = (5, 4, (130, 100));
        let map = Tensor::randn(0f32, 1.0, (1, rows, columns, 1), &Device::Cpu)?;
        let tent = |i: usize| 1.0 - (i as f32 - 31.0).abs() / 32.0;
        let filter: Vec<f32> = (0..63 * 63).map(|i| tent(i / 63) * tent(i % 63)).collect();
        let filter = Tensor::from_vec(filter, (1, 63, 63, 1), &Device::Cpu)?;
        let geometry = ConvGeometry { stride: 32, pad: 0, dilation: 1, groups: 1 };
        let whole = conv_transpose2d(&map, &filter, None, geometry)?;
        let cropped = whole.narrow(1, 18, size.0)?.narrow(2, 18, size.1)?;
        let pixels = Lattice { stride: 1.0, origin: 0.0 };
        let ours = interpolate_onto(&map, Lattice { stride: 32.0, origin: 13.0 }, pixels, size)?;
        let error = between(&ours, &cropped)?;
        assert!(error < 1e-5, "{error}");
        Ok(())
    }
}
