//! Starting points of a stage: weights and colorization methods.

use crate::{
    backbones::data_init::DataInitSpec,
    nn::init::Filler,
    spec_path::{SpecPath, WeightPath},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path};

/// A row of a color evaluation. In YAML: `full: { stage: full }`, `gray: gray`, `larsson: { pictures: DIR }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Colorization method")]
pub enum ColorizationMethodSpec {
    /// The colorizer trained by an earlier stage.
    Stage(String),
    /// A colorizer's weight file, run, or released weights by name.
    File(WeightPath),
    /// A folder of colorized pictures with the names of the validation images.
    Pictures(SpecPath),
    /// No color.
    Gray,
    /// The colors of a random training image.
    Random,
}

/// Source of a backbone's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Weights")]
pub enum InitSpec {
    /// Weights trained by an earlier stage.
    Stage(String),
    /// A weight file, a run, or released weights by name.
    File(WeightPath),
    /// Random weights.
    Init(Filler),
    /// Data-dependent initialization from the stage's training pictures (Krähenbühl et al. 2016).
    DataDependent(DataInitSpec),
    /// Other weights, rescaled so that all layers learn at the same rate (Krähenbühl et al. 2016, section 3.2).
    Rescaled(Box<InitSpec>),
}

/// Source of a pretext stage's initial weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Initial weights")]
pub enum WeightSource {
    /// Weights trained by an earlier stage.
    Stage(String),
    /// A weight file, a run, or released weights by name.
    File(WeightPath),
    /// Data-dependent initialization from the stage's training pictures, as in the paper (Krähenbühl et al. 2016).
    DataDependent(DataInitSpec),
}

/// Starting point of a fit.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Random weights with the backbone's initialization.
    Random,
    Weights(InitSpec),
    Method(ColorizationMethodSpec),
}

impl InitSpec {
    /// The innermost source, without rescaling.
    pub fn source(&self) -> &Self {
        match self {
            Self::Rescaled(inner) => inner.source(),
            _ => self,
        }
    }
}

impl From<&WeightSource> for InitSpec {
    fn from(source: &WeightSource) -> Self {
        match source.clone() {
            WeightSource::Stage(stage) => Self::Stage(stage),
            WeightSource::File(path) => Self::File(path),
            WeightSource::DataDependent(how) => Self::DataDependent(how),
        }
    }
}

impl Start {
    /// The innermost source of the weights, without rescaling.
    pub fn source(&self) -> Option<&InitSpec> {
        match self {
            Self::Weights(init) => Some(init.source()),
            Self::Random | Self::Method(_) => None,
        }
    }

    /// The earlier stage that the fit starts from.
    pub fn stage(&self) -> Option<&str> {
        match (self, self.source()) {
            (Self::Method(ColorizationMethodSpec::Stage(stage)), _) | (_, Some(InitSpec::Stage(stage))) => {
                Some(stage)
            }
            _ => None,
        }
    }

    /// The weight file, as spelled in the spec.
    pub fn file(&self) -> Option<&Path> {
        match (self, self.source()) {
            (Self::Method(ColorizationMethodSpec::File(path)), _) | (_, Some(InitSpec::File(path))) => {
                Some(path)
            }
            _ => None,
        }
    }
}

/// Display text of the starting point.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random weights"),
            Self::Weights(init) => init.fmt(f),
            Self::Method(ColorizationMethodSpec::Stage(stage)) => {
                write!(f, "the colorizer of stage `{stage}`")
            }
            Self::Method(ColorizationMethodSpec::File(path)) => write!(f, "the colorizer {}", path.display()),
            Self::Method(ColorizationMethodSpec::Pictures(dir)) => {
                write!(f, "the pictures in {}", dir.display())
            }
            Self::Method(ColorizationMethodSpec::Gray) => f.write_str("no color"),
            Self::Method(ColorizationMethodSpec::Random) => {
                f.write_str("the colors of random training images")
            }
        }
    }
}

impl fmt::Display for InitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "the weights of stage `{stage}`"),
            Self::File(path) => write!(f, "the weights of {}", path.display()),
            Self::Init(_) => f.write_str("random weights"),
            Self::DataDependent(how) => {
                write!(f, "weights made from the training pictures ({})", how.filters)
            }
            Self::Rescaled(inner) => write!(f, "{inner}, rescaled"),
        }
    }
}
