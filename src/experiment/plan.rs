//! The plan of one fit as plain data: pictures and transforms, network and initialization, files, training. The dry
//! run prints it, the run executes it, and the result's hash is derived from it.

use super::{monitor::MonitorPlan, sources::Start};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        input::Input,
        split::SplitNetwork,
        summary::Summary,
        table::{Layer, first_of, reader, tap, taps},
        task_head::TaskHead,
    },
    data::{
        annotated_source::{AnnotatedSpec, Lists},
        crop_policy::CropPolicy,
        loader::Pass,
        source::{DataSpec, Split},
    },
    key_error::KeyError,
    nn::layers::{Fillers, chroma_name},
    pretext::headed::NetworkBeside,
    train::spec::TrainOptions,
    transfer::InputColors,
};
use anyhow::{Context, Result, ensure};
use std::{
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
};

pub use crate::train::run_dir::WEIGHTS;

/// File name of a stage's last weights if [`WEIGHTS`] holds their average.
pub const RAW_WEIGHTS: &str = "weights_raw.safetensors";

/// Row and column of a fit within its stage, and its starting point.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRow {
    /// Name of the table row.
    pub name: Option<String>,
    /// Name of the table column, if the stage trains several layers per row.
    pub column: Option<String>,
    pub start: Start,
    /// The row's own network, if it names one.
    pub backbone: Option<BackboneSpec>,
}

impl StageRow {
    /// A row of a table.
    pub fn of(name: &str, column: Option<&str>, start: Start) -> Self {
        Self { name: Some(name.into()), column: column.map(String::from), start, backbone: None }
    }

    /// The only fit of a stage.
    pub fn only(start: Start) -> Self {
        Self { name: None, column: None, start, backbone: None }
    }

    /// The same row on another network.
    pub fn on(self, backbone: Option<BackboneSpec>) -> Self {
        Self { backbone, ..self }
    }
}

/// The plan of one fit.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePlan {
    pub row: StageRow,
    pub pictures: PicturePlan,
    /// None if no network is trained or evaluated.
    pub network: Option<NetworkPlan>,
    /// Input files other than pictures and initial weights.
    pub files: Vec<InputFile>,
    /// Set once the number of training pictures is known.
    pub train: Option<TrainOptions>,
    pub metrics: Metrics,
    /// Measurements during training.
    pub monitor: Option<MonitorPlan>,
    /// Output file for later stages or reports.
    pub leaves: &'static str,
}

/// Names of the reported metrics. Metrics without a value are omitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    pub names: Vec<String>,
    /// Whether there is also an `ap_CLASS` for each class of the data.
    pub each_class: bool,
}

impl Metrics {
    /// Only these metrics.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), each_class: false }
    }

    /// Mean average precision, and average precision by class.
    pub fn of_classes() -> Self {
        Self { each_class: true, ..Self::of(["map"]) }
    }

    /// All names, for data with these classes.
    pub fn names_for(&self, classes: &[String]) -> Vec<String> {
        let classes = classes.iter().filter(|_| self.each_class).map(|class| format!("ap_{class}"));
        self.names.iter().cloned().chain(classes).collect()
    }
}

impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names_for(&["CLASS".into()]).join(", "))
    }
}

/// Training and validation pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct PicturePlan {
    pub source: DataSource,
    /// Whether labels of plain pictures are used.
    pub labels: bool,
    /// None if nothing is trained on batches.
    pub train: Option<ViewPlan>,
    pub val: ViewPlan,
}

/// Pictures with at most one label, or with objects and masks.
#[derive(Clone, Debug, PartialEq)]
pub enum DataSource {
    Plain(DataSpec),
    Annotated(AnnotatedSpec, Lists),
}

/// Transform and batching of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewPlan {
    pub framing: CropPolicy,
    pub pass: Pass,
    pub batch: usize,
    /// Mirrors half of the pictures if the pass augments.
    pub flip: bool,
}

