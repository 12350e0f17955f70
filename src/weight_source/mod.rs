//! What `--weights` and other arguments for weights name, as a file: a file, a run, an address on the hub, or a released
//! colorizer of the catalog. Files are opened by [`crate::backbones::exchange`] and [`crate::pretext::colorizer_file`].

mod local_runs;

pub use local_runs::{LocalRun, colorizers};

use crate::{
    hub,
    nn::weights,
    released::{self, Release, WeightCache},
    train::{
        checkpoint::{self, Checkpoint},
        run_dir::{RunDir, WEIGHTS},
    },
};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Most run directories listed in a message.
const LISTED: usize = 5;

/// A word that names neither a file nor released weights, or a folder without weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownWeights {
    #[error("no weights are called `{name}`: there is no such file, and {known}")]
    Name { name: String, known: String },
    #[error("{} is a folder without weights: {advice}", path.display())]
    Folder { path: PathBuf, advice: String },
}

/// The local path of weights, with the `#KEY` of `given`, if any. A run's directory stands for its final weights or, before
/// it has some, its best checkpoint. Released weights are downloaded once. A file takes precedence over a release of its
/// name. Other paths are returned unchanged, whether they exist or not.
///
/// # Errors
/// A malformed address, a failed download, a damaged checkpoint, [`UnknownWeights`].
pub fn locate(given: &Path) -> Result<PathBuf> {
    if hub::is_address(given) {
        return Ok(hub::locate(given)?);
    }
    let (file, _) = weights::split(given);
    let release = given.to_str().and_then(release);
    match release {
        _ if file.is_file() => {
            if let Some((name, _)) = release {
                tracing::warn!(
                    "using the file {name} here, not the released weights of that name: write ./{name} to say so"
                );
            }
            Checkpoint::verify_if_one(&file)?;
            Ok(given.into())
        }
        Some((name, release)) if !is_run(&file) => Ok(WeightCache::from_env().locate(name, release)?),
        _ if file.is_dir() => of_run(&file),
        _ if is_word(given) => Err(unknown(given).into()),
        _ => Ok(given.into()),
    }
}

/// Whether `given`, which stands for the local path `local`, is meant as the name of released weights: `local` is neither
/// a file nor a run, and `given` is a release or, if `local` does not exist, any word.
pub fn is_name(given: &Path, local: &Path) -> bool {
    match given.to_str().and_then(release) {
        Some(_) => !local.is_file() && !is_run(local),
        None => is_word(given) && !local.exists(),
    }
}

/// Checks, without opening anything, that weights can be meant by `given`: not a word that names no release and no file.
///
/// # Errors
/// A malformed address, [`UnknownWeights::Name`].
pub fn check(given: &Path) -> Result<()> {
    hub::address_in(given)?;
    match given.to_str().and_then(release) {
        None if is_word(given) && !given.exists() => Err(unknown(given).into()),
        _ => Ok(()),
    }
}

/// Released weights that [`locate`] would download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDownload {
    pub name: &'static str,
    pub release: &'static Release,
}

/// The download that [`locate`] would make of released weights; None if it needs none or could make none.
pub fn pending(given: &Path) -> Option<PendingDownload> {
    let (name, release) = release(given.to_str()?)?;
    let cache = WeightCache::from_env();
    let is_pending = is_name(given, given) && !cache.path(release).exists() && cache.can_download();
    is_pending.then_some(PendingDownload { name, release })
}

/// A release with its name.
fn release(name: &str) -> Option<(&'static str, &'static Release)> {
    let (name, release) = released::releases().ok()?.get_key_value(name)?;
    Some((name, release))
}

/// Whether a path can only be meant as a name: no folder, no extension, no key.
fn is_word(given: &Path) -> bool {
    let text = given.to_string_lossy();
    !text.is_empty() && !text.contains(['/', '\\', '.', '#'])
}

