//! Whole files or none: every file that a run replaces is written beside its place, forced to disk and renamed, so
//! that a kill, a full disk or a power cut leaves the old file or the new one, never half of one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// What a file is called while it is being written.
const PARTIAL: &str = "partial";

/// Writes `path` through `fill`; on any error the old file stays and nothing is left behind.
pub fn write(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let partial = partial_of(path);
    let written = write_partial(&partial, fill).and_then(|()| fs::rename(&partial, path));
    if let Err(error) = written {
        // The first error is the one to report; a partial file that stays is swept when the run is opened again.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    sync_folder(path)
}

/// Writes `bytes` to `path`.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, |out| out.write_all(bytes))
}

/// Gives `from` the further name `to`, replacing what was called so: a hard link where the file system has them, else
/// a copy.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    let partial = partial_of(to);
    let _ = fs::remove_file(&partial);
    if fs::hard_link(from, &partial).is_ok() {
        // Renaming one name of a file onto another name of the same file does nothing: the second must go first.
        let renamed = fs::rename(&partial, to);
        let _ = fs::remove_file(&partial);
        renamed?;
        return sync_folder(to);
    }
    write(to, |out| io::copy(&mut File::open(from)?, out).map(|_| ()))
}

/// Removes what an interrupted write left in `folder`. Only for the holder of the run's lock.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == PARTIAL) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn partial_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(PARTIAL);
    PathBuf::from(name)
}

fn write_partial(
    partial: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(partial)?);
    fill(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// A rename is on disk when its folder is. Where folders cannot be opened as files (Windows) there is nothing to do.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_bytes(&path, b"old").unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"half of the ne")?;
            Err(io::Error::other("no space left"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space left");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a partial file was left behind");
    }

    #[test]
    fn links_follow_neither_name() {
        let folder = tempfile::tempdir().unwrap();
        let (last, best) = (folder.path().join("last"), folder.path().join("best"));
        write_bytes(&last, b"one").unwrap();
        link(&last, &best).unwrap();
        link(&last, &best).unwrap();
        write_bytes(&last, b"two").unwrap();
        assert_eq!((fs::read(&last).unwrap(), fs::read(&best).unwrap()), (b"two".to_vec(), b"one".to_vec()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a partial link was left behind");
    }

    #[test]
    fn sweeping_takes_partial_files_only() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.safetensors", "a.safetensors.partial"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        sweep(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["a.safetensors"]);
    }
}
