//! What colorization tasks measure and show: losses, distance in ab, vividness, warnings of a collapse to gray, and panels.

use super::mean_meter::MeanMeter;
use crate::{
    color::lab,
    train::{
        panel,
        task::{Better, ImagePanel, Metric},
    },
};
use anyhow::Result;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Images in a panel.
pub(super) const PANEL_IMAGES: usize = 8;
/// Ratio of predicted to true chroma below which the network has collapsed to gray.
const COLLAPSE_RATIO: f64 = 0.1;
/// Mean true chroma, in ab units, below which the images count as colorless and that ratio is meaningless.
const MIN_CHROMA: f64 = 0.1;
/// Names of the metrics besides losses.
pub(super) const METRICS: [&str; 2] = ["rmse", "vividness"];

/// Means over a validation.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ColorMeter(MeanMeter);

impl ColorMeter {
    /// Of a batch: means of losses, predicted and true ab `(B, h, w, 2)`.
    pub fn of_batch(losses: &[(&'static str, f64)], predicted: &Tensor, ab: &Tensor) -> Result<Self> {
        let images = ab.dim(0)? as f64;
        let mut meter = MeanMeter::of_batch(images, losses);
        let others = [
            ("squared_distance", squared_distance(predicted, ab)?),
            ("predicted_chroma", chroma(predicted)?),
            ("true_chroma", chroma(ab)?),
        ];
        meter.add(images, &others);
        Ok(Self(meter))
    }

    /// Adds other batches.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// The losses named, root mean squared distance in ab, and ratio of predicted to true chroma, which also says what to
    /// warn of.
    pub fn metrics(&self, losses: &[&str]) -> (Vec<Metric>, ColorFault) {
        let (predicted, truth) = (self.0.mean("predicted_chroma"), self.0.mean("true_chroma"));
        let vividness = if truth < MIN_CHROMA { f64::NAN } else { predicted / truth };
        let fault = match vividness {
            v if v.is_nan() => ColorFault::Colorless,
            v if v < COLLAPSE_RATIO => ColorFault::Collapsed,
            _ => ColorFault::None,
        };
        let metric = |name: &str, value: f64, better| Metric { name: name.into(), value, better };
        let losses = losses.iter().map(|name| metric(name, self.0.mean(name), Better::Lower));
        let rmse = metric(METRICS[0], (self.0.mean("squared_distance") / 2.0).sqrt(), Better::Lower);
        let metrics = losses.chain([rmse, metric(METRICS[1], vividness, Better::Neither)]);
        (metrics.collect(), fault)
    }
}

/// What is wrong with the colors of the newest validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ColorFault {
    #[default]
    None,
    /// The pictures have no color.
    Colorless,
    /// The predictions have none.
    Collapsed,
}

impl ColorFault {
    /// Problem, and `advice` where the network has collapsed.
    pub fn warnings(self, advice: &str) -> Vec<(String, String)> {
        match self {
            Self::None => vec![],
            Self::Colorless => vec![(
                "the validation pictures have no color, so `vividness` is undefined".into(),
                "use color pictures, or ignore this metric".into(),
            )],
            Self::Collapsed => vec![(
                format!(
                    "predicted chroma is below {:.0} % of the true chroma: the network predicts gray",
                    100.0 * COLLAPSE_RATIO
                ),
                advice.into(),
            )],
        }
    }
}

/// Mean chroma √(a²+b²) over pixels `(…, 2)`.
fn chroma(ab: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from(ab.sqr()?.sum(3)?.sqrt()?.mean_all()?.to_scalar::<f32>()?))
}

/// Mean squared distance in ab.
fn squared_distance(predicted: &Tensor, ab: &Tensor) -> candle_core::Result<f64> {
    Ok(f64::from((predicted - ab)?.sqr()?.sum(3)?.mean_all()?.to_scalar::<f32>()?))
}

/// Input (gray), prediction and truth in columns: pictures u8 RGB `(B, H, W, 3)`, predicted ab `(B, H, W, 2)`.
pub(super) fn color_panel(name: &str, pixels: &Tensor, ab: &Tensor) -> Result<ImagePanel> {
    let light = lab::rgb_to_lab(pixels)?.narrow(3, 0, 1)?.contiguous()?;
    let with = |ab: &Tensor| -> Result<Tensor> { Ok(lab::lab_to_rgb(&Tensor::cat(&[&light, ab], 3)?)?) };
    let (gray, predicted) = (with(&ab.zeros_like()?)?, with(ab)?);
    let columns = [("input", &gray), ("predicted", &predicted), ("truth", pixels)];
    panel::from_columns(name, &columns)
}
