//! The interface of stage kinds: their top-level inputs, fits, layers, plan and run. Also re-exports the imports
//! shared by all kinds.

use crate::{backbones::alexnet::CONVOLUTIONS, experiment::sources::ColorizationMethodSpec};
pub(super) use crate::{
    backbones::{BackboneSpec, Variant, vgg::VggSpec},
    data::{
        annotated::Presence,
        annotated_source::{AnnotatedSpec, Lists},
        crop_policy::CropPolicy,
        loader::Pass,
        source::{DataSpec, Split},
    },
    evaluation::monitor::MonitorSpec,
    experiment::{
        faults::{all, both},
        fit::StageRun,
        monitor::{MonitorPlan, usual_layers},
        plan::{
            DataSource, FileContent, HeadPlan, InputFile, Metrics, NetworkPlan, Outputs, PicturePlan,
            StagePlan, StageRow, Trainable, ViewPlan, WEIGHTS, required,
        },
        sets::{check_masks, check_objects},
        sources::{InitSpec, Start},
    },
    key_error::KeyError,
    report::{
        results::RESULTS,
        transfer::{TransferMetric, TransferRow, TransferTask},
    },
    rng::Rng,
    spec::{names::NamedMap, on_backbone::OnBackbone},
    train::{
        run_dir::RunDir,
        spec::TrainSpec,
        task::{Better, Metric},
    },
    transfer::InputColors,
};
pub(super) use anyhow::{Context, Result, ensure};
pub(super) use schemars::JsonSchema;
pub(super) use serde::{Deserialize, Serialize};
pub(super) use std::collections::BTreeMap;

/// The interface between a stage kind and the rest of the crate.
pub trait StageKind {
    /// Sections that default to the top level; a kind on annotated pictures has no `data`.
    fn inputs(&self) -> StageSections<'_>;

    /// Fills missing sections from the top level.
    fn fill(&mut self, top: StageSections<'_>);

    /// The fits of the stage.
    fn rows(&self) -> Rows<'_> {
        Rows::One(Start::Random)
    }

    /// Layers named in the stage, which its backbones must have.
    fn layers(&self) -> Option<Layers<'_>> {
        None
    }

    /// Training options, if the stage trains.
    fn train(&self) -> Option<&TrainSpec> {
        None
    }

    /// Measurements during training, if the stage makes any.
    fn monitor(&self) -> Option<&MonitorSpec> {
        None
    }

    /// Whether the stage uses the labels of plain pictures.
    fn needs_labels(&self) -> bool {
        false
    }

    /// The network that the stage provides to later ones.
    fn trained(&self) -> Option<BackboneSpec> {
        None
    }

    /// Whether it predicts at every pixel, which classifier networks cannot.
    fn predicts_pixels(&self) -> bool {
        false
    }

    /// Whether it trains a colorizer.
    fn colorizes(&self) -> bool {
        false
    }

    /// The only backbone that it trains; None for any that is not made for one task.
    fn network(&self) -> Option<&'static str> {
        None
    }

    /// Whether it reads features of a network and leaves the network as it is.
    fn reads_features(&self) -> bool {
        false
    }

    /// Keys of the size of the network's input, below the section of the stage or the top of the file.
    fn size_keys(&self) -> &'static [&'static str] {
        &["data", "crop"]
    }

    /// Names of the parameters that it trains, if it trains any.
    ///
    /// # Errors
    /// As [`NetworkPlan::table`].
    fn trained_parameters(&self, network: &NetworkPlan) -> Result<Vec<String>> {
        network.trained_parameters()
    }

    /// Whether it trains the halves of a network as networks of their own.
    fn splits(&self) -> bool {
        false
    }

    /// Checks what the kind asks of the planned network beyond layers and sizes.
    ///
    /// # Errors
    /// A network that it cannot train.
    fn check_network(&self, _: &NetworkPlan) -> Result<()> {
        Ok(())
    }

    /// Settings of the kind that have no effect.
    fn notes(&self) -> Vec<String> {
        vec![]
    }

    /// Plans one fit from the spec alone. `backbone` is the network to train or evaluate.
    ///
    /// # Errors
    /// A missing section; an invalid crop.
    fn plan(&self, row: StageRow, backbone: Option<&BackboneSpec>) -> Result<StagePlan>;

    /// Kind-specific checks before the first step.
    ///
    /// # Errors
    /// Every problem that would stop the fit.
    fn check_ready(&self, _: &StageRun) -> Result<()> {
        Ok(())
    }

    /// Runs the fit in its directory; None if the user interrupted it.
    ///
    /// # Errors
    /// Those of the fit.
    fn run(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<Vec<Metric>>>;
}

