//! Opens the data set of a spec: selects the reader, files, class numbering and limit.

use super::{
    catalog,
    dataset::{Dataset, Split},
    error::DataError,
    folder::Files,
    labels::Relabel,
    list,
    parquet::{ColumnNames, Parquet},
    scenes::Scenes,
    shards::{ShardSet, ShardsSource},
    source::{DataSpec, HoldOut, Locations, SourceSpec},
    view::{CACHE_BYTES, DatasetView},
    voc,
};
#[cfg(feature = "hub")]
use crate::text::excerpt;
use crate::{bounded::Fraction, released::cache_folder};
#[cfg(feature = "hub")]
use std::path::Component;
use std::{path::Path, sync::Arc};

/// Opens one split of a source (its `limit` applied).
///
/// Errors: see [`DataError`]; nothing is decoded yet.
pub fn open(spec: &DataSpec, split: Split, at: &Locations) -> Result<Arc<dyn Dataset>, DataError> {
    let mut view = match &spec.source {
        SourceSpec::Catalog(name) => {
            let entry = catalog::entry(name)?;
            let resolved = catalog::resolve(name, at)?;
            let set = source(&resolved, split, &entry.classes, spec.max_bad, at)?;
            let names = entry.names_for(set.classes());
            let view = DatasetView::new(set);
            if let Some(names) = names { view.named(names) } else { view }
        }
        other => DatasetView::new(source(other, split, &[], spec.max_bad, at)?),
    };
    if let Some(limit) = spec.limit.and_then(|limit| limit.of(split)) {
        view = view.sample(limit);
    }
    Ok(Arc::new(if spec.cache { view.cached(CACHE_BYTES) } else { view }))
}

/// Opens one split of a resolved source; `names` are the catalog's class names.
fn source(
    source: &SourceSpec,
    split: Split,
    names: &[String],
    max_bad: Fraction,
    at: &Locations,
) -> Result<Arc<dyn Dataset>, DataError> {
    Ok(match source {
        SourceSpec::Catalog(name) => {
            return Err(DataError::Spec(format!("catalog entry `{name}` refers to another catalog entry")));
        }
        SourceSpec::Folder { train, val: Some(_), hold_out: Some(_), .. } => {
            let message = format!("{} has both `val` and `hold_out`: take one of them out", train.display());
            return Err(DataError::Spec(message));
        }
        SourceSpec::Folder { train, val: None, hold_out: Some(share), seed } => {
            Arc::new(Files::open(train)?.part(HoldOut { share: *share, seed: *seed }, split))
        }
        SourceSpec::Folder { train, val, .. } => Arc::new(folder(train, val.as_deref(), split, names)?),
        SourceSpec::List { train, val, root } => {
            Arc::new(listed(train, val.as_deref(), root.as_deref(), split, names)?)
        }
        SourceSpec::Parquet { train, val, image, label } => {
            Arc::new(parquet(train, val, ColumnNames { image, label: label.as_deref() }, split, names)?)
        }
        SourceSpec::Hub { .. } => Arc::new(hub(source, split, names)?),
        SourceSpec::Shards(source) => Arc::new(shards(source, split, names, max_bad, at)?),
        SourceSpec::CifarBinary { dir } => cifar(dir, split)?,
        SourceSpec::Voc(source) => Arc::new(voc::set::photographs(source, split)?),
        SourceSpec::Scenes { train, val, size, seed } => {
            let images = if split == Split::Train { train } else { val };
            Arc::new(Scenes::new(images.get(), size.get(), *seed, split))
        }
    })
}

/// The validation split uses the training split's class numbering, if there is one.
fn folder(train: &Path, val: Option<&Path>, split: Split, names: &[String]) -> Result<Files, DataError> {
    if split == Split::Train {
        return Files::open(train);
    }
    let set = Files::open(val.ok_or(DataError::NoSplit { split: "val" })?)?;
    Ok(if train.is_dir() { set.relabeled(&Files::labels_of(train)?, names) } else { set })
}

