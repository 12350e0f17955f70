//! Deletes runs, or the checkpoints of finished ones, such that a kill at any instant leaves nothing that looks like a
//! finished run. What may go is decided elsewhere; here a directory is locked, looked at again, and removed.
//!
//! A run directory is first renamed to `.NAME.removed`, which is atomic: under its name there is a whole run or none. Then
//! its manifest goes, without which no run counts as finished, then all else, and its spec last, by which [`is_remainder`]
//! knows what a killed process has left.

use super::{
    lock::{RunLock, is_in_use},
    manifest::{self, Manifest},
    retention,
    run_dir::{SPEC, is_run_name},
};
use crate::atomic_write;
use anyhow::{Context, Result, ensure};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// End of the name of a directory that is being removed.
const REMOVED: &str = ".removed";
/// Folder of checkpoints in a run directory.
pub const CHECKPOINTS: &str = "checkpoints";

/// Removes the run directory `run`, if its manifest is still `known`.
///
/// # Errors
/// A link; a process is writing to the directory, or has written to it since; a file that cannot be deleted.
pub fn remove(run: &Path, known: &Manifest) -> Result<()> {
    let _lock = lock_unchanged(run, known)?;
    let removed = removed_path(run);
    let trouble = || format!("cannot remove {}: is the folder writable?", run.display());
    ensure!(!removed.exists(), "{} is in the way: remove it first", removed.display());
    atomic_write::rename(run, &removed).with_context(trouble)?;
    remove_remainder(&removed)
}

/// Whether `path` is what an interrupted [`remove`] has left: its name, and the spec or nothing at all.
pub fn is_remainder(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = name.strip_prefix('.').and_then(|name| name.strip_suffix(REMOVED)).is_some_and(is_run_name);
    let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    named
        && !path.is_symlink()
        && path.is_dir()
        && !is_in_use(path)
        && (path.join(SPEC).is_file() || is_empty())
}

/// Removes what an interrupted [`remove`] has left: the manifest first, the spec last.
///
/// # Errors
/// A file that cannot be deleted.
pub fn remove_remainder(removed: &Path) -> Result<()> {
    remove_in_order(removed).with_context(|| format!("cannot remove {}: is it writable?", removed.display()))
}

fn remove_in_order(removed: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(removed)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| match entry.file_name() {
        name if name == manifest::FILE => 0,
        name if name == SPEC => 2,
        _ => 1,
    });
    for entry in entries {
        // A link is no folder here: it is deleted, and what it leads to is not.
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
        atomic_write::sync_folder(&entry.path())?;
    }
    fs::remove_dir(removed)
}

/// Checkpoints of the run directory `run`: the last and the best ones.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let folder = run.join(CHECKPOINTS);
    let known = [retention::LAST, retention::BEST].map(|name| folder.join(name));
    let ranked = retention::on_disk(&folder).unwrap_or_default().into_iter().map(|(_, path)| path);
    known.into_iter().chain(ranked).filter(|path| path.is_file()).collect()
}

