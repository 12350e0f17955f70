//! The measures over a pool of images, and their bootstrap intervals.

use crate::metrics::bootstrap::Interval;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All measures of one method. Areas are in [0, 1]. Serialized as an object of its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColorSummary {
    pub images: usize,
    pub pixels: u64,
    /// 1 − E[min(d, 150)] / 150.
    pub auc: f64,
    /// Mean over thresholds 0, 1, …, 150.
    pub auc_thresholds: f64,
    /// With equal weight for every occupied bin of true colors.
    pub auc_empirical: f64,
    pub auc_empirical_thresholds: f64,
    /// Bins that contain a true pixel.
    pub occupied_bins: usize,
    /// (Σw)² / Σw² of the empirical weighting, in pixels.
    pub effective_empirical: f64,
    /// Weighted by the inverse prior; None without a prior.
    pub auc_prior: Option<f64>,
    pub auc_prior_thresholds: Option<f64>,
    /// (Σw)² / Σw² of the prior's weighting, in pixels.
    pub effective_prior: Option<f64>,
    /// √E[d²], in ab units.
    pub rmse: f64,
    /// 10 log₁₀(255² / mean squared byte error over all images), in dB. None without 8-bit images, and if they are
    /// equal (then `colorfulness` is set).
    pub psnr: Option<f64>,
    /// Mean over images of the per-image PSNR, in dB; None also if any image equals its truth.
    pub psnr_mean: Option<f64>,
    /// Mean over images; None without 8-bit images.
    pub colorfulness: Option<f64>,
    /// Mean of the true images' colorfulness.
    pub truth_colorfulness: Option<f64>,
}

/// A measure with a bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorMeasure {
    Auc,
    AucThresholds,
    AucEmpirical,
    AucEmpiricalThresholds,
    AucPrior,
    AucPriorThresholds,
    Rmse,
    Psnr,
    PsnrMean,
    Colorfulness,
    TruthColorfulness,
}

impl ColorMeasure {
    pub const ALL: [Self; 11] = [
        Self::Auc,
        Self::AucThresholds,
        Self::AucEmpirical,
        Self::AucEmpiricalThresholds,
        Self::AucPrior,
        Self::AucPriorThresholds,
        Self::Rmse,
        Self::Psnr,
        Self::PsnrMean,
        Self::Colorfulness,
        Self::TruthColorfulness,
    ];

    /// The serialized name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::AucThresholds => "auc_thresholds",
            Self::AucEmpirical => "auc_empirical",
            Self::AucEmpiricalThresholds => "auc_empirical_thresholds",
            Self::AucPrior => "auc_prior",
            Self::AucPriorThresholds => "auc_prior_thresholds",
            Self::Rmse => "rmse",
            Self::Psnr => "psnr",
            Self::PsnrMean => "psnr_mean",
            Self::Colorfulness => "colorfulness",
            Self::TruthColorfulness => "truth_colorfulness",
        }
    }

    /// Whether the measure is an area, shown in percent.
    pub fn is_area(self) -> bool {
        !matches!(
            self,
            Self::Rmse | Self::Psnr | Self::PsnrMean | Self::Colorfulness | Self::TruthColorfulness
        )
    }
}

impl ColorSummary {
    /// The value of `measure`, if defined.
    pub fn get(&self, measure: ColorMeasure) -> Option<f64> {
        match measure {
            ColorMeasure::Auc => Some(self.auc),
            ColorMeasure::AucThresholds => Some(self.auc_thresholds),
            ColorMeasure::AucEmpirical => Some(self.auc_empirical),
            ColorMeasure::AucEmpiricalThresholds => Some(self.auc_empirical_thresholds),
            ColorMeasure::AucPrior => self.auc_prior,
            ColorMeasure::AucPriorThresholds => self.auc_prior_thresholds,
            ColorMeasure::Rmse => Some(self.rmse),
            ColorMeasure::Psnr => self.psnr,
            ColorMeasure::PsnrMean => self.psnr_mean,
            ColorMeasure::Colorfulness => self.colorfulness,
            ColorMeasure::TruthColorfulness => self.truth_colorfulness,
        }
    }
}

/// The intervals of the measures that are defined in all replicates.
pub fn intervals(replicates: &[ColorSummary]) -> BTreeMap<ColorMeasure, Interval> {
    let interval = |measure: ColorMeasure| {
        let values: Option<Vec<f64>> = replicates.iter().map(|r| r.get(measure)).collect();
        Some((measure, Interval::of(&values?)?))
    };
    ColorMeasure::ALL.into_iter().filter_map(interval).collect()
}
