//! `init`: writes a first spec for a folder of pictures, or for the built-in scenes.

use super::{device::DeviceArgs, failure::Usage, output::CommandOutput, threads};
use crate::{
    atomic_write,
    data::{error::DataError, source::Locations, survey::Survey, walk::is_image},
    device::Compute,
    experiment::{
        Experiment, RunOptions,
        draft::{self, Draft, DraftOptions, DraftSource, TASK_NAMES},
    },
    spec::{relative, schema::schema},
    text::counted,
    train::collective::Ranks,
};
use anyhow::{Context, Result};
use clap::{Args, builder::PossibleValuesParser};
use std::{
    fs,
    path::{self, Component, Path, PathBuf},
};

/// Steps up from the spec's folder to the pictures, beyond which an absolute path is easier to read.
const MOST_UP: usize = 2;
/// Minutes of the pretext task, on pictures of one's own and on the scenes.
const MINUTES: u32 = 60;
const SCENE_MINUTES: u32 = 5;
/// Most unreadable pictures that are named.
const NAMED: usize = 10;
/// File of the schema, beside the spec.
const SCHEMA: &str = "hueristic.schema.json";

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// Folder of pictures: class folders, or pictures directly in it; with subfolders `train` and `val` if they are split
    /// [default: the working directory if it holds pictures, else built-in scenes, which need no files]
    #[arg(value_name = "FOLDER", value_parser = super::out::path())]
    folder: Option<PathBuf>,
    /// Pretext task
    #[arg(long, value_name = "NAME", default_value = "colorization", value_parser = PossibleValuesParser::new(TASK_NAMES))]
    task: String,
    /// Minutes that the pretext task may take on this machine; a probe comes on top [default: 60; on built-in scenes 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..100_000))]
    minutes: Option<u32>,
    /// File to write [default: FOLDER_TASK.yaml in the working directory]
    #[arg(long, value_name = "FILE", value_parser = super::out::path())]
    out: Option<PathBuf>,
    /// Write the schema beside the spec too, as hueristic.schema.json, and name it in the spec's first line: editors then
    /// complete and check its keys
    #[arg(long)]
    schema: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compute threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// The pictures that a spec is written for.
struct Pictures {
    survey: Survey,
    /// None: the built-in scenes.
    folder: Option<PathBuf>,
}

impl Pictures {
    fn of(args: &InitArgs) -> Result<Self> {
        let folder = args.folder.clone().unwrap_or_else(|| ".".into());
        if folder.is_file() {
            let kind = if is_image(&folder) { "picture" } else { "file" };
            let home = folder.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let reason = format!(
                "{} is a {kind}, give its folder: hueristic init {}",
                folder.display(),
                home.display()
            );
            return Err(Usage(reason).into());
        }
        match Survey::of(&folder) {
            Ok(survey) => Ok(Self { survey, folder: Some(folder) }),
            Err(DataError::Empty { .. }) if args.folder.is_none() => {
                Ok(Self { survey: draft::scenes(&args.task), folder: None })
            }
            Err(error) => Err(usage(error)),
        }
    }

    /// Name of the pictures, as far as it can be part of that of an experiment.
    fn name(&self) -> String {
        self.folder.as_deref().map_or("scenes".into(), name_of)
    }

    /// The line that ends the command.
    fn said(&self, out: &Path) -> String {
        let Survey { pictures, classes, train, .. } = &self.survey;
        let classes = match classes.len() {
            0 => "no classes: the features are trained, and no probe reads them".into(),
            n => counted(n, "class"),
        };
        let train = match self.folder {
            Some(_) => train.display().to_string(),
            None => "no pictures here: built-in scenes".into(),
        };
        let (pictures, out) = (counted(*pictures, "picture"), out.display());
        format!(
            "{train}: {pictures}, {classes}{}\nwrote {out}\nnext: hueristic check {out}\n      hueristic run {out}",
            self.unread()
        )
    }

    /// A line for each picture that cannot be read, up to a few, and where to learn of the others.
    fn unread(&self) -> String {
        let faults = self.survey.faults();
        let looked = self.survey.decoded() + faults.len();
        let mut text: String =
            faults.iter().take(NAMED).map(|fault| format!("\nnot readable: {fault}")).collect();
        let has_more = faults.len() > NAMED || looked < self.survey.pictures + self.survey.val_pictures;
        if let (true, false, Some(folder)) = (has_more, faults.is_empty(), &self.folder) {
            let (bad, folder) = (faults.len(), folder.display());
            text += &format!("\n{bad} of {looked} looked at; all: hueristic data verify {folder}");
        }
        text
    }
}

