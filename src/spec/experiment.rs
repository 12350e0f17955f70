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
    transfer::{NonlinearProbeStage, ReadoutStage, TransferStage},
};
use crate::{
    backbones::{BackboneSpec, Graph, data_init::DataInitSpec},
    data::{annotated_source::AnnotatedSpec, source::DataSpec},
    device::Compute,
    evaluation::color::ColorEvaluationSpec,
    nn::init::Filler,
    pretext::PretextSpec,
    probe::{knn::KnnSpec, linear::LinearProbeSpec, low_shot::LowShotSpec, svm::SvmSpec},
    train::spec::TrainSpec,
    transfer::{
        classification::ClassificationSpec, detection::DetectionSpec, segmentation::SegmentationSpec,
    },
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
    /// Where and how exactly to compute, unless the command says. Not part of what a stage is: a run that began on one
    /// device goes on on another. In YAML: `compute: { device: cuda, precision: bf16 }`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compute: Compute,
    /// For every stage that does not say its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataSpec>,
    /// For every stage on annotated pictures that does not say its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotated: Option<AnnotatedSpec>,
    /// For every stage that does not say its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneSpec>,
    /// In the order in which they run.
    pub stages: Named<Stage>,
    /// What must come out, by stage and metric: at least, or at most where lower is better. A run that falls short fails.
    /// In YAML: `expected: { detection: { map: 0.8 } }`.
    #[serde(default, skip_serializing_if = "Named::is_empty")]
    pub expected: Named<Named<f64>>,
}

fn is_default(compute: &Compute) -> bool {
    *compute == Compute::default()
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
    NonlinearProbe(NonlinearProbeStage),
    Svm(ReadoutStage<SvmSpec>),
    LowShot(ReadoutStage<LowShotSpec>),
    Knn(ReadoutStage<KnnSpec>),
    Classification(TransferStage<ClassificationSpec>),
    Detection(Box<TransferStage<DetectionSpec>>),
    Segmentation(TransferStage<SegmentationSpec>),
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
    /// Weights made from the stage's training pictures (Krähenbühl et al. 2016).
    DataDependent(DataInitSpec),
    /// Other weights, their layers scaled until all would learn at the same rate (Krähenbühl et al. 2016, section 3.2).
    Rescaled(Box<InitSpec>),
}

impl InitSpec {
    /// The stage that trained the weights.
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::Stage(stage) => Some(stage),
            Self::Rescaled(inner) => inner.stage(),
            Self::File(_) | Self::Init(_) | Self::DataDependent(_) => None,
        }
    }

    /// The weight file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Rescaled(inner) => inner.file(),
            Self::Stage(_) | Self::Init(_) | Self::DataDependent(_) => None,
        }
    }
}

/// What training starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightSource {
    /// What an earlier stage has trained.
    Stage(String),
    /// A weight file.
    File(PathBuf),
    /// Made from the stage's training pictures, as the paper's networks start (Krähenbühl et al. 2016).
    DataDependent(DataInitSpec),
}

/// The same expression for whichever kind of stage it is.
macro_rules! each {
    ($stage:expr, $s:ident => $value:expr) => {
        match $stage {
            Stage::Pretext($s) => $value,
            Stage::Supervised($s) => $value,
            Stage::LinearProbe($s) => $value,
            Stage::NonlinearProbe($s) => $value,
            Stage::Svm($s) => $value,
            Stage::LowShot($s) => $value,
            Stage::Knn($s) => $value,
            Stage::Classification($s) => $value,
            Stage::Detection($s) => $value,
            Stage::Segmentation($s) => $value,
            Stage::ColorEvaluation(_) => None,
        }
    };
}

