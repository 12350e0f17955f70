//! Crops for training other than a window of the resized picture: of a random area and shape, of pictures at a random scale, of
//! pictures with a margin.

use super::transforms::Window;
use crate::bounded::{Count, Pixels, Portion, Positive, Span};
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, ops::RangeInclusive};

/// How training pictures are cropped, in place of a window of the resized picture. In YAML: `train_crop: { random_resized: {} }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainCrop {
    /// A window of a random share of the stored picture and of a random shape, resized to the crop (Szegedy et al. 2015), drawn as
    /// torchvision's `RandomResizedCrop` draws it; `resize` applies to validation alone.
    RandomResized(RandomResized),
    /// A window of the picture at a random scale (Simonyan and Zisserman 2015); `resize` applies to validation alone.
    RandomShortSide(RandomShortSide),
    /// A window of the resized picture with a black margin, as is usual on CIFAR.
    Padded(Padded),
}

/// Sizes and shapes of the windows. The defaults are torchvision's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Windows of random size")]
pub struct RandomResized {
    /// Shares of the picture's area, from the least to the largest.
    pub area: Span<Portion>,
    /// Ratios of width to height, drawn on a logarithmic scale.
    pub aspect: Span<Positive>,
}

impl Default for RandomResized {
    fn default() -> Self {
        Self {
            area: Span { least: Portion::of(0.08), most: Portion::of(1.0) },
            aspect: Span { least: Positive::of(3.0 / 4.0), most: Positive::of(4.0 / 3.0) },
        }
    }
}

/// Scales of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Random short side")]
pub struct RandomShortSide {
    /// Short sides in pixels, one of which is drawn for each picture.
    pub pixels: Span<Pixels>,
}

impl RandomResized {
    /// A window of a picture of `(width, height)`.
    pub fn draw(&self, size: (usize, usize), rng: &mut impl Rng) -> Window {
        let (area, aspect) = (self.area, self.aspect);
        let [area, aspect] = [area.least.get()..=area.most.get(), aspect.least.get()..=aspect.most.get()];
        random_window(size, area, aspect, rng)
    }
}

/// Margin of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Margin")]
pub struct Padded {
    /// Width of the margin on every side, in pixels.
    pub pixels: Margin,
}

/// A margin's width.
pub type Margin = Count<4096>;

/// Draws before the largest central window is taken.
const ATTEMPTS: usize = 10;

/// A window of a random share `area` of a picture of `(width, height)` and of a random `aspect`; after ten that do not fit, the
/// largest central one of an allowed aspect.
pub fn random_window(
    (width, height): (usize, usize),
    area: RangeInclusive<f64>,
    aspect: RangeInclusive<f64>,
    rng: &mut impl Rng,
) -> Window {
    for _ in 0..ATTEMPTS {
        let area = (width * height) as f64 * rng.random_range(area.clone());
        let aspect = rng.random_range(aspect.start().ln()..=aspect.end().ln()).exp();
        let (w, h) = ((area * aspect).sqrt().round() as usize, (area / aspect).sqrt().round() as usize);
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let y = rng.random_range(0..=height - h);
            return Window { x: rng.random_range(0..=width - w), y, width: w, height: h };
        }
    }
    let aspect = (width as f64 / height as f64).clamp(*aspect.start(), *aspect.end());
    let w = ((height as f64 * aspect).round() as usize).clamp(1, width);
    let h = ((width as f64 / aspect).round() as usize).clamp(1, height);
    Window { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h }
}

impl RandomShortSide {
    /// A short side in pixels.
    pub fn draw(&self, rng: &mut impl Rng) -> usize {
        rng.random_range(self.pixels.least.get()..=self.pixels.most.get())
    }
}

/// What a crop is of.
impl fmt::Display for TrainCrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RandomResized(RandomResized { area: Span { least, most }, .. }) => {
                let percent = |share: &Portion| (1e4 * share.get()).round() / 100.0;
                write!(f, "of {} to {} % of the picture", percent(least), percent(most))
            }
            Self::RandomShortSide(RandomShortSide { pixels: Span { least, most } }) => {
                write!(f, "of pictures with a short side of {least} to {most}")
            }
            Self::Padded(Padded { pixels }) => write!(f, "of pictures with a margin of {pixels}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng as Streams;

    fn draws(spec: RandomResized, size: (usize, usize)) -> Vec<Window> {
        let streams = Streams::new(4);
        (0..4000).map(|i| spec.draw(size, &mut streams.at(0, i))).collect()
    }

    /// Moments of a window that always fits: areas are even over the span, logarithms of the aspect too.
    #[test]
    fn areas_and_aspects_are_even_over_their_spans() {
        let spec = RandomResized {
            area: Span { least: Portion::of(0.05), most: Portion::of(0.25) },
            ..RandomResized::default()
        };
        let windows = draws(spec, (400, 300));
        let mean = |of: &dyn Fn(&Window) -> f64| windows.iter().map(of).sum::<f64>() / windows.len() as f64;
        let area = |w: &Window| (w.width * w.height) as f64 / 120_000.0;
        let log = |w: &Window| (w.width as f64 / w.height as f64).ln();
        let (limit, sigma) = ((4f64 / 3.0).ln(), 4000f64.sqrt());
        assert!((mean(&area) - 0.15).abs() < 4.0 * 0.2 / 12f64.sqrt() / sigma, "{}", mean(&area));
        assert!(mean(&log).abs() < 4.0 * limit / 3f64.sqrt() / sigma, "{}", mean(&log));
        assert!((mean(&|w| log(w).powi(2)) - limit * limit / 3.0).abs() < 0.003);
        for window in &windows {
            assert!((0.049..0.251).contains(&area(window)) && log(window).abs() < limit + 0.02, "{window:?}");
            assert!(window.x + window.width <= 400 && window.y + window.height <= 300, "{window:?}");
        }
        // Every place is as likely: the mean of x is half of what is left.
        let place = |w: &Window| w.x as f64 / (400 - w.width) as f64 - 0.5;
        assert!(mean(&place).abs() < 4.0 / 12f64.sqrt() / sigma, "{}", mean(&place));
    }

    #[test]
    fn where_no_window_fits_the_largest_central_one_is_taken() {
        let all = Span { least: Portion::of(1.0), most: Portion::of(1.0) };
        let whole = RandomResized { area: all, ..RandomResized::default() };
        // torchvision's: the height is kept, the width 4/3 of it; 3/4 in the other direction
        for (size, window) in [
            ((900, 300), Window { x: 250, y: 0, width: 400, height: 300 }),
            ((300, 900), Window { x: 0, y: 250, width: 300, height: 400 }),
            ((1, 50), Window { x: 0, y: 24, width: 1, height: 1 }),
        ] {
            assert_eq!(whole.draw(size, &mut Streams::new(0).at(0, 0)), window, "{size:?}");
        }
        assert!(draws(whole, (40, 30)).contains(&Window { x: 0, y: 0, width: 40, height: 30 }));
    }

    #[test]
    fn short_sides_are_even_over_their_span() {
        let spec = RandomShortSide { pixels: Span { least: Pixels::of(3), most: Pixels::of(6) } };
        let (streams, mut counts) = (Streams::new(1), [0; 7]);
        (0..400).for_each(|i| counts[spec.draw(&mut streams.at(0, i))] += 1);
        assert!(counts[3..].iter().all(|count| (60..140).contains(count)), "{counts:?}");
        assert_eq!(counts[..3], [0; 3]);
    }
}
