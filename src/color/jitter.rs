//! Random changes of color for augmentation, as in SimCLR (Chen, Kornblith, Norouzi and Hinton 2020, appendix A; the
//! multiplicative variant of the authors' code): brightness, contrast, saturation and hue, in any order, clipped to
//! [0, 1] after each, and then gray.
//!
//! Contrast is relative to each channel's mean over the picture, and saturation is that of HSV, as in TensorFlow;
//! torchvision uses the mean of the gray picture and a blend with gray. Values are sRGB from 0 to 1.

use crate::op::{compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// Weights of red, green and blue in a gray value.
const GRAY: [f32; 3] = [0.2989, 0.587, 0.114];
/// Numbers that describe the changes of one picture to a kernel: kind and amount of each change, and whether it is gray.
const DESCRIBED: usize = 9;

/// One change of a picture's colors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColorChange {
    /// Multiplies all channels.
    Brightness(f32),
    /// Multiplies the distance of each channel from its mean.
    Contrast(f32),
    /// Multiplies the saturation of HSV, up to 1.
    Saturation(f32),
    /// Adds to the hue of HSV, in turns.
    Hue(f32),
}

/// The changes of one picture, in order.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct ColorJitter {
    pub changes: [Option<ColorChange>; 4],
    /// Whether only the gray value is left.
    pub gray: bool,
}

impl ColorJitter {
    /// As numbers: 0 to 4 for each kind of change (4: none) and its amount, then 1 for gray.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    fn described(&self) -> [f32; DESCRIBED] {
        let mut numbers = [0.0; DESCRIBED];
        for (pair, change) in numbers.chunks_exact_mut(2).zip(self.changes) {
            let (kind, amount) = match change {
                Some(ColorChange::Brightness(factor)) => (0.0, factor),
                Some(ColorChange::Contrast(factor)) => (1.0, factor),
                Some(ColorChange::Saturation(factor)) => (2.0, factor),
                Some(ColorChange::Hue(turns)) => (3.0, turns),
                None => (4.0, 0.0),
            };
            pair.copy_from_slice(&[kind, amount]);
        }
        numbers[DESCRIBED - 1] = if self.gray { 1.0 } else { 0.0 };
        numbers
    }

    /// Changes the pixels of a picture.
    fn apply(&self, pixels: &mut [[f32; 3]]) {
        for change in self.changes.into_iter().flatten() {
            match change {
                ColorChange::Brightness(factor) => map(pixels, |rgb| rgb.map(|v| v * factor)),
                ColorChange::Contrast(factor) => {
                    let mean = means(pixels);
                    map(pixels, |rgb| [0, 1, 2].map(|c| mean[c] + factor * (rgb[c] - mean[c])));
                }
                ColorChange::Saturation(factor) => map(pixels, |rgb| saturated(rgb, factor)),
                ColorChange::Hue(turns) => map(pixels, |rgb| turned(rgb, turns)),
            }
        }
        if self.gray {
            map(pixels, |rgb| [rgb[0] * GRAY[0] + rgb[1] * GRAY[1] + rgb[2] * GRAY[2]; 3]);
        }
    }
}

/// Changes every pixel and clips it.
fn map(pixels: &mut [[f32; 3]], change: impl Fn([f32; 3]) -> [f32; 3]) {
    pixels.iter_mut().for_each(|rgb| *rgb = change(*rgb).map(|value| value.clamp(0.0, 1.0)));
}

