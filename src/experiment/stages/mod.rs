//! The kinds of stages. Each is one file that holds its section of the YAML, its plan and its run; to add one is to write
//! that file and to name it in `stages!` below.

mod kind; // what every kind says of itself

pub mod pretext;
mod supervised;

mod linear_probe;
mod nonlinear_probe;

mod knn;
mod low_shot;
mod readout; // what the classifiers on frozen features share
mod svm;

mod classification;
mod detection;
mod segmentation;
mod transfer; // what fine-tuning on annotated sets shares

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
pub(super) use kind::{Inputs, Layers, Rows};
use linear_probe::LinearProbeStage;
use nonlinear_probe::NonlinearProbeStage;
use pretext::PretextStage;
use readout::ReadoutStage;
use serde::{Deserialize, Serialize};
use supervised::SupervisedStage;
use transfer::TransferStage;

/// Declares the stages: a variant, its section, its key, and what it is called where a trained backbone is wanted; None: it
/// trains one.
macro_rules! stages {
    ($($kind:ident($section:ty) = $key:literal, $none:expr;)+) => {
        /// One step of an experiment.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum Stage {
            $(#[serde(rename = $key)] $kind($section),)+
        }

        /// The keys that name the kinds.
        pub(super) const KINDS: &[&str] = &[$($key),+];

        impl Stage {
            /// The key that names the kind.
            pub fn key(&self) -> &'static str {
                match self { $(Self::$kind(_) => $key,)+ }
            }

            /// What it is, if it trains no backbone.
            pub(super) fn trains_none(&self) -> Option<&'static str> {
                match self { $(Self::$kind(_) => $none,)+ }
            }

            /// What the kind says of itself.
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
    Svm(ReadoutStage<SvmSpec>) = "svm", Some("a measurement");
    LowShot(ReadoutStage<LowShotSpec>) = "low_shot", Some("a measurement");
    Knn(ReadoutStage<KnnSpec>) = "knn", Some("a measurement");
    Classification(TransferStage<ClassificationSpec>) = "classification", Some("a measurement");
    Detection(TransferStage<DetectionSpec>) = "detection", Some("a measurement");
    Segmentation(TransferStage<SegmentationSpec>) = "segmentation", Some("a measurement");
}

impl Stage {
    /// The pictures that the stage itself says.
    pub fn data(&self) -> Option<&DataSpec> {
        self.kind().inputs().data.and_then(Option::as_ref)
    }

    /// The annotated pictures that the stage itself says.
    pub fn annotated(&self) -> Option<&AnnotatedSpec> {
        self.kind().inputs().annotated.and_then(Option::as_ref)
    }

    /// The backbone that the stage itself says.
    pub fn backbone(&self) -> Option<&BackboneSpec> {
        self.kind().inputs().backbone.and_then(Option::as_ref)
    }

    /// How the stage trains, if it does.
    pub fn train(&self) -> Option<&TrainSpec> {
        self.kind().train()
    }

    /// Whether later stages can take a backbone from this one; tables are made from what the others find.
    pub fn trains_backbone(&self) -> bool {
        self.trains_none().is_none()
    }
}