impl Stage {
    /// The key that names the kind.
    pub fn kind(&self) -> &'static str {
        KINDS[match self {
            Self::Pretext(_) => 0,
            Self::Supervised(_) => 1,
            Self::LinearProbe(_) => 2,
            Self::ColorEvaluation(_) => 3,
            Self::NonlinearProbe(_) => 4,
            Self::Svm(_) => 5,
            Self::LowShot(_) => 6,
            Self::Knn(_) => 7,
            Self::Classification(_) => 8,
            Self::Detection(_) => 9,
            Self::Segmentation(_) => 10,
        }]
    }

    /// The pictures that the stage itself says.
    pub fn data(&self) -> Option<&DataSpec> {
        match self {
            Self::Pretext(s) => s.data.as_ref(),
            Self::Supervised(s) => s.data.as_ref(),
            Self::LinearProbe(s) => s.data.as_ref(),
            Self::ColorEvaluation(s) => s.data.as_ref(),
            Self::NonlinearProbe(s) => s.data.as_ref(),
            _ => None,
        }
    }

    /// The annotated pictures that the stage itself says.
    pub fn annotated(&self) -> Option<&AnnotatedSpec> {
        match self {
            Self::Svm(s) => s.annotated.as_ref(),
            Self::LowShot(s) => s.annotated.as_ref(),
            Self::Knn(s) => s.annotated.as_ref(),
            Self::Classification(s) => s.annotated.as_ref(),
            Self::Detection(s) => s.annotated.as_ref(),
            Self::Segmentation(s) => s.annotated.as_ref(),
            _ => None,
        }
    }

    /// Whether the stage is about objects or masks, which plain pictures do not have.
    pub fn needs_annotations(&self) -> bool {
        match self {
            Self::Svm(_) | Self::LowShot(_) | Self::Knn(_) => true,
            Self::Classification(_) | Self::Detection(_) | Self::Segmentation(_) => true,
            Self::Pretext(_) | Self::Supervised(_) | Self::ColorEvaluation(_) => false,
            Self::LinearProbe(_) | Self::NonlinearProbe(_) => false,
        }
    }

    /// Whether the stage learns or counts the labels of plain pictures.
    pub fn needs_labels(&self) -> bool {
        match self {
            Self::Supervised(_) | Self::LinearProbe(_) | Self::NonlinearProbe(_) => true,
            Self::ColorEvaluation(stage) => stage.evaluation.classifier.is_some(),
            _ => false,
        }
    }

    /// The backbone that the stage itself says.
    pub fn backbone(&self) -> Option<&BackboneSpec> {
        each!(self, s => s.backbone.as_ref())
    }

    /// The backbones that the stage compares.
    pub fn backbones(&self) -> Option<&Named<InitSpec>> {
        match self {
            Self::LinearProbe(s) => Some(&s.backbones),
            Self::NonlinearProbe(s) => Some(&s.backbones),
            Self::Svm(s) => Some(&s.backbones),
            Self::LowShot(s) => Some(&s.backbones),
            Self::Knn(s) => Some(&s.backbones),
            Self::Classification(s) => Some(&s.backbones),
            Self::Detection(s) => Some(&s.backbones),
            Self::Segmentation(s) => Some(&s.backbones),
            Self::Pretext(_) | Self::Supervised(_) | Self::ColorEvaluation(_) => None,
        }
    }

    /// How the stage trains, if it does.
    pub fn train(&self) -> Option<&TrainSpec> {
        match self {
            Self::Pretext(s) => Some(&s.train),
            Self::Supervised(s) => Some(&s.train),
            Self::LinearProbe(s) => Some(&s.train),
            Self::NonlinearProbe(s) => Some(&s.train),
            Self::Classification(s) => Some(&s.train),
            Self::Detection(s) => Some(&s.train),
            Self::Segmentation(s) => Some(&s.train),
            Self::Svm(_) | Self::LowShot(_) | Self::Knn(_) | Self::ColorEvaluation(_) => None,
        }
    }

    /// Whether later stages can take a backbone from this one.
    pub fn trains_backbone(&self) -> bool {
        matches!(self, Self::Pretext(_) | Self::Supervised(_))
    }

    /// Whether tables are made from what it finds.
    pub fn reports(&self) -> bool {
        !self.trains_backbone()
    }

    /// Writes what the top of the file says into a stage that does not say its own.
    fn fill(&mut self, top: &Experiment) {
        let own = self.backbone().or(top.backbone.as_ref()).cloned();
        if let Some(slot) = each!(self, s => Some(&mut s.backbone)) {
            *slot = own;
        }
        let own = self.data().or(top.data.as_ref()).cloned();
        match self {
            Self::Pretext(s) => s.data = own,
            Self::Supervised(s) => s.data = own,
            Self::LinearProbe(s) => s.data = own,
            Self::ColorEvaluation(s) => s.data = own,
            Self::NonlinearProbe(s) => s.data = own,
            _ => {}
        }
        let own = self.annotated().or(top.annotated.as_ref()).cloned();
        match self {
            Self::Svm(s) => s.annotated = own,
            Self::LowShot(s) => s.annotated = own,
            Self::Knn(s) => s.annotated = own,
            Self::Classification(s) => s.annotated = own,
            Self::Detection(s) => s.annotated = own,
            Self::Segmentation(s) => s.annotated = own,
            _ => {}
        }
    }
}

pub(super) const KINDS: [&str; 11] = [
    "pretext",
    "supervised",
    "linear_probe",
    "color_evaluation",
    "nonlinear_probe",
    "svm",
    "low_shot",
    "knn",
    "classification",
    "detection",
    "segmentation",
];
const FIELDS: [&str; 9] =
    ["name", "description", "seeds", "compute", "data", "annotated", "backbone", "stages", "expected"];

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
        let top = self.clone();
        self.stages.iter_mut().for_each(|(_, stage)| stage.fill(&top));
        Self { data: None, annotated: None, backbone: None, ..self }
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