/// An input file or folder.
#[derive(Clone, Debug, PartialEq)]
pub struct InputFile {
    /// The spec key that names it.
    pub key: &'static str,
    pub path: PathBuf,
    pub content: FileContent,
}

/// Contents of an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileContent {
    Prior,
    Proposals,
    Classifier,
    /// A folder of pictures with the names of the validation images.
    Pictures,
}

/// The trained or evaluated network, and which of its layers are trained.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPlan {
    pub backbone: BackboneSpec,
    pub variant: Variant,
    pub batch_norm: bool,
    pub input_channels: usize,
    /// Whether lightness weights are extended to color.
    pub colors: InputColors,
    /// The new last layer.
    pub head: Option<HeadPlan>,
    /// The task's own head; `size` is that of the views that it makes.
    pub task_head: Option<TaskHead>,
    /// Networks that the task trains beside this one.
    pub beside: Vec<NetworkBeside>,
    /// Outputs of the heads of both halves, if the backbone is split.
    pub split: Option<[usize; 2]>,
    /// Layers whose features are read; later layers are not built. None: all layers.
    pub taps: Option<Vec<String>>,
    pub trainable: Trainable,
    /// Height and width of the input pictures; None: as stored.
    pub size: Option<(usize, usize)>,
}

/// A new last layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadPlan {
    pub outputs: Outputs,
    /// Initialization, if different from the backbone's.
    pub fillers: Option<Fillers>,
}

/// Number of outputs of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    Number(usize),
    /// One per class of the data.
    Classes,
    /// One per class, and one for the background.
    ClassesAndBackground,
}

/// Which rows of the network are trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trainable {
    All,
    /// None: the network is a fixed feature extractor.
    Nothing,
    /// The rows after this one.
    After(String),
    /// This row and those after it.
    From(String),
}

impl Trainable {
    /// Replaces role names by the layer names of a backbone.
    pub fn on(self, backbone: &BackboneSpec) -> Self {
        match self {
            Self::From(name) => Self::From(backbone.layer(&name)),
            Self::After(name) => Self::After(backbone.layer(&name)),
            other => other,
        }
    }
}

impl StagePlan {
    /// All files and folders in the plan, as spelled in the spec.
    pub fn paths(&self) -> Vec<&Path> {
        let own = self.row.start.file().into_iter();
        let monitored = self.monitor.iter().flat_map(|monitor| monitor.data.source.paths());
        own.chain(self.files.iter().map(|file| file.path.as_path()))
            .chain(self.pictures.source.paths())
            .chain(monitored)
            .collect()
    }
}

impl PicturePlan {
    /// Plain pictures with the crops of their section.
    ///
    /// # Errors
    /// A missing section; a crop larger than the resized pictures.
    pub fn plain(spec: Option<&DataSpec>, train: Option<(Pass, usize)>, labels: bool) -> Result<Self> {
        let spec = required(spec, "data")?.clone();
        let framing = CropPolicy::from_spec(&spec);
        let framing = framing.map_err(|error| KeyError::new(["data", "crop"], error.to_string()))?;
        let view = |framing, pass, batch| ViewPlan { framing, pass, batch, flip: spec.flip };
        let val = view(framing.in_validation(), Pass::Once, VAL_BATCH);
        let train = train.map(|(pass, batch)| view(framing, pass, batch));
        Ok(Self { source: DataSource::Plain(spec), labels, train, val })
    }

    /// Transform and batching of a split.
    ///
    /// # Errors
    /// The training split of a stage that does not train on batches.
    pub fn view(&self, split: Split) -> Result<&ViewPlan> {
        match split {
            Split::Train => self.train.as_ref().context("this stage takes no training batches"),
            Split::Val => Ok(&self.val),
        }
    }
}

/// Images per validation batch.
pub const VAL_BATCH: usize = 64;

