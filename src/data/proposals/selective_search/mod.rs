//! Selective Search (Uijlings, van de Sande, Gevers and Smeulders, IJCV 2013): class-agnostic object proposals from
//! hierarchical grouping of a segmentation, repeated over color spaces, segmentations and similarity measures.
//!
//! The defaults are those of the release used by R-CNN and Fast R-CNN: images resized to a width of 500 pixels, no
//! box under 20 pixels per side, a pseudo-random order that favors large regions. The boxes are not identical to that
//! release's, which uses other random numbers and other smoothing.

mod color;
mod grouping;
mod regions;
mod segmentation;
mod texture;

use crate::{
    bounded::{Count, Pixels},
    boxes::Rect,
    data::{
        dataset::RgbImage,
        transforms::{Unresizable, resize_to},
    },
    rng::Rng,
};
use color::ColorSpace;
use rand::RngExt;
use regions::{Bounds, Likeness, Regions};
use schemars::JsonSchema;
use segmentation::Graph;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::HashSet};

/// Incremented whenever the same image and settings give different boxes, which invalidates cached proposals.
pub const VERSION: u32 = 1;

/// Smoothing before the segmentation, in pixels.
const SIGMA: f32 = 0.8;
/// Most pixels of a resized image; tall images are resized to less than `width`.
const MAX_PIXELS: f64 = 1_000_000.0;

/// Number of hierarchies of Selective Search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// 2 color spaces × 2 segmentations × 2 measures: about two thousand boxes per image.
    #[default]
    Fast,
    /// 5 color spaces × 4 segmentations × 4 measures: about ten thousand boxes.
    Quality,
}

/// Settings of Selective Search. In YAML: `selective_search: { mode: fast }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectiveSearch {
    /// Number of hierarchies, hence of boxes.
    #[serde(default)]
    pub mode: SearchMode,
    /// Width in pixels to which pictures are first resized.
    #[serde(default = "width")]
    pub width: Pixels,
    /// Smallest side of a box in pixels, both on the stored and on the resized picture.
    #[serde(default = "smallest")]
    pub smallest: Count,
    /// Most boxes per picture, in the order of their ranks; absent: all.
    #[serde(default)]
    pub limit: Option<Count>,
    /// Seed of the ranking.
    #[serde(default)]
    pub seed: u64,
}

fn width() -> Pixels {
    Count::of(500)
}
fn smallest() -> Count {
    Count::of(20)
}

impl Default for SelectiveSearch {
    fn default() -> Self {
        Self { mode: SearchMode::default(), width: width(), smallest: smallest(), limit: None, seed: 0 }
    }
}

const ALL: Likeness = Likeness { color: true, texture: true, size: true, fill: true };
const NO_COLOR: Likeness = Likeness { color: false, ..ALL };
const FILL: Likeness = Likeness { color: false, texture: false, size: false, fill: true };
const SIZE: Likeness = Likeness { color: false, texture: false, size: true, fill: false };

impl SearchMode {
    fn spaces(self) -> &'static [ColorSpace] {
        use ColorSpace::{Hsv, Hue, Intensity, Lab, Rgi};
        match self {
            Self::Fast => &[Hsv, Lab],
            Self::Quality => &[Hsv, Lab, Rgi, Hue, Intensity],
        }
    }

    /// k of the segmentation, also the smallest segment in pixels.
    fn ks(self) -> &'static [u32] {
        match self {
            Self::Fast => &[50, 100],
            Self::Quality => &[50, 100, 150, 300],
        }
    }

    fn likenesses(self) -> &'static [Likeness] {
        match self {
            Self::Fast => &[ALL, NO_COLOR],
            Self::Quality => &[ALL, NO_COLOR, FILL, SIZE],
        }
    }
}

impl SelectiveSearch {
    /// The boxes of an image in rank order: integer coordinates, no duplicates, all inside the image. `id` seeds the
    /// ranking, so that it does not depend on other images or threads. An image smaller than the smallest box has
    /// none.
    ///
    /// # Errors
    /// An image that cannot be resized.
    pub fn propose(&self, image: &RgbImage, id: &str) -> Result<Vec<Rect>, Unresizable> {
        if image.width == 0 || image.height == 0 {
            return Ok(vec![]);
        }
        let to = self.size(image);
        let resized = match to == (image.width, image.height) {
            true => Cow::Borrowed(image),
            false => Cow::Owned(resize_to(image, to)?),
        };
        let ranked = self.ranked(self.hierarchies(&resized), id);
        Ok(self.stored(ranked, (image.width, image.height), to))
    }

