//! Prepares a finished run for the hub: weights with a model card, spec and manifest. All files are verified against
//! the manifest; nothing is uploaded here.

use super::plan::WEIGHTS;
use crate::{
    hub::{FileUpload, Repo, UploadBody},
    nn::weights,
    report::{
        dataset_labels::label_in_spec,
        model_card::{ModelCard, PublishedWeights},
        redact,
    },
    train::manifest::{self, Manifest, OutputFile, Status},
    yaml,
};
use anyhow::{Context, Result, bail, ensure};
use serde_yaml::Value;
use std::{fs, path::Path};

const SPEC: &str = "spec.yaml";
const CARD: &str = "README.md";
/// Name suffixes of statistics, which are not counted as parameters.
const STATISTICS: [&str; 2] = [".running_mean", ".running_var"];

/// Files and notes of a publication.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Weights, model card (`README.md`), `spec.yaml` and `manifest.json`.
    pub files: Vec<FileUpload>,
    /// Text of the model card.
    pub card: String,
    /// Notes for the user before publication.
    pub notes: Vec<String>,
}

/// Verifies the run directory `run` and writes its model card for the repository `to`.
///
/// # Errors
/// Not a run directory; a run that is not finished or has no weights; files that do not match the manifest.
pub fn prepare(run: &Path, to: &Repo, license: &str) -> Result<Publication> {
    let manifest = finished(run)?;
    let output = unchanged(run, WEIGHTS, &manifest)?;
    unchanged(run, SPEC, &manifest)?;
    let weights = weight_file(&run.join(WEIGHTS), output)?;
    let path = run.join(SPEC);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut spec: Value = yaml::read(&text).with_context(|| format!("{} is not YAML", path.display()))?;
    let dataset = label_in_spec(&spec);
    let (paths, manifest) = (redact::redact_paths(&mut spec), redact::manifest(&manifest));
    let dataset = dataset.as_deref();
    let card = ModelCard { repo: to, license, manifest: &manifest, spec: &spec, dataset, weights: &weights };
    let card = card.markdown()?;
    let spec = if paths.is_empty() { text } else { shortened(&spec)? };
    let text = |name: &str, text| FileUpload { name: name.into(), content: UploadBody::Text(text) };
    let files = vec![
        FileUpload { name: WEIGHTS.into(), content: UploadBody::File(run.join(WEIGHTS)) },
        text(CARD, card.clone()),
        text(SPEC, spec),
        text(manifest::FILE, serde_json::to_string_pretty(&manifest)? + "\n"),
    ];
    Ok(Publication { files, card, notes: notes(&paths) })
}

fn shortened(spec: &Value) -> Result<String> {
    let head = "# Absolute paths are reduced to their last component; the manifest's SHA-256 is that of the \
                original file.\n";
    Ok(head.to_string() + &yaml::write(spec)?)
}

fn notes(paths: &[String]) -> Vec<String> {
    let mut notes = vec!["the host's name is withheld from manifest.json".to_string()];
    if !paths.is_empty() {
        notes.push(format!(
            "the spec names absolute paths ({}); README.md and spec.yaml contain only their last components, but \
             the header of {WEIGHTS} contains the full spec",
            paths.join(", ")
        ));
    }
    notes
}

fn finished(run: &Path) -> Result<Manifest> {
    let at = run.display();
    let manifest = Manifest::read(run)?.with_context(|| {
        format!(
            "{at} has no {}: name the directory of one run, results/runs/EXPERIMENT/STAGE-s0-…",
            manifest::FILE
        )
    })?;
    let go_on = "`hueristic run` with its spec resumes from the last checkpoint";
    match manifest.status {
        Status::Finished => Ok(manifest),
        Status::Running => {
            bail!("{at} is not finished: it is still running or was killed; if it was killed, {go_on}")
        }
        Status::Interrupted => {
            bail!("{at} is not finished: it was stopped at step {}; {go_on}", manifest.steps)
        }
        Status::Failed => {
            let why = manifest.error.as_deref().unwrap_or("the manifest does not say why");
            bail!("{at} is not finished: the run failed ({why}); remove the cause, then {go_on}")
        }
    }
}

/// The manifest's entry of a file, after verifying that the file is unmodified.
fn unchanged<'a>(run: &Path, name: &str, manifest: &'a Manifest) -> Result<&'a OutputFile> {
    let path = run.join(name);
    let Some(listed) = manifest.outputs.get(name) else {
        bail!(
            "{} is no output of that run: push a run that trained a backbone; a probe leaves none",
            path.display()
        );
    };
    let again = format!("delete {} and run the stage again", run.display());
    ensure!(path.is_file(), "{} is missing, but the manifest lists it: {again}", path.display());
    let found = manifest::sha256(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        found == listed.sha256,
        "{} was modified after the run: its SHA-256 is {found}, the manifest says {}; {again}",
        path.display(),
        listed.sha256
    );
    Ok(listed)
}

fn weight_file(path: &Path, output: &OutputFile) -> Result<PublishedWeights> {
    let (tensors, _) = weights::read(path)?;
    let numbers = |counted: bool| {
        let of_kind =
            tensors.iter().filter(|(name, _)| STATISTICS.iter().any(|s| name.ends_with(s)) == counted);
        of_kind.map(|(_, tensor)| tensor.elem_count()).sum()
    };
    Ok(PublishedWeights {
        name: WEIGHTS.into(),
        output: output.clone(),
        tensors: tensors.len(),
        parameters: numbers(false),
        statistics: numbers(true),
    })
}