impl NetworkPlan {
    /// The frozen transfer variant without head, read at those of `layers` that the backbone has.
    ///
    /// # Errors
    /// A backbone that has none of them, said of the `keys` that name them.
    pub fn frozen(
        backbone: &BackboneSpec,
        (keys, layers): (&[&str], &[String]),
        side: usize,
    ) -> Result<Self> {
        let known = backbone.taps();
        let taps: Vec<String> = layers.iter().filter(|layer| known.contains(layer)).cloned().collect();
        let (name, wanted) = (backbone.name(), layers.join(", "));
        ensure!(
            !taps.is_empty(),
            KeyError::new(keys.iter().copied(), format!("{name} has none of the layers {wanted}"))
                .advice(format!("it has {}", known.join(", ")))
        );
        Ok(Self {
            taps: Some(taps),
            trainable: Trainable::Nothing,
            ..Self::on(Variant::Transfer, backbone, Some((side, side)))
        })
    }

    /// Layers whose features are read.
    pub fn reads(&self) -> &[String] {
        self.taps.as_deref().unwrap_or_default()
    }

    /// One of the backbone's variants, complete and without head.
    pub fn on(variant: Variant, backbone: &BackboneSpec, size: Option<(usize, usize)>) -> Self {
        Self {
            backbone: backbone.clone(),
            variant,
            batch_norm: false,
            input_channels: backbone.input().channels(),
            colors: InputColors::Gray,
            head: None,
            task_head: None,
            beside: vec![],
            split: None,
            taps: None,
            trainable: Trainable::All,
            size,
        }
    }

    /// The network of a pretext task.
    pub fn of_task(backbone: &BackboneSpec, build: &Build, side: usize) -> Self {
        Self {
            batch_norm: build.batch_norm,
            input_channels: build.input_channels,
            head: build.outputs.map(|n| HeadPlan { outputs: Outputs::Number(n), fillers: None }),
            ..Self::on(build.variant, backbone, Some((side, side)))
        }
    }

    /// The network of a task with a head of its own.
    pub fn headed(backbone: &BackboneSpec, head: TaskHead) -> Self {
        let Build { variant, batch_norm, .. } = head.build(backbone);
        let size = Some((head.side(), head.side()));
        Self { batch_norm, task_head: Some(head), ..Self::on(variant, backbone, size) }
    }

    /// Both halves of a split backbone.
    pub fn of_halves(backbone: &BackboneSpec, outputs: [usize; 2], side: usize) -> Self {
        let own = Self::on(Variant::Pretext, &backbone.with_input(Input::Lab), Some((side, side)));
        Self { batch_norm: true, split: Some(outputs), ..own }
    }

    /// The tables of a split backbone, None if it is not split; an error if it cannot be.
    pub fn halves(&self) -> Result<Option<SplitNetwork>> {
        Ok(self.split.map(|outputs| SplitNetwork::pretext(&self.backbone, outputs)).transpose()?)
    }

    /// The last layer of the backbone that is trained, if layers with weights follow it.
    ///
    /// # Errors
    /// An unknown layer.
    pub fn trained_through(&self) -> Result<Option<String>> {
        let through = self.task_head.as_ref().map(|head| head.trained_through(&self.backbone)).transpose()?;
        Ok(through.flatten())
    }

    /// Number of inputs to the network for one picture.
    pub fn views_per_picture(&self) -> usize {
        self.task_head.as_ref().map_or(1, TaskHead::views)
    }

    /// Sets the input channels: lightness, or color too.
    pub fn with_colors(self, colors: InputColors) -> Self {
        let input_channels = colors.input(self.backbone.input()).channels();
        Self { colors, input_channels, ..self }
    }

    /// Input of the network.
    pub fn input(&self) -> Input {
        self.colors.input(self.backbone.input())
    }

    /// Build options, for data with `classes` classes.
    pub fn build(&self, classes: usize) -> Build {
        let outputs = self.head.map(|head| match head.outputs {
            Outputs::Number(n) => n,
            Outputs::Classes => classes,
            Outputs::ClassesAndBackground => classes + 1,
        });
        let Self { variant, batch_norm, input_channels, .. } = *self;
        Build { variant, batch_norm, input_channels, outputs }
    }

