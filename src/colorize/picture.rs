//! One picture in memory: 8-bit RGB in, of which only a gray is used; ab at every pixel and an 8-bit RGB picture of the
//! same size out.
//!
//! Only the network's input is a float array of the whole picture, and that at the network's size: lightness, color and
//! conversion of the full picture go row by row on all threads.

use super::field::{AbField, View};
use crate::{
    color::{
        decode::Decode,
        lab::{gray_lightness, lab_to_srgb8, srgb8_to_lab},
    },
    data::{source::RgbImage, transforms::resize_to},
    pretext::{
        colorization::ColorizationSpec,
        colorizer::{Colorizer, Upsampling},
    },
};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::sync::LazyLock;

/// The short side that the network sees unless told otherwise; training cuts its windows from pictures of this size.
pub const SHORT_SIDE: usize = 256;
/// Pictures smaller than this are enlarged to it; others never are.
const LEAST: usize = 64;
/// How often the short side goes into the long one at most.
const LONGEST: usize = 4;

/// How large the network sees a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The short side scaled to this many pixels, the aspect kept, both sides rounded to what the network needs. The long
    /// side is at most four times this. A picture is enlarged only where its short side is below 64, and then to that;
    /// the aspect gives way only for strips so thin that a side would be below that.
    Short(usize),
    /// As it is. Time and memory grow with the picture: a photograph of 12 megapixels takes the paper's network many GB.
    Full,
}

impl Size {
    /// Height and width that the network sees of a picture of this height and width, each a multiple of `multiple`
    /// unless it is the picture's own.
    pub fn seen(self, (height, width): (usize, usize), multiple: usize) -> (usize, usize) {
        let Self::Short(asked) = self else { return (height, width) };
        let (short, long) = (height.min(width).max(1), height.max(width).max(1));
        let least = asked.min(LEAST);
        let to_short = asked.min(short.max(least)) as f64 / short as f64;
        let scale = to_short.min((LONGEST * asked) as f64 / long as f64);
        let rounded = |pixels: f64| ((pixels / multiple as f64).round() as usize).max(1) * multiple;
        let side = |pixels: usize| rounded((pixels as f64 * scale).max(least as f64));
        (side(height), side(width))
    }
}

/// Which gray of a picture the network sees and the result keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gray {
    /// L of Lab.
    #[default]
    Lightness,
    /// L of the sRGB gray (R+G+B)/3, as the comparison on SUN has it.
    Average,
}

impl Gray {
    /// L of a pixel.
    pub fn lightness(self, rgb: [u8; 3]) -> f32 {
        static OF_SUM: LazyLock<Vec<f32>> =
            LazyLock::new(|| (0..=3 * 255).map(|sum| gray_lightness(f64::from(sum) / 3.0)).collect());
        match self {
            Self::Lightness => srgb8_to_lab(rgb)[0],
            Self::Average => OF_SUM[rgb.map(usize::from).iter().sum::<usize>()],
        }
    }
}

/// How pictures are colored.
#[derive(Clone, Debug)]
pub struct Options {
    pub size: Size,
    pub gray: Gray,
    /// How a distribution becomes a color; a network that predicts ab itself has no use for it.
    pub decode: Decode,
    /// How the labels become pixels; None: as those who trained the weights do it.
    pub upsampling: Option<Upsampling>,
    /// Where the network lies.
    pub device: Device,
}

impl Options {
    /// As the weights' own spec has it, at the usual size.
    pub fn of(spec: &ColorizationSpec, device: &Device) -> Self {
        let device = device.clone();
        let (size, gray) = (Size::Short(SHORT_SIDE), Gray::default());
        Self { size, gray, decode: spec.decode(), upsampling: None, device }
    }
}

/// What a network makes of a picture.
#[derive(Clone, Debug)]
pub struct Colored {
    /// The picture, in color; as large as the original.
    pub rgb: RgbImage,
    /// Pixels whose color lies outside the sRGB gamut and was clipped.
    pub clipped: usize,
    /// ab at every pixel, before clipping.
    pub ab: AbField,
    /// The network's last layer at the labels, `(1, h, w, Q)`.
    pub map: Tensor,
    /// Height and width at which the network saw the picture.
    pub seen: (usize, usize),
}

impl Colored {
    /// Clipped pixels, as a share of all.
    pub fn clipped_share(&self) -> f64 {
        self.clipped as f64 / (self.rgb.width * self.rgb.height).max(1) as f64
    }
}

/// Colors `picture`, of which only the gray is used.
///
/// # Errors
/// A picture without pixels, one that cannot be resized, a network whose output is not a number.
pub fn color(colorizer: &Colorizer, picture: &RgbImage, options: &Options) -> Result<Colored> {
    let size = (picture.height, picture.width);
    ensure!(size.0 > 0 && size.1 > 0, "the picture has no pixels");
    let grid = colorizer.network().grid();
    let seen = options.size.seen(size, grid.multiple);
    let map = colorizer.output_map(&network_input(picture, seen, options)?)?;
    let upsampling = options.upsampling.unwrap_or(colorizer.upsampling());
    let view = View { grid, upsampling, seen, size };
    let ab = AbField::new(&colorizer.decode_map(&map, options.decode)?, view)?;
    ensure!(ab.is_finite(), "the network's colors are not numbers: the weights are damaged");
    let (rgb, clipped) = painted(picture, options.gray, &ab);
    Ok(Colored { rgb, clipped, ab, map, seen })
}

