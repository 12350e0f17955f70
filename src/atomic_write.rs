//! Atomic file writes: each file is written under a temporary name in the same folder, synced to disk and renamed.
//! After a kill, a full disk or a power cut the path holds either the old file or the new one, never a partial one,
//! and concurrent writers in one folder do not collide.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Extension of a file while it is being written.
const PARTIAL: &str = "partial";

/// Writes `bytes` to `path`, replacing any existing file.
///
/// # Errors
/// A missing or read-only folder, a full disk. The existing file is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |out| out.write_all(bytes))
}

/// Writes `path` through `fill`. On any error the existing file is unchanged and the temporary file is removed.
///
/// # Errors
/// Errors of `fill`; a missing or read-only folder, a full disk.
pub fn write_with<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<(), E>,
) -> Result<(), E> {
    let partial = partial(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, partial.as_file());
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|refused| refused.error)?;
    Ok(sync_folder(path)?)
}

/// Links `from` to `to`, replacing an existing `to`: a hard link where the file system supports them, else a copy.
///
/// # Errors
/// As [`write`].
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    let partial = partial(to)?.into_temp_path();
    fs::remove_file(&partial)?; // a hard link needs an unused name; a collision is as unlikely as for the temporary file
    if fs::hard_link(from, &partial).is_ok() {
        // Renaming a link onto another link to the same file is a no-op that keeps both: remove the temporary name.
        let renamed = fs::rename(&partial, to);
        drop(partial);
        renamed?;
        return sync_folder(to);
    }
    write_with(to, |out| io::copy(&mut File::open(from)?, out).map(|_| ()))
}

/// Moves a finished file within one file system, after syncing it to disk; replaces an existing `to`.
///
/// # Errors
/// As [`write`].
pub fn publish(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    sync_folder(to)
}

/// Renames a file or folder within one file system; the new name is free.
///
/// # Errors
/// As [`write`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(to)
}

/// Temporary files of interrupted writes, at any depth of `folder`; links are not followed.
pub fn partials(folder: &Path) -> Vec<PathBuf> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|e| e == PARTIAL))
        .collect()
}

/// Removes temporary files of interrupted writes from `folder`. The caller must be the only writer there.
///
/// # Errors
/// An unreadable folder, a file that cannot be removed.
pub fn remove_partials(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == PARTIAL) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Creates a temporary file next to `path`: `NAME.RANDOM.partial`.
fn partial(path: &Path) -> io::Result<NamedTempFile> {
    let mut prefix = path.file_name().map_or_else(OsString::new, OsString::from);
    if prefix.len() > 200 {
        prefix = "file".into(); // file systems limit the length of names
    }
    prefix.push(".");
    let suffix = format!(".{PARTIAL}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(&suffix);
    // The usual permissions of a new file; temporary files default to owner-only.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path)).map_err(unnamed)
}

/// Strips the temporary file's name from the error.
fn unnamed(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason),
        None => error,
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the folder of `path` so that a rename or a deletion is durable. A no-op where folders cannot be opened as files (Windows).
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.txt");
        write(&path, b"old")?;
        write(&path, b"new")?;
        assert_eq!(fs::read(&path)?, b"new");
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        let error = write(&dir.path().join("no/such/folder.txt"), b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains(PARTIAL) && !error.to_string().contains("folder.txt"), "{error}");
        write(&dir.path().join("n".repeat(255)), b"long")?;
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |out| {
            out.write_all(b"half of the ne")?;
            Err(io::Error::other("no space left"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space left");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a partial file was left behind");
    }

    #[test]
    fn writers_of_one_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let write_of = |byte: u8| write(&path, &vec![byte; 300_000]);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|byte| scope.spawn(move || write_of(byte))).collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a partial file was left behind");
    }

    #[test]
    fn links_follow_neither_name() {
        let folder = tempfile::tempdir().unwrap();
        let (last, best) = (folder.path().join("last"), folder.path().join("best"));
        write(&last, b"one").unwrap();
        link(&last, &best).unwrap();
        link(&last, &best).unwrap();
        write(&last, b"two").unwrap();
        assert_eq!((fs::read(&last).unwrap(), fs::read(&best).unwrap()), (b"two".to_vec(), b"one".to_vec()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a partial link was left behind");
    }

    #[test]
    fn sweeping_takes_partial_files_only() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.safetensors", "a.safetensors.partial"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        partial(&folder.path().join("a.safetensors")).unwrap().keep().unwrap();
        remove_partials(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["a.safetensors"]);
    }
}
