//! Hashes the inputs that determine a fit's result, so that nothing is computed twice and no stale result is reused.
//! Files enter by content, not by path; upstream stages by their hash, not by their name; keys that only set logging
//! intervals or measure during training are ignored.

use super::{
    faults::all,
    plan::{FileContent, InputFile, StagePlan},
    sets::DataSets,
    stages::Stage,
};
use crate::{
    data::{
        paired::match_by_stem,
        source::{Dataset as _, Split},
    },
    hub,
    nn::weights,
    spec,
    train::{
        manifest,
        resolved_spec::{IDLE_KEYS, TOLERANCE},
    },
    yaml,
};
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde_yaml::Value;
use std::{collections::BTreeMap, path::Path};

/// Hash of a fit and the inputs that determine its result.
pub struct Identity {
    pub hash: String,
    /// The inputs as YAML: the run directory's spec.
    pub spec: String,
}

/// The inputs that determine a fit's result.
#[derive(Serialize)]
struct IdentityInputs<'a> {
    /// Hash without the number of steps; written to `spec.yaml` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<String>,
    version: &'static str,
    seed: u64,
    data: &'a BTreeMap<String, String>,
    upstream: Option<&'a str>,
    /// SHA-256 of the input files, and fingerprints of picture folders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: &'a Vec<String>,
    work: Value,
}

/// Computes the identity of the fit that `plan` describes; `upstream` is the hash of the fit it starts from, `located`
/// the local path of its weight file.
///
/// # Errors
/// A file that cannot be read.
pub fn identify(
    stage: &Stage,
    plan: &StagePlan,
    sets: &DataSets,
    seed: u64,
    (upstream, located): (Option<&str>, Option<&Path>),
) -> Result<Identity> {
    let files = contents(plan, sets, located)?;
    let (version, data) = (env!("CARGO_PKG_VERSION"), &sets.fingerprints());
    let inputs =
        |lineage, work| IdentityInputs { lineage, version, seed, data, upstream, files: &files, work };
    let work = work(stage, plan)?;
    let contents = keys(plan, located);
    let (mut all, mut but_steps) = (work.clone(), work.clone());
    strip(&mut all, "", &contents, true);
    strip(&mut but_steps, "", &contents, false);
    let lineage = Some(spec::hash(&inputs(None, but_steps))?);
    Ok(Identity { hash: spec::hash(&inputs(None, all))?, spec: spec::resolved_yaml(&inputs(lineage, work))? })
}

/// Content hashes of the files in a plan.
fn contents(plan: &StagePlan, sets: &DataSets, located: Option<&Path>) -> Result<Vec<String>> {
    let own = located.map(content);
    let others = plan.files.iter().map(|file| match file.content {
        FileContent::Pictures => Ok(match_by_stem(&*sets.split(Split::Val), &file.path)?.fingerprint()),
        _ => content_of(file),
    });
    all(own.into_iter().chain(others))
}

/// Checks that the files in a plan, except pictures, can be read.
///
/// # Errors
/// Every unreadable file.
pub fn files(plan: &StagePlan) -> Result<()> {
    all(plan.files.iter().filter(|file| file.content != FileContent::Pictures).map(content_of)).map(drop)
}

fn content_of(file: &InputFile) -> Result<String> {
    match file.content {
        FileContent::Classifier => content(&hub::locate(&file.path)?),
        _ => content(&file.path),
    }
}

fn content(path: &Path) -> Result<String> {
    let file = &weights::split(path).0;
    let required = "give the path of a file that is there";
    manifest::sha256(file).map_err(|error| anyhow!("cannot read {} ({error}): {required}", file.display()))
}

/// The stage reduced to this fit: `{ linear_probe: { init: …, probe: …, … } }`, without its other rows and with all lengths
/// in updates.
fn work(stage: &Stage, plan: &StagePlan) -> Result<Value> {
    let mut work = yaml::value_of(stage)?;
    let section = work.get_mut(stage.key()).and_then(Value::as_mapping_mut);
    let section = section.context("a stage is a section")?;
    if let Some(train) = &plan.train {
        section.insert("train".into(), yaml::value_of(train)?);
    }
    for (rows, row) in [("backbones", "init"), ("methods", "method")] {
        let Some(Value::Mapping(all)) = section.remove(rows) else { continue };
        let own = plan.row.name.as_ref().and_then(|name| all.get(name.as_str()));
        section.insert(row.into(), own.cloned().unwrap_or_default());
    }
    if let (Some(column), Some(layers)) = (&plan.row.column, stage.kind().layers()) {
        let list = layers.keys.iter().try_fold(&mut work[stage.key()], |at, key| at.get_mut(*key));
        *list.context("a stage names its layers")? = Value::Sequence(vec![column.as_str().into()]);
    }
    Ok(work)
}

/// Replacements for the paths of a plan: null, since file contents are hashed; for `weights.pth#ema` the part `ema`,
/// which selects content within the file.
fn keys(plan: &StagePlan, located: Option<&Path>) -> BTreeMap<String, Value> {
    let key = |path: &Path| weights::split(path).1.map_or(Value::Null, Value::String);
    let text = |path: &Path| path.display().to_string();
    let start = plan.row.start.file().zip(located).map(|(named, located)| (text(named), key(located)));
    plan.paths().into_iter().map(|path| (text(path), key(path))).chain(start).collect()
}

/// Removes keys without effect on the result; the tolerance is reset to its default.
fn strip(value: &mut Value, key: &str, paths: &BTreeMap<String, Value>, steps: bool) {
    match value {
        Value::Mapping(entries) => {
            if let Some((_, idle)) = IDLE_KEYS.iter().find(|(section, _)| *section == key) {
                idle.iter().for_each(|key| drop(entries.remove(*key)));
            }
            let (tolerance, sections, default) = TOLERANCE;
            if let Some(value) = entries.get_mut(tolerance).filter(|_| sections.contains(&key)) {
                *value = default.into();
            }
            if key == "train" && !steps {
                entries.remove("steps");
            }
            // The upstream stage is identified by its hash, not its name.
            if entries.len() == 1 && entries.contains_key("stage") {
                entries.insert("stage".into(), Value::Null);
            }
            entries.iter_mut().for_each(|(key, value)| {
                let key = key.as_str().unwrap_or_default().to_string();
                strip(value, &key, paths, steps);
            });
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| strip(item, key, paths, steps)),
        Value::String(text) => {
            if let Some(key) = paths.get(text) {
                *value = key.clone();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_nothing_goes_and_a_key_of_a_file_stays() {
        let mut work: Value = yaml::read(
            "probe:\n  data: { crop: 29, threads: 4, cache: false, max_bad: 0.5 }\n  init: { rescaled: { file: a/b.pth#ema } }\n  \
             other: { stage: color }\n  named: { stage: color, keep: 2 }\n  train: { steps: 3, log_every: 2, batch: 8 }\n",
        )
        .unwrap();
        let paths = BTreeMap::from([("a/b.pth#ema".to_string(), Value::from("ema"))]);
        strip(&mut work, "", &paths, false);
        let left = "probe:\n  data: { crop: 29, max_bad: 0.01 }\n  init: { rescaled: { file: ema } }\n  other: { stage: null }\n  \
                    named: { stage: color, keep: 2 }\n  train: { batch: 8 }\n";
        assert_eq!(work, yaml::read::<Value>(left).unwrap());
    }
}
