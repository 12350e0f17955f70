//! Colorization of one picture in memory: 8-bit RGB in, of which only the gray values are used; ab at every pixel and
//! an 8-bit RGB picture of the same size out.
//!
//! Only the network's input is a float array; lightness, color and conversion of the full-size picture are computed
//! row by row on all threads.

use super::field::{AbField, FieldGeometry};
use crate::{
    color::{decode::Decode, gamut::Gamut, gray::Gray},
    data::{source::RgbImage, transforms::resize_to},
    pretext::{
        colorizer::{Colorizer, ColorizerSpec, Upsampling},
        hints::{self, Hint},
    },
};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Short side of the network's input if its weights do not say it: that of the paper's pictures before cropping.
pub const SHORT_SIDE: usize = 256;
/// Smaller short sides are upscaled to this.
const MIN_SHORT_SIDE: usize = 64;
/// Maximum aspect ratio of the network's input.
const MAX_ASPECT: usize = 4;

/// Size of the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSize {
    /// Scales the short side to this many pixels, keeping the aspect ratio, and rounds both sides as the network
    /// requires. The long side is at most four times as long. A picture is upscaled only if its short side is below
    /// 64, and then to 64. The aspect ratio is changed only for very thin strips, whose short side would otherwise be
    /// below that.
    Short(usize),
    /// The original size. Time and memory grow with the picture: a photograph of 12 megapixels takes many GB with the
    /// paper's network.
    Full,
}

impl InputSize {
    /// Height and width of the network's input for a picture of this height and width; each is a multiple of
    /// `multiple` unless it is the picture's own.
    pub fn seen(self, (height, width): (usize, usize), multiple: usize) -> (usize, usize) {
        let Self::Short(asked) = self else { return (height, width) };
        let (short, long) = (height.min(width).max(1), height.max(width).max(1));
        let least = asked.min(MIN_SHORT_SIDE);
        let to_short = asked.min(short.max(least)) as f64 / short as f64;
        let scale = to_short.min((MAX_ASPECT * asked) as f64 / long as f64);
        let rounded = |pixels: f64| ((pixels / multiple as f64).round() as usize).max(1) * multiple;
        let side = |pixels: usize| rounded((pixels as f64 * scale).max(least as f64));
        (side(height), side(width))
    }
}

/// Colorization options.
#[derive(Clone, Debug)]
pub struct Options {
    pub size: InputSize,
    /// Gray value that the network sees and the result preserves.
    pub gray: Gray,
    /// What becomes of colors that sRGB cannot show.
    pub gamut: Gamut,
    /// Decoding of a distribution; ignored by networks that predict ab.
    pub decode: Decode,
    /// Upsampling of the labels; None: that of the weights.
    pub upsampling: Option<Upsampling>,
    /// Device of the network.
    pub device: Device,
}

impl Options {
    /// Defaults of the weights and their spec: pictures are seen as large as in training, or as in the paper if that is not
    /// known.
    pub fn of(colorizer: &Colorizer, spec: &dyn ColorizerSpec, device: &Device) -> Self {
        let size = InputSize::Short(colorizer.trained_side().unwrap_or(SHORT_SIDE));
        let (gray, device) = (colorizer.gray(), device.clone());
        Self { size, gray, gamut: Gamut::default(), decode: spec.decode(), upsampling: None, device }
    }
}

/// Result of colorizing a picture.
#[derive(Clone, Debug)]
pub struct ColorizedPicture {
    /// The colorized picture, as large as the original.
    pub rgb: RgbImage,
    /// Number of pixels whose color is outside of the sRGB gamut.
    pub outside: usize,
    /// ab at every pixel, as predicted.
    pub ab: AbField,
    /// Output of the network's last layer at the labels, `(1, h, w, Q)`.
    pub map: Tensor,
    /// Height and width of the network's input.
    pub seen: (usize, usize),
}

impl ColorizedPicture {
    /// Share of pixels whose color is outside of the sRGB gamut.
    pub fn outside_share(&self) -> f64 {
        self.outside as f64 / (self.rgb.width * self.rgb.height).max(1) as f64
    }
}

/// What the network says of a picture, before that becomes colors.
#[derive(Clone, Debug)]
pub struct PredictedMap {
    /// Output of the last layer at the labels, `(1, h, w, Q)`.
    map: Tensor,
    /// L − 50 as the network saw it, `(1, h, w, 1)`.
    lightness: Tensor,
    /// Height and width of the network's input.
    seen: (usize, usize),
}

