//! One direction of cross-channel prediction: the Lab channels that a network sees, those that it predicts, and by which
//! criterion.
//!
//! Classification targets the nearest bin only: no soft encoding, no class rebalancing, no gray gate.

use super::{
    channels::LabChannels,
    label_grid::{subsample, upsampled},
};
use crate::{
    backbones::network::PixelGrid,
    color::{
        bins::Bins,
        decode::{Decode, decode},
        lab,
        nearest::nearest_bins,
    },
    device::{keep_layouts, table},
    ops::losses::{cross_entropy, squared_distance},
};
use candle_core::{D, DType, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Spacing of the ab bins, in ab units.
const GRID: f32 = 10.0;
/// Largest L.
const WHITE: f32 = 100.0;
/// Temperature of the annealed mean; affects panels and figures only.
const TEMPERATURE: f32 = 0.38;

/// Loss of a prediction of channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelLoss {
    /// Cross-entropy over the nearest of 313 ab bins, or over bins of lightness.
    #[default]
    Classification,
    /// Half the squared distance in Lab, summed over label pixels.
    Regression,
}

/// Input channels, predicted channels and criterion.
#[derive(Clone, Debug)]
pub struct ChannelTarget {
    sees: LabChannels,
    predicts: LabChannels,
    criterion: ChannelCriterion,
}

#[derive(Clone, Debug)]
enum ChannelCriterion {
    /// Nearest ab bin.
    Ab(Arc<Bins>),
    /// Lightness bin.
    Lightness(LightnessBins),
    /// Regression of the values.
    Regression,
}

impl ChannelTarget {
    /// ab from L, by classification over the 313 bins of 10 or by regression.
    pub fn ab(loss: ChannelLoss) -> Self {
        let criterion = match loss {
            ChannelLoss::Classification => ChannelCriterion::Ab(Arc::new(Bins::new(GRID))),
            ChannelLoss::Regression => ChannelCriterion::Regression,
        };
        Self { sees: LabChannels::Lightness, predicts: LabChannels::Ab, criterion }
    }

    /// L from ab, by classification over `bins` bins of equal width or by regression.
    pub fn lightness(loss: ChannelLoss, bins: usize) -> Self {
        let criterion = match loss {
            ChannelLoss::Classification => ChannelCriterion::Lightness(LightnessBins(bins)),
            ChannelLoss::Regression => ChannelCriterion::Regression,
        };
        Self { sees: LabChannels::Ab, predicts: LabChannels::Lightness, criterion }
    }

    /// Lab from Lab, by regression.
    pub fn autoencoder() -> Self {
        let criterion = ChannelCriterion::Regression;
        Self { sees: LabChannels::Lab, predicts: LabChannels::Lab, criterion }
    }

    /// Input channels of the network.
    pub fn sees(&self) -> LabChannels {
        self.sees
    }

    /// Predicted channels.
    pub fn predicts(&self) -> LabChannels {
        self.predicts
    }

    /// Channels of the output map.
    pub fn outputs(&self) -> usize {
        match &self.criterion {
            ChannelCriterion::Ab(bins) => bins.len(),
            ChannelCriterion::Lightness(LightnessBins(count)) => *count,
            ChannelCriterion::Regression => self.predicts.count(),
        }
    }

    /// Mean loss over label pixels, from an output map `(B, h, w, Q)` and the true channels `(B, h, w, C)`.
    pub(super) fn score(&self, map: &Tensor, truth: &Tensor) -> Result<Tensor> {
        let (b, h, w, outputs) = map.dims4()?;
        let pixels = b * h * w;
        match self.labels(truth)? {
            Some(labels) => cross_entropy(&map.reshape((pixels, outputs))?, &labels, None),
            None => squared_distance(&self.predicts.to_lab_units(map)?, truth, None, 2.0 * pixels as f64),
        }
    }

    /// Bin of every label pixel, u32 `(B·h·w)`; None for regression.
    fn labels(&self, truth: &Tensor) -> Result<Option<Tensor>> {
        match &self.criterion {
            ChannelCriterion::Ab(bins) => nearest_bins(truth, bins).map(Some),
            ChannelCriterion::Lightness(bins) => bins.nearest(&truth.flatten_all()?).map(Some),
            ChannelCriterion::Regression => Ok(None),
        }
    }

