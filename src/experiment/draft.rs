//! Drafts: a commented spec for a folder of pictures, or for the built-in scenes, that runs as it is, with sizes and a length
//! that fit the pictures and the machine. Users go on from there; the published protocols are in `experiments/paper`.

use super::{Experiment, RunOptions, check_and_estimate};
use crate::{
    bounded::Part,
    data::survey::{ReadableSplit, Survey},
    text::counted,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fmt::Write as _,
    fs,
    path::{self, Path, PathBuf},
};

/// Short side from which pictures are photographs rather than thumbnails, in pixels.
const PHOTOGRAPH: usize = 96;
/// Shortest side that every task can use, in pixels.
const SMALLEST: usize = 24;
/// Updates of the rehearsed training: enough that all else is little beside them.
const REHEARSED: usize = 100_000;
/// Passes of the probe over a small set.
const PROBE_EPOCHS: usize = 60;
/// Share of the time that updates get; the rest is for validation and the monitor.
const UPDATE_SHARE: f64 = 0.75;
/// Most epochs of a draft: more are rarely worth the time on a small set.
const MOST_EPOCHS: f64 = 200.0;
/// Share of gray pictures above which there is little color to learn from.
const MOST_GRAY: f64 = 0.9;
/// Fewest pictures that a network can be trained on, and that teach it something.
const FEWEST: usize = 8;
const WORTHWHILE: usize = 500;
/// Pictures that an update is timed on.
const SAMPLE: usize = 64;
/// Neighbors that a monitor needs in its bank.
const NEIGHBORS: usize = 20;

/// A pretext task of a draft: its options for thumbnails and for photographs, and what its network sees.
struct DraftTask {
    name: &'static str,
    about: &'static str,
    thumbnails: &'static str,
    photographs: &'static str,
    input: &'static str,
    /// Whether it cuts pictures into tiles, which needs larger ones.
    has_tiles: bool,
}

const fn plain(name: &'static str, about: &'static str, input: &'static str) -> DraftTask {
    DraftTask { name, about, thumbnails: "{}", photographs: "{}", input, has_tiles: false }
}

const TASKS: [DraftTask; 9] = [
    plain("colorization", "predicts the colors of a gray picture (Zhang et al. 2016)", ""),
    plain("autoencoder", "reproduces its input, a baseline", ""),
    plain(
        "split_brain",
        "predicts colors from lightness and lightness from colors (Zhang et al. 2017)",
        "lab",
    ),
    DraftTask {
        thumbnails: "{ head: { embedding: 512, hidden: [] } }",
        ..plain(
            "rotation",
            "tells by which quarter turn a picture was turned (Gidaris et al. 2018)",
            "rgb_unit",
        )
    },
    plain("inpainting", "fills in what was cut out (Pathak et al. 2016)", "rgb_unit"),
    plain("bigan", "learns codes of pictures against a generator (Donahue et al. 2017)", "bgr_signed"),
    plain("simclr", "finds the other view of a picture among those of others (Chen et al. 2020)", "rgb_unit"),
    DraftTask {
        thumbnails: "{ permutations: 100, head: { embedding: 128, hidden: [512] } }",
        photographs: "{ permutations: 100, head: { embedding: 256, hidden: [1024] } }",
        has_tiles: true,
        ..plain("jigsaw", "finds the order of shuffled tiles (Noroozi and Favaro 2016)", "rgb_unit")
    },
    DraftTask {
        thumbnails: "{ grid: 2, head: { embedding: 128, hidden: [512] } }",
        photographs: "{ grid: 2, head: { embedding: 256, hidden: [1024] } }",
        has_tiles: true,
        ..plain("context", "tells where one patch lies from another (Doersch et al. 2015)", "")
    },
];

/// Names of the tasks that can be drafted.
pub const TASK_NAMES: [&str; TASKS.len()] = {
    let (mut names, mut i) = ([""; TASKS.len()], 0);
    while i < TASKS.len() {
        names[i] = TASKS[i].name;
        i += 1;
    }
    names
};