    /// The layer table, for data with `classes` classes.
    ///
    /// # Errors
    /// A missing layer in `taps` or `trainable`.
    pub fn table(&self, classes: usize) -> Result<Vec<Layer>> {
        let mut table = self.backbone.with_input(self.input()).table(&self.build(classes));
        if let Some(head) = &self.task_head {
            table = head.attach(table)?;
        }
        if let Some(split) = self.halves()? {
            table = split.table().to_vec();
        }
        let named = self.taps.iter().flatten().chain(match &self.trainable {
            Trainable::After(layer) | Trainable::From(layer) => Some(layer),
            Trainable::All | Trainable::Nothing => None,
        });
        for layer in named {
            let names = || taps(&table).collect::<Vec<_>>().join(", ");
            ensure!(tap(&table, layer).is_some(), "there is no layer `{layer}`; there are {}", names());
        }
        if let Some(read) = &self.taps {
            let last = read.iter().filter_map(|name| tap(&table, name)).max();
            table.truncate(last.map_or(table.len(), |at| at + 1));
        }
        if let (Some(HeadPlan { fillers: Some(fillers), .. }), Some(last)) = (self.head, table.last_mut()) {
            last.kind.fill(fillers);
        }
        Ok(table)
    }

    /// Names of the trained parameters of the network and of those beside it.
    ///
    /// # Errors
    /// As [`Self::table`].
    pub fn trained_parameters(&self) -> Result<Vec<String>> {
        let table = self.table(1)?;
        let frozen = match &self.trainable {
            Trainable::All => 0,
            Trainable::Nothing => table.len(),
            Trainable::After(layer) => tap(&table, layer).map_or(0, |last| last + 1),
            Trainable::From(layer) => first_of(&table, layer).unwrap_or(0),
        };
        let learns_chroma =
            self.colors == InputColors::Color && matches!(self.trainable, Trainable::After(_));
        let chroma = learns_chroma.then(|| chroma_name(&table[0].name));
        let rows = table[frozen..].iter().chain(self.beside.iter().flat_map(|network| &network.rows));
        let names =
            |row: &Layer| row.kind.trained().iter().map(|which| format!("{}.{which}", row.name)).collect();
        Ok(chroma.into_iter().chain(rows.flat_map(|row| -> Vec<String> { names(row) })).collect())
    }

    /// Summary of the table for the planned input size; `stored` is the size of the first picture.
    ///
    /// # Errors
    /// A picture too small for the network, and as [`Self::table`].
    pub fn summary(&self, classes: usize, stored: (usize, usize)) -> Result<Summary> {
        let mut table = self.table(classes)?;
        if self.variant == Variant::Regions {
            // The reader processes regions, not the whole picture.
            table.truncate(reader(&table).unwrap_or(table.len()));
        }
        Ok(Summary::of(&table, self.size.unwrap_or(stored))?)
    }
}

impl ViewPlan {
    /// Description of the transform.
    pub fn describe_transform(&self) -> String {
        match &self.framing {
            CropPolicy::Crop { crop, .. } => format!("crop {crop}"),
            CropPolicy::Varied { crop, train, .. } => format!("crop {crop} {train}"),
            CropPolicy::RandomScale { side } => format!("crops of {side} pixels at random scales"),
            CropPolicy::Squash { side, .. } => format!("squashed to {side} pixels"),
            CropPolicy::Whole { scales, .. } if scales.is_empty() => "whole".into(),
            CropPolicy::Whole { scales, .. } => {
                let scales: Vec<String> = scales.iter().map(ToString::to_string).collect();
                format!("whole, short side {}", scales.join(", "))
            }
        }
    }
}

/// A section that is set after resolving.
pub fn required<'a, T>(section: Option<&'a T>, name: &str) -> Result<&'a T> {
    section.with_context(|| format!("no {name}: give `{name}:` to the stage or to the experiment"))
}
