//! What the fits of an experiment do: each stage taken apart into the single fits that it stands for.

use super::sets::Sets;
use crate::{
    data::{
        annotated_source::{AnnotatedSpec, Lists},
        source::Locations,
    },
    pretext::{PretextSpec, color_prior::PriorSpec},
    probe::{knn::KnnSpec, low_shot::LowShotSpec, svm::SvmSpec},
    spec::{
        experiment::{
            ColorEvaluationStage, InitSpec, LinearProbeStage, MethodSpec, PretextStage, Stage,
            SupervisedStage, WeightSource,
        },
        names::Named,
        transfer::{NonlinearProbeStage, ReadoutStage, TransferStage},
    },
    transfer::{
        classification::ClassificationSpec, detection::DetectionSpec, segmentation::SegmentationSpec,
    },
};
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// What a job does, with all that it needs from the spec.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Pretext(PretextStage),
    Supervised(SupervisedStage),
    LinearProbe {
        init: InitSpec,
        #[serde(flatten)]
        stage: LinearProbeStage,
    },
    ColorEvaluation {
        method: MethodSpec,
        #[serde(flatten)]
        stage: ColorEvaluationStage,
    },
    NonlinearProbe {
        init: InitSpec,
        #[serde(flatten)]
        stage: NonlinearProbeStage,
    },
    Svm {
        init: InitSpec,
        #[serde(flatten)]
        stage: ReadoutStage<SvmSpec>,
    },
    LowShot {
        init: InitSpec,
        #[serde(flatten)]
        stage: ReadoutStage<LowShotSpec>,
    },
    Knn {
        init: InitSpec,
        #[serde(flatten)]
        stage: ReadoutStage<KnnSpec>,
    },
    Classification {
        init: InitSpec,
        #[serde(flatten)]
        stage: TransferStage<ClassificationSpec>,
    },
    Detection {
        init: InitSpec,
        #[serde(flatten)]
        stage: Box<TransferStage<DetectionSpec>>,
    },
    Segmentation {
        init: InitSpec,
        #[serde(flatten)]
        stage: TransferStage<SegmentationSpec>,
    },
}

