//! Views of pictures for tasks that classify them: squares cut from a picture, quarter turns, tricks that hide color, and
//! the normalization of each view. Views are u8 RGB like pictures; networks read them as they read any picture.
//!
//! Views are made in a loop over host memory, one picture at a time, so that they depend on the picture's own random
//! stream and not on the number of threads; they are normalized as tensors on the device.

use crate::{
    backbones::input::Input,
    data::{dataset::RgbImage, transforms::resize_to},
    device::keep_layouts,
    train::{
        panel::{RgbTile, panel},
        task::ImagePanel,
    },
};
use anyhow::{Context, Result};
use candle_core::Tensor;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One picture of a batch, u8 RGB in rows.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub pixels: &'a [u8],
    pub width: usize,
    pub height: usize,
}

/// Row and column of a pixel.
pub type Position = (usize, usize);

impl Picture<'_> {
    /// Copies the square of `side` pixels whose first pixel is `at` to `out`, `(side, side, 3)`. Channel c is displaced
    /// by `shifts[c]`, downward and to the right.
    ///
    /// # Panics
    /// When the square leaves the picture or `out` has another length.
    pub fn cut(&self, at: Position, shifts: [Position; 3], side: usize, out: &mut [u8]) {
        assert_eq!(out.len(), 3 * side * side, "the slice is not one view of {side} pixels");
        if shifts == [shifts[0]; 3] {
            let (top, left) = (at.0 + shifts[0].0, at.1 + shifts[0].1);
            for (row, out) in out.chunks_exact_mut(3 * side).enumerate() {
                let from = 3 * ((top + row) * self.width + left);
                out.copy_from_slice(&self.pixels[from..from + 3 * side]);
            }
            return;
        }
        for (channel, (down, right)) in shifts.into_iter().enumerate() {
            let (top, left) = (at.0 + down, at.1 + right);
            for (row, out) in out.chunks_exact_mut(3 * side).enumerate() {
                let from = 3 * ((top + row) * self.width + left);
                let from = self.pixels[from..from + 3 * side].iter().skip(channel).step_by(3);
                out.iter_mut().skip(channel).step_by(3).zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// Writes `view`, a square of `side` pixels, turned counterclockwise by `turns` quarters. Exact: pixels only change
/// their places.
pub fn quarter_turns(view: &[u8], side: usize, turns: usize, out: &mut [u8]) {
    let (from, to) = (view.as_chunks::<3>().0, out.as_chunks_mut::<3>().0);
    // the pixels of an output row are a column of the view
    let rows = to.chunks_exact_mut(side.max(1)).enumerate();
    match turns % 4 {
        0 => out.copy_from_slice(view),
        1 => rows.for_each(|(y, row)| copy_pixels(from[side - 1 - y..].iter().step_by(side), row)),
        2 => copy_pixels(from.iter().rev(), to),
        _ => rows.for_each(|(y, row)| copy_pixels(from[y..].iter().step_by(side).rev(), row)),
    }
}

fn copy_pixels<'a>(from: impl Iterator<Item = &'a [u8; 3]>, to: &mut [[u8; 3]]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Sets every pixel to the mean of its channels.
pub fn gray(view: &mut [u8]) {
    for pixel in view.as_chunks_mut::<3>().0 {
        let sum: u16 = pixel.iter().map(|value| u16::from(*value)).sum();
        *pixel = [((sum + 1) / 3) as u8; 3];
    }
}

/// Removes the component along a = (−1, 2, −1), green to magenta, in which lenses disperse colors differently toward
/// the corners: x ← x − a·(a·x) / 6 (Doersch, Gupta and Efros 2015).
pub fn project(view: &mut [u8]) {
    for pixel in view.as_chunks_mut::<3>().0 {
        let [r, g, b] = pixel.map(f32::from);
        let along = (2.0 * g - r - b) / 6.0;
        *pixel = [r + along, g - 2.0 * along, b + along].map(|value| value.round().clamp(0.0, 255.0) as u8);
    }
}

/// Replaces two of the channels, chosen at random, by noise of one gray level around the middle.
pub fn drop_colors(view: &mut [u8], rng: &mut ChaCha8Rng) {
    let kept = rng.random_range(0..3);
    for pixel in view.as_chunks_mut::<3>().0 {
        let noise: u8 = rng.random();
        for (channel, value) in pixel.iter_mut().enumerate() {
            if channel != kept {
                *value = 127 + (noise >> channel & 1);
            }
        }
    }
}

/// Shrinks a view of `side` pixels to `small` pixels and enlarges it again.
///
/// # Errors
/// An empty size.
pub fn blur(view: &mut [u8], side: usize, small: usize) -> Result<()> {
    let picture = RgbImage { width: side, height: side, pixels: view.to_vec() };
    let shrunk = resize_to(&picture, (small, small))?;
    view.copy_from_slice(&resize_to(&shrunk, (side, side))?.pixels);
    Ok(())
}

/// Normalization of each view by its own statistics, which otherwise tell from which part of a picture it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Normalization of views")]
pub enum Normalization {
    /// The view as it is.
    Off,
    /// Mean and deviation over all channels together.
    Joint,
    /// Mean and deviation of each channel.
    Channel,
    /// Mean of each channel, deviation over all channels together.
    Contrast,
}

/// Deviation of normalized views: about that of photographs in each format, so that a network meets the same scale when
/// it is used.
fn contrast(input: Input) -> f32 {
    match input {
        Input::Lightness => 25.0,
        Input::Lab => 20.0,
        Input::Ab => 12.0,
        Input::BgrMean | Input::Bgr => 50.0,
        Input::BgrSigned => 0.4,
        Input::RgbUnit => 1.0,
        Input::Hints | Input::HintsCentered | Input::Gray | Input::Luma => 0.25,
        Input::LumaBgr => 50.0,
    }
}

/// Views u8 RGB `(N, H, W, 3)` as a network reads them, f32 `(N, H, W, C)`, each normalized by itself.
///
/// # Errors
/// Other dtypes and shapes.
pub fn read(views: &Tensor, input: Input, how: Normalization) -> Result<Tensor> {
    Ok(normalized(&input.read(views)?, how, f64::from(contrast(input)))?)
}

/// Gives every view of `x` `(N, H, W, C)` mean 0 and deviation `contrast`. A view whose deviation is below a thousandth of
/// that is flat, and only its mean is subtracted.
fn normalized(x: &Tensor, how: Normalization, contrast: f64) -> candle_core::Result<Tensor> {
    let _layouts = keep_layouts(x.device());
    let (n, height, width, channels) = x.dims4()?;
    let pixels = x.reshape((n, height * width, channels))?;
    let (of_channels, of_all) = (|x: &Tensor| x.mean_keepdim(1), |x: &Tensor| x.mean_keepdim((1, 2)));
    let mean = match how {
        Normalization::Off => return Ok(x.clone()),
        Normalization::Joint => of_all(&pixels)?,
        Normalization::Channel | Normalization::Contrast => of_channels(&pixels)?,
    };
    let centered = pixels.broadcast_sub(&mean)?;
    let squares = centered.sqr()?;
    let deviation = match how {
        Normalization::Channel => of_channels(&squares)?,
        _ => of_all(&squares)?,
    };
    let deviation = deviation.sqrt()?;
    let factor = deviation
        .gt(contrast * 1e-3)?
        .where_cond(&(deviation.recip()? * contrast)?, &deviation.ones_like()?)?;
    centered.broadcast_mul(&factor)?.reshape((n, height, width, channels))
}

/// The pixels of a batch in host memory.
pub struct Pictures {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Pictures {
    /// Reads u8 RGB `(B, H, W, 3)`. Synchronizes with the device.
    ///
    /// # Errors
    /// Other shapes.
    pub fn read(pixels: &Tensor) -> Result<Self> {
        let (_, height, width, _) = pixels.dims4()?;
        let pixels = pixels.flatten_all()?.to_vec1::<u8>().context("pictures are u8 RGB")?;
        Ok(Self { pixels, width, height })
    }

    /// Every picture.
    pub fn each(&self) -> Vec<Picture<'_>> {
        let Self { pixels, width, height } = self;
        let picture = |pixels| Picture { pixels, width: *width, height: *height };
        pixels.chunks_exact((3 * width * height).max(1)).map(picture).collect()
    }
}

/// Pictures in a panel.
const PANEL_PICTURES: usize = 4;
/// Side to which small pictures are enlarged in a panel.
const PANEL_SIDE: usize = 96;

/// A panel of the first pictures, each followed by its `count` views, u8 RGB `(count·B, side, side, 3)`, by view.
///
/// # Errors
/// Views of another shape.
pub fn view_panel(
    name: &str,
    pictures: &Pictures,
    (views, count): (&Tensor, usize),
    titles: &[String],
) -> Result<ImagePanel> {
    let pictures = pictures.each();
    let (_, side, _, _) = views.dims4()?;
    let row = |(i, picture): (usize, &Picture)| -> Result<Vec<RgbTile>> {
        let mut tiles = vec![(picture.width, picture.height, picture.pixels.to_vec())];
        for view in 0..count {
            let pixels = views.get(view * pictures.len() + i)?.flatten_all()?.to_vec1()?;
            tiles.push((side, side, pixels));
        }
        Ok(tiles)
    };
    let rows = pictures.iter().take(PANEL_PICTURES).enumerate().map(row).collect::<Result<Vec<_>>>()?;
    let titles: Vec<&str> = std::iter::once("picture").chain(titles.iter().map(String::as_str)).collect();
    let scale = (PANEL_SIDE / rows[0][0].0.max(1)).max(1);
    let (width, height, rgb) = panel(&rows, &titles, scale)?;
    Ok(ImagePanel { name: name.into(), width, height, rgb })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use candle_core::{DType, Device};

    /// Each pixel says where it is: (column, row, column + row).
    fn map(width: usize, height: usize) -> Vec<u8> {
        (0..width * height)
            .flat_map(|i| [(i % width) as u8, (i / width) as u8, (i % width + i / width) as u8])
            .collect()
    }

    #[test]
    fn a_cut_holds_the_pixels_of_its_place_and_displaces_channels() {
        let pixels = map(50, 40);
        let picture = Picture { pixels: &pixels, width: 50, height: 40 };
        let mut view = [0; 3 * 49];
        picture.cut((11, 20), [(0, 0); 3], 7, &mut view);
        for (i, pixel) in view.chunks_exact(3).enumerate() {
            let (column, row) = (20 + i % 7, 11 + i / 7);
            assert_eq!(pixel, [column as u8, row as u8, (column + row) as u8]);
        }
        picture.cut((11, 20), [(1, 2), (0, 1), (3, 0)], 7, &mut view);
        for (i, pixel) in view.chunks_exact(3).enumerate() {
            let (column, row) = (20 + i % 7, 11 + i / 7);
            assert_eq!(pixel, [(column + 2) as u8, row as u8, (column + row + 3) as u8]);
        }
        let mut whole = vec![0; 3 * 40 * 40];
        picture.cut((0, 10), [(0, 0); 3], 40, &mut whole);
        assert_eq!((whole[0], whole[whole.len() - 3], whole[whole.len() - 2]), (10, 49, 39));
    }

    #[test]
    fn turns_are_exact_and_counterclockwise() {
        // 1 2      2 4
        // 3 4  →   1 3
        let small: Vec<u8> = [1, 2, 3, 4].into_iter().flat_map(|v| [v; 3]).collect();
        let mut turned = vec![0; 12];
        let values = |view: &[u8]| view.iter().step_by(3).copied().collect::<Vec<_>>();
        for (turns, wanted) in [(0, [1, 2, 3, 4]), (1, [2, 4, 1, 3]), (2, [4, 3, 2, 1]), (3, [3, 1, 4, 2])] {
            quarter_turns(&small, 2, turns, &mut turned);
            assert_eq!(values(&turned), wanted);
        }
        let view = map(9, 9);
        let (mut one, mut all) = (view.clone(), vec![]);
        for turns in 1..=4 {
            let mut next = vec![0; view.len()];
            quarter_turns(&one, 9, 1, &mut next);
            one = next;
            let mut at_once = vec![0; view.len()];
            quarter_turns(&view, 9, turns, &mut at_once);
            assert_eq!(one, at_once);
            all.push(at_once);
        }
        assert_eq!(all[3], view, "four turns are none");
        assert!(all[..3].iter().all(|turned| *turned != view));
    }

    /// (I − aᵀa / 6)·(60, 120, 30) by hand; what is left has no component along a.
    #[test]
    fn colors_are_taken_away_by_number() {
        let mut view = vec![60, 120, 30, 200, 0, 200];
        project(&mut view);
        assert_eq!(view, [85, 70, 55, 133, 133, 133]);
        let mut view = vec![60, 120, 30, 1, 1, 2, 255, 255, 255];
        gray(&mut view);
        assert_eq!(view, [70, 70, 70, 1, 1, 1, 255, 255, 255]);
    }

    #[test]
    fn one_channel_is_kept_and_each_is_at_times() {
        let (mut kept, view) = ([0; 3], map(20, 20));
        for index in 0..60 {
            let mut dropped = view.clone();
            drop_colors(&mut dropped, &mut Rng::new(1).at(0, index));
            let own = |channel: usize| {
                let values = |view: &[u8]| view.iter().skip(channel).step_by(3).copied().collect::<Vec<_>>();
                let now = values(&dropped);
                let noise = now.iter().all(|v| (127..=128).contains(v));
                assert!(noise || now == values(&view));
                assert!(!noise || (now.contains(&127) && now.contains(&128)));
                !noise
            };
            let which: Vec<usize> = (0..3).filter(|channel| own(*channel)).collect();
            assert_eq!(which.len(), 1);
            kept[which[0]] += 1;
        }
        assert!(kept.iter().all(|count| *count > 8), "{kept:?}");
    }

    #[test]
    fn blur_takes_detail_and_keeps_the_mean() {
        let stripes: Vec<u8> = (0..32 * 32).flat_map(|i| [if i % 2 == 0 { 0 } else { 200 }; 3]).collect();
        let mut view = stripes.clone();
        blur(&mut view, 32, 8).unwrap();
        assert!(view.iter().all(|value| value.abs_diff(100) < 20), "{view:?}");
        let mut same = stripes.clone();
        blur(&mut same, 32, 32).unwrap();
        assert_eq!(same, stripes);
    }

    /// A view of three channels with deviation 10, beside another view, which must not matter.
    fn own(view: &[f32], how: Normalization) -> Vec<f32> {
        let beside = (0..view.len()).map(|i| i as f32);
        let both: Vec<f32> = view.iter().copied().chain(beside).collect();
        let x = Tensor::from_vec(both, (2, 1, view.len() / 3, 3), &Device::Cpu).unwrap();
        let y = super::normalized(&x, how, 10.0).unwrap();
        assert_eq!(y.dims(), x.dims());
        y.get(0).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Mean and deviation of some values, in f64.
    fn moments(values: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
        let count = values.clone().count() as f64;
        let mean = values.clone().map(f64::from).sum::<f64>() / count;
        (mean, (values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    #[test]
    fn views_are_normalized_by_their_own_statistics() {
        let view: Vec<f32> =
            (0..300u32).map(|i| (i * i % 97) as f32 * [1.0, 2.0, 0.5][i as usize % 3]).collect();
        let near = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 1e-4 && (a.1 - b.1).abs() < 1e-4;
        let channel = |view: &[f32], c: usize| moments(view.iter().copied().skip(c).step_by(3));

        let joint = own(&view, Normalization::Joint);
        assert!(near(moments(joint.iter().copied()), (0.0, 10.0)));
        assert!(channel(&joint, 1).0 > 3.0, "channels keep their differences");
        let each = own(&view, Normalization::Channel);
        assert!((0..3).all(|c| near(channel(&each, c), (0.0, 10.0))));
        let contrast = own(&view, Normalization::Contrast);
        assert!(near(moments(contrast.iter().copied()), (0.0, 10.0)));
        assert!((0..3).all(|c| channel(&contrast, c).0.abs() < 1e-4));
        let ratio = channel(&contrast, 1).1 / channel(&contrast, 2).1;
        assert!((ratio / (channel(&view, 1).1 / channel(&view, 2).1) - 1.0).abs() < 1e-4);
        assert_eq!(own(&view, Normalization::Off), view);
    }

    /// Neither the brightness of a view nor its contrast is left.
    #[test]
    fn light_and_contrast_do_not_tell() {
        let view: Vec<f32> = (0..300u32).map(|i| (i * i % 97) as f32).collect();
        let bright: Vec<f32> = view.iter().map(|v| 0.5 * v + 80.0).collect();
        for how in [Normalization::Joint, Normalization::Channel, Normalization::Contrast] {
            let (a, b) = (own(&view, how), own(&bright, how));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{how:?}");
            let flat = own(&[42.0; 30], how);
            assert!(flat.iter().all(|value| value.abs() < 1e-4), "a flat view stays flat: {flat:?}");
        }
    }

    #[test]
    fn a_view_is_read_as_any_picture_and_then_normalized() {
        let pixels = Tensor::from_vec(map(8, 8), (1, 8, 8, 3), &Device::Cpu).unwrap();
        let pixels = Tensor::cat(&[&pixels, &pixels], 0).unwrap();
        for (input, channels) in [(Input::Lightness, 1), (Input::RgbUnit, 3), (Input::Ab, 2)] {
            let plain = read(&pixels, input, Normalization::Off).unwrap();
            assert_eq!(plain.dims(), [2, 8, 8, channels]);
            let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(&plain), values(&input.read(&pixels).unwrap()));
            let own = read(&pixels, input, Normalization::Channel).unwrap();
            assert_eq!((own.dims(), own.dtype()), (plain.dims(), DType::F32));
            let (mean, deviation) = moments(values(&own).into_iter().step_by(channels));
            let wanted = f64::from(contrast(input));
            assert!(mean.abs() < 1e-3 * wanted && (deviation / wanted - 1.0).abs() < 1e-3, "{input}");
        }
    }
}
