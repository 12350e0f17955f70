//! The stages that measure features beyond the linear probe: fine-tuning on annotated sets, classifiers that see all
//! features at once, and the non-linear probe.

use super::{experiment::InitSpec, names::Named};
use crate::{
    backbones::BackboneSpec,
    bounded::Pixels,
    data::{annotated_source::AnnotatedSpec, source::DataSpec},
    probe::features::FeatureSpec,
    train::spec::TrainSpec,
    transfer::Colors,
};
use serde::{Deserialize, Serialize};

/// Fine-tunes several backbones on an annotated set.
///
/// ```yaml
/// detection:
///   detection:
///     annotated: { source: { catalog: voc2007 } }
///     backbones: { colorization: { stage: colorization }, gaussian: { init: msra } }
///     input: gray
///     task: { frozen: { through: conv1 } }
///     train: { … }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferStage<T> {
    /// The set; by default the experiment's.
    #[serde(default)]
    pub annotated: Option<AnnotatedSpec>,
    /// What `init`, `data_dependent` and `file` build; a `stage` brings its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The rows of the table, in order.
    pub backbones: Named<InitSpec>,
    /// Whether the backbone is shown lightness alone or colour too.
    #[serde(default)]
    pub input: Colors,
    #[serde(default)]
    pub task: T,
    pub train: TrainSpec,
}

/// Reads frozen features of several backbones without training them.
///
/// ```yaml
/// svm:
///   svm:
///     annotated: { source: { catalog: voc2007 } }
///     backbones: { colorization: { stage: colorization } }
///     features: { layers: [conv4, conv5] }
///     classifier: { costs: fair }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadoutStage<C> {
    /// The set; by default the experiment's.
    #[serde(default)]
    pub annotated: Option<AnnotatedSpec>,
    /// What `init`, `data_dependent` and `file` build; a `stage` brings its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The rows of the table, in order.
    pub backbones: Named<InitSpec>,
    #[serde(default)]
    pub features: FeatureSpec,
    /// Side of the square that pictures are squashed to; absent: what the backbone is made for.
    #[serde(default)]
    pub side: Option<Pixels>,
    #[serde(default)]
    pub classifier: C,
}

/// Keeps the first layers of several backbones and trains new ones above them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonlinearProbeStage {
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// What `init`, `data_dependent` and `file` build; a `stage` brings its own.
    #[serde(default)]
    pub backbone: Option<BackboneSpec>,
    /// The rows of the table, in order.
    pub backbones: Named<InitSpec>,
    /// The last layer that is kept, one fit for each: the columns of the table.
    #[serde(default = "conv4")]
    pub through: Vec<String>,
    /// Whether the new layers are normalised over the batch.
    #[serde(default = "yes")]
    pub batch_norm: bool,
    pub train: TrainSpec,
}

fn conv4() -> Vec<String> {
    vec!["conv4".into()]
}
fn yes() -> bool {
    true
}