impl Work {
    /// Names the random streams; jobs of one kind and seed see the same batches.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pretext(_) => "pretext",
            Self::Supervised(_) => "supervised",
            Self::LinearProbe { .. } => "linear_probe",
            Self::ColorEvaluation { .. } => "color_evaluation",
            Self::NonlinearProbe { .. } => "nonlinear_probe",
            Self::Svm { .. } => "svm",
            Self::LowShot { .. } => "low_shot",
            Self::Knn { .. } => "knn",
            Self::Classification { .. } => "classification",
            Self::Detection { .. } => "detection",
            Self::Segmentation { .. } => "segmentation",
        }
    }

    /// The backbone that it measures.
    pub fn init(&self) -> Option<&InitSpec> {
        match self {
            Self::LinearProbe { init, .. }
            | Self::NonlinearProbe { init, .. }
            | Self::Svm { init, .. }
            | Self::LowShot { init, .. }
            | Self::Knn { init, .. }
            | Self::Classification { init, .. }
            | Self::Detection { init, .. }
            | Self::Segmentation { init, .. } => Some(init),
            Self::Pretext(_) | Self::Supervised(_) | Self::ColorEvaluation { .. } => None,
        }
    }

    /// The weight file that it starts from, as the spec names it.
    pub fn weights(&self) -> Option<&Path> {
        match self {
            Self::Pretext(PretextStage { init_from: Some(WeightSource::File(path)), .. }) => Some(path),
            Self::ColorEvaluation { method: MethodSpec::File(path), .. } => Some(path),
            _ => self.init().and_then(InitSpec::file),
        }
    }

    /// The weight file of the classifier that judges it.
    pub fn classifier(&self) -> Option<&Path> {
        match self {
            Self::ColorEvaluation { stage, .. } => {
                stage.evaluation.classifier.as_ref().map(|classifier| classifier.weights.as_path())
            }
            _ => None,
        }
    }

    /// The folder of finished pictures that it measures.
    pub fn pictures(&self) -> Option<&Path> {
        match self {
            Self::ColorEvaluation { method: MethodSpec::Pictures(dir), .. } => Some(dir),
            _ => None,
        }
    }

    /// The file that its prior is read from.
    pub fn prior(&self) -> Option<&Path> {
        match self {
            Self::Pretext(PretextStage { task: PretextSpec::Colorization(spec), .. }) => {
                prior_file(&spec.prior).filter(|_| spec.needs_prior())
            }
            Self::ColorEvaluation { stage, .. } => prior_file(&stage.evaluation.prior),
            _ => None,
        }
    }

    /// The files of boxes that it reads.
    pub fn proposals(&self) -> Vec<&Path> {
        match self {
            Self::Detection { stage, .. } => stage.task.proposals.files(),
            _ => vec![],
        }
    }

    /// The stage that it builds on.
    pub fn upstream(&self) -> Option<&str> {
        match self {
            Self::Pretext(PretextStage { init_from: Some(WeightSource::Stage(stage)), .. }) => Some(stage),
            Self::ColorEvaluation { method: MethodSpec::Stage(stage), .. } => Some(stage),
            _ => self.init().and_then(InitSpec::stage),
        }
    }

    /// Opens what it trains and is measured on.
    ///
    /// # Errors
    /// Data that cannot be opened.
    pub fn open(&self, at: &Locations) -> Result<Sets> {
        let annotated = |spec: Option<&AnnotatedSpec>, lists| Sets::annotated(spec, lists, at);
        match self {
            Self::Pretext(s) => Sets::plain(s.data.as_ref(), at),
            Self::Supervised(s) => Sets::plain(s.data.as_ref(), at),
            Self::LinearProbe { stage, .. } => Sets::plain(stage.data.as_ref(), at),
            Self::ColorEvaluation { stage, .. } => Sets::plain(stage.data.as_ref(), at),
            Self::NonlinearProbe { stage, .. } => Sets::plain(stage.data.as_ref(), at),
            Self::Svm { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::LowShot { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Knn { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Classification { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Detection { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Main),
            Self::Segmentation { stage, .. } => annotated(stage.annotated.as_ref(), Lists::Segmentation),
        }
    }

    /// The same without its siblings: a probe of one backbone does not depend on which others the table has, nor a method's
    /// evaluation on other methods.
    pub fn alone(&self) -> Self {
        let mut alone = self.clone();
        match &mut alone {
            Work::LinearProbe { stage, .. } => stage.backbones = Default::default(),
            Work::ColorEvaluation { stage, .. } => stage.methods = Default::default(),
            Work::NonlinearProbe { stage, .. } => stage.backbones = Default::default(),
            Work::Svm { stage, .. } => stage.backbones = Default::default(),
            Work::LowShot { stage, .. } => stage.backbones = Default::default(),
            Work::Knn { stage, .. } => stage.backbones = Default::default(),
            Work::Classification { stage, .. } => stage.backbones = Default::default(),
            Work::Detection { stage, .. } => stage.backbones = Default::default(),
            Work::Segmentation { stage, .. } => stage.backbones = Default::default(),
            Work::Pretext(_) | Work::Supervised(_) => {}
        }
        alone
    }
}

fn prior_file(prior: &PriorSpec) -> Option<&Path> {
    match prior {
        PriorSpec::File(path) => Some(path),
        PriorSpec::Measured { .. } => None,
    }
}

/// One fit of a stage.
pub struct Piece {
    /// The row of the table.
    pub row: Option<String>,
    /// What of the row's backbone is kept or trained, where a stage tries several.
    pub variant: Option<String>,
    pub work: Work,
}

/// The fits of a stage: one, or one for each backbone and layer of a table and each method of an evaluation.
pub fn pieces(stage: &Stage) -> Vec<Piece> {
    match stage {
        Stage::Pretext(s) => vec![Piece { row: None, variant: None, work: Work::Pretext(s.clone()) }],
        Stage::Supervised(s) => vec![Piece { row: None, variant: None, work: Work::Supervised(s.clone()) }],
        Stage::ColorEvaluation(s) => {
            each(&s.methods, None, |method| Work::ColorEvaluation { method, stage: s.clone() })
        }
        Stage::LinearProbe(s) => {
            each(&s.backbones, None, |init| Work::LinearProbe { init, stage: s.clone() })
        }
        Stage::NonlinearProbe(s) => s.through.iter().flat_map(|layer| kept(s, layer)).collect(),
        Stage::Svm(s) => each(&s.backbones, None, |init| Work::Svm { init, stage: s.clone() }),
        Stage::LowShot(s) => each(&s.backbones, None, |init| Work::LowShot { init, stage: s.clone() }),
        Stage::Knn(s) => each(&s.backbones, None, |init| Work::Knn { init, stage: s.clone() }),
        Stage::Classification(s) => s.task.train_from.iter().flat_map(|layer| tuned(s, layer)).collect(),
        Stage::Detection(s) => each(&s.backbones, None, |init| Work::Detection { init, stage: s.clone() }),
        Stage::Segmentation(s) => {
            each(&s.backbones, None, |init| Work::Segmentation { init, stage: s.clone() })
        }
    }
}

/// One fit for each row.
fn each<T: Clone>(rows: &Named<T>, variant: Option<&str>, work: impl Fn(T) -> Work) -> Vec<Piece> {
    let piece = |(row, what): (&str, &T)| Piece {
        row: Some(row.into()),
        variant: variant.map(String::from),
        work: work(what.clone()),
    };
    rows.iter().map(piece).collect()
}

/// The column of a non-linear probe that keeps everything through `layer`.
fn kept(s: &NonlinearProbeStage, layer: &str) -> Vec<Piece> {
    let stage = NonlinearProbeStage { through: vec![layer.into()], ..s.clone() };
    each(&s.backbones, Some(layer), |init| Work::NonlinearProbe { init, stage: stage.clone() })
}

/// The column of a classification that trains from `layer` on.
fn tuned(s: &TransferStage<ClassificationSpec>, layer: &str) -> Vec<Piece> {
    let task = ClassificationSpec { train_from: vec![layer.into()], ..s.task.clone() };
    let stage = TransferStage { task, ..s.clone() };
    each(&s.backbones, Some(layer), |init| Work::Classification { init, stage: stage.clone() })
}
