//! The pictures of a study in one file: raw RGB, all of one length. Whatever a participant can measure of a picture that is
//! sent (bytes, compression, time of decoding) is the same for photographs and fakes.

use super::design::StudyDesign;
use crate::data::dataset::RgbImage;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// File name in the folder of a study.
pub const PICTURES: &str = "pictures.rgb";
/// Width and height of every picture, as in the paper.
pub const SIDE: usize = 256;
/// Bytes of every picture: rows of RGB.
pub const BYTES: usize = 3 * SIDE * SIDE;

/// Which picture of a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureVersion {
    /// The photograph.
    Real,
    /// Its lightness with the colors of another photograph.
    Random,
    /// The picture of an algorithm, by its index in the design.
    Recolored(usize),
}

impl PictureVersion {
    fn index(self) -> usize {
        match self {
            Self::Real => 0,
            Self::Random => 1,
            Self::Recolored(algorithm) => 2 + algorithm,
        }
    }
}

/// Writes the file: for each photograph the photograph, its Random baseline, and the picture of each algorithm.
pub struct PictureWriter {
    file: BufWriter<File>,
    hash: Sha256,
}

impl PictureWriter {
    /// # Errors
    /// A file that cannot be created.
    pub fn create(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(folder.join(PICTURES))?), hash: Sha256::new() })
    }

    /// Appends a picture of [`BYTES`] bytes.
    ///
    /// # Errors
    /// A full disk.
    pub fn push(&mut self, pixels: &[u8]) -> io::Result<()> {
        debug_assert_eq!(pixels.len(), BYTES);
        self.hash.update(pixels);
        self.file.write_all(pixels)
    }

    /// Syncs the file to disk and returns its SHA-256.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(mut self) -> io::Result<[u8; 32]> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.hash.finalize().into())
    }
}

/// Reads single pictures of the file.
#[derive(Clone, Debug)]
pub struct PictureFile {
    path: PathBuf,
    versions: usize,
}

impl PictureFile {
    /// Opens the pictures of a study.
    ///
    /// # Errors
    /// A file that is missing or not the one that was written with the study.
    pub fn open(folder: &Path, design: &StudyDesign, sha256: &[u8]) -> Result<Self> {
        let path = folder.join(PICTURES);
        let found = sha256_of(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            found == sha256,
            "{} is not the file that `study new` wrote: restore it, or create the study anew",
            path.display()
        );
        Ok(Self { path, versions: 2 + design.algorithms.len() })
    }

    /// The pixels of a picture.
    ///
    /// # Errors
    /// A file that was removed or cut since it was opened.
    pub fn read(&self, photograph: usize, version: PictureVersion) -> io::Result<Vec<u8>> {
        let index = (photograph * self.versions + version.index()) as u64;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(index * BYTES as u64))?;
        let mut pixels = vec![0; BYTES];
        file.read_exact(&mut pixels)?;
        Ok(pixels)
    }

    /// As [`PictureFile::read`], as a picture.
    ///
    /// # Errors
    /// As there.
    pub fn image(&self, photograph: usize, version: PictureVersion) -> io::Result<RgbImage> {
        Ok(RgbImage { width: SIDE, height: SIDE, pixels: self.read(photograph, version)? })
    }
}

fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::design::sample_design;

    #[test]
    fn every_version_of_every_photograph_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PictureWriter::create(folder.path()).unwrap();
        (0..12u8).for_each(|i| writer.push(&vec![i; BYTES]).unwrap());
        let sha256 = writer.finish().unwrap();
        let design = sample_design(2, 3);
        let pictures = PictureFile::open(folder.path(), &design, &sha256).unwrap();
        use PictureVersion::{Random, Real, Recolored};
        let mut expected = 0;
        for photograph in 0..3 {
            for version in [Real, Random, Recolored(0), Recolored(1)] {
                assert_eq!(pictures.read(photograph, version).unwrap(), vec![expected; BYTES]);
                expected += 1;
            }
        }
        assert!(pictures.read(3, Real).is_err());
        std::fs::write(folder.path().join(PICTURES), [0]).unwrap();
        let error = PictureFile::open(folder.path(), &design, &sha256).unwrap_err().to_string();
        assert!(error.contains("is not the file that `study new` wrote"), "{error}");
    }
}
