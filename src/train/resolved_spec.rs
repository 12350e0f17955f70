//! The resolved spec of a run directory as flat keys: what identifies the run, and what two runs can be compared by.
//! Nothing is validated here; the typed spec is that of the experiment.

use super::{run_dir::RunDir, spec_change::flat};
use std::{collections::BTreeMap, path::Path};

/// Keys without effect on the result, by section.
pub const IDLE_KEYS: [(&str, &[&str]); 4] = [
    ("pretext", &["monitor"]),
    ("train", &["log_every", "checkpoint_every", "keep"]),
    ("data", &["label", "threads", "cache"]),
    ("annotated", &["label", "threads", "cache"]),
];
/// The tolerated share of unreadable pictures, in the sections of pictures. It decides whether a run fails and not what a finished
/// one found; all hashes have its default.
pub const TOLERANCE: (&str, [&str; 2], f64) = ("max_bad", ["data", "annotated"], 0.01);
/// Keys that hold paths. The contents are compared instead: by the fingerprints in `data`, the hashes in `files`.
const PATH_KEYS: [&str; 6] = ["source", "file", "prior", "classifier", "pictures", "proposals"];
/// Section with what the stage does, below the key of its kind.
const WORK: &str = "work.";

/// The scalars of a resolved spec by dotted key, `work.pretext.train.steps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedSpec {
    keys: BTreeMap<String, String>,
}

/// Equal for two runs if they have the same hash: their lineage, and the steps that it leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpecIdentity {
    lineage: String,
    steps: Vec<String>,
}

impl ResolvedSpec {
    /// The spec of the run directory `run`; None if there is none.
    pub fn of(run: &Path) -> Option<Self> {
        RunDir::spec_at(run).map(|text| Self::parse(&text))
    }

    /// The keys of a YAML text.
    pub fn parse(text: &str) -> Self {
        Self { keys: flat(text) }
    }

    /// Kind of the stage: `pretext`, `linear_probe`.
    pub fn kind(&self) -> Option<&str> {
        self.keys.keys().find_map(|key| key.strip_prefix(WORK)?.split('.').next())
    }

    /// What identifies the run; None for a spec without `lineage`, which no experiment wrote.
    pub fn identity(&self) -> Option<SpecIdentity> {
        let is_length = |key: &str| key.starts_with(WORK) && key.ends_with(".train.steps");
        let steps = self.keys.iter().filter(|(key, _)| is_length(key)).map(|(_, steps)| steps.clone());
        Some(SpecIdentity { lineage: self.lineage()?.into(), steps: steps.collect() })
    }

    /// Hash of the spec without its length.
    pub fn lineage(&self) -> Option<&str> {
        self.keys.get("lineage").map(|hash| unquoted(hash))
    }

    /// Hash of the run that this one starts from.
    pub fn upstream(&self) -> Option<&str> {
        self.keys.get("upstream").map(|hash| unquoted(hash)).filter(|hash| *hash != "null")
    }

    /// Version of the program.
    pub fn version(&self) -> Option<&str> {
        self.keys.get("version").map(|version| unquoted(version))
    }

    /// Number of updates that the spec asks for; None if the stage does not train.
    pub fn steps(&self) -> Option<usize> {
        self.keys.get(&format!("{WORK}{}.train.steps", self.kind()?))?.parse().ok()
    }

    /// All keys as a user wrote them, without the stage's kind; `lineage`, `data` and `version` are left to the manifest.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let told = |key: &str| !["lineage", "version"].contains(&key) && !key.starts_with("data.");
        let kept = self.keys.iter().filter(|(key, _)| told(key));
        kept.map(|(key, value)| (without_kind(key).into(), shown(value))).collect()
    }

    /// The keys that decide the result, whatever the seed, and wherever files are. The run that this one starts from is
    /// not among them.
    pub fn deciding(&self) -> BTreeMap<String, String> {
        let (tolerance, sections, _) = TOLERANCE;
        let is_idle = |pair: &[&str]| {
            IDLE_KEYS.iter().any(|(at, idle)| *at == pair[0] && idle.contains(&pair[1]))
                || (pair[1] == tolerance && sections.contains(&pair[0]))
        };
        let is_other = |key: &str| {
            let parts: Vec<&str> = key.split('.').collect();
            let is_path = key.starts_with(WORK) && parts.iter().any(|part| PATH_KEYS.contains(part));
            is_path
                || parts.windows(2).any(is_idle)
                || ["lineage", "version", "seed", "upstream"].contains(&key)
        };
        let kept = self.keys.iter().filter(|(key, _)| !is_other(key));
        kept.map(|(key, value)| (without_kind(key).into(), shown(value))).collect()
    }
}