fn unknown(given: &Path) -> UnknownWeights {
    let name = given.to_string_lossy().into_owned();
    let names: Vec<&str> =
        released::releases().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let near = |known: &&&str| strsim::damerau_levenshtein(&name.to_lowercase(), known) <= known.len() / 3;
    let near: Vec<&str> = names.iter().filter(near).copied().collect();
    let known = match near.as_slice() {
        [] => format!("the released weights are {}", names.join(", ")),
        near => format!("the released weights of a similar name are {}", near.join(", ")),
    };
    UnknownWeights::Name { name, known }
}

fn is_run(folder: &Path) -> bool {
    folder.join("spec.yaml").is_file()
}

/// The weights of a run directory.
fn of_run(run: &Path) -> Result<PathBuf> {
    let finished = run.join(WEIGHTS);
    if finished.is_file() {
        tracing::info!("using the final weights of the run, {}", finished.display());
        return Ok(finished);
    }
    if RunDir::finished(run)?.is_some_and(|manifest| !manifest.outputs.contains_key(WEIGHTS)) {
        let advice = "its stage trains no network; give the run of one that does".into();
        return Err(UnknownWeights::Folder { path: run.into(), advice }.into());
    }
    let kept = [("best", checkpoint::best(run)), ("last", checkpoint::last(run))];
    let Some((kind, path)) = kept.into_iter().find(|(_, path)| path.is_file()) else {
        return Err(UnknownWeights::Folder { path: run.into(), advice: advice(run) }.into());
    };
    Checkpoint::verify_if_one(&path)?;
    let step = Checkpoint::read_state(&path)?.step;
    tracing::warn!(
        "the run is not finished: using its {kind} checkpoint, of step {step}, {}",
        path.display()
    );
    Ok(path)
}

fn has_weights(run: &Path) -> bool {
    [run.join(WEIGHTS), checkpoint::best(run), checkpoint::last(run)].iter().any(|path| path.is_file())
}

/// What to give instead of a folder: the runs in it.
fn advice(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runs: Vec<String> = entries
        .filter(|path| is_run(path) && has_weights(path))
        .map(|run| run.display().to_string())
        .collect();
    runs.sort();
    match runs.as_slice() {
        [] if is_run(folder) => "its stage trains no network, or has not come to its first checkpoint".into(),
        [] => "give a weight file or the directory of a run".into(),
        few if few.len() <= LISTED => format!("give one of the runs in it: {}", few.join(", ")),
        [first, ..] => format!("give one of the {} runs in it, such as {first}", runs.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(given: &Path) -> String {
        locate(given).unwrap_err().to_string()
    }

    #[test]
    fn a_mistyped_name_gets_the_nearest_ones() {
        for (name, parts) in [
            ("sigraph17", "similar name are siggraph17"),
            ("ECCV16", "similar name are eccv16"),
            ("weights", "weights are eccv16, eccv16-caffe, "),
            ("eccv17", "similar name are eccv16"),
        ] {
            let said = message(Path::new(name));
            assert!(said.contains(name) && said.contains(parts), "{said}");
        }
    }

    #[test]
    fn other_paths_are_left_to_their_readers() {
        for path in ["none.pth", "./none", "a/none", "none#ema"] {
            assert_eq!(locate(Path::new(path)).unwrap(), Path::new(path));
        }
        assert!(message(Path::new("hf://a/b")).contains("no file in the repository"));
    }

    #[test]
    fn a_run_gives_its_final_weights() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("tiny/color-s0-0123456789ab");
        fs::create_dir_all(run.join("checkpoints")).unwrap();
        assert!(message(&run).contains("give a weight file or the directory of a run"));
        fs::write(run.join("spec.yaml"), "a: 1").unwrap();
        assert!(message(&run).contains("trains no network"));
        assert!(message(run.parent().unwrap()).contains("give a weight file or the directory of a run"));
        fs::write(run.join(WEIGHTS), "").unwrap();
        let said = message(run.parent().unwrap());
        assert!(said.contains("one of the runs in it") && said.contains("color-s0-0123456789ab"), "{said}");
        assert_eq!(locate(&run).unwrap(), run.join(WEIGHTS));
    }
}