/// Colorizes `picture`, of which only the gray values are used, with hints in its pixels.
///
/// # Errors
/// An empty picture; a picture that cannot be resized; hints outside of it, or for a network that takes none; a network
/// with non-finite output.
pub fn color(
    colorizer: &Colorizer,
    picture: &RgbImage,
    hints: &[Hint],
    options: &Options,
) -> Result<ColorizedPicture> {
    paint(colorizer, picture, &predict(colorizer, picture, hints, options)?, options)
}

/// Runs the network on `picture`. [`paint`] turns the result into colors, as often as there are decodings to compare.
///
/// # Errors
/// As [`color`], but for what the network's output holds.
pub fn predict(
    colorizer: &Colorizer,
    picture: &RgbImage,
    hints: &[Hint],
    options: &Options,
) -> Result<PredictedMap> {
    let size = (picture.height, picture.width);
    ensure!(size.0 > 0 && size.1 > 0, "the picture has no pixels");
    let seen = options.size.seen(size, colorizer.network().grid().multiple);
    let lightness = lightness(picture, seen, options)?;
    let scaled: Vec<Hint> = hints.iter().map(|hint| hint.scaled(size, seen)).collect();
    let hints = (!hints.is_empty()).then(|| hints::map(&[scaled], seen, &options.device)).transpose()?;
    Ok(PredictedMap { map: colorizer.output_map(&lightness, hints.as_ref())?, lightness, seen })
}

/// Paints what was predicted for `picture` onto its gray values.
///
/// # Errors
/// A network with non-finite output.
pub fn paint(
    colorizer: &Colorizer,
    picture: &RgbImage,
    predicted: &PredictedMap,
    options: &Options,
) -> Result<ColorizedPicture> {
    let PredictedMap { map, lightness, seen } = predicted.clone();
    let upsampling = options.upsampling.unwrap_or(colorizer.upsampling());
    let size = (picture.height, picture.width);
    let geometry = FieldGeometry { grid: colorizer.ab_grid(), upsampling, seen, size };
    let ab = AbField::new(&colorizer.ab(&map, &lightness, options.decode)?, geometry)?;
    ensure!(ab.is_finite(), "the network's colors are not numbers: the weights are damaged");
    let (rgb, outside) = colorized_pixels(picture, (options.gray, options.gamut), &ab);
    Ok(ColorizedPicture { rgb, outside, ab, map, seen })
}

/// L − 50 at size `seen`, `(1, h, w, 1)`.
fn lightness(picture: &RgbImage, seen: (usize, usize), options: &Options) -> Result<Tensor> {
    let resized;
    let small = if seen == (picture.height, picture.width) {
        picture
    } else {
        resized = resize_to(picture, (seen.1, seen.0))?;
        &resized
    };
    let (pixels, _) = small.pixels.as_chunks::<3>();
    let lightness: Vec<f32> = pixels.par_iter().map(|rgb| options.gray.lightness(*rgb) - 50.0).collect();
    Ok(Tensor::from_vec(lightness, (1, seen.0, seen.1, 1), &options.device)?)
}

