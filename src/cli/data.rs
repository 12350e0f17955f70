//! `data verify` and `data prior`: checks every image of a data set, and measures its color prior.

use super::{
    data_target::{self, DataArgs, DataTarget, is_spec, refuse_other_files},
    experiment::locations,
    failure::Usage,
    out,
    output::CommandOutput,
    pack::{self, PackArgs},
};
use crate::{
    data::{
        annotated_source::AnnotatedSource,
        catalog,
        error::DataError,
        open::open,
        source::{Locations, Split},
        verify,
        voc::{VocSource, verify::VocReport},
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
use clap::Subcommand;
use std::path::{Path, PathBuf};

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
        /// devkit folder, a list (.txt, .csv, .tsv), a table (.parquet), shards (.tar, also by `{000..146}`), or a spec (YAML)
        #[arg(value_name = "NAME|FOLDER|FILE")]
        what: String,
        #[command(flatten)]
        location: DataArgs,
    },
    /// Write a data set as WebDataset shards: tar files that are quick to read and to copy
    #[command(
        after_help = "Example:\n  hueristic data pack ~/imagenet --out ~/imagenet256 --size 256 --shuffle\n  \
                            hueristic data pack experiments/tiny/quickstart.yaml --out shards --per-shard 500"
    )]
    Pack(PackArgs),
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

pub(super) fn run(verb: Data) -> Result<CommandOutput> {
    match verb {
        Data::Verify { what, location } => verify(&what, &locations(location.data.as_ref())?),
        Data::Pack(args) => pack::run(&args),
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
            (data_target::of_spec(&experiment), annotated_of(&experiment, at)?)
        }
        false => (vec![data_target::named(what)?], vec![]),
    };
    let mut done = CommandOutput::ok("");
    for DataTarget { data, labels } in plain {
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
