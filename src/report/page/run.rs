//! What a page says of a run: its name, and what its directory holds of it. Texts are read without host and absolute
//! paths, since a page is sent to others.

use crate::{
    report::{
        redact::{redact_paths, redact_text},
        results::{Collected, DIVERGED, ReportedRun, SPEC},
    },
    train::manifest::{self, RecordedMetric, Status},
    yaml,
};
use serde::Deserialize;
use serde_yaml::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// Layer table of a run's network, in its run directory.
const LAYERS: &str = "layers.txt";
/// Length of the hash that ends the name of a run directory.
const HASH: usize = 12;

/// One run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    pub(super) dir: PathBuf,
    pub(super) experiment: String,
    pub(super) stage: String,
    /// Row and column of the stage's table; empty if the stage is one run.
    pub(super) row: String,
    pub(super) seed: Option<u64>,
    /// First digits of the hash of its inputs; empty if unknown.
    pub(super) hash: String,
    /// What its manifest says, or why it cannot be read.
    pub(super) facts: Result<RunFacts, String>,
    pub(super) spec: Option<Value>,
    pub(super) layers: Option<String>,
}

/// What the page needs of a manifest of any version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunFacts {
    pub status: Option<Status>,
    pub error: Option<String>,
    pub device: String,
    pub seed: Option<u64>,
    pub data: BTreeMap<String, String>,
    pub version: String,
    pub commit: Option<String>,
    pub features: Vec<String>,
    pub cpu: String,
    pub cores: Option<usize>,
    pub started: String,
    pub ended: Option<String>,
    pub wall_seconds: f64,
    pub resumed: usize,
    pub steps: usize,
    pub metrics: Vec<RecordedMetric>,
    pub warnings: Vec<String>,
    pub diverged: Option<String>,
    pub peak_memory_bytes: Option<u64>,
}

impl RunRecord {
    /// A run with its current name.
    pub(in crate::report) fn of(run: &ReportedRun) -> Self {
        let row = [&run.row, &run.column].into_iter().flatten().map(String::as_str);
        let row = row.collect::<Vec<_>>().join(" ");
        Self::read(&run.dir, RunName { experiment: run.experiment.clone(), stage: run.stage.clone(), row })
    }

    /// Runs whose names their results and folders say.
    pub(in crate::report) fn of_folders(dirs: &[PathBuf], found: &Collected) -> Vec<Self> {
        let known = names(found);
        dirs.iter().map(|dir| Self::read(dir, folder_name(dir, known.get(dir.as_path())))).collect()
    }

    fn read(dir: &Path, name: RunName) -> Self {
        let (_, seed, hash) = folder_parts(dir);
        let facts = facts(dir);
        let seed = facts.as_ref().ok().and_then(|facts| facts.seed).or(seed);
        let mut spec = fs::read_to_string(dir.join(SPEC)).ok().and_then(|text| yaml::read(&text).ok());
        spec.iter_mut().for_each(|spec| drop(redact_paths(spec)));
        let layers = fs::read_to_string(dir.join(LAYERS)).ok();
        let RunName { experiment, stage, row } = name;
        Self { dir: dir.into(), experiment, stage, row, seed, hash, facts, spec, layers }
    }

    /// A run of which nothing is known but its experiment.
    #[cfg(test)]
    pub(super) fn named(experiment: &str) -> Self {
        Self::read(Path::new(""), RunName { experiment: experiment.into(), ..RunName::default() })
    }

    /// Stage and row.
    pub(super) fn label(&self) -> String {
        [self.stage.as_str(), self.row.as_str()].join(" ").trim_end().into()
    }

    /// Stage, row and seed.
    pub(super) fn name(&self) -> String {
        self.seed.map_or_else(|| self.label(), |seed| format!("{}, seed {seed}", self.label()))
    }

    /// Whether its results count.
    pub(super) fn is_finished(&self) -> bool {
        self.facts.as_ref().is_ok_and(|facts| facts.status.is_some_and(Status::is_finished))
    }
}

fn facts(dir: &Path) -> Result<RunFacts, String> {
    let read = manifest::read::<RunFacts>(dir).map_err(|error| redact_text(&format!("{error:#}")))?;
    let mut facts = read.ok_or_else(|| format!("there is no {}", manifest::FILE))?;
    let RunFacts { error, diverged, warnings, device, .. } = &mut facts;
    let texts = warnings.iter_mut().chain(error).chain(diverged).chain([device]);
    texts.for_each(|text| *text = redact_text(text));
    Ok(facts)
}

/// What a run is called.
#[derive(Clone, Debug, Default, PartialEq)]
struct RunName {
    experiment: String,
    /// Empty if the results do not name it.
    stage: String,
    row: String,
}

