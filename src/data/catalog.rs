//! The catalog of known data sets, `configs/datasets.yaml`, compiled in.
//!
//! A spec names an entry, which this module resolves to files, so that a spec works on any machine: a local copy
//! below `--data DIR` (or `HUERISTIC_DATA`) in one of the entry's layouts, else the hub, else an error that lists
//! every way to get the data. Downloads nothing.

use super::{
    error::DataError,
    source::{Locations, SourceSpec},
    voc::source::VocSource,
};
use crate::spec_path::SpecPath;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

const TEXT: &str = include_str!("../../configs/datasets.yaml");

/// Entries by name, or why the file is not a catalog.
static ENTRIES: LazyLock<Result<BTreeMap<String, CatalogEntry>, String>> = LazyLock::new(|| parse(TEXT));

/// A named data set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    pub description: String,
    /// Class names in label order; empty: use the copy's own.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Names of the class folders in the order of `classes`, if they differ from the class names.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Sources with paths relative to the data folder; the first that exists is taken.
    #[serde(default)]
    pub local: Vec<SourceSpec>,
    /// Its source on the hub.
    #[serde(default)]
    pub hub: Option<SourceSpec>,
    /// Instructions for obtaining and laying out the files.
    pub obtain: String,
    /// SHA-256 of local files, by path relative to the data folder.
    #[serde(default)]
    pub sha256: BTreeMap<PathBuf, String>,
}

fn parse(text: &str) -> Result<BTreeMap<String, CatalogEntry>, String> {
    let document = serde_yaml::Deserializer::from_str(text);
    serde_yaml::with::singleton_map_recursive::deserialize(document).map_err(|e| e.to_string())
}

/// All entries, by name.
pub fn entries() -> Result<&'static BTreeMap<String, CatalogEntry>, DataError> {
    ENTRIES.as_ref().map_err(|e| DataError::Spec(format!("configs/datasets.yaml: {e}")))
}

/// The entry `name`; the error suggests the nearest name.
pub fn entry(name: &str) -> Result<&'static CatalogEntry, DataError> {
    let entries = entries()?;
    entries.get(name).ok_or_else(|| DataError::NotInCatalog {
        name: name.into(),
        nearest: nearest(name, entries.keys()),
        known: entries.keys().cloned().collect(),
    })
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    let scored = known.map(|k| (strsim::damerau_levenshtein(name, k), k));
    scored.min().filter(|(distance, k)| *distance <= k.len() / 2).map(|(_, k)| k.clone())
}

/// Resolves an entry to a source: a local layout that exists below `at.data`, else the hub (feature `hub`).
///
/// Errors: no such entry; neither a local copy nor a hub entry (or a build without the hub).
pub fn resolve(name: &str, at: &Locations) -> Result<SourceSpec, DataError> {
    let entry = entry(name)?;
    let local = at.data.iter().flat_map(|dir| entry.local.iter().map(|source| below(dir, source)));
    if let Some(source) = local.into_iter().find(|source| paths(source).iter().all(|path| path.exists())) {
        return Ok(source);
    }
    match &entry.hub {
        Some(source) if cfg!(feature = "hub") => Ok(source.clone()),
        _ => Err(DataError::Unobtainable { name: name.into(), ways: ways(entry, at) }),
    }
}

/// Resolves an annotated entry to its devkit, as [`resolve`].
///
/// Errors: as there; an entry whose images have no boxes and masks.
pub fn annotated(name: &str, at: &Locations) -> Result<VocSource, DataError> {
    if !entry(name)?.is_annotated() {
        let others = entries()?.iter().filter(|(_, entry)| entry.is_annotated());
        let others: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
        return Err(DataError::Spec(format!(
            "data set `{name}` has neither boxes nor masks; those of the catalog that have: {}",
            others.join(", ")
        )));
    }
    match resolve(name, at)? {
        SourceSpec::Voc(source) => Ok(source),
        other => {
            Err(DataError::Spec(format!("`{name}` was found at {other}, which has neither boxes nor masks")))
        }
    }
}

impl CatalogEntry {
    /// Whether its images have boxes and masks.
    pub fn is_annotated(&self) -> bool {
        self.local.iter().any(|source| matches!(source, SourceSpec::Voc(_)))
    }

    /// The entry's class names for a copy whose own are `own`; None to keep the copy's: it has class names, or lacks
    /// some of the entry's folders.
    pub fn names_for(&self, own: &[String]) -> Option<Vec<String>> {
        let numbered = own.iter().enumerate().all(|(number, name)| *name == number.to_string())
            && own.len() <= self.classes.len();
        let given = !own.is_empty() && (numbered || own == self.folders);
        given.then(|| self.classes.clone())
    }
}

