//! `data verify` and `data prior`: every image of a data set decoded and counted, its colors measured.

use super::{Done, experiment::locations, failure::Usage, out};
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

/// How lists and tables end.
const LISTS: &[&str] = &["txt", "csv", "tsv", "lst"];
const TABLES: &[&str] = &["parquet"];
const WEIGHTS: &[&str] = &["safetensors", "pth", "pt", "caffemodel"];

#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Decode every image of a catalog entry, a folder, a list, a table, a PASCAL VOC devkit, or the data sets of a spec, and
    /// name every fault
    #[command(after_help = "Example:\n  hueristic data verify cifar10 --data ~/data\n  \
                            hueristic data verify experiments/tiny/quickstart.yaml\n  \
                            hueristic data verify ~/data/VOCdevkit/VOC2007\n  \
                            hueristic data verify ~/photos")]
    Verify {
        /// A name in the catalog (configs/datasets.yaml), a folder of pictures (with `train` and `val` in it: both), a
        /// devkit's folder, a list (.txt, .csv, .tsv), a table (.parquet), or a spec (a YAML file)
        #[arg(value_name = "NAME|FOLDER|FILE")]
        what: String,
        #[command(flatten)]
        place: Place,
    },
    /// Measure the color prior of a spec's training images
    #[command(
        after_help = "Example:\n  hueristic data prior experiments/tiny/quickstart.yaml --out prior.npy"
    )]
    Prior {
        /// An experiment with a colorization stage; its first one gives the bins and the data
        spec: PathBuf,
        /// The `.npy` file to write; a JSON file beside it says how it was made
        #[arg(long, value_name = "FILE.npy", value_parser = out::path())]
        out: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args, Debug)]
pub(super) struct Place {
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    data: Option<PathBuf>,
}

pub(super) fn run(verb: Data) -> Result<Done> {
    match verb {
        Data::Verify { what, place } => verify(&what, &locations(place.data.as_ref())?),
        Data::Prior { spec, out, place } => prior(&spec, &out, &locations(place.data.as_ref())?),
    }
}

fn verify(what: &str, at: &Locations) -> Result<Done> {
    refuse_other_files(what)?;
    if let Some(report) = devkit(what, at)? {
        return Ok(Done { exit: u8::from(!report.is_sound()), ..Done::ok(report.to_string()) });
    }
    let (plain, annotated) = match is_spec(what) {
        true => {
            let experiment = Experiment::load(Path::new(what), &[])?;
            (plain_of(&experiment), annotated_of(&experiment, at)?)
        }
        false => (vec![wanted(what)?], vec![]),
    };
    let mut done = Done::ok("");
    for Wanted { data, labels } in plain {
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

/// A single picture and weights are files, but neither data sets nor specs.
fn refuse_other_files(what: &str) -> Result<(), Usage> {
    let path = Path::new(what);
    let instead = if !path.is_file() {
        return Ok(());
    } else if is_image(path) {
        "is a picture; name the folder that it lies in, or a list of pictures (.txt, .csv, .tsv)".into()
    } else if ends_in(path, WEIGHTS) {
        format!("is a file of weights; `hueristic weights inspect {what}` looks at it")
    } else {
        return Ok(());
    };
    Err(Usage(format!("{what} {instead}")))
}

/// The devkits of a spec's stages on annotated pictures, each once; scenes have no files to look at.
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

/// What there is in the devkit that `what` names: an annotated entry of the catalog, or a folder with a devkit's parts.
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

/// A data set to look at.
struct Wanted {
    data: DataSpec,
    /// Whether its labels will be asked for.
    labels: bool,
}

impl Wanted {
    /// The crop plays no part: images are looked at as they are stored.
    fn of(source: SourceSpec, labels: bool) -> Self {
        Self { data: DataSpec::new(source, Count::of(1)), labels }
    }
}

/// The data that `what` names: a folder, list or table; a catalog entry.
fn wanted(what: &str) -> Result<Wanted> {
    if let Some(source) = lying_at(Path::new(what))? {
        return Ok(Wanted::of(source, false));
    }
    let absent = "not found; expected a folder, a list, a table, a spec, or a name in the catalog";
    let usage =
        |e: DataError| Usage(if what.contains('/') { format!("{what}: {absent}") } else { e.to_string() });
    catalog::entry(what).map_err(usage)?;
    Ok(Wanted::of(SourceSpec::Catalog(what.into()), true))
}

/// The data of a spec's stages on plain pictures, each once.
fn plain_of(experiment: &Experiment) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = vec![];
    for (stage, data) in experiment.stages.iter().filter_map(|(_, stage)| Some((stage, stage.data()?))) {
        match all.iter_mut().find(|known| known.data.source == data.source) {
            Some(known) => known.labels |= stage.kind().needs_labels(),
            None => all.push(Wanted { data: data.clone(), labels: stage.kind().needs_labels() }),
        }
    }
    all
}

/// The source that a folder or a file of pictures is; None where nothing lies there.
fn lying_at(path: &Path) -> Result<Option<SourceSpec>> {
    let part = |name: &str| Some(path.join(name)).filter(|part| part.is_dir());
    Ok(Some(match (part("train"), part("val")) {
        (Some(train), Some(val)) => SourceSpec::Folder { train: train.into(), val: Some(val.into()) },
        _ if path.join("data_batch_1.bin").is_file() => SourceSpec::CifarBinary { dir: path.into() },
        _ if path.is_dir() => SourceSpec::Folder { train: path.into(), val: None },
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

fn prior(path: &Path, out: &Path, at: &Locations) -> Result<Done> {
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
            Usage(format!("{} is there already; remove it or give another --out", out.display())).into()
        );
    }
    let set = open(data, Split::Train, at)?;
    let bins = task.bins();
    let prior = color_prior::load_or_measure(&measured(task), &bins, &*set, &data.source.to_string(), out)
        .with_context(|| format!("cannot measure the color prior of {}", path.display()))?;
    let entropy: f64 = prior.probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    Ok(Done::ok(format!("{}: {} bins, entropy {entropy:.3} nats", out.display(), bins.len())))
}

/// How the task would measure its prior; the defaults where it takes one from a file.
fn measured(task: &ColorizationSpec) -> PriorSpec {
    match &task.prior {
        prior @ PriorSpec::Measured { .. } => prior.clone(),
        PriorSpec::File(_) => PriorSpec::default(),
    }
}
