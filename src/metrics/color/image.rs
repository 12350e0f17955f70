//! Sums of one image's color errors: per bin of the true color, and of the 8-bit images if given.

use crate::color::bins::Bins;
use serde::{Deserialize, Serialize};

/// The largest threshold, in ab units; errors are capped at it.
pub(super) const REACH: f64 = 150.0;
/// Thresholds 0, 1, …, 150.
pub(super) const THRESHOLDS: u32 = 151;

/// Why an image cannot be scored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ColorScoreError {
    #[error(
        "{name}: {predicted} predicted pixels for {truth} true ones; scale the prediction to the truth's size"
    )]
    Pixels { name: String, predicted: usize, truth: usize },
    #[error("{name}: the image has no pixels")]
    Empty { name: String },
    #[error("{name}: the {whose} color of pixel {pixel} is not finite: ab = {ab:?}")]
    NotFinite { name: String, whose: &'static str, pixel: usize, ab: [f32; 2] },
    #[error("{name}: the {whose} picture has {bytes} bytes; {pixels} RGB pixels need three each")]
    Bytes { name: String, whose: &'static str, bytes: usize, pixels: usize },
}

/// The error sums of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageScores {
    pub(super) name: String,
    pub(super) pixels: usize,
    /// Σ d², uncapped.
    pub(super) squared: f64,
    /// Occupied bins only, ascending.
    pub(super) bins: Vec<(usize, BinErrors)>,
    pub(super) pictures: Option<PictureErrors>,
}

/// Errors of the pixels whose true color is nearest to one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BinErrors {
    pub pixels: u64,
    /// Σ min(d, 150)
    pub capped: f64,
    /// Σ over pixels of the number of thresholds not below d
    pub reached: u64,
}

impl BinErrors {
    fn count(&mut self, distance: f64) {
        self.pixels += 1;
        self.capped += distance.min(REACH);
        if distance <= REACH {
            self.reached += u64::from(THRESHOLDS - distance.ceil() as u32);
        }
    }
}

/// Error sums of the 8-bit images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PictureErrors {
    /// Σ of squared byte differences, over three channels
    pub squared: u64,
    /// Colorfulness of the prediction and of the truth.
    pub colorfulness: [f64; 2],
}

impl ImageScores {
    /// Scores the predicted ab of one image, `[a, b]` per pixel in the same order as `truth`. `name` identifies the
    /// image in messages and when methods are paired. All images of a pool must use the same `bins`.
    ///
    /// Errors: different numbers of pixels, no pixels, a non-finite color.
    pub fn of(
        name: &str,
        predicted: &[[f32; 2]],
        truth: &[[f32; 2]],
        bins: &Bins,
    ) -> Result<Self, ColorScoreError> {
        let name = name.to_owned();
        if predicted.len() != truth.len() {
            return Err(ColorScoreError::Pixels { name, predicted: predicted.len(), truth: truth.len() });
        }
        if truth.is_empty() {
            return Err(ColorScoreError::Empty { name });
        }
        finite(&name, "predicted", predicted)?;
        finite(&name, "true", truth)?;
        let mut errors = vec![BinErrors::default(); bins.len()];
        let mut squared = 0.0;
        for (predicted, truth) in predicted.iter().zip(truth) {
            let [da, db] = [0, 1].map(|i| f64::from(predicted[i]) - f64::from(truth[i]));
            let square = da * da + db * db;
            squared += square;
            errors[bins.nearest(*truth)].count(square.sqrt());
        }
        let bins = errors.into_iter().enumerate().filter(|(_, errors)| errors.pixels > 0).collect();
        Ok(Self { name, pixels: truth.len(), squared, bins, pictures: None })
    }

    /// Adds the images as packed RGB bytes, for PSNR and colorfulness.
    ///
    /// Errors: a different number of pixels.
    pub fn with_pictures(mut self, predicted: &[u8], truth: &[u8]) -> Result<Self, ColorScoreError> {
        for (whose, bytes) in [("predicted", predicted.len()), ("true", truth.len())] {
            if bytes != 3 * self.pixels {
                return Err(ColorScoreError::Bytes { name: self.name, whose, bytes, pixels: self.pixels });
            }
        }
        let square = |(x, y): (&u8, &u8)| u64::from(x.abs_diff(*y)).pow(2);
        let squared = predicted.iter().zip(truth).map(square).sum();
        let colorfulness = [predicted, truth].map(colorfulness);
        self.pictures = Some(PictureErrors { squared, colorfulness });
        Ok(self)
    }

    /// The image's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pixels(&self) -> usize {
        self.pixels
    }
}

fn finite(name: &str, whose: &'static str, colors: &[[f32; 2]]) -> Result<(), ColorScoreError> {
    match colors.iter().position(|ab| !ab.iter().all(|v| v.is_finite())) {
        None => Ok(()),
        Some(pixel) => {
            Err(ColorScoreError::NotFinite { name: name.to_owned(), whose, pixel, ab: colors[pixel] })
        }
    }
}