/// Every way to get an entry's data, one per line.
fn ways(entry: &CatalogEntry, at: &Locations) -> String {
    let place = match &at.data {
        Some(dir) => format!("in {} (--data DIR or HUERISTIC_DATA names another folder)", dir.display()),
        None => "in a folder that --data DIR or HUERISTIC_DATA names".into(),
    };
    let mut ways = format!("Put a copy {place}, as one of:");
    for source in &entry.local {
        let files: Vec<String> = paths(source).iter().map(|path| path.display().to_string()).collect();
        ways += &format!("\n  {}", files.join(", "));
    }
    if let (Some(SourceSpec::Hub { repo, .. }), false) = (&entry.hub, cfg!(feature = "hub")) {
        ways += &format!("\nOr build with the feature `hub`, which fetches it from {repo}.");
    }
    format!("{ways}\nTo obtain it: {}", entry.obtain.trim())
}

/// The source with its paths joined to `dir`.
fn below(dir: &Path, source: &SourceSpec) -> SourceSpec {
    let join = |path: &SpecPath| SpecPath::from(dir.join(path));
    match source.clone() {
        SourceSpec::Folder { train, val, hold_out, seed } => {
            SourceSpec::Folder { train: join(&train), val: val.as_ref().map(join), hold_out, seed }
        }
        SourceSpec::List { train, val, root } => SourceSpec::List {
            train: join(&train),
            val: val.as_ref().map(join),
            root: root.as_ref().map(join),
        },
        SourceSpec::Parquet { train, val, image, label } => SourceSpec::Parquet {
            train: train.iter().map(join).collect(),
            val: val.iter().map(join).collect(),
            image,
            label,
        },
        SourceSpec::CifarBinary { dir } => SourceSpec::CifarBinary { dir: join(&dir) },
        SourceSpec::Voc(source) => SourceSpec::Voc(source.below(dir)),
        other => other,
    }
}

/// The files and folders that a local source needs.
fn paths(source: &SourceSpec) -> Vec<&SpecPath> {
    match source {
        SourceSpec::Folder { train, val, .. } | SourceSpec::List { train, val, .. } => {
            std::iter::once(train).chain(val).collect()
        }
        SourceSpec::Parquet { train, val, .. } => train.iter().chain(val).collect(),
        SourceSpec::CifarBinary { dir } => vec![dir],
        SourceSpec::Voc(VocSource { devkit, sbd, .. }) => std::iter::once(devkit).chain(sbd).collect(),
        SourceSpec::Catalog(_)
        | SourceSpec::Hub { .. }
        | SourceSpec::Shards(_)
        | SourceSpec::Scenes { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_parses_and_names_real_places() {
        for (name, entry) in entries().unwrap() {
            assert!(!entry.description.is_empty() && !entry.obtain.is_empty(), "{name}");
            assert!(!entry.local.is_empty() && entry.local.iter().all(|l| !paths(l).is_empty()), "{name}");
            assert!(entry.folders.is_empty() || entry.folders.len() == entry.classes.len(), "{name}");
            assert!(entry.hub.iter().all(|hub| matches!(hub, SourceSpec::Hub { .. })), "{name}");
            assert!(entry.sha256.values().all(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit())));
            let local: Vec<_> = entry.local.iter().flat_map(paths).collect();
            assert!(
                entry.sha256.keys().all(|file| local.iter().any(|path| path.as_path() == file)),
                "{name}: a checksum of no local file"
            );
        }
    }

    #[test]
    fn a_misspelt_name_gets_the_nearest_and_the_list() {
        let error = entry("cifra10").unwrap_err().to_string();
        assert!(error.contains("did you mean `cifar10`?") && error.contains("imagenette160"), "{error}");
        assert!(!entry("zzzz").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn an_absent_set_without_a_hub_entry_says_every_way() {
        let at = Locations { data: Some("/no/such/folder".into()), ..Locations::default() };
        let error = resolve("imagenet", &at).unwrap_err().to_string();
        for part in ["/no/such/folder", "--data DIR", "HUERISTIC_DATA", "imagenet/train", "image-net.org"] {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    #[test]
    #[cfg(feature = "hub")]
    fn the_hub_comes_after_a_local_copy() {
        let dir = tempfile::tempdir().unwrap();
        let at = Locations { data: Some(dir.path().into()), ..Locations::default() };
        assert!(matches!(resolve("cifar10", &at).unwrap(), SourceSpec::Hub { .. }));
        std::fs::create_dir(dir.path().join("cifar-10-batches-bin")).unwrap();
        assert!(matches!(resolve("cifar10", &at).unwrap(), SourceSpec::CifarBinary { .. }));
        std::fs::create_dir(dir.path().join("cifar10_parquet")).unwrap();
        for split in ["train", "test"] {
            let file = format!("cifar10_parquet/{split}-00000-of-00001.parquet");
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        assert!(matches!(resolve("cifar10", &at).unwrap(), SourceSpec::Parquet { .. }));
    }
}
