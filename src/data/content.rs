//! What tells one set of files from another.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf};

/// Sets of more bytes are told apart by the sizes of their files alone: to read them all would take longer than it is worth.
const READ: u64 = 1 << 30;

/// Takes the files in: their sizes, and their bytes where all together are few enough. One that cannot be read has none.
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
