//! Names of data sets in a report: labels, never paths. Results of earlier versions name paths, which are shortened here.
//! Two data sets of one label get a distinguishing part, `photos (2023)` and `photos (2024)`.

use super::results::Collected;
use crate::{
    data::{
        annotated_source::AnnotatedSource,
        dataset_label::{above, of_path},
        source::{SourceSpec, Split},
    },
    train::{manifest::Manifest, run_dir::RunDir},
    yaml,
};
use serde_yaml::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What names the data set of a result.
#[derive(Clone, Debug)]
struct NamedSet {
    label: String,
    /// Folders above the one that gives the label, the nearest first; the kind of a source without a path.
    above: Vec<String>,
    /// The source as text, and its fingerprints where the run has them.
    source: String,
    fingerprints: BTreeMap<String, String>,
}

/// A source in a resolved spec.
enum Source {
    Plain(SourceSpec),
    Annotated(AnnotatedSource),
}

/// Label of the data set in a resolved spec, or of its monitor's; None if the spec names none.
pub fn label_in_spec(spec: &Value) -> Option<String> {
    let section = section(spec, Use::Stage)?;
    section["label"].as_str().map(String::from).or_else(|| Some(Source::of(section)?.label()))
}

/// Whose data set it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Stage,
    Monitor,
}

/// The section of a resolved spec that names the data set.
fn section(spec: &Value, of: Use) -> Option<&Value> {
    let (_, work) = spec["work"].as_mapping()?.iter().next()?;
    let monitored = &work["monitor"]["data"];
    let candidates = match of {
        Use::Monitor => [monitored, &work["data"]],
        Use::Stage => [&work["annotated"], &work["data"]],
    };
    candidates.into_iter().find(|section| !section["source"].is_null())
}

impl Source {
    fn of(section: &Value) -> Option<Self> {
        // Variants are sections with one key, as in JSON; YAML's own are tags.
        let source = serde_json::to_value(&section["source"]).ok()?;
        let plain = serde_json::from_value(source.clone()).ok().map(Self::Plain);
        plain.or_else(|| serde_json::from_value(source).ok().map(Self::Annotated))
    }

    fn label(&self) -> String {
        match self {
            Self::Plain(source) => source.label(),
            Self::Annotated(source) => source.label(),
        }
    }

    /// How earlier versions named it.
    fn path(&self) -> String {
        match self {
            Self::Plain(source) => source.to_string(),
            Self::Annotated(source) => source.to_string(),
        }
    }

    fn above(&self) -> Vec<String> {
        let paths = match self {
            Self::Plain(source) => source.paths(),
            Self::Annotated(source) => source.paths(),
        };
        let kind = match self {
            Self::Plain(SourceSpec::Catalog(_)) | Self::Annotated(AnnotatedSource::Catalog(_)) => "catalog",
            Self::Plain(SourceSpec::Hub { .. }) => "hub",
            _ => "generated",
        };
        paths.first().map_or_else(|| vec![kind.into()], |path| above(path))
    }
}

/// Labels whose runs were not all measured on the same validation pictures, as far as manifests tell.
pub(super) fn differing_pictures(found: &Collected) -> Vec<&str> {
    let probes = found.probes.iter().map(|result| (&result.dataset, &result.from));
    let colors = found.colors.iter().map(|result| (&result.dataset, &result.from));
    let transfers = found.transfers.iter().map(|result| (&result.dataset, &result.from));
    let mut pictures: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (label, from) in probes.chain(colors).chain(transfers) {
        let data = Manifest::read(from).ok().flatten().map(|manifest| manifest.about.data);
        let val = data.and_then(|mut data| data.remove(Split::Val.name()));
        pictures.entry(label).or_default().extend(val);
    }
    pictures.into_iter().filter(|(_, fingerprints)| fingerprints.len() > 1).map(|(label, _)| label).collect()
}

/// Names the data sets of all results by labels.
pub(super) fn label_datasets(found: &mut Collected) {
    let mut results: Vec<(&mut String, &PathBuf, Use)> = vec![];
    results.extend(found.probes.iter_mut().map(|result| (&mut result.dataset, &result.from, Use::Stage)));
    results.extend(found.colors.iter_mut().map(|result| (&mut result.dataset, &result.from, Use::Stage)));
    results.extend(found.transfers.iter_mut().map(|result| (&mut result.dataset, &result.from, Use::Stage)));
    results.extend(found.supervised.iter_mut().map(|result| (&mut result.dataset, &result.from, Use::Stage)));
    results.extend(found.monitors.iter_mut().map(|result| (&mut result.dataset, &result.from, Use::Monitor)));
    let sets: Vec<NamedSet> = results.iter().map(|(name, from, of)| NamedSet::of(name, from, *of)).collect();
    for ((name, ..), set) in results.into_iter().zip(&sets) {
        *name = set.distinguished(&sets);
    }
}

impl NamedSet {
    /// The data set of the result in the run directory `run`, which calls it `name`.
    fn of(name: &str, run: &Path, of: Use) -> Self {
        let spec = RunDir::spec_at(run).and_then(|text| yaml::read::<Value>(&text).ok());
        let source = spec.as_ref().and_then(|spec| Source::of(section(spec, of)?));
        // The fingerprints in the manifest are those of the stage's own data.
        let fingerprints = match of {
            Use::Stage => Manifest::read(run).ok().flatten().map(|manifest| manifest.about.data),
            Use::Monitor => None,
        };
        let path = Path::new(name);
        let (label, above) = match &source {
            Some(source) if source.path() == name => (source.label(), source.above()),
            Some(source) => (name.to_string(), source.above()),
            None if is_path(name) => (of_path(path), above(path)),
            None => (name.to_string(), vec![]),
        };
        let source = source.map_or_else(|| name.to_string(), |source| source.path());
        Self { label, above, source, fingerprints: fingerprints.unwrap_or_default() }
    }

