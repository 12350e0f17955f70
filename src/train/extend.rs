//! Extends a finished run: a new run directory that continues from a shorter run of the same lineage. The two specs
//! agree in everything that affects learning except the number of steps. The shorter run is not modified.

use super::{
    lock::{LOCK, RunLock},
    manifest::{self, Manifest, Status},
    spec_change::LINEAGE,
};
use crate::{atomic_write, yaml};
use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Files that the longer run writes itself.
const NOT_COPIED: [&str; 6] =
    [LOCK, "spec.yaml", manifest::FILE, "weights.safetensors", "weights_raw.safetensors", "results.json"];

/// The `lineage` field of a spec, shared by runs that differ only in length; None if the spec has none.
pub fn lineage(spec: &str) -> Option<String> {
    let value: serde_yaml::Value = yaml::read(spec).ok()?;
    value.get(LINEAGE)?.as_str().map(String::from)
}

/// Creates the run directory `to` as an interrupted run at the state of `from`, unless another process has made it. The
/// directory appears complete or not at all.
///
/// # Errors
/// A file cannot be read or written; another process is making the directory.
pub fn extend(from: &Path, to: &Path) -> Result<()> {
    let partial = partial_path(to);
    let trouble = || format!("cannot go on from {} in {}: is the disk full?", from.display(), to.display());
    fs::create_dir_all(&partial).with_context(trouble)?;
    let _lock = RunLock::take(&partial)?;
    if to.exists() {
        // Its maker has renamed the folder, or another that found it made has removed it.
        return fs::remove_dir_all(&partial).or_else(unless_gone).with_context(trouble);
    }
    clear(&partial).with_context(trouble)?;
    copy(from, &partial).with_context(trouble)?;
    if let Some(earlier) = Manifest::read(from)? {
        let (metrics, outputs) = Default::default();
        Manifest { status: Status::Interrupted, metrics, outputs, ..earlier }.write(&partial)?;
    }
    fs::rename(&partial, to).with_context(trouble)
}

fn unless_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Removes what a process that was killed has left, except the lock.
fn clear(partial: &Path) -> io::Result<()> {
    for entry in fs::read_dir(partial)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false if entry.file_name() == *LOCK => {}
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn partial_path(to: &Path) -> PathBuf {
    let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    to.with_file_name(format!(".{name}.partial"))
}

/// Copies checkpoints first: log lines after a checkpoint are truncated on resume, but none before it may be missing.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| !entry.path().is_dir());
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        if NOT_COPIED.iter().any(|own| name == *own) {
            continue;
        }
        match path.is_dir() {
            true => copy(&path, &to.join(name))?,
            // Checkpoints are replaced atomically and can be hard-linked. Logs are appended to and must be copied.
            false if path.extension().is_some_and(|e| e == "safetensors") => {
                atomic_write::link(&path, &to.join(name))?;
            }
            false => drop(fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{
        run_dir::RunDir,
        task::{Better, Metric},
    };

    #[test]
    fn the_longer_run_stands_where_the_shorter_ended_and_that_one_stays() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("short"), temp.path().join("long"));
        let run = RunDir::open(&from, "lineage: a\nsteps: 3\n").unwrap();
        for (name, text) in
            [("checkpoints/last.safetensors", "3"), ("metrics.jsonl", "{}"), ("results.json", "[]")]
        {
            fs::write(from.join(name), text).unwrap();
        }
        run.finish(&[Metric { name: "top1".into(), value: 0.5, better: Better::Higher }]).unwrap();
        fs::create_dir(partial_path(&to)).unwrap();
        fs::write(partial_path(&to).join("left by a kill"), "").unwrap();

        extend(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("checkpoints/last.safetensors")).unwrap(), "3");
        assert!(!to.join("results.json").exists() && !to.join("left by a kill").exists());
        assert!(RunDir::finished(&to).unwrap().is_none());
        drop(RunDir::open(&to, "lineage: a\nsteps: 4\n").unwrap());
        assert!(RunDir::spec_at(&to).unwrap().contains("steps: 4"));
        let whole = RunDir::finished(&from).unwrap().unwrap();
        assert!(whole.changed(&from).is_empty() && whole.metrics.len() == 1);
    }
}