/// The pictures of a draft, as its spec names them.
#[derive(Clone, Copy, Debug)]
pub enum DraftSource<'a> {
    /// The folders of the survey.
    Folder { train: &'a str, val: Option<&'a str> },
    /// The built-in scenes.
    Scenes,
}

impl DraftSource<'_> {
    /// Whether validation pictures are taken from those for training.
    fn is_held_out(&self) -> bool {
        matches!(self, Self::Folder { val: None, .. })
    }
}

/// Share that is held out where there is no validation folder: fewer pictures of a large set, and two of a small one without
/// classes for a task that tells them from one another.
fn held_share(survey: &Survey, task: &DraftTask) -> f64 {
    let is_of_one = survey.classes.len() < 2 && ["simclr", "bigan"].contains(&task.name);
    match survey.pictures {
        0..20 if is_of_one => 0.2,
        0..=20_000 => 0.1,
        _ => 0.05,
    }
}

/// Training and validation pictures of a draft on the built-in scenes.
const SCENES: (usize, usize) = (3000, 500);
/// Side of the scenes, and for tasks that cut pictures into tiles, in pixels.
const SCENE_SIDE: usize = 32;
const TILED_SCENE_SIDE: usize = 64;

/// The built-in scenes as a draft of this task takes them.
pub fn scenes(task: &str) -> Survey {
    let has_tiles = TASKS.iter().any(|known| known.name == task && known.has_tiles);
    Survey::of_scenes(SCENES.0, SCENES.1, if has_tiles { TILED_SCENE_SIDE } else { SCENE_SIDE })
}

/// What a draft is made for.
#[derive(Debug)]
pub struct DraftOptions<'a> {
    /// Name of the experiment.
    pub name: &'a str,
    /// File of the spec, as its comments name it.
    pub file: &'a str,
    /// One of [`TASK_NAMES`].
    pub task: &'a str,
    pub source: DraftSource<'a>,
    /// Whether a GPU will train it.
    pub gpu: bool,
    /// Seconds that the pretext task may take.
    pub seconds: f64,
}

/// A spec that is not timed yet.
pub struct Draft<'a> {
    survey: &'a Survey,
    options: &'a DraftOptions<'a>,
    task: &'static DraftTask,
    resize: Option<usize>,
    crop: usize,
    batch: usize,
    split: ReadableSplit,
}

impl<'a> Draft<'a> {
    /// Chooses sizes for the pictures of a survey.
    ///
    /// # Errors
    /// An unknown task; pictures that are too small, or of which too few can be read, for any network.
    pub fn new(survey: &'a Survey, options: &'a DraftOptions<'a>) -> Result<Self> {
        let task = TASKS.iter().find(|task| task.name == options.task).context("no such task")?;
        let [_, side, _] = survey.short_side;
        ensure!(
            side >= SMALLEST,
            "the pictures of {} are {side} pixels on their short side: at least {SMALLEST} are needed",
            survey.train.display()
        );
        let folder = survey.train.display();
        let held_out =
            options.source.is_held_out().then(|| Part::try_from(held_share(survey, task))).transpose()?;
        let split = survey.readable_split(held_out).filter(|_| survey.readable() >= FEWEST);
        let Some(split) = split else {
            let (pictures, bad) = (counted(survey.pictures, "picture"), survey.faults());
            let unread = match bad.first() {
                Some(first) => format!("; {} of those looked at cannot be read (first {first})", bad.len()),
                None => String::new(),
            };
            bail!(
                "{folder} holds {pictures}{unread}; give a folder of at least {FEWEST} for training, better thousands"
            );
        };
        let (resize, crop) = frame(survey.short_side, task.has_tiles, options.gpu);
        let most = if options.gpu { 128 } else { 32 };
        Ok(Self { survey, options, task, resize, crop, batch: most.min(survey.readable() / 4), split })
    }