/// `work.pretext.train.steps` → `train.steps`.
fn without_kind(key: &str) -> &str {
    key.strip_prefix(WORK).and_then(|key| key.split_once('.')).map_or(key, |(_, rest)| rest)
}

/// A value for people: hashes are cut to twelve digits, and small numbers are written as `1e-3`.
pub fn shown(value: &str) -> String {
    let plain = unquoted(value);
    if plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return plain[..12].into();
    }
    match plain.parse::<f64>() {
        Ok(number) if plain.contains(['.', 'e']) && number.is_finite() => {
            let (decimal, scientific) = (number.to_string(), format!("{number:e}"));
            if scientific.len() < decimal.len() { scientific } else { decimal }
        }
        _ => plain.into(),
    }
}

/// A YAML scalar without its quotes.
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(lineage: &str, seed: u64, steps: usize, more: &str) -> ResolvedSpec {
        ResolvedSpec::parse(&format!(
            "lineage: '{lineage}'\nversion: 0.1.0\nseed: {seed}\ndata: {{ train: aa }}\nupstream: null\n\
             work:\n  pretext:\n    data: {{ crop: 29, threads: 2, max_bad: 0.5, source: {{ folder: {{ train: a/b }} }} }}\n    \
             train: {{ steps: {steps}, log_every: 20, optimizer: {{ adam: {{ lr: 0.001 }} }} }}\n{more}"
        ))
    }

    #[test]
    fn lineage_and_length_identify_a_run() {
        let one = spec("ab", 0, 30, "");
        assert_eq!(one.identity(), spec("ab", 0, 30, "    monitor: { every: 5 }\n").identity());
        assert_ne!(one.identity(), spec("ab", 0, 40, "").identity());
        assert_ne!(one.identity(), spec("cd", 0, 30, "").identity());
        assert_eq!(ResolvedSpec::parse("work: { pretext: { a: 1 } }").identity(), None);
        assert_eq!((one.kind(), one.steps(), one.upstream()), (Some("pretext"), Some(30), None));
    }

    #[test]
    fn what_decides_the_result_knows_no_seed_and_no_path() {
        let deciding =
            spec("ab", 0, 30, "    monitor: { every: 5 }\n    task: { colorization: { prior: x/p.npy } }\n");
        let keys: Vec<_> =
            deciding.deciding().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(keys, ["data.crop=29", "data.train=aa", "train.optimizer.adam.lr=1e-3", "train.steps=30"]);
        assert_eq!(spec("ab", 0, 30, "").deciding(), spec("cd", 1, 30, "").deciding());
    }

    #[test]
    fn settings_are_keyed_as_they_were_written() {
        let settings = spec("ab", 3, 30, "").settings();
        assert_eq!(settings["seed"], "3");
        assert_eq!(settings["data.source.folder.train"], "a/b");
        assert!(!settings.contains_key("lineage") && !settings.contains_key("version"));
    }

    #[test]
    fn values_are_short() {
        let hash = "0123456789abcdef".repeat(4);
        for (value, short) in [
            ("0.001", "1e-3"),
            ("0.002", "2e-3"),
            ("0.01", "0.01"),
            ("0.9", "0.9"),
            ("2000", "2000"),
            ("'1.5.0'", "1.5.0"),
            ("msra", "msra"),
            (hash.as_str(), "0123456789ab"),
        ] {
            assert_eq!(shown(value), short);
        }
    }
}
