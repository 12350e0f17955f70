//! How well some Lab channels were predicted from others, over a validation.

use super::{channel_target::ChannelTarget, mean_meter::MeanMeter};
use crate::{
    backbones::network::PixelGrid,
    train::task::{Better, Metric},
};
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Ratio of predicted to true variation below which the network has collapsed to one color.
const COLLAPSE_RATIO: f64 = 0.1;
/// True variation within a picture, in Lab units, below which it counts as flat.
const MIN_VARIATION: f64 = 0.1;

/// A validation batch: u8 RGB and Lab, both `(B, H, W, 3)`, and the label grid.
pub(super) struct Truth<'a> {
    pub pixels: &'a Tensor,
    pub lab: &'a Tensor,
    pub grid: PixelGrid,
}

/// Image-weighted means over a validation.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ChannelMeter(MeanMeter);

impl ChannelMeter {
    /// Names of the metrics.
    pub const METRICS: [&str; 4] = ["loss", "rmse", "psnr", "contrast"];

    /// Of a batch with output maps `(B, h, w, Q)`.
    pub fn of_batch(target: &ChannelTarget, map: &Tensor, batch: &Truth) -> Result<Self> {
        let Truth { pixels, lab, grid } = *batch;
        let (predicted, truth) = (target.decode_map(map)?, target.truth(lab, grid)?);
        let means = [
            ("loss", scalar(&target.score(map, &truth)?)?),
            ("squared_distance", scalar(&(&predicted - &truth)?.sqr()?.sum(3)?.mean_all()?)?),
            ("squared_bytes", squared_bytes(&target.completed(&predicted, lab, grid)?, pixels)?),
            ("predicted_variation", variation(&predicted)?),
            ("true_variation", variation(&truth)?),
        ];
        Ok(Self(MeanMeter::of_batch(truth.dim(0)? as f64, &means)))
    }

    /// Adds other batches.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// The results for predictions of `channels` channels.
    pub fn finish(&self, channels: usize) -> ChannelResult {
        let Self(meter) = self;
        let (predicted, truth) = (meter.mean("predicted_variation"), meter.mean("true_variation"));
        let fault = match predicted / truth {
            _ if truth < MIN_VARIATION => Some(Fault::Flat),
            contrast if contrast < COLLAPSE_RATIO => Some(Fault::Constant),
            _ => None,
        };
        let contrast = if fault == Some(Fault::Flat) { f64::NAN } else { predicted / truth };
        let psnr = 10.0 * (255.0f64.powi(2) / meter.mean("squared_bytes")).log10();
        let values = [
            (meter.mean("loss"), Better::Lower),
            ((meter.mean("squared_distance") / channels as f64).sqrt(), Better::Lower),
            (psnr, Better::Higher),
            (contrast, Better::Neither),
        ];
        ChannelResult { values, fault }
    }
}

/// What makes a result less than it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The true channels do not vary.
    Flat,
    /// The predicted ones hardly do.
    Constant,
}

/// Result of a validation.
pub(super) struct ChannelResult {
    values: [(f64, Better); 4],
    fault: Option<Fault>,
}

impl ChannelResult {
    /// The mean loss over label pixels.
    pub fn loss(&self) -> f64 {
        self.values[0].0
    }

    /// The loss; the Lab distance at label pixels; PSNR of full-size pictures, completed with the true channels; and
    /// the ratio of predicted to true variation within a picture.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> {
        let named = ChannelMeter::METRICS.into_iter().zip(self.values);
        let metrics = named.map(|(name, (value, better))| Metric { name: name.into(), value, better });
        // Identical pictures have no PSNR.
        metrics.filter(|metric| metric.value != f64::INFINITY)
    }

    /// The problem with the predicted channels, named `what`, and advice.
    pub fn warning(&self, what: &str) -> Option<(String, String)> {
        let (problem, advice) = match self.fault? {
            Fault::Flat => (
                format!("{what} do not vary within the validation pictures, so `contrast` is undefined"),
                "use pictures in which these channels vary, or ignore this metric",
            ),
            Fault::Constant => (
                format!(
                    "{what} vary by less than {:.0} % of the true variation: the network predicts a constant",
                    100.0 * COLLAPSE_RATIO
                ),
                "train longer, or raise the learning rate",
            ),
        };
        Some((problem, advice.into()))
    }
}

fn scalar(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.to_scalar::<f32>()?))
}

/// Mean squared difference between u8 pictures `(B, H, W, 3)`.
fn squared_bytes(a: &Tensor, b: &Tensor) -> Result<f64> {
    let [a, b] = [a, b].map(|x| x.to_dtype(DType::F32));
    scalar(&(a? - b?)?.sqr()?.mean_all()?)
}

/// Root mean squared deviation of the pixels of an image `(B, h, w, C)` from its mean, averaged over images.
fn variation(x: &Tensor) -> Result<f64> {
    let (b, h, w, c) = x.dims4()?;
    let pixels = x.reshape((b, h * w, c))?;
    let away = pixels.broadcast_sub(&pixels.mean_keepdim(1)?)?;
    scalar(&away.sqr()?.sum(2)?.mean(1)?.sqrt()?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn variation_is_the_spread_around_an_images_own_mean() {
        let flat_and_two = Tensor::from_vec(vec![7f32, 7.0, 3.0, 9.0], (2, 1, 2, 1), &Device::Cpu).unwrap();
        assert_eq!(variation(&flat_and_two).unwrap(), 1.5);
    }
}