    /// Decodes an output map `(B, h, w, Q)` to channels `(B, h, w, C)`, without gradient.
    pub(super) fn decode_map(&self, map: &Tensor) -> Result<Tensor> {
        match &self.criterion {
            ChannelCriterion::Ab(bins) => decode(map, bins, Decode::Annealed(TEMPERATURE)),
            ChannelCriterion::Lightness(bins) => bins.expected(&map.detach()),
            ChannelCriterion::Regression => self.predicts.to_lab_units(&map.detach()),
        }
    }

    /// True channels of Lab pictures `(B, H, W, 3)` at the label pixels, `(B, h, w, C)`.
    pub(super) fn truth(&self, lab: &Tensor, grid: PixelGrid) -> Result<Tensor> {
        subsample(&self.predicts.select(lab)?, grid.stride)
    }

    /// Upsamples predicted channels `(B, h, w, C)`, completes them with the true ones, and converts to u8 RGB `(B, H,
    /// W, 3)`.
    pub(super) fn completed(&self, predicted: &Tensor, lab: &Tensor, grid: PixelGrid) -> Result<Tensor> {
        let (_, h, w, _) = lab.dims4()?;
        let whole = upsampled(grid, predicted, (h, w))?;
        lab::lab_to_rgb(&self.predicts.with_rest_of(&whole, lab)?)
    }
}

/// Bins of equal width that divide L from 0 to 100.
#[derive(Clone, Copy, Debug)]
struct LightnessBins(usize);

impl LightnessBins {
    fn width(self) -> f32 {
        WHITE / self.0 as f32
    }

    /// L in [n·w, (n + 1)·w) is bin n, whose middle is the nearest; white, L = 100, is in the last bin.
    fn nearest(self, l: &Tensor) -> Result<Tensor> {
        let bins = l.affine(f64::from(self.width().recip()), 0.0)?;
        bins.clamp(0f32, self.0 as f32 - 1.0)?.to_dtype(DType::U32)
    }

    /// Annealed mean of the middles of the bins: logits `(B, h, w, Q)` → L `(B, h, w, 1)`.
    fn expected(self, logits: &Tensor) -> Result<Tensor> {
        let middles: Vec<f32> = (0..self.0).map(|bin| (bin as f32 + 0.5) * self.width()).collect();
        let middles = table(&middles, logits.device())?;
        let _layouts = keep_layouts(logits.device());
        let above = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
        let weights = (above / f64::from(TEMPERATURE))?.exp()?;
        let mean = weights.broadcast_mul(&middles)?.sum_keepdim(D::Minus1)?;
        mean / weights.sum_keepdim(D::Minus1)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn every_lightness_has_a_bin() {
        let of_1 = [(-0.1, 0), (0.0, 0), (0.99, 0), (1.0, 1), (57.3, 57), (99.5, 99), (100.0, 99)];
        let of_2 = [(-0.1, 0), (0.0, 0), (1.99, 0), (2.0, 1), (57.3, 28), (98.0, 49), (100.0, 49)];
        for (count, cases) in [(100, of_1), (50, of_2)] {
            let (l, wanted): (Vec<f32>, Vec<u32>) = cases.into_iter().unzip();
            let bins = LightnessBins(count).nearest(&Tensor::new(l, &Device::Cpu).unwrap()).unwrap();
            assert_eq!(bins.to_vec1::<u32>().unwrap(), wanted, "{count} bins");
        }
    }

    #[test]
    fn a_certain_bin_is_read_as_its_middle() {
        for (count, wanted) in [(100, [42.5, 11.5]), (50, [85.0, 23.0])] {
            let mut logits = vec![0f32; 2 * count];
            logits[42] = 60.0;
            logits[count + 10] = 60.0;
            logits[count + 12] = 60.0;
            let logits = Tensor::from_vec(logits, (1, 1, 2, count), &Device::Cpu).unwrap();
            let l = LightnessBins(count).expected(&logits).unwrap();
            let l = l.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(l.iter().zip(wanted).all(|(l, wanted)| (l - wanted).abs() < 1e-4), "{l:?}");
        }
    }
}