/// Names in results, by run directory.
fn names<'a>(found: &'a Collected) -> HashMap<&'a Path, RunName> {
    let mut names = HashMap::new();
    let mut add = |from: &'a PathBuf, experiment: &String, stage: &str, row: Option<&String>| {
        let plain = |name: &str| name.trim_end_matches(DIVERGED).to_string();
        let row = row.map_or_else(String::new, |row| plain(row));
        names.insert(from.as_path(), RunName { experiment: experiment.clone(), stage: plain(stage), row });
    };
    let Collected { probes, colors, transfers, monitors, supervised } = found;
    for result in probes {
        add(&result.from, &result.experiment, "", result.rows.first().map(|row| &row.backbone));
    }
    for result in transfers {
        add(&result.from, &result.experiment, "", result.rows.first().map(|row| &row.backbone));
    }
    colors.iter().for_each(|result| add(&result.from, &result.experiment, "", Some(&result.method)));
    monitors.iter().for_each(|result| add(&result.from, &result.experiment, &result.stage, None));
    supervised.iter().for_each(|result| add(&result.from, &result.experiment, &result.stage, None));
    names
}

/// The name of a run by its folder, `STAGE-ROW-COLUMN-sSEED-HASH` in that of the experiment, and by its results.
fn folder_name(dir: &Path, known: Option<&RunName>) -> RunName {
    let (label, ..) = folder_parts(dir);
    let Some(RunName { experiment, stage, row }) = known.cloned() else {
        let parent = dir.canonicalize().ok().and_then(|dir| Some(dir.parent()?.file_name()?.to_owned()));
        let experiment = parent.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        return RunName { experiment, stage: label, row: String::new() };
    };
    if !stage.is_empty() || row.is_empty() {
        let stage = if stage.is_empty() { label } else { stage };
        return RunName { experiment, stage, row };
    }
    let split = match label.strip_suffix(&format!("-{row}")) {
        Some(stage) => Some((stage, "")),
        None => label.rsplit_once(&format!("-{row}-")),
    };
    match split {
        Some((stage, column)) => {
            RunName { experiment, stage: stage.into(), row: format!("{row} {column}").trim_end().into() }
        }
        None => RunName { experiment, stage: label, row },
    }
}

/// Label, seed and hash in the name of a run directory.
fn folder_parts(dir: &Path) -> (String, Option<u64>, String) {
    let name = dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_default();
    let parts = name.rsplit_once('-').and_then(|(rest, hash)| {
        let is_hash = hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (label, seed) = rest.rsplit_once("-s").filter(|_| is_hash)?;
        Some((label.to_string(), Some(seed.parse().ok()?), hash.to_string()))
    });
    parts.unwrap_or((name, None, String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_results_name_a_run() {
        let home = tempfile::tempdir().unwrap();
        let named = |folder: &str, row: &str| {
            let dir = home.path().join("paper").join(folder);
            fs::create_dir_all(&dir).unwrap();
            let known = RunName { experiment: "e".into(), stage: String::new(), row: row.into() };
            let name = folder_name(&dir, (!row.is_empty()).then_some(&known));
            [name.experiment, name.stage, name.row]
        };
        assert_eq!(named("my-probe-l2-s0-0123456789ab", "l2"), ["e", "my-probe", "l2"]);
        assert_eq!(named("head-l2-conv5-s0-0123456789ab", "l2"), ["e", "head", "l2 conv5"]);
        assert_eq!(named("pretrain-s12-0123456789ab", ""), ["paper", "pretrain", ""]);
        assert_eq!(named("by hand", ""), ["paper", "by hand", ""]);
        assert_eq!(named("by hand", "l2"), ["e", "by hand", "l2"]);
        let parts = folder_parts(&home.path().join("paper/pretrain-s12-0123456789ab"));
        assert_eq!(parts, ("pretrain".into(), Some(12), "0123456789ab".into()));
    }

    #[test]
    fn no_text_of_a_run_names_a_home_or_a_host() {
        let run = tempfile::tempdir().unwrap();
        let manifest = r#"{"status": "failed", "host": "zoes-desk", "error": "cannot read /home/zoe/a.png",
            "warnings": ["/home/zoe/b.png is empty"], "device": "cpu"}"#;
        fs::write(run.path().join(manifest::FILE), manifest).unwrap();
        fs::write(run.path().join(SPEC), "work: { pretext: { file: /home/zoe/c.npy } }\n").unwrap();
        let run = ReportedRun {
            dir: run.path().into(),
            experiment: "e".into(),
            stage: "s".into(),
            row: None,
            column: None,
            dataset: String::new(),
        };
        let record = format!("{:?}", RunRecord { dir: PathBuf::new(), ..RunRecord::of(&run) });
        assert!(!record.contains("zoe") && record.contains("c.npy") && record.contains("b.png"), "{record}");
    }
}