    /// Whether the task is that of a ResNet.
    fn is_residual(&self) -> bool {
        self.task.name == "simclr"
    }

    fn is_of_photographs(&self) -> bool {
        self.survey.short_side[1] >= PHOTOGRAPH
    }

    /// Whether a colorizer would see hardly a color.
    pub fn lacks_colors(&self) -> bool {
        self.survey.gray > MOST_GRAY && ["colorization", "split_brain"].contains(&self.task.name)
    }

    /// Whether so few pictures hardly teach a network anything.
    pub fn lacks_pictures(&self) -> bool {
        self.survey.readable() < WORTHWHILE
    }

    /// Whether labels are worth a probe: at least two classes with pictures for both splits.
    fn is_labeled(&self) -> bool {
        self.survey.classes.len() >= 2 && self.survey.smallest_class >= 2
    }

    /// Pictures of training and validation.
    fn split(&self) -> (usize, usize) {
        let (all, own) = (self.survey.pictures, self.survey.val_pictures);
        let share = Part::try_from(held_share(self.survey, self.task)).ok();
        let share = share.filter(|_| self.options.source.is_held_out());
        let held = share.map_or(0, |share| self.survey.held_out(share));
        (all - held, own + held)
    }

    /// Seconds of an update, as a rehearsal on some of the pictures takes.
    ///
    /// # Errors
    /// A fault of the draft or of the pictures.
    pub fn rehearse(&self, scratch: &Path, options: &RunOptions) -> Result<f64> {
        let (source, pictures) = match self.options.source {
            DraftSource::Folder { .. } => self.sample_list(scratch)?,
            DraftSource::Scenes => (self.scenes(4 * self.batch, self.batch), self.batch),
        };
        let data = format!("data: {{ source: {{ {source} }}, {} }}", self.framing());
        let batch = self.batch.min(pictures);
        let stage = self.pretext(&format!("steps: {REHEARSED}"), batch, false);
        let text = format!("name: rehearsal\n{data}\n\n{}\nstages:\n{stage}", self.backbone());
        let spec = scratch.join("rehearsal.yaml");
        fs::write(&spec, text)?;
        let experiment = Experiment::load(&spec, &[])?;
        let report =
            check_and_estimate(&experiment, &RunOptions { out: scratch.join("runs"), ..options.clone() })?;
        if let Some(fault) = report.fault() {
            bail!("{fault}");
        }
        Ok(report.seconds() / REHEARSED as f64 * self.batch as f64 / batch as f64)
    }

    /// The source of the pictures that were looked at, listed in a file in `scratch`, and their number.
    fn sample_list(&self, scratch: &Path) -> Result<(String, usize)> {
        let is_listed = |path: &&PathBuf| !path.to_string_lossy().contains(['"', '\n']);
        let quoted = |path: &PathBuf| Ok(format!("\"{}\"", path::absolute(path)?.display()));
        let list = self
            .survey
            .sample(SAMPLE)
            .iter()
            .filter(is_listed)
            .map(quoted)
            .collect::<Result<Vec<String>>>()?;
        ensure!(
            !list.is_empty(),
            "the names of the pictures hold quotation marks: rename them, or their folder"
        );
        fs::write(scratch.join("sample.txt"), list.join("\n"))?;
        Ok(("list: { train: sample.txt, val: sample.txt }".into(), list.len()))
    }

    fn scenes(&self, train: usize, val: usize) -> String {
        format!("scenes: {{ train: {train}, val: {val}, size: {} }}", self.survey.short_side[0])
    }

    /// Epochs that fit into the time, for an update of so many seconds.
    pub fn epochs(&self, update: f64) -> f64 {
        let per_epoch = (self.split().0 as f64 / self.batch as f64) * update;
        let epochs = (UPDATE_SHARE * self.options.seconds / per_epoch.max(1e-9)).clamp(0.1, MOST_EPOCHS);
        let digits = if epochs < 10.0 { 10.0 } else { 1.0 };
        (epochs * digits).floor() / digits
    }

