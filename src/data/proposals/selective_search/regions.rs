//! Regions, their features and their similarity (equations 3 to 6 of the paper).

use super::{color::Planes, segmentation::Segments, texture};
use std::collections::BTreeSet;

/// Color histogram bins per channel.
const COLORS: usize = 25;

/// Which of the four similarity measures are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    pub color: bool,
    pub texture: bool,
    pub size: bool,
    pub fill: bool,
}

/// A pixel rectangle, corners inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bounds {
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
}

/// One region.
#[derive(Clone, Debug)]
pub(super) struct Region {
    /// Pixels.
    pub size: f32,
    pub bounds: Bounds,
    /// Color histogram, normalized to sum 1: `(channels, 25)`.
    color: Vec<f32>,
    /// Texture histogram, normalized to sum 1: `(channels, 8, 10)`.
    texture: Vec<f32>,
}

/// The regions of a segmentation and their adjacency.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    pub regions: Vec<Region>,
    /// Neighbors of every region.
    pub beside: Vec<BTreeSet<u32>>,
    /// Image size in pixels.
    pub area: f32,
}

impl Bounds {
    fn pixel(x: u32, y: u32) -> Self {
        Self { left: x, top: y, right: x, bottom: y }
    }

    fn around(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    pub(super) fn width(self) -> u32 {
        self.right - self.left + 1
    }

    pub(super) fn height(self) -> u32 {
        self.bottom - self.top + 1
    }

    fn area(self) -> f32 {
        self.width() as f32 * self.height() as f32
    }
}

impl Region {
    /// The sum of the selected similarity measures, each in [0, 1]; `area` is the image's.
    pub(super) fn likeness(&self, other: &Self, of: Likeness, area: f32) -> f32 {
        let size = self.size + other.size;
        let mut sum = 0.0;
        if of.color {
            sum += common(&self.color, &other.color);
        }
        if of.texture {
            sum += common(&self.texture, &other.texture);
        }
        if of.size {
            sum += 1.0 - size / area;
        }
        if of.fill {
            sum += 1.0 - (self.bounds.around(other.bounds).area() - size) / area;
        }
        sum
    }

    /// Merges two regions.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let size = self.size + other.size;
        let (mine, theirs) = (self.size / size, other.size / size);
        let mixed = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| mine * a + theirs * b).collect();
        Self {
            size,
            bounds: self.bounds.around(other.bounds),
            color: mixed(&self.color, &other.color),
            texture: mixed(&self.texture, &other.texture),
        }
    }
}

/// The intersection of two histograms.
fn common(a: &[f32], b: &[f32]) -> f32 {
    // Eight partial sums, so that the loop vectorizes.
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane].min(b[lane]);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a.min(*b)).sum::<f32>()
}

impl Regions {
    /// Computes the features of all segments; `texture` is [`texture::bins`] of the same planes.
    pub(super) fn of(segments: &Segments, planes: &Planes, texture: &[texture::TextureBins]) -> Self {
        let mut regions = outlines(segments);
        for region in &mut regions {
            region.color = vec![0.0; planes.channels.len() * COLORS];
            region.texture = vec![0.0; texture.len() * texture::DIRECTIONS * texture::BINS];
        }
        for (channel, plane) in planes.channels.iter().enumerate() {
            for (&label, &value) in segments.labels.iter().zip(plane) {
                let bin = ((value * (COLORS as f32 / 256.0)) as usize).min(COLORS - 1);
                regions[label as usize].color[channel * COLORS + bin] += 1.0;
            }
        }
        for (channel, pixels) in texture.iter().enumerate() {
            for (&label, bins) in segments.labels.iter().zip(pixels) {
                let histogram = &mut regions[label as usize].texture;
                for (direction, &bin) in bins.iter().enumerate() {
                    let row = channel * texture::DIRECTIONS + direction;
                    histogram[row * texture::BINS + usize::from(bin)] += 1.0;
                }
            }
        }
        for region in &mut regions {
            normalize(&mut region.color);
            normalize(&mut region.texture);
        }
        Self { regions, beside: touching(segments), area: segments.labels.len() as f32 }
    }
}

