//! Whole files or none: written beside their place, forced to disk, renamed into it. A reader sees the old file or the new.

use std::{
    io::{self, Write},
    path::Path,
};

/// Puts `bytes` at `path`, replacing what is there.
///
/// # Errors
/// A folder that is not there or not writable, a full disk; what was there before then stays.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As readable for others as any new file, where a temporary one is for its owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("a.txt");
        super::write(&path, b"old")?;
        super::write(&path, b"new")?;
        assert_eq!(std::fs::read(&path)?, b"new");
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
        assert!(super::write(&dir.path().join("no/such/folder.txt"), b"").is_err());
        Ok(())
    }
}
