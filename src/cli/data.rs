//! `data verify` and `data prior`: checks every image of a data set, and measures its color prior.

use super::{experiment::locations, failure::Usage, out, output::CommandOutput};
use crate::{
    bounded::Count,
    data::{
        annotated_source::AnnotatedSource,
        catalog,
        error::DataError,
        open::open,
        parquet,
        source::{DataSpec, Locations, SourceSpec, Split},
        verify,
        voc::{VocSource, verify::VocReport},
        walk::is_image,
    },
    experiment::{
        Experiment,
        stages::{Stage, pretext::PretextStage},
    },
    pretext::{
        PretextSpec,
        color_prior::{self, PriorSpec},
        colorization::ColorizationSpec,
    },
};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// File extensions of lists, tables and weights.
const LISTS: &[&str] = &["txt", "csv", "tsv", "lst"];
const TABLES: &[&str] = &["parquet"];
const WEIGHTS: &[&str] = &["safetensors", "pth", "pt", "caffemodel"];

#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Decode every image of a data set (catalog entry, folder, list, table, PASCAL VOC devkit, or the data sets of a
    /// spec) and list all problems
    #[command(after_help = "Example:\n  hueristic data verify cifar10 --data ~/data\n  \
                            hueristic data verify experiments/tiny/quickstart.yaml\n  \
                            hueristic data verify ~/data/VOCdevkit/VOC2007\n  \
                            hueristic data verify ~/photos")]
    Verify {
        /// A catalog name (configs/datasets.yaml), a folder of pictures (with `train` and `val` subfolders: both), a
        /// devkit folder, a list (.txt, .csv, .tsv), a table (.parquet), or a spec (YAML)
        #[arg(value_name = "NAME|FOLDER|FILE")]
        what: String,
        #[command(flatten)]
        location: DataArgs,
    },
    /// Measure the color prior of a spec's training images
    #[command(
        after_help = "Example:\n  hueristic data prior experiments/tiny/quickstart.yaml --out prior.npy"
    )]
    Prior {
        /// An experiment; its first colorization stage determines bins and data
        spec: PathBuf,
        /// Output `.npy` file; a JSON file of the same name records how it was measured
        #[arg(long, value_name = "FILE.npy", value_parser = out::path())]
        out: PathBuf,
        #[command(flatten)]
        location: DataArgs,
    },
}

#[derive(Args, Debug)]
pub(super) struct DataArgs {
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    data: Option<PathBuf>,
}

pub(super) fn run(verb: Data) -> Result<CommandOutput> {
    match verb {
        Data::Verify { what, location } => verify(&what, &locations(location.data.as_ref())?),
        Data::Prior { spec, out, location } => prior(&spec, &out, &locations(location.data.as_ref())?),
    }
}

fn verify(what: &str, at: &Locations) -> Result<CommandOutput> {
    refuse_other_files(what)?;
    if let Some(report) = devkit(what, at)? {
        return Ok(CommandOutput {
            exit: u8::from(!report.is_sound()),
            ..CommandOutput::ok(report.to_string())
        });
    }
    let (plain, annotated) = match is_spec(what) {
        true => {
            let experiment = Experiment::load(Path::new(what), &[])?;
            (plain_of(&experiment), annotated_of(&experiment, at)?)
        }
        false => (vec![verify_target(what)?], vec![]),
    };
    let mut done = CommandOutput::ok("");
    for VerifyTarget { data, labels } in plain {
        let report = verify::verify(&data, at)?;
        if !report.is_sound() || (labels && !report.has_sound_labels()) {
            done.exit = 1;
        }
        done.text += &format!("{report}\n");
    }
    for source in annotated {
        let report = VocReport::of_source(&source)?;
        if !report.is_sound() {
            done.exit = 1;
        }
        done.text += &format!("{report}\n");
    }
    Ok(done)
}

/// Rejects single pictures and weight files, which are neither data sets nor specs.
fn refuse_other_files(what: &str) -> Result<(), Usage> {
    let path = Path::new(what);
    let instead = if !path.is_file() {
        return Ok(());
    } else if is_image(path) {
        "is a picture; give its folder, or a list of pictures (.txt, .csv, .tsv)".into()
    } else if ends_in(path, WEIGHTS) {
        format!("is a weight file; use `hueristic weights inspect {what}`")
    } else {
        return Ok(());
    };
    Err(Usage(format!("{what} {instead}")))
}

/// The distinct devkits of a spec's annotated stages; generated scenes have no files to verify.
fn annotated_of(experiment: &Experiment, at: &Locations) -> Result<Vec<VocSource>> {
    let mut seen: Vec<VocSource> = vec![];
    for spec in experiment.stages.iter().filter_map(|(_, stage)| stage.annotated()) {
        let source = match &spec.source {
            AnnotatedSource::Catalog(name) => catalog::annotated(name, at)?,
            AnnotatedSource::Voc(source) => source.clone(),
            AnnotatedSource::Composite { .. } => continue,
        };
        if !seen.contains(&source) {
            seen.push(source);
        }
    }
    Ok(seen)
}