/// Removes the checkpoints of a finished run, if its manifest is still `known`: from the list in the manifest first, so that
/// the run is never one whose files are missing.
///
/// # Errors
/// As [`remove`]; a manifest that cannot be written.
pub fn remove_checkpoints(run: &Path, known: &Manifest) -> Result<()> {
    let _lock = lock_unchanged(run, known)?;
    ensure!(known.status.is_finished(), "{} is not finished and needs its checkpoints", run.display());
    let mut without = known.clone();
    without.outputs.retain(|name, _| !name.starts_with(&format!("{CHECKPOINTS}/")));
    without.write(run)?;
    for path in checkpoints(run) {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Removes temporary files of killed processes anywhere in the run directory `run`, if its manifest is still `known`.
///
/// # Errors
/// As [`remove`].
pub fn remove_partials(run: &Path, known: &Manifest) -> Result<()> {
    let _lock = lock_unchanged(run, known)?;
    for path in atomic_write::partials(run) {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Locks a run directory in which nothing has happened since its manifest was read.
fn lock_unchanged(run: &Path, known: &Manifest) -> Result<RunLock> {
    ensure!(!run.is_symlink(), "{} is a link: remove the link yourself", run.display());
    let lock = RunLock::take(run)?;
    let now = Manifest::read(run)?;
    ensure!(now.as_ref() == Some(known), "{} has changed in the meantime and is left alone", run.display());
    Ok(lock)
}

/// Name of a directory while it is being removed. Programs skip it.
fn removed_path(run: &Path) -> PathBuf {
    let name = run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    run.with_file_name(format!(".{name}{REMOVED}"))
}

/// Whether a directory's name is that of one that is being removed.
pub fn is_removed(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(REMOVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::run_dir::RunDir;

    const NAME: &str = "probe-s0-0123456789ab";

    /// A finished run with a checkpoint, and a link out of it.
    fn finished(folder: &Path) -> (PathBuf, Manifest) {
        let run = folder.join(NAME);
        let open = RunDir::open(&run, "lineage: a\nwork: {}\n").unwrap();
        fs::write(run.join("checkpoints/last.safetensors"), "state").unwrap();
        fs::write(run.join("results.json"), "{}").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.join("outside"), run.join("link")).unwrap();
        open.finish(&[]).unwrap();
        let manifest = Manifest::read(&run).unwrap().unwrap();
        (run, manifest)
    }

    #[test]
    fn a_run_goes_and_what_it_links_to_stays() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("outside")).unwrap();
        fs::write(temp.path().join("outside/kept"), "x").unwrap();
        let (run, manifest) = finished(temp.path());
        remove(&run, &manifest).unwrap();
        let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["outside"]);
        assert!(temp.path().join("outside/kept").exists());
    }

    #[test]
    fn what_is_in_use_or_has_changed_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (run, manifest) = finished(temp.path());
        let open = RunDir::open(&run, "lineage: a\nwork: {}\n").unwrap();
        assert!(is_in_use(&run));
        let error = remove(&run, &manifest).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} is writing", std::process::id())), "{error}");
        open.interrupt().unwrap();
        assert!(!is_in_use(&run));
        let error = remove(&run, &manifest).unwrap_err().to_string();
        assert!(error.contains("has changed in the meantime"), "{error}");
        assert!(run.join("results.json").exists());
    }

    /// Deletes the entries one by one, as a killed process would have, and looks after each.
    #[test]
    fn a_half_removed_run_is_never_a_finished_one() {
        let temp = tempfile::tempdir().unwrap();
        let (run, _) = finished(temp.path());
        let entries = fs::read_dir(&run).unwrap().count();
        let removed = removed_path(&run);
        fs::rename(&run, &removed).unwrap();
        assert!(is_remainder(&removed));
        fs::remove_file(removed.join(manifest::FILE)).unwrap();
        let others = fs::read_dir(&removed).unwrap().map(|e| e.unwrap().path());
        let others: Vec<_> = others.filter(|path| !path.ends_with(SPEC)).collect();
        assert_eq!(others.len() + 2, entries);
        for path in others {
            assert!(RunDir::finished(&removed).unwrap().is_none() && is_remainder(&removed));
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            }
            .unwrap();
        }
        assert!(is_remainder(&removed));
        fs::remove_file(removed.join(SPEC)).unwrap();
        assert!(is_remainder(&removed), "an empty one is a remainder too");
        remove_remainder(&removed).unwrap();
        assert!(!removed.exists());
    }

    #[test]
    fn a_finished_run_without_checkpoints_is_still_whole() {
        let temp = tempfile::tempdir().unwrap();
        let (run, manifest) = finished(temp.path());
        assert_eq!(checkpoints(&run).len(), 1);
        remove_checkpoints(&run, &manifest).unwrap();
        let after = RunDir::finished(&run).unwrap().unwrap();
        assert!(checkpoints(&run).is_empty() && after.changed(&run).is_empty());
        assert!(after.outputs.contains_key("results.json"));
    }
}