fn means(pixels: &[[f32; 3]]) -> [f32; 3] {
    let mut sums = [0f64; 3];
    for rgb in pixels {
        sums.iter_mut().zip(rgb).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.map(|sum| (sum / pixels.len().max(1) as f64) as f32)
}

fn range(rgb: [f32; 3]) -> (f32, f32) {
    let [r, g, b] = rgb;
    (r.min(g).min(b), r.max(g).max(b))
}

/// At constant value V and hue, each channel's distance from V is proportional to the saturation (V − min) / V.
fn saturated(rgb: [f32; 3], factor: f32) -> [f32; 3] {
    let (low, value) = range(rgb);
    if value <= low {
        return rgb;
    }
    let scale = factor.min(value / (value - low));
    rgb.map(|channel| value - (value - channel) * scale)
}

/// Adds `turns` to the hue, which is in sixths of a turn: 0 red, 2 green, 4 blue.
fn turned(rgb: [f32; 3], turns: f32) -> [f32; 3] {
    let [r, g, b] = rgb;
    let (low, value) = range(rgb);
    let chroma = value - low;
    if chroma <= 0.0 {
        return rgb;
    }
    let hue = if value == r {
        (g - b) / chroma
    } else if value == g {
        2.0 + (b - r) / chroma
    } else {
        4.0 + (r - g) / chroma
    };
    let hue = hue + 6.0 * turns;
    [5.0, 3.0, 1.0].map(|offset: f32| {
        let k = (offset + hue).rem_euclid(6.0);
        value - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

/// Changes the colors of f32 RGB `(N, H, W, 3)` from 0 to 1, picture by picture, on its device. No gradient.
///
/// # Errors
/// Other dtypes and shapes, another number of changes.
pub fn jitter(pictures: &Tensor, changes: &[ColorJitter]) -> Result<Tensor> {
    let (count, height, width, channels) = pictures.dims4()?;
    if pictures.dtype() != DType::F32 || channels != 3 || changes.len() != count {
        let (dtype, shape, changes) = (pictures.dtype(), pictures.dims(), changes.len());
        bail!("{NAME}: expected f32 RGB (N, H, W, 3) and N changes, got {dtype:?} {shape:?} and {changes}")
    }
    let size = 3 * height * width;
    compute(
        NAME,
        [pictures],
        |[pictures]| {
            let mut changed = pictures.elements::<f32>()?.to_vec();
            let each = changed.par_chunks_mut(size.max(1)).zip(changes);
            each.for_each(|(picture, jitter)| jitter.apply(picture.as_chunks_mut::<3>().0));
            Ok(output(changed, pictures.shape()))
        },
        #[cfg(feature = "cuda")]
        |[pictures]| jitter_on_gpu(pictures, changes),
    )
}

const NAME: &str = "color_jitter";
/// Threads of a block, which changes one picture.
#[cfg(feature = "cuda")]
const BLOCK: u32 = 256;

/// One block for each picture.
#[cfg(feature = "cuda")]
fn jitter_on_gpu(pictures: CudaInput, changes: &[ColorJitter]) -> Result<CudaOutput> {
    let device = pictures.device();
    let described: Vec<f32> = changes.iter().flat_map(ColorJitter::described).collect();
    let on_device = candle_core::Device::Cuda(device.clone());
    let described = Tensor::from_vec(described, (changes.len(), DESCRIBED), &on_device)?;
    let (out, y) = alloc_uninit(device, pictures.shape(), DType::F32)?;
    let pixels = pictures.shape().elem_count() / (3 * changes.len().max(1));
    let pointers = [pictures.address()?, device_ptr(NAME, &described)?, y].map(Arg::Pointer);
    let args = [&pointers[..], &[Arg::length(pixels)]].concat();
    launch(device, modules::COLOR, NAME, Grid::blocks(changes.len(), BLOCK), &args)?;
    Ok((out, pictures.shape().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn changed(pixels: &[[f32; 3]], changes: &[ColorChange], gray: bool) -> Vec<[f32; 3]> {
        let mut list = [None; 4];
        changes.iter().zip(&mut list).for_each(|(change, slot)| *slot = Some(*change));
        let x = Tensor::from_slice(pixels.as_flattened(), (1, 1, pixels.len(), 3), &Device::Cpu).unwrap();
        let y = jitter(&x, &[ColorJitter { changes: list, gray }]).unwrap();
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap().as_chunks::<3>().0.to_vec()
    }

    fn near(got: &[[f32; 3]], want: &[[f32; 3]]) {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(got.as_flattened().iter().zip(want.as_flattened()).all(close), "{got:?}, not {want:?}");
    }

    const ONE: [[f32; 3]; 1] = [[0.2, 0.4, 0.6]];

    #[test]
    fn each_change_does_what_its_name_says() {
        use ColorChange::*;
        near(&changed(&ONE, &[Brightness(2.0)], false), &[[0.4, 0.8, 1.0]]);
        let two = [[0.2, 0.4, 0.6], [0.4, 0.4, 0.2]];
        near(&changed(&two, &[Contrast(0.5)], false), &[[0.25, 0.4, 0.5], [0.35, 0.4, 0.3]]);
        // S is 2/3: none, half, and as much as there can be
        near(&changed(&ONE, &[Saturation(0.0)], false), &[[0.6; 3]]);
        near(&changed(&ONE, &[Saturation(0.5)], false), &[[0.4, 0.5, 0.6]]);
        near(&changed(&ONE, &[Saturation(3.0)], false), &[[0.0, 0.3, 0.6]]);
        // a third of a turn moves the channels, a sixth leads from red to yellow
        near(&changed(&ONE, &[Hue(1.0 / 3.0)], false), &[[0.6, 0.2, 0.4]]);
        near(&changed(&ONE, &[Hue(-1.0 / 3.0)], false), &[[0.4, 0.6, 0.2]]);
        near(&changed(&[[1.0, 0.0, 0.0]], &[Hue(1.0 / 6.0)], false), &[[1.0, 1.0, 0.0]]);
        near(&changed(&[[0.5; 3]], &[Hue(0.3), Saturation(2.0)], false), &[[0.5; 3]]);
        near(&changed(&ONE, &[], true), &[[0.2 * 0.2989 + 0.4 * 0.587 + 0.6 * 0.114; 3]]);
        near(&changed(&ONE, &[], false), &ONE);
    }

    #[test]
    fn changes_follow_their_order_and_are_clipped_in_between() {
        use ColorChange::*;
        near(&changed(&ONE, &[Brightness(2.0), Brightness(0.5)], false), &[[0.2, 0.4, 0.5]]);
        near(&changed(&ONE, &[Brightness(0.5), Brightness(2.0)], false), &ONE);
    }

    #[test]
    fn pictures_are_changed_one_by_one_and_other_tensors_are_refused() {
        let x = Tensor::new(&[[[[0.2f32, 0.4, 0.6]]], [[[0.2, 0.4, 0.6]]]], &Device::Cpu).unwrap();
        let none = ColorJitter::default();
        let y = jitter(&x, &[none, ColorJitter { gray: true, ..none }]).unwrap();
        let y = y.reshape((2, 3)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(y[0], [0.2, 0.4, 0.6]);
        assert!(y[1][0] == y[1][1] && y[1][0] != y[0][0]);
        assert!(jitter(&x, &[none]).is_err());
        assert!(jitter(&x.to_dtype(DType::F64).unwrap(), &[none, none]).is_err());
    }
}