/// Size and bounding box of every segment.
fn outlines(segments: &Segments) -> Vec<Region> {
    let empty = Region { size: 0.0, bounds: Bounds::pixel(0, 0), color: vec![], texture: vec![] };
    let mut regions = vec![empty; segments.count];
    for (y, row) in segments.labels.chunks_exact(segments.width).enumerate() {
        for (x, &label) in row.iter().enumerate() {
            let (region, pixel) = (&mut regions[label as usize], Bounds::pixel(x as u32, y as u32));
            region.bounds = if region.size == 0.0 { pixel } else { region.bounds.around(pixel) };
            region.size += 1.0;
        }
    }
    regions
}

fn normalize(histogram: &mut [f32]) {
    let sum: f32 = histogram.iter().sum();
    histogram.iter_mut().for_each(|share| *share /= sum);
}

/// Adjacency of segments (4-connected).
fn touching(segments: &Segments) -> Vec<BTreeSet<u32>> {
    let mut beside = vec![BTreeSet::new(); segments.count];
    let (labels, width) = (&segments.labels, segments.width);
    let mut touch = |a: u32, b: u32| {
        if a != b {
            beside[a as usize].insert(b);
            beside[b as usize].insert(a);
        }
    };
    for row in labels.chunks_exact(width) {
        row.windows(2).for_each(|pair| touch(pair[0], pair[1]));
    }
    for (&above, &below) in labels.iter().zip(labels.iter().skip(width)) {
        touch(above, below);
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4 × 2 pixels: two black columns, one gray, one white.
    fn strip() -> Regions {
        let segments = Segments { width: 4, height: 2, labels: vec![0, 0, 1, 2, 0, 0, 1, 2], count: 3 };
        let plane = vec![0.0, 0.0, 128.0, 255.0, 0.0, 0.0, 128.0, 255.0];
        let planes = Planes { width: 4, height: 2, channels: vec![plane] };
        let texture = texture::bins(&planes);
        Regions::of(&segments, &planes, &texture)
    }

    const NONE: Likeness = Likeness { color: false, texture: false, size: false, fill: false };

    #[test]
    fn regions_are_measured() {
        let strip = strip();
        assert_eq!(strip.regions.iter().map(|r| r.size).collect::<Vec<_>>(), [4.0, 2.0, 2.0]);
        assert_eq!(strip.regions[0].bounds, Bounds { left: 0, top: 0, right: 1, bottom: 1 });
        assert_eq!(strip.beside, [BTreeSet::from([1]), BTreeSet::from([0, 2]), BTreeSet::from([1])]);
        assert_eq!(strip.regions[1].color[12], 1.0);
        assert!((strip.regions[0].texture.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn likeness_is_that_of_the_equations() {
        let Regions { regions, area, .. } = strip();
        let of = |likeness| regions[0].likeness(&regions[2], likeness, area);
        assert_eq!(of(Likeness { color: true, ..NONE }), 0.0, "black and white share no bin");
        assert_eq!(of(Likeness { size: true, ..NONE }), 1.0 - 6.0 / 8.0);
        assert_eq!(of(Likeness { fill: true, ..NONE }), 1.0 - 2.0 / 8.0, "the gray column would be a hole");
        let same = regions[0].likeness(&regions[0], Likeness { color: true, texture: true, ..NONE }, area);
        assert!((same - 2.0).abs() < 1e-6);
        assert_eq!(of(Likeness { size: true, fill: true, ..NONE }), 1.0, "likenesses add up");
    }

    #[test]
    fn a_joined_region_is_what_its_pixels_are() {
        let Regions { regions, .. } = strip();
        let both = regions[0].joined(&regions[1]);
        assert_eq!((both.size, both.bounds.width(), both.bounds.height()), (6.0, 3, 2));
        assert!((both.color[0] - 4.0 / 6.0).abs() < 1e-6 && (both.color[12] - 2.0 / 6.0).abs() < 1e-6);
    }
}
