//! Color hints: squares of a picture whose color a user gives, and the simulation of users in training (Zhang et al. 2017,
//! section 3.2; the constants are those of the authors' training code).

use crate::bounded::{Count, Portion};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_distr::{Distribution, Normal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A square or rectangle of pixels with one color.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hint {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
    /// a and b of Lab
    pub ab: [f32; 2],
}

/// Simulated color hints. In YAML: `hints: { stop: 0.125, patch: 9 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Simulated hints")]
pub struct HintSpec {
    /// Probability p of giving no further hint: n hints have the probability (1 − p)ⁿ·p, and their mean is 1 / p − 1.
    pub stop: Portion,
    /// Sides of hints are drawn evenly from 1 to this many pixels.
    pub patch: Count<4096>,
}

impl Default for HintSpec {
    fn default() -> Self {
        Self { stop: Portion::of(0.125), patch: Count::of(9) }
    }
}

/// Largest number of hints in a picture; 500 have the probability 1e-29 at the default.
const MOST: usize = 500;

impl HintSpec {
    /// Hints for a picture of Lab values `(height, width)`: a square of side P, centered near the middle (normal, with
    /// a deviation of a quarter of the room, clipped to the picture), in its mean color.
    pub fn draw(
        &self,
        lab: &[[f32; 3]],
        (height, width): (usize, usize),
        rng: &mut impl rand::Rng,
    ) -> Vec<Hint> {
        let mut hints = vec![];
        while hints.len() < MOST && rng.random::<f64>() >= self.stop.get() {
            let side = rng.random_range(1..=self.patch.get()).min(height).min(width);
            let (top, left) = (corner(height, side, rng), corner(width, side, rng));
            let mut hint = Hint { top, left, height: side, width: side, ab: [0.0; 2] };
            hint.ab = hint.mean(lab, width);
            hints.push(hint);
        }
        hints
    }
}

/// First pixel of a side of `side` pixels on an axis of `n`.
fn corner(n: usize, side: usize, rng: &mut impl rand::Rng) -> usize {
    let room = (n - side) as f64;
    let middle = (n - side + 1) as f64;
    let drawn = Normal::new(middle / 2.0, middle / 4.0).map_or(middle / 2.0, |normal| normal.sample(rng));
    drawn.clamp(0.0, room) as usize
}

impl Hint {
    /// The same part of the picture at another height and width; at least one pixel of it.
    pub fn scaled(self, from: (usize, usize), to: (usize, usize)) -> Self {
        let axis = |first: usize, length: usize, from: usize, to: usize| {
            let place = |at: usize| (at as f64 * to as f64 / from.max(1) as f64).round() as usize;
            let start = place(first).min(to.saturating_sub(1));
            (start, place(first + length).min(to).saturating_sub(start).max(1))
        };
        let (top, height) = axis(self.top, self.height, from.0, to.0);
        let (left, width) = axis(self.left, self.width, from.1, to.1);
        Self { top, left, height, width, ..self }
    }

    /// Mean a and b of its pixels in a picture `width` wide.
    fn mean(&self, lab: &[[f32; 3]], width: usize) -> [f32; 2] {
        let rows = self.top..self.top + self.height;
        let pixels = rows.flat_map(|y| &lab[y * width + self.left..][..self.width]);
        let sum = pixels.fold([0f64; 2], |[a, b], pixel| [a + f64::from(pixel[1]), b + f64::from(pixel[2])]);
        sum.map(|sum| (sum / (self.height * self.width) as f64) as f32)
    }
}

/// Hints of several pictures `height` × `width` as a map `(B, height, width, 3)`: a, b, and 1 where there is a hint; 0
/// elsewhere. Where hints overlap, the later one counts.
///
/// # Errors
/// A hint outside of its picture.
pub fn map(pictures: &[Vec<Hint>], (height, width): (usize, usize), device: &Device) -> Result<Tensor> {
    let mut map = vec![[0f32; 3]; pictures.len() * height * width];
    for (hints, picture) in pictures.iter().zip(map.chunks_exact_mut((height * width).max(1))) {
        for hint in hints {
            let Hint { top, left, ab: [a, b], .. } = *hint;
            ensure!(
                top + hint.height <= height && left + hint.width <= width,
                "a hint of {}×{} pixels at row {top}, column {left} is outside of a picture of {height}×{width}",
                hint.height,
                hint.width
            );
            for row in picture.chunks_exact_mut(width).skip(top).take(hint.height) {
                row[left..left + hint.width].fill([a, b, 1.0]);
            }
        }
    }
    Ok(Tensor::from_vec(map.into_flattened(), (pictures.len(), height, width, 3), device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn numbers_sides_and_places_follow_their_distributions() {
        let (spec, lab) = (HintSpec::default(), vec![[50.0, 1.0, -2.0]; 64 * 48]);
        let mut stream = Rng::new(1).at(0, 0);
        let drawn: Vec<Vec<Hint>> = (0..4000).map(|_| spec.draw(&lab, (64, 48), &mut stream)).collect();
        let all: Vec<&Hint> = drawn.iter().flatten().collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / all.len() as f64;
        // A geometric number with p = 1/8: its mean is 7, and one of eight pictures has none.
        assert!((all.len() as f64 / 4000.0 - 7.0).abs() < 0.5, "{}", all.len());
        let empty = drawn.iter().filter(|hints| hints.is_empty()).count() as f64 / 4000.0;
        assert!((empty - 0.125).abs() < 0.02, "{empty}");
        assert!((mean(&mut all.iter().map(|hint| hint.height as f64)) - 5.0).abs() < 0.1);
        let middle = mean(&mut all.iter().map(|hint| hint.top as f64 + hint.height as f64 / 2.0));
        assert!((middle - 32.0).abs() < 0.6, "{middle}");
        assert!(all.iter().all(|hint| hint.ab == [1.0, -2.0] && hint.top + hint.height <= 64));
        assert!(all.iter().all(|hint| hint.height == hint.width && hint.left + hint.width <= 48));
    }

    #[test]
    fn a_hint_has_the_mean_color_of_its_pixels() {
        let lab: Vec<[f32; 3]> = (0..12).map(|i| [50.0, i as f32, -(i as f32)]).collect(); // 3 × 4
        let hint = Hint { top: 1, left: 2, height: 2, width: 2, ab: [0.0; 2] };
        assert_eq!(hint.mean(&lab, 4), [8.5, -8.5]); // of 6, 7, 10, 11
    }

    #[test]
    fn hints_are_scaled_with_their_picture_and_never_vanish() {
        let hint = Hint { top: 100, left: 0, height: 20, width: 300, ab: [1.0, 2.0] };
        let half = hint.scaled((200, 300), (100, 150));
        assert_eq!(half, Hint { top: 50, left: 0, height: 10, width: 150, ab: [1.0, 2.0] });
        let last = Hint { top: 199, left: 299, height: 1, width: 1, ab: [0.0; 2] };
        let small = last.scaled((200, 300), (4, 6));
        assert_eq!((small.top, small.left, small.height, small.width), (3, 5, 1, 1));
    }

    #[test]
    fn maps_hold_the_hints_and_nothing_else() -> Result<()> {
        let hint = Hint { top: 1, left: 0, height: 1, width: 2, ab: [5.0, -7.0] };
        let map = map(&[vec![], vec![hint]], (2, 3), &Device::Cpu)?;
        let values = map.flatten_all()?.to_vec1::<f32>()?;
        assert!(values[..18 + 9].iter().all(|v| *v == 0.0));
        assert_eq!(values[27..], [5.0, -7.0, 1.0, 5.0, -7.0, 1.0, 0.0, 0.0, 0.0]);
        let error = super::map(&[vec![Hint { left: 2, ..hint }]], (2, 3), &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("row 1, column 2"), "{error}");
        Ok(())
    }
}
