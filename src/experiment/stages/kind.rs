//! What every kind of stage says of itself: its inputs, the fits that it stands for, the layers that it names, its plan, and how
//! it is run; and the words that the files of the kinds are written in, which they take from here all at once.

use crate::experiment::sources::MethodSpec;
pub(super) use crate::{
    backbones::{BackboneSpec, Variant},
    data::{
        annotated::Presence,
        annotated_source::{AnnotatedSpec, Lists},
        crop_policy::CropPolicy,
        loader::Pass,
        source::{DataSpec, Split},
    },
    experiment::{
        faults::{all, both},
        fit::Fit,
        plan::{
            Head, Holds, Learns, Metrics, Needed, NetworkPlan, Outputs, Pictures, Plan, Row, Source, View,
            WEIGHTS, given,
        },
        sets::{check_masks, check_objects},
        sources::{InitSpec, Start},
    },
    report::{
        results::RESULTS,
        transfer::{TransferMetric, TransferRow, TransferTask},
    },
    rng::Rng,
    spec::{names::Named, on_backbone::OnBackbone},
    train::{
        run_dir::RunDir,
        spec::TrainSpec,
        task::{Better, Metric},
    },
    transfer::Colors,
};
pub(super) use anyhow::{Context, Result, ensure};
pub(super) use serde::{Deserialize, Serialize};
pub(super) use std::collections::BTreeMap;

/// What a kind of stage is to the rest of the house.
pub trait StageKind {
    /// The sections that the top of the file may say for it; a kind on annotated pictures has no `data`.
    fn inputs(&self) -> Inputs<'_>;

    /// Takes the sections of the top that it has and does not say itself.
    fn fill(&mut self, top: Inputs<'_>);

    /// The fits that it stands for.
    fn rows(&self) -> Rows<'_> {
        Rows::One(Start::Afresh)
    }

    /// The layers that it names, which its backbones must have.
    fn layers(&self) -> Option<Layers<'_>> {
        None
    }

    /// How it trains, if it does.
    fn train(&self) -> Option<&TrainSpec> {
        None
    }

    /// Whether it learns or counts the labels of plain pictures.
    fn needs_labels(&self) -> bool {
        false
    }

    /// The network that later stages get from it.
    fn trained(&self) -> Option<BackboneSpec> {
        None
    }

    /// Whether it predicts something at every pixel, which a classifier's network does not.
    fn predicts_pixels(&self) -> bool {
        false
    }

    /// Whether it learns to color, so that its network can be asked for colors.
    fn colorizes(&self) -> bool {
        false
    }

    /// What one fit will do, from the spec alone. `backbone` is the network that it measures or trains.
    ///
    /// # Errors
    /// A section that is missing, a crop that cannot be.
    fn plan(&self, row: Row, backbone: Option<&BackboneSpec>) -> Result<Plan>;

    /// Whether the fit could be run, as far as can be known before the first step beyond what every plan says.
    ///
    /// # Errors
    /// What would stop it.
    fn ready(&self, _: &Fit) -> Result<()> {
        Ok(())
    }

    /// Runs the fit in its directory; None when the user stopped it.
    ///
    /// # Errors
    /// Whatever stops a fit.
    fn run(&self, fit: &Fit, run: &mut RunDir) -> Result<Option<Vec<Metric>>>;
}

/// The sections of a stage that the top of the file may say; the outer None: this kind has no such section.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    pub data: Option<&'a Option<DataSpec>>,
    pub annotated: Option<&'a Option<AnnotatedSpec>>,
    pub backbone: Option<&'a Option<BackboneSpec>>,
}

/// Both uses of the named sections of `self`; and `train`, where the kind trains.
macro_rules! inputs {
    ($($section:ident),+; train) => {
        inputs!($($section),+);
        fn train(&self) -> Option<&TrainSpec> {
            Some(&self.train)
        }
    };
    ($($section:ident),+) => {
        fn inputs(&self) -> Inputs<'_> {
            Inputs { $($section: Some(&self.$section),)+ ..Inputs::default() }
        }
        fn fill(&mut self, top: Inputs<'_>) {
            $(self.$section = self.$section.take().or_else(|| top.$section.cloned().flatten());)+
        }
    };
}
pub(super) use inputs;

/// The fits of a stage.
pub enum Rows<'a> {
    One(Start),
    /// One for each backbone and, where there are any, for each column of the table.
    Backbones {
        rows: &'a Named<OnBackbone<InitSpec>>,
        columns: &'a [String],
    },
    /// One for each method of coloring.
    Methods(&'a Named<MethodSpec>),
}

impl Rows<'_> {
    /// Each of them, column by column.
    pub fn each(&self) -> Vec<Row> {
        match self {
            Self::One(start) => vec![Row::only(start.clone())],
            Self::Backbones { rows, columns } => {
                let none = columns.is_empty().then_some(None);
                let columns = columns.iter().map(|column| Some(column.as_str())).chain(none);
                let row = |column| {
                    rows.iter().map(move |(name, OnBackbone { choice, backbone })| {
                        Row::of(name, column, Start::Weights(choice.clone())).on(backbone.clone())
                    })
                };
                columns.flat_map(row).collect()
            }
            Self::Methods(rows) => {
                rows.iter().map(|(name, way)| Row::of(name, None, Start::Method(way.clone()))).collect()
            }
        }
    }
}

/// Layers that a stage names.
pub struct Layers<'a> {
    /// The keys that lead to them.
    pub keys: &'static [&'static str],
    pub names: Vec<&'a str>,
    /// Whether heads and roles (`head`, `reader`, `all`) can be named too.
    pub with_head: bool,
}

impl<'a> Layers<'a> {
    /// All of a list.
    pub fn all(keys: &'static [&'static str], names: &'a [String]) -> Option<Self> {
        Some(Self { keys, names: names.iter().map(String::as_str).collect(), with_head: false })
    }
}