    /// The spec, for a training of so many epochs at so many seconds an update.
    pub fn text(&self, epochs: f64, update: f64) -> String {
        let mut text = self.head(epochs, update);
        let _ = write!(text, "\n{}\n{}\nstages:\n", self.data(), self.backbone());
        text += &self.pretext(&format!("epochs: {epochs}"), self.batch, self.is_labeled());
        if self.is_labeled() {
            text += &self.probe();
        }
        text
    }

    fn head(&self, epochs: f64, update: f64) -> String {
        let Self { survey, options, task, .. } = self;
        let seconds = epochs * self.split().0 as f64 / self.batch as f64 * update;
        let minutes = counted((seconds / 60.0).ceil() as usize, "minute");
        let (name, file) = (options.name, options.file);
        let (train, val) = self.split();
        let classes = match survey.classes.len() {
            0 => "no classes".into(),
            1 => "one class".into(),
            n => counted(n, "class"),
        };
        let pictures = match options.source {
            DraftSource::Folder { .. } => self.about_folder(),
            DraftSource::Scenes => "generated scenes, which need no files;\n\
                 #           for a folder of your own pictures: hueristic init FOLDER"
                .into(),
        };
        format!(
            "# {task_name}: {about}.\n\
             # Pictures: {train} for training, {val} for validation, {classes}; {pictures}.\n\
             # Time:     about {minutes} for the pretext task on the machine where this was written.\n\
             # Check:    hueristic check {file}\n\
             # Run:      hueristic run {file}\n\
             # Keys:     hueristic schema --markdown\n\
             name: {name}\n",
            task_name = task.name,
            about = task.about,
        )
    }

    /// What was seen of the pictures in a folder.
    fn about_folder(&self) -> String {
        let Survey { short_side, gray, .. } = self.survey;
        let sides = match short_side {
            [least, _, most] if least == most => format!("{least} pixels on the short side"),
            [least, median, most] => {
                format!("short sides of {least} to {most} pixels, half of them up to {median}")
            }
        };
        format!("{:.0} % gray, of {} looked at;\n#           {sides}", 100.0 * gray, self.survey.decoded())
    }

    fn framing(&self) -> String {
        let resize = self.resize.map_or(String::new(), |side| format!("resize: {side}, "));
        format!("{resize}crop: {}", self.crop)
    }

    fn data(&self) -> String {
        let source = match self.options.source {
            DraftSource::Scenes => {
                let (train, val) = self.split();
                format!("    {}", self.scenes(train, val))
            }
            DraftSource::Folder { train, val: Some(val) } => {
                format!("    folder: {{ train: {}, val: {} }}", scalar(train), scalar(val))
            }
            DraftSource::Folder { train, val: None } => format!(
                "    # A share of each class is held out for validation; another `seed` holds out others.\n    \
                 folder: {{ train: {}, hold_out: {}, seed: {} }}",
                scalar(train),
                held_share(self.survey, self.task),
                self.split.seed
            ),
        };
        let resize =
            self.resize.map_or(String::new(), |side| format!("  resize: {side} # short side, in pixels\n"));
        format!(
            "data:\n  source:\n{source}\n{resize}  crop: {} # side of the square that the network sees, in pixels\n{}",
            self.crop,
            self.tolerance()
        )
    }

    /// The share of unreadable pictures, where there are some.
    fn tolerance(&self) -> String {
        match self.split.max_bad {
            0.0 => String::new(),
            share => format!(
                "  # Some pictures cannot be read and are skipped, up to this share of a split; `hueristic data verify` names \
                 all.\n  max_bad: {share}\n"
            ),
        }
    }