/// Combines the picture's lightness with the colors of `ab`; also returns the number of pixels outside of the gamut.
fn colorized_pixels(picture: &RgbImage, (gray, gamut): (Gray, Gamut), ab: &AbField) -> (RgbImage, usize) {
    let (height, width) = ab.size();
    let mut pixels = vec![0; 3 * width * height];
    let rows = pixels.par_chunks_exact_mut(3 * width).zip(picture.pixels.par_chunks_exact(3 * width));
    let paint_row = |colors: &mut Vec<[f32; 2]>, (y, (to, from)): (usize, (&mut [u8], &[u8]))| {
        ab.row(y, colors);
        let places = to.as_chunks_mut::<3>().0.iter_mut().zip(from.as_chunks::<3>().0);
        let mut all = 0;
        for ((to, from), [a, b]) in places.zip(colors.iter()) {
            let (rgb, outside) = gamut.srgb8([gray.lightness(*from), *a, *b]);
            *to = rgb;
            all += usize::from(outside);
        }
        all
    };
    let outside = rows.enumerate().map_init(|| vec![[0f32; 2]; width], paint_row).sum();
    (RgbImage { width, height, pixels }, outside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::network::PixelGrid;
    use proptest::prelude::*;
    use serde_json::Value;

    fn oracle() -> Value {
        serde_json::from_str(include_str!("../../scripts/oracles/colorize.json")).unwrap()
    }

    fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn averages_equal_scikit_image() {
        let grays = &oracle()["grays"];
        let (rgb, lightness): (Vec<[u8; 3]>, Vec<f32>) = (numbers(&grays["rgb"]), numbers(&grays["l"]));
        assert_eq!((rgb.len(), lightness.len()), (40, 40));
        for (rgb, theirs) in rgb.into_iter().zip(lightness) {
            let ours = Gray::Average.lightness(rgb);
            assert!((ours - theirs).abs() < 1e-4, "{rgb:?}: {ours}, scikit-image {theirs}");
        }
    }

    /// scripts/oracles/colorize.py: upsampled by torch, converted by scikit-image.
    #[test]
    fn painting_equals_torch_and_scikit_image() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        for case in oracle()["pictures"].as_array().unwrap() {
            let ([height, width], [h, w]): ([usize; 2], [usize; 2]) =
                (numbers(&case["size"]), numbers(&case["labels"]));
            let ab = Tensor::from_vec(numbers::<Vec<f32>>(&case["ab"]), (1, h, w, 2), &Device::Cpu).unwrap();
            let field = |upsampling| {
                let geometry =
                    FieldGeometry { grid, upsampling, seen: (4 * h, 4 * w), size: (height, width) };
                AbField::new(&ab, geometry).unwrap()
            };
            for (upsampling, name) in [(Upsampling::TwoStep, "two_step"), (Upsampling::Direct, "full")] {
                let (ours, theirs) = (field(upsampling).pixels(), numbers::<Vec<f32>>(&case[name]));
                let ours = ours.as_flattened();
                assert_eq!(ours.len(), theirs.len());
                let off = ours.iter().zip(&theirs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(off < 1e-4, "{height}×{width}, {name}: {off}");
            }
            let field = field(Upsampling::Direct);
            let picture = RgbImage { width, height, pixels: numbers(&case["rgb"]) };
            let (result, _) = colorized_pixels(&picture, (Gray::Lightness, Gamut::Clip), &field);
            let theirs: Vec<u8> = numbers(&case["result"]);
            // Where a channel is half way between two bytes, rounding errors decide.
            let off = result.pixels.iter().zip(&theirs).filter(|(x, y)| x != y).count();
            let worst = result.pixels.iter().zip(&theirs).map(|(x, y)| x.abs_diff(*y)).max();
            assert!(off <= 1 && worst <= Some(1), "{height}×{width}: {off} bytes differ, by {worst:?}");
        }
    }

    #[test]
    fn a_photograph_is_shrunk_and_never_enlarged() {
        let seen = |height, width| InputSize::Short(256).seen((height, width), 8);
        assert_eq!(seen(3000, 4000), (256, 344)); // 341.3
        assert_eq!(seen(4000, 3000), (344, 256));
        assert_eq!(seen(256, 256), (256, 256));
        assert_eq!(seen(100, 150), (104, 152));
        assert_eq!(InputSize::Full.seen((37, 53), 8), (37, 53));
    }

    #[test]
    fn small_pictures_and_strips_keep_within_their_limits() {
        let seen = |height, width| InputSize::Short(256).seen((height, width), 8);
        assert_eq!(seen(1, 1), (64, 64));
        assert_eq!(seen(37, 53), (64, 88)); // the aspect would have 91.7
        assert_eq!(seen(1, 500), (64, 1024));
        assert_eq!(seen(1000, 10_000), (104, 1024));
        assert_eq!(InputSize::Short(32).seen((480, 640), 1), (32, 43));
        assert_eq!(InputSize::Short(1).seen((480, 640), 8), (8, 8));
    }

    proptest! {
        #[test]
        fn what_is_seen_keeps_the_aspect(height in 64usize..5000, width in 64usize..5000, asked in 64usize..600) {
            let (h, w) = InputSize::Short(asked).seen((height, width), 8);
            prop_assert!(h % 8 == 0 && w % 8 == 0);
            prop_assert!(h <= 4 * asked + 4 && w <= 4 * asked + 4);
            prop_assume!(height.max(width) <= 8 * height.min(width));
            let scale = (h as f64 / height as f64) / (w as f64 / width as f64);
            // Each side is within half a multiple of its exact length, which may be 4 less; the two errors multiply.
            let slack: f64 = [h, w].iter().map(|side| 1.0 + 4.2 / (side - 4) as f64).product();
            prop_assert!(h.min(w) == 64 || (1.0 / slack..=slack).contains(&scale), "{h}×{w}");
        }
    }
}
