//! Colorization as a pretext task: from lightness to a distribution over quantised colours.

use crate::bounded::{Count, Fraction, NonNegative, Positive};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How colours are quantised, encoded, weighted and gated; the defaults are those of the paper's released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorizationSpec {
    /// Spacing of the ab bins, in ab units; 10 gives the paper's 313 bins.
    pub grid: Positive,
    /// Bins that a colour is spread over (the paper says 5, its code 10).
    pub neighbours: Count,
    /// Width of that spread, in ab units.
    pub sigma: Positive,
    /// Weights that let rare colours count more (paper, equation 4).
    pub rebalance: RebalanceSpec,
    /// Where the distribution of colours comes from.
    pub prior: PriorSpec,
    /// An image none of whose label pixels has |a| or |b| above this is left out of the gradient; null switches
    /// the gate off.
    pub grey_gate: Option<NonNegative>,
    /// Temperature of the annealed mean (paper, equation 5); used in pictures only, never in training.
    pub temperature: Positive,
}

impl Default for ColorizationSpec {
    fn default() -> Self {
        Self {
            grid: Positive::of(10.0),
            neighbours: Count::of(10),
            sigma: Positive::of(5.0),
            rebalance: RebalanceSpec::default(),
            prior: PriorSpec::default(),
            grey_gate: Some(NonNegative::of(5.0)),
            temperature: Positive::of(0.38),
        }
    }
}

/// Class rebalancing: `rebalance: off` or `rebalance: { lambda: 0.5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RebalanceSpec {
    /// Every pixel counts the same.
    Off,
    /// Weights ∝ 1 / ((1−λ)·prior + λ·uniform): 0 weighs by the inverse prior alone, 1 weighs every colour the
    /// same.
    Lambda(Fraction),
}

impl Default for RebalanceSpec {
    fn default() -> Self {
        Self::Lambda(Fraction::of(0.5))
    }
}

/// Where the distribution of colours comes from: `prior: measured` or `prior: { file: prior.npy }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PriorSpec {
    /// Counted over the training images before training.
    Measured {
        /// Smoothing in the ab plane, in ab units.
        #[serde(default = "five")]
        sigma: Positive,
        /// The first so many images; absent: all of them.
        #[serde(default)]
        images: Option<Count>,
    },
    /// A `.npy` file with one probability for each bin.
    File(PathBuf),
}

impl Default for PriorSpec {
    fn default() -> Self {
        Self::Measured { sigma: five(), images: None }
    }
}

fn five() -> Positive {
    Positive::of(5.0)
}