    /// Size at which regions are grouped.
    fn size(&self, image: &RgbImage) -> (usize, usize) {
        let (width, height) = (image.width as f64, image.height as f64);
        let scale = (self.width.get() as f64 / width).min((MAX_PIXELS / (width * height)).sqrt());
        let scaled = |side: f64| ((side * scale).round() as usize).max(1);
        (scaled(width), scaled(height))
    }

    /// The region boxes of every hierarchy, from the initial segmentation to the whole image.
    fn hierarchies(&self, image: &RgbImage) -> Vec<Vec<Bounds>> {
        let mut found = vec![];
        for space in self.mode.spaces() {
            let planes = space.planes(image);
            let (graph, texture) = (Graph::of(&planes, SIGMA), texture::bins(&planes));
            for &k in self.mode.ks() {
                let start = Regions::of(&graph.segments(k as f32, k), &planes, &texture);
                found.extend(self.mode.likenesses().iter().map(|&of| grouping::hierarchy(&start, of)));
            }
        }
        found
    }

    /// Ranks all boxes by position in the hierarchy, counted from the whole image, times a random number in [0, 1)
    /// (section 4.1 of the paper).
    fn ranked(&self, hierarchies: Vec<Vec<Bounds>>, id: &str) -> Vec<Bounds> {
        let stream = Rng::new(self.seed).split("selective search").split(id);
        let mut ranked: Vec<(f64, Bounds)> = vec![];
        for (hierarchy, number) in hierarchies.into_iter().zip(0..) {
            let mut chance = stream.at(number, 0);
            let places = hierarchy.into_iter().rev().zip(1u32..);
            ranked.extend(places.map(|(bounds, place)| (f64::from(place) * chance.random::<f64>(), bounds)));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().map(|(_, bounds)| bounds).collect()
    }

    /// Maps the boxes to the stored image and drops small ones and duplicates.
    fn stored(&self, ranked: Vec<Bounds>, (width, height): (usize, usize), to: (usize, usize)) -> Vec<Rect> {
        let smallest = self.smallest.get() as u32;
        let large = |bounds: &Bounds| bounds.width() >= smallest && bounds.height() >= smallest;
        let (x, y) =
            (AxisScale { stored: width, resized: to.0 }, AxisScale { stored: height, resized: to.1 });
        let mut seen = HashSet::new();
        let boxes = ranked.into_iter().filter(large).filter_map(|bounds| {
            let (left, right) = x.back(bounds.left, bounds.right);
            let (top, bottom) = y.back(bounds.top, bounds.bottom);
            let bounds = Bounds { left, top, right, bottom };
            (large(&bounds) && seen.insert(bounds)).then_some(bounds)
        });
        let rect = |b: Bounds| Rect::new(b.left as f32, b.top as f32, b.right as f32, b.bottom as f32);
        boxes.take(self.limit.map_or(usize::MAX, Count::get)).map(rect).collect()
    }
}

/// Length of one axis before and after resizing, in pixels.
#[derive(Clone, Copy)]
struct AxisScale {
    stored: usize,
    resized: usize,
}

impl AxisScale {
    /// Maps an inclusive pixel range back to the stored image.
    fn back(self, low: u32, high: u32) -> (u32, u32) {
        let scale = self.stored as f64 / self.resized as f64;
        let edge = |at: u32| (f64::from(at) * scale).round() as u32;
        let last = self.stored as u32 - 1;
        let low = edge(low).min(last);
        (low, edge(high + 1).saturating_sub(1).clamp(low, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of gray noise on two halves, with a bright square in one of them.
    fn picture(width: usize, height: usize) -> RgbImage {
        let mut pixels = vec![];
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let square = (x * 10 / width, y * 10 / height)
                == (x.max(width / 2) * 10 / width, y * 10 / height)
                && (60..80).contains(&(x * 100 / width))
                && (20..60).contains(&(y * 100 / height));
            let noise = ((x * 7919 + y * 104_729) % 13) as u8;
            let base = if x < width / 2 { [40, 90, 40] } else { [150, 120, 60] };
            pixels.extend(if square { [250, 240, 20] } else { base.map(|c: u8| c + noise) });
        }
        RgbImage { width, height, pixels }
    }

    fn propose(image: &RgbImage) -> Vec<Rect> {
        SelectiveSearch::default().propose(image, "a").unwrap()
    }

    #[test]
    fn an_object_gets_a_box() {
        let boxes = propose(&picture(200, 150));
        let square = Rect::new(120., 30., 159., 89.);
        let best = boxes.iter().map(|b| b.iou(&square)).fold(0.0, f64::max);
        assert!(best > 0.9, "best overlap {best}");
        assert!(
            boxes.contains(&Rect::new(0., 0., 199., 149.)),
            "the whole picture is the top of every hierarchy"
        );
    }

    #[test]
    fn boxes_are_inside_large_enough_and_each_once() {
        for (width, height) in [(200, 150), (640, 80), (33, 400)] {
            let boxes = propose(&picture(width, height));
            let mut seen = HashSet::new();
            for rect in &boxes {
                assert_eq!(rect.clipped((width, height)), *rect, "outside of {width} × {height}");
                assert!(rect.x2 - rect.x1 >= 19.0 && rect.y2 - rect.y1 >= 19.0, "{rect:?} is small");
                assert!(seen.insert(format!("{rect:?}")), "{rect:?} twice");
            }
            assert!(!boxes.is_empty());
        }
    }

    #[test]
    fn the_order_is_a_function_of_the_id() {
        let image = picture(120, 90);
        let search = SelectiveSearch::default();
        let [a, again, b] = ["a", "a", "b"].map(|id| search.propose(&image, id).unwrap());
        assert_eq!(a, again);
        assert_ne!(a, b, "another order");
        let sorted = |mut boxes: Vec<Rect>| {
            boxes.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
            boxes
        };
        assert_eq!(sorted(a.clone()), sorted(b), "of the same boxes");
        let few = SelectiveSearch { limit: Some(Count::of(3)), ..search }.propose(&image, "a").unwrap();
        assert_eq!(few, a[..3]);
    }

    #[test]
    fn odd_pictures_pass() {
        let flat = |width, height| RgbImage { width, height, pixels: vec![99; 3 * width * height] };
        assert!(propose(&flat(1, 1)).is_empty(), "nothing of 20 pixels in one");
        assert!(propose(&flat(19, 300)).is_empty());
        assert!(propose(&flat(5000, 1)).is_empty());
        assert!(propose(&flat(1, 5000)).is_empty());
        assert_eq!(propose(&flat(60, 40)), [Rect::new(0., 0., 59., 39.)], "flat: itself");
        assert_eq!(propose(&flat(30, 3000)), [Rect::new(0., 0., 29., 2999.)]);
    }

    #[test]
    fn strips_are_not_blown_up() {
        let strip = RgbImage { width: 10, height: 4000, pixels: vec![] };
        let (width, height) = SelectiveSearch::default().size(&strip);
        assert!(width * height <= 1_010_000, "{width} × {height}");
        let plain = RgbImage { width: 250, height: 100, pixels: vec![] };
        assert_eq!(SelectiveSearch::default().size(&plain), (500, 200));
    }

    #[test]
    fn ranges_go_back_to_what_they_came_from() {
        let axis = AxisScale { stored: 250, resized: 500 };
        assert_eq!(axis.back(0, 499), (0, 249));
        assert_eq!(axis.back(100, 199), (50, 99));
        assert_eq!(AxisScale { stored: 1000, resized: 500 }.back(0, 0), (0, 1));
        assert_eq!(AxisScale { stored: 1, resized: 500 }.back(499, 499), (0, 0));
    }

    #[test]
    fn quality_finds_more() {
        let image = picture(100, 80);
        let quality = SelectiveSearch { mode: SearchMode::Quality, ..SelectiveSearch::default() };
        assert!(quality.propose(&image, "a").unwrap().len() > propose(&image).len());
    }
}