/// Checks that the backbone has no branches for losses of colorization.
///
/// # Errors
/// Deep supervision.
pub fn check_branches(backbone: &BackboneSpec) -> Result<()> {
    let BackboneSpec::Vgg(VggSpec { deep_supervision: true, .. }) = backbone else { return Ok(()) };
    let reason = "only the task `colorization` has losses for the branches of deep supervision";
    Err(KeyError::new(["backbone", "vgg", "deep_supervision"], reason).advice("leave it out").into())
}

/// Sections of a stage that default to the top level. The outer None means that the kind has no such section.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageSections<'a> {
    pub data: Option<&'a Option<DataSpec>>,
    pub annotated: Option<&'a Option<AnnotatedSpec>>,
    pub backbone: Option<&'a Option<BackboneSpec>>,
}

/// Implements `inputs` and `fill` for the named sections, and `train` if the kind trains.
macro_rules! inputs {
    ($($section:ident),+; train) => {
        inputs!($($section),+);
        fn train(&self) -> Option<&TrainSpec> {
            Some(&self.train)
        }
    };
    ($($section:ident),+) => {
        fn inputs(&self) -> StageSections<'_> {
            StageSections { $($section: Some(&self.$section),)+ ..StageSections::default() }
        }
        fn fill(&mut self, top: StageSections<'_>) {
            $(self.$section = self.$section.take().or_else(|| top.$section.cloned().flatten());)+
        }
    };
}
pub(super) use inputs;

/// The fits of a stage.
pub enum Rows<'a> {
    One(Start),
    /// One per backbone and table column.
    Backbones {
        rows: &'a NamedMap<OnBackbone<InitSpec>>,
        columns: &'a [String],
    },
    /// One per colorization method.
    Methods(&'a NamedMap<ColorizationMethodSpec>),
}

impl Rows<'_> {
    /// All rows, column by column.
    pub fn each(&self) -> Vec<StageRow> {
        match self {
            Self::One(start) => vec![StageRow::only(start.clone())],
            Self::Backbones { rows, columns } => {
                let none = columns.is_empty().then_some(None);
                let columns = columns.iter().map(|column| Some(column.as_str())).chain(none);
                let row = |column| {
                    rows.iter().map(move |(name, OnBackbone { choice, backbone })| {
                        StageRow::of(name, column, Start::Weights(choice.clone())).on(backbone.clone())
                    })
                };
                columns.flat_map(row).collect()
            }
            Self::Methods(rows) => {
                rows.iter().map(|(name, way)| StageRow::of(name, None, Start::Method(way.clone()))).collect()
            }
        }
    }
}

/// Layers named in a stage.
pub struct Layers<'a> {
    /// Key path of the layers.
    pub keys: &'static [&'static str],
    pub names: Vec<&'a str>,
    /// Whether heads and roles (`head`, `reader`, `all`) are allowed.
    pub with_head: bool,
}

impl<'a> Layers<'a> {
    /// All entries of a list.
    pub fn all(keys: &'static [&'static str], names: &'a [String]) -> Option<Self> {
        Some(Self { keys, names: names.iter().map(String::as_str).collect(), with_head: false })
    }

    /// What to write where a network lacks one of those that are read unless told, which nobody may have named: others of
    /// the `known` ones.
    pub fn advice(&self, known: &[&str]) -> Option<String> {
        let [section, key] = self.keys else { return None };
        if self.names != CONVOLUTIONS {
            return None;
        }
        let usual = usual_layers(known).join(", ");
        Some(format!("conv1 to conv5 are read unless told: give `{section}: {{ {key}: [{usual}] }}`"))
    }
}
