//! Random views of pictures for contrastive tasks, made on the pictures' device: crops of random size and shape, mirror
//! images, changes of color, gray, blur (Chen, Kornblith, Norouzi and Hinton 2020, appendix A).
//!
//! What changes is drawn on the host, a few numbers for each view, from a stream of the view's own. Views are u8 RGB like
//! pictures, so that networks read them as they read any picture.

use crate::{
    bounded::{Fraction, NonNegative, Portion},
    color::jitter::{ColorChange, ColorJitter, jitter},
    data::train_crop::random_window,
    device::keep_layouts,
    ops::filter_axis::{AxisFilters, filter_axis},
    rng::Rng,
};
use anyhow::Result;
use candle_core::{DType, Tensor};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ratios of width to height of a crop.
const RATIOS: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Share of the views whose colors change.
const JITTERED: f64 = 0.8;
/// Deviations of the Gaussian blur, in pixels.
const BLUR: (f64, f64) = (0.1, 2.0);

/// Random changes that make a view of a picture. The defaults are those of SimCLR's recipe for CIFAR-10; its recipe for
/// ImageNet is `color: 1.0, blur: 0.5`. In YAML: `augment: { color: 0.5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Augmentation")]
pub struct AugmentSpec {
    /// Smallest area of a crop, as a share of the picture.
    pub smallest: Portion,
    /// Share of mirrored views.
    pub flip: Fraction,
    /// Strength s of the changes of color, which 80 % of the views undergo: factors of brightness, contrast and
    /// saturation from 1 − 0.8·s to 1 + 0.8·s, and hues turned by up to 0.2·s.
    pub color: NonNegative,
    /// Share of gray views.
    pub gray: Fraction,
    /// Share of views with a Gaussian blur of 0.1 to 2 pixels, over a tenth of the view.
    pub blur: Fraction,
}

impl Default for AugmentSpec {
    fn default() -> Self {
        Self {
            smallest: Portion::of(0.08),
            flip: Fraction::of(0.5),
            color: NonNegative::of(0.5),
            gray: Fraction::of(0.2),
            blur: Fraction::of(0.0),
        }
    }
}

/// What makes one view.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ViewDraw {
    /// First row and column of the crop, in pixels.
    at: (usize, usize),
    /// Its height and width.
    size: (usize, usize),
    mirrored: bool,
    jitter: ColorJitter,
    /// Deviation in pixels.
    blur: Option<f64>,
}

impl AugmentSpec {
    fn draw(&self, size: (usize, usize), rng: &mut ChaCha8Rng) -> ViewDraw {
        let (at, size) = self.crop(size, rng);
        let mirrored = rng.random_bool(self.flip.get());
        let jitter = self.jitter(rng);
        let blur = rng.random_bool(self.blur.get()).then(|| rng.random_range(BLUR.0..BLUR.1));
        ViewDraw { at, size, mirrored, jitter, blur }
    }

    /// Position and size of a crop of a random share of the area with a random ratio, as torchvision draws them.
    fn crop(
        &self,
        (height, width): (usize, usize),
        rng: &mut ChaCha8Rng,
    ) -> ((usize, usize), (usize, usize)) {
        let window = random_window((width, height), self.smallest.get()..=1.0, RATIOS.0..=RATIOS.1, rng);
        ((window.y, window.x), (window.height, window.width))
    }

    /// Brightness, contrast, saturation and hue in a random order.
    fn jitter(&self, rng: &mut ChaCha8Rng) -> ColorJitter {
        let strength = self.color.get();
        let mut factor = || rng.random_range((1.0 - 0.8 * strength).max(0.0)..=1.0 + 0.8 * strength) as f32;
        let factors = [factor(), factor(), factor()];
        let hue = rng.random_range(-0.2 * strength..=0.2 * strength) as f32;
        let [brightness, contrast, saturation] = factors;
        let mut changes = [
            ColorChange::Brightness(brightness),
            ColorChange::Contrast(contrast),
            ColorChange::Saturation(saturation),
            ColorChange::Hue(hue),
        ]
        .map(Some);
        changes.shuffle(rng);
        if strength == 0.0 || !rng.random_bool(JITTERED) {
            changes = [None; 4];
        }
        ColorJitter { changes, gray: rng.random_bool(self.gray.get()) }
    }