/// L − 50 at `seen`, `(1, h, w, 1)`.
fn network_input(picture: &RgbImage, seen: (usize, usize), options: &Options) -> Result<Tensor> {
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

/// The picture's lightness with the colors of `ab`, and how many pixels were clipped.
fn painted(picture: &RgbImage, gray: Gray, ab: &AbField) -> (RgbImage, usize) {
    let (height, width) = ab.size();
    let mut pixels = vec![0; 3 * width * height];
    let rows = pixels.par_chunks_exact_mut(3 * width).zip(picture.pixels.par_chunks_exact(3 * width));
    let paint_row = |colors: &mut Vec<[f32; 2]>, (y, (to, from)): (usize, (&mut [u8], &[u8]))| {
        ab.row(y, colors);
        let places = to.as_chunks_mut::<3>().0.iter_mut().zip(from.as_chunks::<3>().0);
        let mut clipped = 0;
        for ((to, from), [a, b]) in places.zip(colors.iter()) {
            let (rgb, outside) = lab_to_srgb8([gray.lightness(*from), *a, *b]);
            *to = rgb;
            clipped += usize::from(outside);
        }
        clipped
    };
    let clipped = rows.enumerate().map_init(|| vec![[0f32; 2]; width], paint_row).sum();
    (RgbImage { width, height, pixels }, clipped)
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

    /// scripts/oracles/colorize.py: torch enlarges, scikit-image converts.
    #[test]
    fn painting_equals_torch_and_scikit_image() {
        let grid = PixelGrid { stride: 4, align_corners: false, multiple: 8 };
        for case in oracle()["pictures"].as_array().unwrap() {
            let ([height, width], [h, w]): ([usize; 2], [usize; 2]) =
                (numbers(&case["size"]), numbers(&case["labels"]));
            let ab = Tensor::from_vec(numbers::<Vec<f32>>(&case["ab"]), (1, h, w, 2), &Device::Cpu).unwrap();
            let field = |upsampling| {
                let view = View { grid, upsampling, seen: (4 * h, 4 * w), size: (height, width) };
                AbField::new(&ab, view).unwrap()
            };
            for (upsampling, name) in [(Upsampling::TwoStep, "two_step"), (Upsampling::Direct, "full")] {
                let whole = field(upsampling).whole().unwrap().flatten_all().unwrap();
                let (ours, theirs): (_, Vec<f32>) = (whole.to_vec1::<f32>().unwrap(), numbers(&case[name]));
                assert_eq!(ours.len(), theirs.len());
                let off = ours.iter().zip(&theirs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(off < 1e-4, "{height}×{width}, {name}: {off}");
            }
            let field = field(Upsampling::Direct);
            let picture = RgbImage { width, height, pixels: numbers(&case["rgb"]) };
            let (result, _) = painted(&picture, Gray::Lightness, &field);
            let theirs: Vec<u8> = numbers(&case["result"]);
            // where a channel is half way between two bytes, a rounding error decides
            let off = result.pixels.iter().zip(&theirs).filter(|(x, y)| x != y).count();
            let worst = result.pixels.iter().zip(&theirs).map(|(x, y)| x.abs_diff(*y)).max();
            assert!(off <= 1 && worst <= Some(1), "{height}×{width}: {off} bytes differ, by {worst:?}");
        }
    }

    #[test]
    fn a_photograph_is_shrunk_and_never_enlarged() {
        let seen = |height, width| Size::Short(256).seen((height, width), 8);
        assert_eq!(seen(3000, 4000), (256, 344)); // 341.3
        assert_eq!(seen(4000, 3000), (344, 256));
        assert_eq!(seen(256, 256), (256, 256));
        assert_eq!(seen(100, 150), (104, 152));
        assert_eq!(Size::Full.seen((37, 53), 8), (37, 53));
    }

    #[test]
    fn small_pictures_and_strips_keep_within_their_limits() {
        let seen = |height, width| Size::Short(256).seen((height, width), 8);
        assert_eq!(seen(1, 1), (64, 64));
        assert_eq!(seen(37, 53), (64, 88)); // the aspect would have 91.7
        assert_eq!(seen(1, 500), (64, 1024));
        assert_eq!(seen(1000, 10_000), (104, 1024));
        assert_eq!(Size::Short(32).seen((480, 640), 1), (32, 43));
        assert_eq!(Size::Short(1).seen((480, 640), 8), (8, 8));
    }

    #[test]
    fn the_average_is_taken_before_it_is_made_lightness() {
        // by hand: g = 85, linear 0.090842, L = 116 · 0.090842^(1/3) − 16
        assert!((Gray::Average.lightness([255, 0, 0]) - 36.146).abs() < 2e-3);
        assert!((Gray::Lightness.lightness([255, 0, 0]) - 53.241).abs() < 2e-3);
        // a third of a byte is not rounded away
        let [low, high] = [[0, 0, 100], [1, 0, 100]].map(|rgb| Gray::Average.lightness(rgb));
        assert!(high > low && high - low < 0.2, "{low} {high}");
    }

    proptest! {
        #[test]
        fn what_is_seen_keeps_the_aspect(height in 64usize..5000, width in 64usize..5000, asked in 64usize..600) {
            let (h, w) = Size::Short(asked).seen((height, width), 8);
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