fn listed(
    train: &Path,
    val: Option<&Path>,
    root: Option<&Path>,
    split: Split,
    names: &[String],
) -> Result<Files, DataError> {
    if split == Split::Train {
        return list::open(train, root);
    }
    let set = list::open(val.ok_or(DataError::NoSplit { split: "val" })?, root)?;
    Ok(if train.is_file() { set.relabeled(list::open(train, root)?.labels(), names) } else { set })
}

fn shards(
    source: &ShardsSource,
    split: Split,
    names: &[String],
    max_bad: Fraction,
    at: &Locations,
) -> Result<ShardSet, DataError> {
    let cache = at.cache.clone().unwrap_or_else(cache_folder);
    let open = |split| ShardSet::open(source, split, max_bad.get(), &cache);
    let set = open(split)?;
    if split == Split::Train {
        return Ok(set);
    }
    match open(Split::Train) {
        Ok(mut train) => Ok(set.relabeled(train.labels(), names)),
        Err(DataError::Missing { .. }) => Ok(set),
        Err(error) => Err(error),
    }
}

fn parquet<P: AsRef<Path>>(
    train: &[P],
    val: &[P],
    columns: ColumnNames,
    split: Split,
    names: &[String],
) -> Result<Parquet, DataError> {
    let files = if split == Split::Train { train } else { val };
    if files.is_empty() {
        return Err(DataError::NoSplit { split: split.name() });
    }
    let set = Parquet::open(files, columns)?;
    if split == Split::Train || columns.label.is_none() || !train.iter().all(|file| file.as_ref().is_file()) {
        return Ok(set);
    }
    Ok(set.relabeled(Parquet::open(train, columns)?.labels(), names))
}

#[cfg(feature = "hub")]
fn hub(source: &SourceSpec, split: Split, names: &[String]) -> Result<Parquet, DataError> {
    let SourceSpec::Hub { repo, revision, train, val, image, label } = source else {
        return Err(DataError::Spec("not a hub source".into()));
    };
    train.iter().chain(val).try_for_each(|file| inside(repo, file))?;
    let hub = crate::hub::Hub::from_env();
    let fetch = |files: &[String]| hub.fetch_data(repo, revision.as_deref(), files);
    let columns = ColumnNames { image, label: label.as_deref() };
    // Labels are numbered by the training split, so a labeled validation split needs both.
    let train = if split == Split::Train || label.is_some() { fetch(train)? } else { Vec::new() };
    let val = if split == Split::Val { fetch(val)? } else { Vec::new() };
    parquet(&train, &val, columns, split, names)
}

/// Rejects file names that would escape the repository's folder on this disk.
#[cfg(feature = "hub")]
fn inside(repo: &str, file: &str) -> Result<(), DataError> {
    let plain = |part: Component| matches!(part, Component::Normal(_));
    if !file.is_empty() && !file.contains('\\') && Path::new(file).components().all(plain) {
        return Ok(());
    }
    Err(DataError::Spec(format!(
        "`{}` is no file of {}; give its path in the repository, without `..` and without `/` in front",
        excerpt(file),
        excerpt(repo)
    )))
}

#[cfg(not(feature = "hub"))]
fn hub(_: &SourceSpec, _: Split, _: &[String]) -> Result<Parquet, DataError> {
    let instead = "download the parquet files yourself and name them under `parquet:`".into();
    Err(DataError::NeedsFeature { what: "a source on the hub", feature: "hub", instead })
}

#[cfg(feature = "cifar")]
fn cifar(dir: &Path, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
    Ok(Arc::new(super::cifar::Cifar::open(dir, split)?))
}

#[cfg(not(feature = "cifar"))]
fn cifar(_: &Path, _: Split) -> Result<Arc<dyn Dataset>, DataError> {
    let instead = "use the `cifar10` entry of the catalog with its parquet files".into();
    Err(DataError::NeedsFeature { what: "the CIFAR binary format", feature: "cifar", instead })
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_repository_lies_in_it() {
        for file in ["a.parquet", "data/train-0.parquet", "..data/a..parquet"] {
            inside("me/set", file).unwrap();
        }
        for file in ["", "/etc/a.parquet", "../a.parquet", "data/../../a.parquet", "..\\a.parquet"] {
            let error = inside("me/set", file).unwrap_err().to_string();
            assert!(error.contains("no file of me/set") && error.contains(file), "{error}");
        }
    }
}
