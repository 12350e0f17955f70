//! The measures of a pool of images, by name, and their bootstrap intervals.

use crate::metrics::bootstrap::Interval;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that is measured of one method. Areas are shares, 0 to 1. Serialized as an object of its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColorSummary {
    pub images: usize,
    pub pixels: u64,
    /// 1 − E[min(d, 150)] / 150.
    pub auc: f64,
    /// Mean over thresholds 0, 1, …, 150.
    pub auc_thresholds: f64,
    /// Every occupied bin of true colors weighted equally.
    pub auc_empirical: f64,
    pub auc_empirical_thresholds: f64,
    /// Bins that hold a pixel of the truth.
    pub occupied_bins: usize,
    /// (Σw)² / Σw² of the empirical weighting, in pixels.
    pub effective_empirical: f64,
    /// Weighted by one over the prior; None where no prior was given.
    pub auc_prior: Option<f64>,
    pub auc_prior_thresholds: Option<f64>,
    /// (Σw)² / Σw² of the prior's weighting, in pixels.
    pub effective_prior: Option<f64>,
    /// √E[d²], in ab units.
    pub rmse: f64,
    /// 10 log₁₀(255² / mean squared byte error over all images), in dB. None without pictures, and where they are equal
    /// (then `colorfulness` is there).
    pub psnr: Option<f64>,
    /// The mean over images of each one's PSNR, in dB; None also where a single image is equal to its truth.
    pub psnr_mean: Option<f64>,
    /// Mean over images; None without pictures.
    pub colorfulness: Option<f64>,
    /// The truth's, over the same images.
    pub truth_colorfulness: Option<f64>,
}

/// A statistic that the bootstrap gives an interval of.
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

    /// As serialized.
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

    /// Whether it is an area, and shown in percent.
    pub fn is_area(self) -> bool {
        !matches!(
            self,
            Self::Rmse | Self::Psnr | Self::PsnrMean | Self::Colorfulness | Self::TruthColorfulness
        )
    }
}

impl ColorSummary {
    /// The value of `measure`; None where it has none.
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

/// The interval of every measure that all replicates have a value of.
pub fn intervals(replicates: &[ColorSummary]) -> BTreeMap<ColorMeasure, Interval> {
    let interval = |measure: ColorMeasure| {
        let values: Option<Vec<f64>> = replicates.iter().map(|r| r.get(measure)).collect();
        Some((measure, Interval::of(&values?)?))
    };
    ColorMeasure::ALL.into_iter().filter_map(interval).collect()
}