/// M(3) of Hasler and Süsstrunk (Human Vision and Electronic Imaging 2003), on packed RGB bytes: √(σ²_rg + σ²_yb) +
/// 0.3 √(μ²_rg + μ²_yb), with rg = R − G, yb = (R + G) / 2 − B and population variances. The authors call 0 not
/// colorful, 15 slightly, 33 moderately, 59 quite, 82 highly and 109 extremely colorful.
fn colorfulness(rgb: &[u8]) -> f64 {
    // rg and 2 yb are integers, so these sums are exact
    let mut sums = [0i64; 4];
    for pixel in rgb.as_chunks::<3>().0 {
        let [r, g, b] = pixel.map(i64::from);
        let (rg, yb2) = (r - g, r + g - 2 * b);
        for (sum, value) in sums.iter_mut().zip([rg, rg * rg, yb2, yb2 * yb2]) {
            *sum += value;
        }
    }
    let n = (rgb.len() / 3) as f64;
    let [rg, rg_squares, yb2, yb2_squares] = sums.map(|sum| sum as f64 / n);
    let (yb, yb_squares) = (yb2 / 2.0, yb2_squares / 4.0);
    let variance = (rg_squares - rg * rg) + (yb_squares - yb * yb);
    variance.max(0.0).sqrt() + 0.3 * (rg * rg + yb * yb).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins() -> Bins {
        Bins::new(10.0)
    }

    #[test]
    fn errors_are_counted_where_the_truth_lies() {
        let (predicted, truth) = ([[3.0, 4.0], [50.0, 0.0], [200.0, 0.0]], [[0.0; 2], [50.0, 0.0], [0.0; 2]]);
        let scores = ImageScores::of("x", &predicted, &truth, &bins()).unwrap();
        assert_eq!((scores.pixels, scores.squared), (3, 25.0 + 200.0 * 200.0));
        let [gray, red] = [[0.0, 0.0], [50.0, 0.0]].map(|ab| bins().nearest(ab));
        // d = 5 reaches thresholds 5 … 150; 200 none; 0 all 151
        let expected = [
            (gray, BinErrors { pixels: 2, capped: 155.0, reached: 146 }),
            (red, BinErrors { pixels: 1, capped: 0.0, reached: 151 }),
        ];
        assert_eq!(scores.bins, expected);
    }

    #[test]
    fn thresholds_hold_at_their_edges() {
        let reached = |d: f64| {
            let mut errors = BinErrors::default();
            errors.count(d);
            errors.reached
        };
        let cases = [(0.0, 151), (0.001, 150), (1.0, 150), (149.5, 1), (150.0, 1), (150.001, 0), (1e9, 0)];
        for (d, expected) in cases {
            assert_eq!(reached(d), expected, "d = {d}");
            assert_eq!((0..=150).filter(|t| d <= f64::from(*t)).count() as u64, expected, "d = {d}");
        }
    }

    #[test]
    fn what_cannot_be_scored_is_named() {
        let score = |predicted: &[[f32; 2]], truth: &[[f32; 2]]| {
            ImageScores::of("cat.jpg", predicted, truth, &bins()).unwrap_err().to_string()
        };
        assert_eq!(
            score(&[[0.0; 2], [0.0, f32::NAN]], &[[0.0; 2]; 2]),
            "cat.jpg: the predicted color of pixel 1 is not finite: ab = [0.0, NaN]"
        );
        assert!(score(&[[0.0; 2]], &[[f32::INFINITY, 0.0]]).contains("the true color of pixel 0"));
        assert!(
            score(&[[0.0; 2]], &[[0.0; 2]; 2]).starts_with("cat.jpg: 1 predicted pixels for 2 true ones")
        );
        assert_eq!(score(&[], &[]), "cat.jpg: the image has no pixels");
        let scores = ImageScores::of("cat.jpg", &[[0.0; 2]], &[[0.0; 2]], &bins()).unwrap();
        let error = scores.with_pictures(&[0; 3], &[0; 4]).unwrap_err().to_string();
        assert_eq!(error, "cat.jpg: the true picture has 4 bytes; 1 RGB pixels need three each");
    }

    #[test]
    fn colorfulness_by_hand() {
        assert_eq!(colorfulness(&[90; 30]), 0.0);
        // rg = 255, yb = 127.5 everywhere: no spread, 0.3 · 255 · √1.25
        assert!((colorfulness(&[255, 0, 0].repeat(4)) - 0.3 * 255.0 * 1.25f64.sqrt()).abs() < 1e-9);
        // red and cyan: rg = ±255, yb = ±127.5: no mean, 255 · √1.25
        assert!((colorfulness(&[255, 0, 0, 0, 255, 255]) - 255.0 * 1.25f64.sqrt()).abs() < 1e-9);
    }
}
