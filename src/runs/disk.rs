//! Sizes on disk. A file with several hard links, as checkpoints have, counts once, and is freed only with its last link.

use std::{collections::HashMap, fs::Metadata, path::Path};
use walkdir::WalkDir;

/// Files and their sizes.
#[derive(Debug, Default)]
pub(super) struct DiskUsage {
    /// Length, links of the file, and links seen, by file.
    files: HashMap<FileKey, (u64, u64, u64)>,
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
            let (key, links) = identity(&metadata, entry.path());
            self.files.entry(key).or_insert((metadata.len(), links, 0)).2 += 1;
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|(bytes, ..)| bytes).sum()
    }

    /// Bytes that deleting them frees.
    pub fn freed(&self) -> u64 {
        self.files.values().filter(|(_, links, seen)| seen >= links).map(|(bytes, ..)| bytes).sum()
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata, _: &Path) -> (FileKey, u64) {
    use std::os::unix::fs::MetadataExt;
    ((metadata.dev(), metadata.ino()), metadata.nlink())
}
#[cfg(not(unix))]
fn identity(_: &Metadata, path: &Path) -> (FileKey, u64) {
    (path.into(), 1)
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
    use std::fs;

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

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_file_outside_frees_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = (temp.path().join("a"), temp.path().join("b"));
        for dir in [&a, &b] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(a.join("last"), [0; 100]).unwrap();
        fs::hard_link(a.join("last"), a.join("best")).unwrap();
        let usage = DiskUsage::of(&a);
        assert_eq!((usage.bytes(), usage.freed()), (100, 100));
        fs::hard_link(a.join("last"), b.join("last")).unwrap();
        let mut usage = DiskUsage::of(&a);
        assert_eq!((usage.bytes(), usage.freed()), (100, 0));
        usage.add(&b);
        assert_eq!((usage.bytes(), usage.freed()), (100, 100));
    }
}
