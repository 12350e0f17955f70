//! `init`: writes a first spec for a folder of pictures.

use super::{device::DeviceArgs, failure::Usage, output::CommandOutput, threads};
use crate::{
    atomic_write,
    data::{error::DataError, source::Locations, survey::Survey},
    device::Compute,
    experiment::{
        Experiment, RunOptions,
        draft::{Draft, DraftOptions, TASK_NAMES},
    },
    spec::relative,
};
use anyhow::{Context, Result};
use clap::{Args, builder::PossibleValuesParser};
use std::{
    fs,
    path::{self, Component, Path, PathBuf},
};

/// Steps up from the spec's folder to the pictures, beyond which an absolute path is easier to read.
const MOST_UP: usize = 2;

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// Folder of pictures: class folders, or pictures directly in it; with subfolders `train` and `val` if they are split
    #[arg(value_name = "FOLDER", default_value = ".", value_parser = super::out::path())]
    folder: PathBuf,
    /// Pretext task
    #[arg(long, value_name = "NAME", default_value = "colorization", value_parser = PossibleValuesParser::new(TASK_NAMES))]
    task: String,
    /// Minutes that the pretext task may take on this machine; a probe comes on top
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..100_000))]
    minutes: u32,
    /// File to write [default: FOLDER_TASK.yaml in the working directory]
    #[arg(long, value_name = "FILE", value_parser = super::out::path())]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compute threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// Looks at the folder, times an update, and writes a spec that was loaded once.
pub(super) fn run(args: &InitArgs) -> Result<CommandOutput> {
    threads::set(args.threads)?;
    let name = format!("{}_{}", name_of(&args.folder), args.task);
    let out = args.out.clone().unwrap_or_else(|| format!("{name}.yaml").into());
    if out.exists() {
        return Err(Usage(format!("{} exists; give another --out, or move it away", out.display())).into());
    }
    let survey = Survey::of(&args.folder).map_err(usage)?;
    let device = args.device.open(Compute::default())?;
    let train = place(&survey.train, &out)?;
    let val = survey.val.as_deref().map(|val| place(val, &out)).transpose()?;
    let options = DraftOptions {
        name: &name,
        file: &out.to_string_lossy(),
        task: &args.task,
        train: &train,
        val: val.as_deref(),
        gpu: !device.is_cpu(),
        seconds: 60.0 * f64::from(args.minutes),
    };
    let draft = Draft::new(&survey, &options)?;
    if draft.lacks_colors() {
        tracing::warn!("nearly all of these pictures are gray: there are hardly any colors to learn from");
    }
    tracing::info!("timing an update on some of the pictures");
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let runs = RunOptions { out: scratch.path().into(), locations: Locations::default(), device };
    let update = draft.rehearse(scratch.path(), &runs)?;
    let text = draft.text(draft.epochs(update), update);
    atomic_write::write(&out, text.as_bytes()).with_context(|| format!("cannot write {}", out.display()))?;
    Experiment::load(&out, &[]).with_context(|| format!("{} is not a spec", out.display()))?;
    if let Some(reason) = &survey.why_unlabeled {
        tracing::warn!("the pictures have no classes: {reason}");
    }
    Ok(CommandOutput::ok(said(&survey, &out)))
}

fn said(survey: &Survey, out: &Path) -> String {
    let classes = match survey.classes.len() {
        0 => "no classes: the features are trained, and no probe reads them".into(),
        n => format!("{n} classes"),
    };
    let fault = survey.fault.as_ref().map(|(name, reason)| format!("\nnot readable: {name}: {reason}"));
    let (pictures, out) = (survey.pictures, out.display());
    format!(
        "{}: {pictures} pictures, {classes}{}\nwrote {out}\nnext: hueristic check {out}\n      hueristic run {out}",
        survey.train.display(),
        fault.unwrap_or_default()
    )
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
