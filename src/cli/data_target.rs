//! Data sets that a command line names: by a catalog name, a folder, a file, or the spec that uses them.

use super::{failure::Usage, out};
use crate::{
    bounded::Count,
    data::{
        catalog,
        error::DataError,
        parquet,
        shards::ShardsSource,
        source::{DataSpec, SourceSpec},
        walk::is_image,
    },
    experiment::Experiment,
    spec_path::ShardPath,
};
use anyhow::Result;
use clap::Args;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// File extensions of lists, tables, shards and weights.
const LISTS: &[&str] = &["txt", "csv", "tsv", "lst"];
const TABLES: &[&str] = &["parquet"];
const SHARDS: &[&str] = &["tar"];
const WEIGHTS: &[&str] = &["safetensors", "pth", "pt", "caffemodel"];

#[derive(Args, Debug)]
pub(super) struct DataArgs {
    /// Folder with local copies of data sets [default: $HUERISTIC_DATA]
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    pub data: Option<PathBuf>,
}

/// Rejects single pictures and weight files, which are neither data sets nor specs.
pub(super) fn refuse_other_files(what: &str) -> Result<(), Usage> {
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

pub(super) fn is_spec(what: &str) -> bool {
    let path = Path::new(what);
    ends_in(path, &["yaml", "yml"])
        || (path.is_file() && ![LISTS, TABLES, SHARDS].iter().any(|known| ends_in(path, known)))
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|own| endings.contains(&own.to_ascii_lowercase().as_str()))
}

/// A data set on the command line.
pub(super) struct DataTarget {
    pub data: DataSpec,
    /// Whether its labels are needed.
    pub labels: bool,
}

impl DataTarget {
    /// The crop is not used: images are read as stored.
    fn of(source: SourceSpec, labels: bool) -> Self {
        Self { data: DataSpec::new(source, Count::of(1)), labels }
    }
}

/// The data set that `what` names: a folder, list or table, or a catalog entry.
pub(super) fn named(what: &str) -> Result<DataTarget> {
    if let Some(source) = source_at(Path::new(what))? {
        return Ok(DataTarget::of(source, false));
    }
    let absent = "not found; expected a folder, a list, a table, a spec, or a name in the catalog";
    let usage =
        |e: DataError| Usage(if what.contains('/') { format!("{what}: {absent}") } else { e.to_string() });
    catalog::entry(what).map_err(usage)?;
    Ok(DataTarget::of(SourceSpec::Catalog(what.into()), true))
}

/// The distinct data sets of a spec's stages on plain pictures.
pub(super) fn of_spec(experiment: &Experiment) -> Vec<DataTarget> {
    let mut all: Vec<DataTarget> = vec![];
    for (stage, data) in experiment.stages.iter().filter_map(|(_, stage)| Some((stage, stage.data()?))) {
        match all.iter_mut().find(|known| known.data.source == data.source) {
            Some(known) => known.labels |= stage.kind().needs_labels(),
            None => all.push(DataTarget { data: data.clone(), labels: stage.kind().needs_labels() }),
        }
    }
    all
}

/// The source at a path; None if there is no folder or file.
fn source_at(path: &Path) -> Result<Option<SourceSpec>> {
    let part = |name: &str| Some(path.join(name)).filter(|part| part.is_dir());
    if ShardPath::is_remote(path) || (ends_in(path, SHARDS) && !path.exists()) {
        return Ok(Some(SourceSpec::Shards(ShardsSource::new(path, None))));
    }
    Ok(Some(match (part("train"), part("val")) {
        (Some(train), Some(val)) => SourceSpec::folder(train, Some(val.into())),
        _ if path.join("data_batch_1.bin").is_file() => SourceSpec::CifarBinary { dir: path.into() },
        _ if path.is_dir() => shards_in(path).unwrap_or_else(|| SourceSpec::folder(path, None)),
        _ if path.is_file() && ends_in(path, SHARDS) => SourceSpec::Shards(ShardsSource::new(path, None)),
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

/// The shards in a folder, as `data pack` names them.
fn shards_in(folder: &Path) -> Option<SourceSpec> {
    let first = |split: &str| folder.join(format!("{split}-000000.tar")).is_file();
    let all = |split: &str| folder.join(format!("{split}-*.tar"));
    let val = first("val").then(|| all("val").into());
    first("train").then(|| SourceSpec::Shards(ShardsSource::new(all("train"), val)))
}
