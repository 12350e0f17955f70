//! Short names of data sets for tables, plots and published files: what a person calls them, never a path. Messages about
//! files name paths (`Display` of the sources).

use super::{annotated_source::AnnotatedSource, source::SourceSpec, voc::source::VocSource};
use std::path::{Component, Path};

/// Names of folders and files that tell the split or the layout, not the data set.
const GENERIC: [&str; 12] = [
    "train",
    "training",
    "trainval",
    "val",
    "valid",
    "validation",
    "test",
    "data",
    "images",
    "pictures",
    ".",
    "",
];

/// Label of the data set that a folder or file belongs to: `photos` for `photos/train`, `photos/val.txt` and
/// `photos/data/train-00000-of-00004.parquet`. The last name if all of them are generic.
pub fn of_path(path: &Path) -> String {
    let names = names(path);
    let told = names.iter().find(|name| !is_generic(name)).or(names.first());
    told.cloned().unwrap_or_else(|| "pictures".into())
}

/// Names of the folders above the one that gives the label, the nearest first.
pub fn above(path: &Path) -> Vec<String> {
    let names = names(path);
    let at = names.iter().position(|name| !is_generic(name)).unwrap_or(0);
    names.into_iter().skip(at + 1).collect()
}

/// Components of a path from the last to the first; of a file, its stem without the number of a shard.
fn names(path: &Path) -> Vec<String> {
    let normal = |part: Component| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    let mut names: Vec<String> = path.components().rev().filter_map(normal).collect();
    if let Some(last) = names.first_mut() {
        let stem = last.rsplit_once('.').filter(|(stem, end)| !stem.is_empty() && FILES.contains(end));
        *last = match stem {
            Some((stem, "tar")) => without_number(stem).into(),
            stem => without_shard(stem.map_or(last.as_str(), |(stem, _)| stem)).into(),
        };
    }
    names
}

/// Extensions of files that hold or list data sets.
const FILES: [&str; 5] = ["txt", "lst", "csv", "parquet", "tar"];

/// `train-00000-of-00004` → `train`.
fn without_shard(stem: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let shard = stem.rsplit_once("-of-").filter(|(_, all)| digits(all));
    let begun = shard.and_then(|(begun, _)| begun.rsplit_once('-')).filter(|(_, number)| digits(number));
    begun.map_or(stem, |(begun, _)| begun)
}

/// `train-{000000..000146}`, `train-*` and `train-000007` → `train`. Only a number → empty.
fn without_number(stem: &str) -> &str {
    let stem = stem.split(['{', '*', '?', '[']).next().unwrap_or(stem);
    stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '_', '.'])
}

fn is_generic(name: &str) -> bool {
    GENERIC.contains(&name.to_lowercase().as_str())
}

impl SourceSpec {
    /// Label of the data set: the catalog's name, the repository on the hub, or that of its folder or file.
    pub fn label(&self) -> String {
        match self {
            Self::Catalog(name) => name.clone(),
            Self::Hub { repo, .. } => repo.clone(),
            Self::Scenes { .. } => "scenes".into(),
            Self::Voc(voc) => voc.label(),
            Self::Folder { .. }
            | Self::List { .. }
            | Self::Parquet { .. }
            | Self::Shards(_)
            | Self::CifarBinary { .. } => {
                self.paths().first().map_or_else(|| "pictures".into(), |path| of_path(path))
            }
        }
    }
}

impl AnnotatedSource {
    /// Label of the data set, as [`SourceSpec::label`].
    pub fn label(&self) -> String {
        match self {
            Self::Catalog(name) => name.clone(),
            Self::Voc(voc) => voc.label(),
            Self::Composite { .. } => "composite scenes".into(),
        }
    }
}

impl VocSource {
    /// `voc2007`, or the name of the devkit's folder.
    pub fn label(&self) -> String {
        self.year.map_or_else(|| of_path(&self.devkit), |year| format!("voc{year}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn paths_give_the_name_of_the_data_set() {
        for (path, label) in [
            ("photos/train", "photos"),
            ("/home/ann/photos/val/", "photos"),
            ("../photos", "photos"),
            ("lists/birds.txt", "birds"),
            ("birds/train.txt", "birds"),
            ("/hub/cifar10/data/train-00000-of-00004.parquet", "cifar10"),
            ("flowers-v1.5", "flowers-v1.5"),
            ("train", "train"),
            (".", "pictures"),
        ] {
            assert_eq!(of_path(Path::new(path)), label, "{path}");
        }
        assert_eq!(above(Path::new("/home/ann/photos/train")), ["ann", "home"]);
    }

    #[test]
    fn every_source_has_a_label_without_a_path() {
        for (source, label) in [
            ("catalog: cifar10", "cifar10"),
            ("folder: { train: /x/photos/train, val: /x/photos/val }", "photos"),
            ("list: { train: /x/birds.txt, root: /y }", "birds"),
            ("parquet: { train: [/x/food/train.parquet] }", "food"),
            ("hub: { repo: owner/name, train: [a.parquet] }", "owner/name"),
            ("cifar_binary: { dir: /x/cifar-10-batches-bin }", "cifar-10-batches-bin"),
            ("shards: { train: \"/x/food/train-{000000..000146}.tar\" }", "food"),
            ("shards: { train: \"s3://bucket/birds/{00..10}.tar\" }", "birds"),
            ("shards: { train: /x/pets-*.tar }", "pets"),
            ("voc: { devkit: /x/VOCdevkit, year: 2007, train: trainval }", "voc2007"),
            ("scenes: { train: 10, val: 10 }", "scenes"),
        ] {
            let section: serde_json::Value = yaml::read(source).unwrap();
            assert_eq!(serde_json::from_value::<SourceSpec>(section).unwrap().label(), label);
        }
    }
}
