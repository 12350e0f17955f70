//! The report of `data verify`: decodes every image of a source, collects statistics and lists every fault.

use super::{
    catalog,
    dataset::{Dataset, RgbImage, Split},
    error::DataError,
    open::open,
    source::{DataSpec, Locations, SourceSpec},
};
use crate::text::counted;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Report on a source.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// the catalog's name, or the kind of source
    pub source: String,
    pub splits: Vec<SplitReport>,
    /// for catalog entries with known checksums, found below the data folder
    pub checksums: Vec<Checksum>,
}

/// Report on one split.
#[derive(Clone, Debug)]
pub struct SplitReport {
    pub split: Split,
    pub images: usize,
    /// name and number of images of each class; empty when unlabeled
    pub classes: Vec<(String, usize)>,
    /// why the split is unlabeled, if labels were found but not usable
    pub why_unlabeled: Option<String>,
    /// smallest, median and largest, of the readable images
    pub width: [usize; 3],
    pub height: [usize; 3],
    /// readable images whose every pixel is gray
    pub gray: usize,
    /// unreadable images: name and reason
    pub faults: Vec<(String, String)>,
    pub fingerprint: String,
}

/// A file compared with the catalog's checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub path: PathBuf,
    /// false for another valid copy of the same data
    pub same: bool,
}

impl SourceReport {
    /// Whether every image can be read.
    pub fn is_sound(&self) -> bool {
        self.splits.iter().all(|split| split.faults.is_empty())
    }

    /// Whether no split has unusable labels.
    pub fn has_sound_labels(&self) -> bool {
        self.splits.iter().all(|split| split.why_unlabeled.is_none())
    }
}

/// Decodes every image of both splits (or of the only split) on all cores.
///
/// Errors: the source cannot be opened. Unreadable images are part of the report.
pub fn verify(spec: &DataSpec, at: &Locations) -> Result<SourceReport, DataError> {
    // each image is read once, so caching is useless
    let spec = DataSpec { cache: false, ..spec.clone() };
    let mut splits = Vec::new();
    for split in [Split::Train, Split::Val] {
        match open(&spec, split, at) {
            Ok(set) => splits.push(inspect(set.as_ref(), split)),
            Err(DataError::NoSplit { .. }) if split == Split::Val => {}
            Err(error) => return Err(error),
        }
    }
    let (source, checksums) = match &spec.source {
        SourceSpec::Catalog(name) => (name.clone(), checksums(name, at)?),
        other => (kind(other).to_owned(), Vec::new()),
    };
    Ok(SourceReport { source, splits, checksums })
}

fn kind(source: &SourceSpec) -> &'static str {
    match source {
        SourceSpec::Catalog(_) => "catalog",
        SourceSpec::Folder { .. } => "folder",
        SourceSpec::List { .. } => "list",
        SourceSpec::Parquet { .. } => "parquet",
        SourceSpec::Hub { .. } => "hub",
        SourceSpec::Shards(_) => "shards",
        SourceSpec::CifarBinary { .. } => "CIFAR binary",
        SourceSpec::Voc(_) => "PASCAL VOC",
        SourceSpec::Scenes { .. } => "scenes",
    }
}

fn inspect(set: &dyn Dataset, split: Split) -> SplitReport {
    let seen: Vec<_> = (0..set.len()).into_par_iter().map(|index| look(set, index)).collect();
    let mut faults = Vec::new();
    let (mut widths, mut heights, mut gray) = (Vec::new(), Vec::new(), 0);
    for (index, seen) in seen.into_iter().enumerate() {
        match seen {
            Ok((width, height, is_gray)) => {
                widths.push(width);
                heights.push(height);
                gray += usize::from(is_gray);
            }
            Err(DataError::Image { name, reason }) => faults.push((name, reason)),
            Err(other) => faults.push((set.name(index), other.to_string())),
        }
    }
    let mut counts = vec![0; set.classes().len()];
    for label in (0..set.len()).filter_map(|index| set.label(index)) {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    SplitReport {
        split,
        images: set.len(),
        classes: set.classes().iter().cloned().zip(counts).collect(),
        why_unlabeled: set.why_unlabeled().map(str::to_owned),
        width: spread(widths),
        height: spread(heights),
        gray,
        faults,
        fingerprint: set.fingerprint(),
    }
}

/// Width, height, and whether every pixel is gray.
fn look(set: &dyn Dataset, index: usize) -> Result<(usize, usize, bool), DataError> {
    let image = set.image(index)?;
    Ok((image.width, image.height, is_gray(&image)))
}

/// Whether every pixel is gray.
pub(super) fn is_gray(image: &RgbImage) -> bool {
    image.pixels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2])
}

/// Smallest, (lower) median and largest; zeros if empty.
pub(super) fn spread(mut values: Vec<usize>) -> [usize; 3] {
    values.sort_unstable();
    let at = |index: usize| values.get(index).copied().unwrap_or(0);
    let last = values.len().saturating_sub(1);
    [at(0), at(last / 2), at(last)]
}

fn checksums(name: &str, at: &Locations) -> Result<Vec<Checksum>, DataError> {
    let Some(dir) = &at.data else { return Ok(Vec::new()) };
    let known = catalog::entry(name)?.sha256.iter();
    let present = known.map(|(file, sum)| (dir.join(file), sum)).filter(|(path, _)| path.is_file());
    present.map(|(path, sum)| Ok(Checksum { same: sha256(&path)? == *sum, path })).collect()
}

fn sha256(path: &Path) -> Result<String, DataError> {
    let fault = |source| DataError::Io { path: path.into(), source };
    let mut file = File::open(path).map_err(fault)?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash).map_err(fault)?;
    Ok(format!("{:x}", hash.finalize()))
}

impl fmt::Display for SourceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.source)?;
        for split in &self.splits {
            write!(f, "{split}")?;
        }
        for sum in &self.checksums {
            let verdict = if sum.same { "as in the catalog" } else { "differs from the catalog's copy" };
            writeln!(f, "sha256 {}: {verdict}", sum.path.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readable = self.images - self.faults.len();
        let share = 100. * self.gray as f64 / readable.max(1) as f64;
        let range = |[low, median, high]: [usize; 3]| format!("{low} to {high}, median {median}");
        let images = counted(self.images, "image");
        writeln!(f, "\n{}: {images}, {} unreadable", self.split.name(), self.faults.len())?;
        writeln!(f, "  width   {}", range(self.width))?;
        writeln!(f, "  height  {}", range(self.height))?;
        writeln!(f, "  gray    {} ({share:.1} %)", self.gray)?;
        writeln!(f, "  sha256  {} (fingerprint)", self.fingerprint)?;
        if let Some(reason) = &self.why_unlabeled {
            writeln!(f, "  unlabeled: {reason}")?;
        } else if self.classes.is_empty() {
            writeln!(f, "  unlabeled")?;
        } else {
            let wide = self.classes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            writeln!(f, "  {}", counted(self.classes.len(), "class"))?;
            for (name, count) in &self.classes {
                writeln!(f, "    {name:wide$}  {count}")?;
            }
        }
        for (name, reason) in &self.faults {
            writeln!(f, "  unreadable {name}: {reason}")?;
        }
        Ok(())
    }
}
