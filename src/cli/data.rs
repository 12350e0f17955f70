//! `data verify` and `data prior`: every image of a data set decoded and counted, its colours measured.

use super::{Done, experiment::locations, failure::Usage};
use crate::{
    bounded::Count,
    data::{
        annotated_source::AnnotatedSource,
        catalog,
        source::{self, DataSpec, Locations, SourceSpec, Split},
        voc::{VocSource, verify::VocReport},
    },
    pretext::{
        PretextSpec,
        color_prior::{self, PriorSpec},
        colorization::ColorizationSpec,
    },
    spec::{
        Experiment,
        experiment::{PretextStage, Stage},
    },
};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Decode every image of a catalogue entry, a PASCAL VOC devkit, or the data sets of a spec, and name every fault
    #[command(after_help = "Example:\n  hueristic data verify cifar10 --data ~/data\n  \
                            hueristic data verify experiments/tiny/quickstart.yaml\n  \
                            hueristic data verify ~/data/VOCdevkit/VOC2007")]
    Verify {
        /// A name in the catalogue (configs/datasets.yaml), a devkit's folder, or a spec (a YAML file)
        #[arg(value_name = "NAME|DEVKIT|SPEC")]
        what: String,
        #[command(flatten)]
        place: Place,
    },
    /// Measure the colour prior of a spec's training images
    #[command(
        after_help = "Example:\n  hueristic data prior experiments/tiny/quickstart.yaml --out prior.npy"
    )]
    Prior {
        /// An experiment with a colorization stage; its first one gives the bins and the data
        spec: PathBuf,
        /// The `.npy` file to write; a JSON file beside it says how it was made
        #[arg(long, value_name = "FILE.npy")]
        out: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args, Debug)]
pub(super) struct Place {
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(verb: Data) -> Result<Done> {
    match verb {
        Data::Verify { what, place } => verify(&what, &locations(place.data.as_ref())),
        Data::Prior { spec, out, place } => prior(&spec, &out, &locations(place.data.as_ref())),
    }
}

fn verify(what: &str, at: &Locations) -> Result<Done> {
    if let Some(report) = devkit(what, at)? {
        return Ok(Done { exit: u8::from(!report.is_sound()), ..Done::ok(report.to_string()) });
    }
    let mut done = Done::ok("");
    for spec in data_specs(what)? {
        let report = catalog::verify(&spec, at)?;
        if !report.is_sound() {
            done.exit = 1;
        }
        done.text += &format!("{report}\n");
    }
    for report in devkits_of_spec(what, at)? {
        if !report.is_sound() {
            done.exit = 1;
        }
        done.text += &format!("{report}\n");
    }
    Ok(done)
}

/// What there is in the devkits of a spec's stages on annotated pictures, each once; scenes have no files to look at.
fn devkits_of_spec(what: &str, at: &Locations) -> Result<Vec<VocReport>> {
    if !is_spec(what) {
        return Ok(vec![]);
    }
    let experiment = Experiment::load(Path::new(what), &[])?.resolve();
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
    Ok(seen.iter().map(VocReport::of_source).collect::<Result<_, _>>()?)
}

fn is_spec(what: &str) -> bool {
    let path = Path::new(what);
    path.is_file() || path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// What there is in the devkit that `what` names: an annotated entry of the catalogue, or a folder.
fn devkit(what: &str, at: &Locations) -> Result<Option<VocReport>> {
    if Path::new(what).is_dir() {
        return Ok(Some(VocReport::of_devkit(Path::new(what))?));
    }
    if catalog::entry(what).is_ok_and(|entry| entry.is_annotated()) {
        return Ok(Some(VocReport::of_source(&catalog::annotated(what, at)?)?));
    }
    Ok(None)
}

/// The data that `what` names: a spec file's, each once, or a catalogue entry.
fn data_specs(what: &str) -> Result<Vec<DataSpec>> {
    let path = Path::new(what);
    if is_spec(what) {
        let experiment = Experiment::load(path, &[])?.resolve();
        let mut specs: Vec<DataSpec> = vec![];
        for spec in experiment.stages.iter().filter_map(|(_, stage)| stage.data()) {
            if specs.iter().all(|s| s.source != spec.source) {
                specs.push(spec.clone());
            }
        }
        return Ok(specs);
    }
    catalog::entry(what).map_err(|e| Usage(e.to_string()))?;
    // The crop plays no part: images are looked at as they are stored.
    Ok(vec![DataSpec::new(SourceSpec::Catalog(what.into()), Count::of(1))])
}

fn prior(path: &Path, out: &Path, at: &Locations) -> Result<Done> {
    let experiment = Experiment::load(path, &[])?.resolve();
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
    let set = source::open(data, Split::Train, at)?;
    let bins = task.bins();
    let prior = color_prior::obtain(&measured(task), &bins, &*set, &data.source.to_string(), out)
        .with_context(|| format!("cannot measure the colour prior of {}", path.display()))?;
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
