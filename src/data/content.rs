//! Content fingerprints of file sets.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf};

/// Larger sets are fingerprinted by file sizes only: hashing every byte would take too long.
const READ: u64 = 1 << 30;

/// Hashes the file sizes, and the contents if the total is at most [`READ`]. An unreadable file hashes as empty.
pub(super) fn add_files(hash: &mut Sha256, files: &[PathBuf]) {
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |about| about.len());
    let sizes: Vec<u64> = files.par_iter().map(size).collect();
    sizes.iter().for_each(|size| hash.update(size.to_le_bytes()));
    if sizes.iter().sum::<u64>() <= READ {
        let digest = |file: &PathBuf| Sha256::digest(fs::read(file).unwrap_or_default());
        let digests: Vec<_> = files.par_iter().map(digest).collect();
        digests.iter().for_each(|digest| hash.update(digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_size_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.bmp");
        let hash = |text: &str| {
            fs::write(&file, text).unwrap();
            let mut hash = Sha256::new();
            add_files(&mut hash, std::slice::from_ref(&file));
            hash.finalize()
        };
        assert_eq!(hash("abc"), hash("abc"));
        assert_ne!(hash("abc"), hash("abd"));
    }
}
