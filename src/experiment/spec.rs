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

use super::{
    diagnostics::StageFault,
    stages::{KINDS, Stage},
};
use crate::{
    backbones::BackboneSpec,
    data::{annotated_source::AnnotatedSpec, source::DataSpec},
    device::Compute,
    spec::{
        Diagnostic, Document, SpecError, SpecNode,
        names::{Name, NamedMap},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Deref, path::Path};

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

const FIELDS: [&str; 9] =
    ["name", "description", "seeds", "compute", "data", "annotated", "backbone", "stages", "expected"];

impl Experiment {
    /// Loads an experiment: reads, applies overrides, parses, checks, and copies the top-level data and backbone into
    /// every stage. A `--set` path may start at the stage (`pretrain.train.steps=10`) and omit its kind.
    ///
    /// # Errors
    /// Every error that can be detected without opening data or weights, with its position.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, SpecError> {
        let mut document = Document::read(path)?;
        for argument in sets {
            document.set(argument, expand)?;
        }
        let written: Self = document.typed()?;
        let experiment = written.clone().resolve().map_err(|wrong| {
            let wrong: Vec<Diagnostic> = wrong.into_iter().map(|wrong| wrong.of(&document)).collect();
            document.refuse_all(&wrong)
        })?;
        let wrong = StageFault::located(experiment.key_errors(&written), &document);
        if wrong.is_empty() { Ok(experiment) } else { Err(document.refuse_all(&wrong)) }
    }
}

/// `pretrain.train.steps` → `stages.pretrain.pretext.train.steps`.
fn expand(mut keys: Vec<String>, root: &SpecNode) -> Result<Vec<String>, Diagnostic> {
    let stages = root.get("stages").map(|e| e.value.entries()).unwrap_or_default();
    let names: Vec<&str> = stages.iter().map(|e| e.key.as_str()).collect();
    let Some(first) = keys.first().map(String::as_str) else { return Ok(keys) };
    if !FIELDS.contains(&first) {
        if !names.contains(&first) {
            return Err(Diagnostic::unknown("stage or field", first, &[&names[..], &FIELDS[..]].concat()));
        }
        keys.insert(0, "stages".into());
    }
    if let [first, name, next, ..] = keys.as_slice()
        && first == "stages"
        && !KINDS.contains(&next.as_str())
        && let Some(stage) = stages.iter().find(|e| e.key == *name)
        && let [kind] = stage.value.entries()
    {
        keys.insert(2, kind.key.clone());
    }
    Ok(keys)
}
