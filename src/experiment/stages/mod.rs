//! The stage kinds. Each is a file with its YAML section, plan and run. To add one, write its file and list it in
//! `stages!` below.

mod kind; // the interface of stage kinds

mod initial_weights; // of pretext stages
pub mod pretext;
mod supervised;

mod linear_probe;
mod nonlinear_probe;

mod knn;
mod low_shot;
mod readout; // shared by the classifiers on frozen features
mod svm;

mod classification;
mod detection;
mod segmentation;
mod transfer; // shared by the fine-tuning stages

mod color_evaluation;

use crate::{
    backbones::BackboneSpec,
    data::{annotated_source::AnnotatedSpec, source::DataSpec},
    probe::{knn::KnnSpec, low_shot::LowShotSpec, svm::SvmSpec},
    train::spec::TrainSpec,
    transfer::{
        classification::ClassificationSpec, detection::DetectionSpec, segmentation::SegmentationSpec,
    },
};
use color_evaluation::ColorEvaluationStage;
pub use kind::StageKind;
pub(super) use kind::{Layers, Rows, StageSections};
use linear_probe::LinearProbeStage;
use nonlinear_probe::NonlinearProbeStage;
use pretext::PretextStage;
use readout::ReadoutStage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use supervised::SupervisedStage;
use transfer::TransferStage;

/// Declares the stages: variant, section type, key, and description in error messages where a trained backbone is
/// required; None if it trains one.
macro_rules! stages {
    ($($(#[$about:meta])* $kind:ident($section:ty) = $key:literal, $none:expr;)+) => {
        /// One step of an experiment.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub enum Stage {
            $($(#[$about])* #[serde(rename = $key)] $kind($section),)+
        }

        /// Keys of all kinds.
        pub(super) const KINDS: &[&str] = &[$($key),+];

        impl Stage {
            /// Key of the kind.
            pub fn key(&self) -> &'static str {
                match self { $(Self::$kind(_) => $key,)+ }
            }

            /// Description of a kind that trains no backbone.
            pub(super) fn trains_none(&self) -> Option<&'static str> {
                match self { $(Self::$kind(_) => $none,)+ }
            }

            /// The stage as its kind.
            pub fn kind(&self) -> &dyn StageKind {
                match self { $(Self::$kind(stage) => stage,)+ }
            }

            pub(super) fn kind_mut(&mut self) -> &mut dyn StageKind {
                match self { $(Self::$kind(stage) => stage,)+ }
            }
        }
    };
}

stages! {
    Pretext(PretextStage) = "pretext", None;
    Supervised(SupervisedStage) = "supervised", None;
    LinearProbe(LinearProbeStage) = "linear_probe", Some("a probe");
    ColorEvaluation(ColorEvaluationStage) = "color_evaluation", Some("an evaluation");
    NonlinearProbe(NonlinearProbeStage) = "nonlinear_probe", Some("a probe");
    /// Trains linear SVMs on frozen features.
    Svm(ReadoutStage<SvmSpec>) = "svm", Some("a measurement");
    /// Trains linear SVMs on frozen features of a few pictures per class.
    LowShot(ReadoutStage<LowShotSpec>) = "low_shot", Some("a measurement");
    /// Classifies frozen features by the nearest neighbors.
    Knn(ReadoutStage<KnnSpec>) = "knn", Some("a measurement");
    /// Fine-tunes several backbones to classify whole pictures.
    Classification(TransferStage<ClassificationSpec>) = "classification", Some("a measurement");
    /// Fine-tunes several backbones to detect objects.
    Detection(TransferStage<DetectionSpec>) = "detection", Some("a measurement");
    /// Fine-tunes several backbones to segment pictures.
    Segmentation(TransferStage<SegmentationSpec>) = "segmentation", Some("a measurement");
}

impl Stage {
    /// The stage's own data section.
    pub fn data(&self) -> Option<&DataSpec> {
        self.kind().inputs().data.and_then(Option::as_ref)
    }

    /// The stage's own annotated section.
    pub fn annotated(&self) -> Option<&AnnotatedSpec> {
        self.kind().inputs().annotated.and_then(Option::as_ref)
    }

    /// The stage's own backbone.
    pub fn backbone(&self) -> Option<&BackboneSpec> {
        self.kind().inputs().backbone.and_then(Option::as_ref)
    }

    /// Training options, if the stage trains.
    pub fn train(&self) -> Option<&TrainSpec> {
        self.kind().train()
    }

    /// Whether later stages can use this one's backbone. All other stages report results.
    pub fn trains_backbone(&self) -> bool {
        self.trains_none().is_none()
    }
}