    fn backbone(&self) -> String {
        let input = |lead: &str| match self.task.input {
            "" => String::new(),
            input => format!("{lead}input: {input}"),
        };
        if self.is_residual() {
            let (stem, width) = if self.is_of_photographs() { ("", "0.5") } else { ("stem: small, ", "0.5") };
            return format!("backbone:\n  resnet: {{ {stem}width: {width}{} }}\n", input(", "));
        }
        let stem = if self.is_of_photographs() && !self.task.has_tiles { "" } else { "stem: small, " };
        let size = if self.options.gpu { "width: 1" } else { "width: 0.5, fc: 512" };
        let leak = if self.task.name == "bigan" { ", leak: 0.2" } else { "" };
        format!("backbone:\n  alexnet: {{ {stem}{size}, norm_decay: 0.99{leak}{} }}\n", input(", "))
    }

    fn pretext(&self, length: &str, batch: usize, monitored: bool) -> String {
        let task = if self.is_of_photographs() { self.task.photographs } else { self.task.thumbnails };
        let name = self.task.name;
        let optimizer = match name {
            "bigan" => "adam: { lr: 2.0e-4, beta1: 0.5 }",
            _ => "adam: { lr: 1.0e-3, decay: 1.0e-4 }",
        };
        let ema = if name == "bigan" { "        ema: { decay: 0.99 }\n" } else { "" };
        let monitor = if monitored { self.monitor() } else { String::new() };
        format!(
            "  {name}:\n    pretext:\n      task: {{ {name}: {task} }}\n{monitor}      train:\n        \
             {length} # or `steps`, or `images`\n        batch: {batch}\n        optimizer: {{ {optimizer} }}\n        \
             schedule: {{ decay: {{ cosine: {{}} }}, warmup: 5 % }}\n        evaluate_every: 25 %\n{ema}"
        )
    }

    /// A monitor for labeled pictures, if there are enough of them.
    fn monitor(&self) -> String {
        let (train, val) = self.split();
        if train < 10 * NEIGHBORS || val < NEIGHBORS {
            return String::new();
        }
        format!(
            "      # Watches the features while they are learned: nearest neighbors and a small probe.\n      \
             monitor: {{ every: 10 %, pictures: {{ bank: {}, test: {} }} }}\n",
            train.min(2000),
            val.min(500)
        )
    }

    fn probe(&self) -> String {
        let name = self.task.name;
        let layers =
            if self.is_residual() { "layers: [conv1, layer1, layer2, layer3, layer4], " } else { "" };
        let batch = (4 * self.batch).min(128).min(self.split().0);
        let steps = (PROBE_EPOCHS * self.split().0 / batch).clamp(100, 1500);
        format!(
            "\n  # How well a linear classifier reads each layer, beside a network that learned nothing.\n  \
             probe:\n    linear_probe:\n      backbones:\n        gaussian: {{ init: msra }}\n        \
             {name}: {{ stage: {name} }}\n      probe: {{ {layers}dimensions: 1200, augment: false }}\n      train:\n        \
             steps: {steps}\n        batch: {batch}\n        optimizer: {{ sgd: {{ lr: 0.01, decay: 5.0e-4 }} }}\n        \
             schedule: {{ decay: {{ multi_step: {{ at: [60 %, 85 %], rates: [1.0e-3, 1.0e-4] }} }} }}\n"
        )
    }
}

/// Short side after resizing, if any, and side of the crop, for pictures with these short sides.
fn frame([least, median, _]: [usize; 3], has_tiles: bool, gpu: bool) -> (Option<usize>, usize) {
    if median < PHOTOGRAPH {
        let side = if has_tiles { 64 } else { median.min(64) };
        // Room to move the crop by a tenth, as 29 of the 32 pixels of CIFAR-10.
        let crop = if has_tiles { 60 } else { side - side / 10 };
        return ((least < crop || side != median).then_some(side), crop);
    }
    match (has_tiles, gpu) {
        (true, _) => (Some(128), 120),
        (false, true) if median >= 224 => (Some(256), 224),
        (false, _) => (Some(146), 128),
    }
}

/// The text as a YAML scalar.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') {
        return text.into();
    }
    serde_json::Value::from(text).to_string()
}