fn is_spec(what: &str) -> bool {
    let path = Path::new(what);
    ends_in(path, &["yaml", "yml"]) || (path.is_file() && !ends_in(path, LISTS) && !ends_in(path, TABLES))
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|own| endings.contains(&own.to_ascii_lowercase().as_str()))
}

/// The report of the devkit that `what` names: an annotated catalog entry, or a folder with the parts of a devkit.
fn devkit(what: &str, at: &Locations) -> Result<Option<VocReport>> {
    let dir = Path::new(what);
    if dir.is_dir() {
        let parts = ["ImageSets", "Annotations", "JPEGImages"];
        return match VocReport::of_devkit(dir) {
            Err(DataError::Missing { path, .. })
                if path == dir && parts.iter().all(|part| !dir.join(part).exists()) =>
            {
                Ok(None)
            }
            report => Ok(Some(report?)),
        };
    }
    if catalog::entry(what).is_ok_and(|entry| entry.is_annotated()) {
        return Ok(Some(VocReport::of_source(&catalog::annotated(what, at)?)?));
    }
    Ok(None)
}

/// A data set to verify.
struct VerifyTarget {
    data: DataSpec,
    /// Whether its labels are needed.
    labels: bool,
}

impl VerifyTarget {
    /// The crop is not used: images are verified as stored.
    fn of(source: SourceSpec, labels: bool) -> Self {
        Self { data: DataSpec::new(source, Count::of(1)), labels }
    }
}

/// The data set that `what` names: a folder, list or table, or a catalog entry.
fn verify_target(what: &str) -> Result<VerifyTarget> {
    if let Some(source) = source_at(Path::new(what))? {
        return Ok(VerifyTarget::of(source, false));
    }
    let absent = "not found; expected a folder, a list, a table, a spec, or a name in the catalog";
    let usage =
        |e: DataError| Usage(if what.contains('/') { format!("{what}: {absent}") } else { e.to_string() });
    catalog::entry(what).map_err(usage)?;
    Ok(VerifyTarget::of(SourceSpec::Catalog(what.into()), true))
}

/// The distinct data sets of a spec's stages on plain pictures.
fn plain_of(experiment: &Experiment) -> Vec<VerifyTarget> {
    let mut all: Vec<VerifyTarget> = vec![];
    for (stage, data) in experiment.stages.iter().filter_map(|(_, stage)| Some((stage, stage.data()?))) {
        match all.iter_mut().find(|known| known.data.source == data.source) {
            Some(known) => known.labels |= stage.kind().needs_labels(),
            None => all.push(VerifyTarget { data: data.clone(), labels: stage.kind().needs_labels() }),
        }
    }
    all
}

/// The source at a path; None if there is no folder or file.
fn source_at(path: &Path) -> Result<Option<SourceSpec>> {
    let part = |name: &str| Some(path.join(name)).filter(|part| part.is_dir());
    Ok(Some(match (part("train"), part("val")) {
        (Some(train), Some(val)) => SourceSpec::folder(train, Some(val.into())),
        _ if path.join("data_batch_1.bin").is_file() => SourceSpec::CifarBinary { dir: path.into() },
        _ if path.is_dir() => SourceSpec::folder(path, None),
        _ if path.is_file() && ends_in(path, LISTS) => {
            SourceSpec::List { train: path.into(), val: None, root: None }
        }
        _ if path.is_file() && ends_in(path, TABLES) => {
            let (image, label) = parquet::usual_columns(path)?;
            SourceSpec::Parquet { train: vec![path.into()], val: vec![], image, label: Some(label) }
        }
        _ => return Ok(None),
    }))
}

fn prior(path: &Path, out: &Path, at: &Locations) -> Result<CommandOutput> {
    let experiment = Experiment::load(path, &[])?;
    let colorization = experiment.stages.iter().find_map(|(_, stage)| match stage {
        Stage::Pretext(PretextStage { task: PretextSpec::Colorization(spec), data: Some(data), .. }) => {
            Some((spec, data))
        }
        _ => None,
    });
    let (task, data) =
        colorization.ok_or_else(|| Usage(format!("{} has no colorization stage", path.display())))?;
    if out.exists() {
        return Err(
            Usage(format!("{} already exists; remove it or give another --out", out.display())).into()
        );
    }
    let set = open(data, Split::Train, at)?;
    let bins = task.bins();
    let prior = color_prior::load_or_measure(&measured(task), &bins, &*set, &data.source.to_string(), out)
        .with_context(|| format!("cannot measure the color prior of {}", path.display()))?;
    let entropy: f64 = prior.probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    Ok(CommandOutput::ok(format!("{}: {} bins, entropy {entropy:.3} nats", out.display(), bins.len())))
}

/// The task's measurement options, or the defaults if its prior is a file.
fn measured(task: &ColorizationSpec) -> PriorSpec {
    match &task.prior {
        prior @ PriorSpec::Measured { .. } => prior.clone(),
        PriorSpec::File(_) => PriorSpec::default(),
    }
}