/// Looks at the pictures, times an update, and writes a spec that was loaded once.
pub(super) fn run(args: &InitArgs) -> Result<CommandOutput> {
    threads::set(args.threads)?;
    let pictures = Pictures::of(args)?;
    let (survey, name) = (&pictures.survey, format!("{}_{}", pictures.name(), args.task));
    let out = args.out.clone().unwrap_or_else(|| format!("{name}.yaml").into());
    if out.exists() {
        return Err(Usage(format!("{} exists; give another --out, or move it away", out.display())).into());
    }
    let device = args.device.open(Compute::default())?;
    let train = pictures.folder.as_ref().map(|_| place(&survey.train, &out)).transpose()?;
    let val = survey.val.as_deref().map(|val| place(val, &out)).transpose()?;
    let source = match &train {
        Some(train) => DraftSource::Folder { train, val: val.as_deref() },
        None => DraftSource::Scenes,
    };
    let minutes = args.minutes.unwrap_or(if pictures.folder.is_some() { MINUTES } else { SCENE_MINUTES });
    let options = DraftOptions {
        name: &name,
        file: &out.to_string_lossy(),
        task: &args.task,
        source,
        gpu: !device.is_cpu(),
        seconds: 60.0 * f64::from(minutes),
    };
    let draft = Draft::new(survey, &options)?;
    warn(&draft, &pictures);
    tracing::info!("timing an update on some of the pictures");
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let runs = RunOptions {
        out: scratch.path().into(),
        locations: Locations::default(),
        device,
        ranks: Ranks::default(),
    };
    let update = draft.rehearse(scratch.path(), &runs)?;
    let mut text = draft.text(draft.epochs(update), update);
    if args.schema {
        let schema = serde_json::to_string_pretty(&schema::<Experiment>())?;
        write(&out.with_file_name(SCHEMA), &format!("{schema}\n"))?;
        text = format!("# yaml-language-server: $schema={SCHEMA}\n{text}");
    }
    write(&out, &text)?;
    Experiment::load(&out, &[]).with_context(|| format!("{} is not a spec", out.display()))?;
    Ok(CommandOutput::ok(pictures.said(&out)))
}

/// Says what a training on these pictures would lack.
fn warn(draft: &Draft, Pictures { survey, folder }: &Pictures) {
    if let Some(reason) = &survey.why_unlabeled {
        tracing::warn!("the pictures have no classes: {reason}");
    }
    if draft.lacks_colors() {
        tracing::warn!("nearly all of these pictures are gray: there are hardly any colors to learn from");
    }
    if folder.is_some() && draft.lacks_pictures() {
        let pictures = counted(survey.readable(), "training picture");
        tracing::warn!("{pictures}: enough to try the program; features worth a comparison take thousands");
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    atomic_write::write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// What a folder lacks is the user's to mend.
fn usage(error: DataError) -> anyhow::Error {
    match error {
        DataError::Missing { .. } | DataError::Empty { .. } => {
            Usage(format!("{error}; give the folder of your pictures: hueristic init FOLDER")).into()
        }
        other => other.into(),
    }
}

/// The name of the folder, as far as it can be one of an experiment.
fn name_of(folder: &Path) -> String {
    let full = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let name = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let kept = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(kept).take(60).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "pictures".into() } else { name.into() }
}

/// The folder as the spec in `out` names it: relative to the spec where that is short.
fn place(folder: &Path, out: &Path) -> Result<String> {
    let full = |path: &Path| path::absolute(path).with_context(|| format!("cannot find {}", path.display()));
    let (folder, spec) = (full(folder)?, full(out)?);
    let home = spec.parent().unwrap_or(Path::new("/"));
    let short = relative(home, &folder)
        .filter(|way| way.components().filter(|part| *part == Component::ParentDir).count() <= MOST_UP);
    let path = short.unwrap_or(folder);
    let text = path.to_str().with_context(|| format!("{} is not UTF-8: rename it", path.display()))?;
    if text.contains('$') {
        let reason = format!(
            "a spec takes `$` in {text} for a variable: rename the folder, or link to it by another name"
        );
        return Err(Usage(reason).into());
    }
    Ok(if text.is_empty() { ".".into() } else { text.into() })
}