    /// Whether both are one data set: the same source, or the same pictures elsewhere.
    fn is_same(&self, other: &Self) -> bool {
        self.source == other.source
            || (!self.fingerprints.is_empty() && self.fingerprints == other.fingerprints)
    }

    /// The label, with the first folder above it that other data sets of this label do not share.
    fn distinguished(&self, all: &[Self]) -> String {
        let others: Vec<&Self> =
            all.iter().filter(|other| other.label == self.label && !other.is_same(self)).collect();
        if others.is_empty() {
            return self.label.clone();
        }
        let most = others.iter().map(|other| other.above.len()).max().unwrap_or(0).max(self.above.len());
        let part =
            (0..most).find(|at| others.iter().all(|other| other.above.get(*at) != self.above.get(*at)));
        match part.and_then(|at| self.above.get(at)) {
            Some(part) => format!("{} ({part})", self.label),
            None => format!("{} ({})", self.label, self.number(all)),
        }
    }

    /// Number of the data set among those of its label, where no folder tells them apart.
    fn number(&self, all: &[Self]) -> usize {
        let sources: BTreeSet<&str> =
            all.iter().filter(|other| other.label == self.label).map(|other| other.source.as_str()).collect();
        1 + sources.iter().position(|source| *source == self.source).unwrap_or(0)
    }
}

/// Whether an earlier version's name of a data set is a path. `owner/name` is a repository on the hub.
fn is_path(name: &str) -> bool {
    let drive = |t: &str| matches!(t.as_bytes(), [d, b':', b'/' | b'\\', ..] if d.is_ascii_alphabetic());
    let parts = name.split(['/', '\\']).count();
    name.starts_with(['/', '\\', '.', '~'])
        || drive(name)
        || parts > 2
        || (parts == 2 && of_path(Path::new(name)) != last(name))
}

fn last(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{kind::ResultKind, results::ProbeResult},
        train::manifest::RunInfo,
    };

    fn set(label: &str, path: &str) -> NamedSet {
        let above = above(Path::new(path));
        NamedSet { label: label.into(), above, source: path.into(), fingerprints: BTreeMap::new() }
    }

    #[test]
    fn the_same_label_twice_is_told_apart() {
        let sets = [
            set("photos", "/data/2023/photos/train"),
            set("photos", "/data/2024/photos/train"),
            set("cifar10", "cifar10"),
        ];
        let names: Vec<String> = sets.iter().map(|set| set.distinguished(&sets)).collect();
        assert_eq!(names, ["photos (2023)", "photos (2024)", "cifar10"]);
        let mut moved = set("photos", "/elsewhere/photos/train");
        moved.fingerprints = [("train".to_string(), "ab".to_string())].into();
        let here = NamedSet { source: "/x/photos/train".into(), ..moved.clone() };
        assert_eq!(
            moved.distinguished(&[moved.clone(), here]),
            "photos",
            "the same pictures in another place"
        );
        let bare = [set("photos", "photos/train"), set("photos", "photos/val")];
        assert_eq!(bare[1].distinguished(&bare), "photos (2)");
    }

    #[test]
    fn other_validation_pictures_under_one_label_are_seen() {
        let home = tempfile::tempdir().unwrap();
        let result = |name: &str, dataset: &str, val: Option<&str>| {
            let from = home.path().join(name);
            std::fs::create_dir(&from).unwrap();
            let data = val.map(|val| ("val".to_string(), val.to_string())).into_iter().collect();
            let about = RunInfo { data, ..RunInfo::default() };
            Manifest { about, ..Manifest::begin() }.write(&from).unwrap();
            let (kind, protocol) = (ResultKind::LinearProbe, String::new());
            let (experiment, dataset) = (String::new(), dataset.into());
            ProbeResult { kind, experiment, seed: 0, protocol, dataset, upstream: None, rows: vec![], from }
        };
        let probes = vec![
            result("a", "scenes", Some("ab")),
            result("b", "scenes", Some("cd")),
            result("c", "photos", Some("ef")),
            result("d", "photos", Some("ef")),
            result("e", "photos", None),
        ];
        let found = Collected { probes, ..Collected::default() };
        assert_eq!(differing_pictures(&found), ["scenes"]);
    }

    #[test]
    fn names_of_earlier_versions_are_told_from_repositories() {
        for path in ["/home/ann/photos/train", "photos/train", "../photos", "a/b/c", "C:\\photos\\train"] {
            assert!(is_path(path), "{path}");
        }
        for label in ["cifar10", "owner/name", "composite scenes", "scenes"] {
            assert!(!is_path(label), "{label}");
        }
    }

    #[test]
    fn a_spec_names_its_data_set() {
        let label = |work: &str| {
            label_in_spec(&yaml::read::<Value>(&format!("work: {{ pretext: {work} }}")).unwrap())
        };
        let source = "source: { folder: { train: /x/photos/train } }";
        assert_eq!(label(&format!("{{ data: {{ {source} }} }}")).as_deref(), Some("photos"));
        assert_eq!(
            label(&format!("{{ data: {{ {source}, label: holidays }} }}")).as_deref(),
            Some("holidays")
        );
        assert_eq!(label("{ annotated: { source: { catalog: voc2007 } } }").as_deref(), Some("voc2007"));
        assert_eq!(label("{ train: { steps: 3 } }"), None);
    }
}
