//! What an experiment is: data, a backbone, and named stages that refer to one another.
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
    Document, SpecError,
    error::Fault,
    names::{Name, Named},
    node::Node,
};
use crate::{
    backbones::{BackboneSpec, Graph},
    data::source::DataSpec,
    evaluation::color::ColorEvaluationSpec,
    nn::init::Filler,
    pretext::PretextSpec,
    probe::linear::LinearProbeSpec,
    train::spec::TrainSpec,
};
use serde::{Deserialize, Serialize};
use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

/// One YAML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Also the name of the directory that the runs go to.
    pub name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub seeds: Seeds,
    /// For every stage that does not say its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSpec>,
    /// For every stage that does not say its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneSpec>,
    /// In the order in which they run.
    pub stages: Named<Stage>,
}

/// The seeds that every stage is run with: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
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

/// One step of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stage {
    Pretext(PretextStage),
    Supervised(SupervisedStage),
    LinearProbe(LinearProbeStage),
    ColorEvaluation(ColorEvaluationStage),
}

/// Trains a backbone without labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretextStage {
    #[serde(default)]
    pub data: Option<DataSpec>,
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// What the weights start from; what the new network has and those lack, such as another head, starts afresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<WeightSource>,
    pub task: PretextSpec,
    pub train: TrainSpec,
}

/// Trains a backbone on labels: the ceiling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisedStage {
    #[serde(default)]
    pub data: Option<DataSpec>,
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The transfer graph is AlexNet as it is known and takes crops of 227 (small stem: 29) pixels; the pretext graph
    /// takes any and averages its answers over the positions.
    #[serde(default)]
    pub graph: Graph,
    pub train: TrainSpec,
}

/// Trains a linear classifier on every layer of several frozen backbones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearProbeStage {
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// What `init` and `file` build; a `stage` brings its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The rows of the table, in order.
    pub backbones: Named<InitSpec>,
    #[serde(default)]
    pub probe: LinearProbeSpec,
    pub train: TrainSpec,
}

/// Colours the validation images by several methods and measures each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColorEvaluationStage {
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// The rows of the table, in order.
    pub methods: Named<MethodSpec>,
    #[serde(default)]
    pub evaluation: ColorEvaluationSpec,
}

/// A method of colouring. In YAML: `full: { stage: full }`, `gray: gray`, `larsson: { pictures: DIR }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MethodSpec {
    /// What an earlier colorization stage has trained.
    Stage(String),
    /// A colorizer's weight file.
    File(PathBuf),
    /// A folder of coloured pictures that are called like the validation images.
    Pictures(PathBuf),
    /// No colour at all.
    Gray,
    /// The colours of a random training image.
    Random,
}

/// Where the weights of a probed backbone come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InitSpec {
    /// What an earlier stage has trained.
    Stage(String),
    /// A weight file: a path, or `hf://OWNER/REPO/FILE[@REVISION]`.
    File(PathBuf),
    /// Random weights.
    Init(Filler),
}

/// Trained weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightSource {
    /// What an earlier stage has trained.
    Stage(String),
    /// A weight file.
    File(PathBuf),
}

impl Stage {
    /// The key that names the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pretext(_) => KINDS[0],
            Self::Supervised(_) => KINDS[1],
            Self::LinearProbe(_) => KINDS[2],
            Self::ColorEvaluation(_) => KINDS[3],
        }
    }

    /// The data that the stage itself says.
    pub fn data(&self) -> Option<&DataSpec> {
        match self {
            Self::Pretext(s) => s.data.as_ref(),
            Self::Supervised(s) => s.data.as_ref(),
            Self::LinearProbe(s) => s.data.as_ref(),
            Self::ColorEvaluation(s) => s.data.as_ref(),
        }
    }

    /// The backbone that the stage itself says.
    pub fn backbone(&self) -> Option<&BackboneSpec> {
        match self {
            Self::Pretext(s) => s.backbone.as_ref(),
            Self::Supervised(s) => s.backbone.as_ref(),
            Self::LinearProbe(s) => s.backbone.as_ref(),
            Self::ColorEvaluation(_) => None,
        }
    }

    /// How the stage trains, if it does.
    pub fn train(&self) -> Option<&TrainSpec> {
        match self {
            Self::Pretext(s) => Some(&s.train),
            Self::Supervised(s) => Some(&s.train),
            Self::LinearProbe(s) => Some(&s.train),
            Self::ColorEvaluation(_) => None,
        }
    }

    /// Whether later stages can take a backbone from this one.
    pub fn trains_backbone(&self) -> bool {
        match self {
            Self::Pretext(_) | Self::Supervised(_) => true,
            Self::LinearProbe(_) | Self::ColorEvaluation(_) => false,
        }
    }

    fn fill(&mut self, data: Option<&DataSpec>, backbone: Option<&BackboneSpec>) {
        let (own_data, own_backbone) = match self {
            Self::Pretext(s) => (&mut s.data, Some(&mut s.backbone)),
            Self::Supervised(s) => (&mut s.data, Some(&mut s.backbone)),
            Self::LinearProbe(s) => (&mut s.data, Some(&mut s.backbone)),
            Self::ColorEvaluation(s) => (&mut s.data, None),
        };
        *own_data = own_data.take().or_else(|| data.cloned());
        if let Some(own) = own_backbone {
            *own = own.take().or_else(|| backbone.cloned());
        }
    }
}

pub(super) const KINDS: [&str; 4] = ["pretext", "supervised", "linear_probe", "color_evaluation"];
const FIELDS: [&str; 6] = ["name", "description", "seeds", "data", "backbone", "stages"];

impl Experiment {
    /// Reads, merges, types and checks one experiment. A `--set` path may start at the stage
    /// (`pretrain.train.steps=10`) and leave out the stage's kind.
    ///
    /// # Errors
    /// Everything that can be seen to be wrong without opening data or weights, with its place.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, SpecError> {
        let mut document = Document::read(path)?;
        for argument in sets {
            document.set(argument, expand)?;
        }
        let experiment: Self = document.typed()?;
        match experiment.check_references() {
            Ok(()) => Ok(experiment),
            Err(wrong) => {
                let path: Vec<&str> = wrong.path.iter().map(String::as_str).collect();
                Err(document.refuse(&path, wrong.on, *wrong.fault))
            }
        }
    }

    /// The same experiment with the data and the backbone of the top written into every stage.
    pub fn resolve(mut self) -> Self {
        let (data, backbone) = (self.data.take(), self.backbone.take());
        for (_, stage) in self.stages.iter_mut() {
            stage.fill(data.as_ref(), backbone.as_ref());
        }
        self
    }
}

/// `pretrain.train.steps` → `stages.pretrain.pretext.train.steps`.
fn expand(mut keys: Vec<String>, root: &Node) -> Result<Vec<String>, Fault> {
    let stages = root.get("stages").map(|e| e.value.entries()).unwrap_or_default();
    let names: Vec<&str> = stages.iter().map(|e| e.key.as_str()).collect();
    let Some(first) = keys.first().map(String::as_str) else { return Ok(keys) };
    if !FIELDS.contains(&first) {
        if !names.contains(&first) {
            return Err(Fault::unknown("stage or field", first, &[&names[..], &FIELDS[..]].concat()));
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