    /// `views` views of `side` pixels of each picture u8 RGB `(B, H, W, 3)`: u8 `(views·B, side, side, 3)`, by view. Those of
    /// picture i depend on `rng` at `(v, first + i)`.
    ///
    /// # Errors
    /// Other dtypes and shapes.
    pub fn views(
        &self,
        pictures: &Tensor,
        (views, side): (usize, usize),
        rng: &Rng,
        first: usize,
    ) -> Result<Tensor> {
        let _layouts = keep_layouts(pictures.device());
        let (batch, height, width, _) = pictures.dims4()?;
        let draw = |view: usize, picture: usize| {
            self.draw((height, width), &mut rng.at(view as u64, (first + picture) as u64))
        };
        let draws = (0..views).flat_map(|view| (0..batch).map(move |picture| (view, picture)));
        let draws: Vec<ViewDraw> = draws.map(|(view, picture)| draw(view, picture)).collect();
        let unit = (pictures.to_dtype(DType::F32)? / 255.0)?;
        let crops = resized_crops(&unit, &draws, (batch, side))?;
        let changes: Vec<ColorJitter> = draws.iter().map(|draw| draw.jitter).collect();
        let views = blurred(&jitter(&crops, &changes)?, &draws, side)?;
        Ok((views * 255.0)?.round()?.clamp(0f32, 255f32)?.to_dtype(DType::U8)?)
    }
}

/// Squares of `side` pixels of the crops, bilinear, with a wider filter where they shrink, as Pillow does it. The pictures
/// of a batch follow one another.
fn resized_crops(pictures: &Tensor, draws: &[ViewDraw], (batch, side): (usize, usize)) -> Result<Tensor> {
    let (_, height, width, _) = pictures.dims4()?;
    let axis = |at: fn(&ViewDraw) -> (usize, usize), mirrors: bool, from: usize, sources: bool| {
        let centers = |(n, draw): (usize, &ViewDraw)| {
            let ((start, length), mirrored) = (at(draw), mirrors && draw.mirrored);
            let place = |i: usize| if mirrored { side - 1 - i } else { i } as f64 + 0.5;
            let centers = (0..side).map(|i| start as f64 + place(i) * length as f64 / side as f64);
            (if sources { n % batch.max(1) } else { n }, centers.collect())
        };
        let centers: Vec<(usize, Vec<f64>)> = draws.iter().enumerate().map(centers).collect();
        let scales: Vec<f64> = draws.iter().map(|draw| (at(draw).1 as f64 / side as f64).max(1.0)).collect();
        let widest = scales.iter().copied().fold(1.0, f64::max);
        AxisFilters::new(from, &centers, |n, distance| (1.0 - distance / scales[n]).max(0.0), widest)
    };
    let columns = axis(|draw| (draw.at.1, draw.size.1), true, width, true);
    let rows = axis(|draw| (draw.at.0, draw.size.0), false, height, false);
    Ok(filter_axis(&filter_axis(pictures, 2, &columns)?, 1, &rows)?)
}

