//! Sizes on disk. A file with several hard links, as checkpoints have, counts once.

use std::{collections::HashMap, fs::Metadata, path::Path};
use walkdir::WalkDir;

/// Files and their sizes.
#[derive(Debug, Default)]
pub(super) struct DiskUsage {
    /// Length by file.
    files: HashMap<FileKey, u64>,
}

/// Identifies a file across its hard links: by device and inode.
#[cfg(unix)]
type FileKey = (u64, u64);
/// Identifies a file where the system does not tell its hard links.
#[cfg(not(unix))]
type FileKey = std::path::PathBuf;

impl DiskUsage {
    /// Everything in the folder `dir`.
    pub fn of(dir: &Path) -> Self {
        let mut usage = Self::default();
        usage.add(dir);
        usage
    }

    /// Adds a file, or everything in a folder. Links are not followed.
    pub fn add(&mut self, path: &Path) {
        for entry in WalkDir::new(path).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
            let Ok(metadata) = entry.metadata() else { continue };
            self.files.insert(identity(&metadata, entry.path()), metadata.len());
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().sum()
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata, _: &Path) -> FileKey {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}
#[cfg(not(unix))]
fn identity(_: &Metadata, path: &Path) -> FileKey {
    path.into()
}

/// `12 kB`, `3.4 GB`: powers of 1000.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_or_more() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_345, "12 kB"),
            (999_600, "1.0 MB"),
            (3_400_000_000, "3.4 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
