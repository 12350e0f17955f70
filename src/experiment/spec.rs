//! The experiment format: data, a backbone, and named stages that may refer to earlier ones.
//!
//! ```yaml
//! name: quickstart
//! seeds: [0, 1]
//! data: { source: { scenes: { train: 2000, val: 500 } }, crop: 32 }
//! backbone: { alexnet: { stem: small, width: 0.25 } }
//! stages:
//!   pretrain: { pretext: { task: colorization, train: { … } } }
//!   probe:
//!     linear_probe:
//!       backbones: { colorization: { stage: pretrain }, gaussian: { init: { gaussian: { std: 0.01 } } } }
//!       train: { … }
//! ```

use super::{stages::Stage, sweep::SweepSpec};
use crate::{
    backbones::BackboneSpec,
    data::{annotated_source::AnnotatedSpec, source::DataSpec},
    device::Compute,
    spec::names::{Name, NamedMap},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Deref};

/// Keys at the top of a spec.
pub const FIELDS: [&str; 10] = [
    "name",
    "description",
    "seeds",
    "sweep",
    "compute",
    "data",
    "annotated",
    "backbone",
    "stages",
    "expected",
];

/// An experiment: data, a backbone, and named stages that may refer to earlier ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the experiment and of its run directory.
    pub name: Name,
    /// What the experiment is about, for readers. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Every stage is run once for each of these seeds, without duplicates.
    #[serde(default)]
    pub seeds: Seeds,
    /// Variants of the experiment, each run for every seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepSpec>,
    /// Device and precision, unless given on the command line. They are not part of a stage's hash, so a run can
    /// resume on another device. In YAML: `compute: { device: cuda, precision: bf16 }`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub compute: Compute,
    /// Pictures of the stages without their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSpec>,
    /// Annotated pictures (boxes, masks) of the stages without their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotated: Option<AnnotatedSpec>,
    /// Network of the stages without their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneSpec>,
    /// Stages by name, in the order in which they run. A stage may use what earlier ones trained.
    pub stages: NamedMap<Stage>,
    /// Required results by stage and metric: lower bounds, or upper bounds where lower is better. A run that violates
    /// one fails. In YAML: `expected: { detection: { map: 0.8 } }`.
    #[serde(default, skip_serializing_if = "NamedMap::is_empty")]
    pub expected: NamedMap<BTreeMap<String, f64>>,
}

fn is_default(compute: &Compute) -> bool {
    *compute == Compute::default()
}

/// The seeds of every stage: at least one, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
#[schemars(inline, extend("minItems" = 1, "uniqueItems" = true))]
pub struct Seeds(Vec<u64>);

impl Default for Seeds {
    fn default() -> Self {
        Self(vec![0])
    }
}
impl TryFrom<Vec<u64>> for Seeds {
    type Error = String;
    fn try_from(seeds: Vec<u64>) -> Result<Self, String> {
        if seeds.is_empty() {
            return Err("expected at least one seed".into());
        }
        match seeds.iter().enumerate().find(|(i, s)| seeds[..*i].contains(s)) {
            Some((_, twice)) => Err(format!("the seed {twice} is given twice")),
            None => Ok(Self(seeds)),
        }
    }
}
impl From<Seeds> for Vec<u64> {
    fn from(seeds: Seeds) -> Self {
        seeds.0
    }
}
impl Deref for Seeds {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        &self.0
    }
}