/// Blurs the views for which a deviation was drawn.
fn blurred(views: &Tensor, draws: &[ViewDraw], side: usize) -> Result<Tensor> {
    let reach = (side / 10 / 2) as f64 + 0.5;
    if draws.iter().all(|draw| draw.blur.is_none()) {
        return Ok(views.clone());
    }
    let pixels: Vec<f64> = (0..side).map(|i| i as f64 + 0.5).collect();
    let centers: Vec<(usize, Vec<f64>)> = (0..draws.len()).map(|n| (n, pixels.clone())).collect();
    let weight = |n: usize, distance: f64| match draws[n].blur {
        Some(deviation) if distance < reach => (-0.5 * (distance / deviation).powi(2)).exp(),
        Some(_) => 0.0,
        None => (1.0 - distance).max(0.0),
    };
    let filters = AxisFilters::new(side, &centers, weight, reach);
    Ok(filter_axis(&filter_axis(views, 1, &filters)?, 2, &filters)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use serde_json::Value;

    fn oracle() -> Value {
        serde_json::from_str(include_str!("../../scripts/oracles/augment.json")).unwrap()
    }

    fn of<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn draw(at: (usize, usize), size: (usize, usize)) -> ViewDraw {
        ViewDraw { at, size, mirrored: false, jitter: ColorJitter::default(), blur: None }
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn largest_difference(x: &Tensor, y: &[f32]) -> f32 {
        let x = values(x);
        assert_eq!(x.len(), y.len());
        x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn crops_are_resized_as_pillow_does_and_mirrored() {
        let crops = &oracle()["crops"];
        let (h, w) = of::<(usize, usize)>(&crops["size"]);
        let picture = Tensor::from_vec(of::<Vec<f32>>(&crops["pixels"]), (1, h, w, 1), &Device::Cpu).unwrap();
        for case in crops["cases"].as_array().unwrap() {
            let draw = draw(of(&case["at"]), of(&case["size"]));
            let (side, want) = (of(&case["side"]), of::<Vec<f32>>(&case["pixels"]));
            let both = [draw, ViewDraw { mirrored: true, ..draw }];
            let ours = resized_crops(&picture, &both, (1, side)).unwrap();
            assert!(largest_difference(&ours.get(0).unwrap(), &want) < 1e-3, "{case}");
            let mirrored: Vec<f32> = want.chunks(side).flat_map(|row| row.iter().rev().copied()).collect();
            assert!(largest_difference(&ours.get(1).unwrap(), &mirrored) < 1e-3, "mirrored {case}");
        }
    }

    #[test]
    fn blur_is_torchvisions_inside() {
        let blurs = &oracle()["blurs"];
        let side = of::<usize>(&blurs["side"]);
        let picture =
            Tensor::from_vec(of::<Vec<f32>>(&blurs["pixels"]), (1, side, side, 1), &Device::Cpu).unwrap();
        for case in blurs["cases"].as_array().unwrap() {
            let sharp = draw((0, 0), (side, side));
            let soft = ViewDraw { blur: Some(of(&case["deviation"])), ..sharp };
            let both = Tensor::cat(&[&picture, &picture], 0).unwrap();
            let ours = blurred(&both, &[soft, sharp], side).unwrap();
            let inside = ours.get(0).unwrap().narrow(0, 1, side - 2).unwrap().narrow(1, 1, side - 2).unwrap();
            assert!(
                largest_difference(&inside, &of::<Vec<f32>>(&case["pixels"])) < 1e-6,
                "{}",
                case["deviation"]
            );
            assert_eq!(values(&ours.get(1).unwrap()), values(&picture), "not blurred");
        }
    }

    fn pictures(count: usize) -> Tensor {
        let values: Vec<u8> = (0..count * 3 * 20 * 24).map(|i| (i * 7 % 251) as u8).collect();
        Tensor::from_vec(values, (count, 20, 24, 3), &Device::Cpu).unwrap()
    }

    /// A view depends on its stream and its place alone.
    #[test]
    fn views_are_functions_of_the_stream_and_the_place() {
        let spec = AugmentSpec { blur: Fraction::of(0.5), ..AugmentSpec::default() };
        let views = |pictures: &Tensor, seed, first| {
            let views = spec.views(pictures, (2, 16), &Rng::new(seed), first).unwrap();
            assert_eq!(
                (views.dims(), views.dtype()),
                (&[2 * pictures.dim(0).unwrap(), 16, 16, 3][..], DType::U8)
            );
            views.flatten_from(1).unwrap().to_vec2::<u8>().unwrap()
        };
        let all = views(&pictures(5), 1, 0);
        let two = views(&pictures(5).narrow(0, 3, 2).unwrap().contiguous().unwrap(), 1, 3);
        assert_eq!(two, [all[3].clone(), all[4].clone(), all[8].clone(), all[9].clone()]);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| views(&pictures(5), 1, 0)) == all);
        }
        assert!(all[0] != all[5] && views(&pictures(5), 2, 0) != all);
    }

    #[test]
    fn without_changes_a_view_is_the_picture() {
        let none = Fraction::of(0.0);
        let plain = AugmentSpec {
            smallest: Portion::of(1.0),
            flip: none,
            color: NonNegative::of(0.0),
            gray: none,
            blur: none,
        };
        let square = pictures(2).narrow(2, 0, 20).unwrap().contiguous().unwrap();
        // the whole area in another shape does not fit, so that the central one of an allowed shape is taken
        let views = plain.views(&square, (1, 20), &Rng::new(1), 0).unwrap();
        let differing = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let bytes = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_eq!(differing(&bytes(&views), &bytes(&square)), 0);
    }

    #[test]
    fn shares_and_ranges_are_those_of_the_spec() {
        let spec = AugmentSpec { blur: Fraction::of(0.3), ..AugmentSpec::default() };
        let draws: Vec<ViewDraw> =
            (0..4000).map(|i| spec.draw((40, 60), &mut Rng::new(5).at(0, i))).collect();
        let share =
            |is: &dyn Fn(&ViewDraw) -> bool| draws.iter().filter(|draw| is(draw)).count() as f64 / 4e3;
        let near = |got: f64, want: f64| assert!((got - want).abs() < 0.03, "{got}, not {want}");
        near(share(&|d| d.mirrored), 0.5);
        near(share(&|d| d.jitter.gray), 0.2);
        near(share(&|d| d.jitter.changes[0].is_some()), 0.8);
        near(share(&|d| d.blur.is_some()), 0.3);
        near(share(&|d| matches!(d.jitter.changes[0], Some(ColorChange::Hue(_)))), 0.2);
        for draw in &draws {
            let (area, ratio) =
                ((draw.size.0 * draw.size.1) as f64 / 2400.0, draw.size.1 as f64 / draw.size.0 as f64);
            assert!(area > 0.07 && (0.7..1.45).contains(&ratio), "{draw:?}");
            assert!(draw.at.0 + draw.size.0 <= 40 && draw.at.1 + draw.size.1 <= 60, "{draw:?}");
            for change in draw.jitter.changes.into_iter().flatten() {
                match change {
                    ColorChange::Hue(turns) => assert!(turns.abs() <= 0.1),
                    ColorChange::Brightness(f) | ColorChange::Contrast(f) | ColorChange::Saturation(f) => {
                        assert!((0.6 - 1e-6..=1.4 + 1e-6).contains(&f));
                    }
                }
            }
        }
    }
}
