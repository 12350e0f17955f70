//! Image files on disk: folders with one subfolder per class, and flat folders of unlabelled images.
//!
//! The class names are the sorted names of the subfolders that hold images, at any depth; a folder with an image
//! directly in it is unlabelled, and everything below it belongs to it. Links are followed. Hidden files and
//! folders are passed over; files with another ending than an image's are counted and passed over. Nothing is
//! opened before it is asked for: what a file really holds is found out by `decode`.

use super::{
    decode::decode,
    error::DataError,
    source::{Dataset, RgbImage},
};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};
use walkdir::{DirEntry, WalkDir};

const LAYOUT: &str = "one subfolder of images per class, or images directly in it (unlabelled); \
                      endings read: jpg, jpeg, png, webp, bmp, tif, tiff";

/// Images in files of their own, in a fixed order.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    /// relative to `root`
    paths: Vec<PathBuf>,
    /// one per path; empty when unlabelled
    labels: Vec<u32>,
    classes: Vec<String>,
    ignored: usize,
}

impl Files {
    /// Files that a list names, with labels into `classes` or none at all.
    pub(super) fn listed(root: PathBuf, paths: Vec<PathBuf>, labels: Vec<u32>, classes: Vec<String>) -> Self {
        Self { root, paths, labels, classes, ignored: 0 }
    }

    /// Opens a folder. `classes`, from the training split, fixes the numbering of a validation split.
    ///
    /// Errors: not a folder, no image in it, a class folder that `classes` does not have.
    pub fn open(root: &Path, classes: Option<&[String]>) -> Result<Self, DataError> {
        if !root.is_dir() {
            return Err(DataError::Missing {
                path: root.into(),
                expected: format!("a folder with {LAYOUT}"),
            });
        }
        let (paths, ignored) = walk(root)?;
        if paths.is_empty() {
            return Err(DataError::Empty { path: root.into(), expected: LAYOUT.into() });
        }
        if ignored > 0 {
            tracing::info!(
                "{}: passed over {ignored} files that are not images by their ending",
                root.display()
            );
        }
        let mut files = Self { root: root.into(), paths, labels: Vec::new(), classes: Vec::new(), ignored };
        if files.paths.iter().all(|path| path.components().count() > 1) {
            files.label_by_folder(classes)?;
        }
        Ok(files)
    }

    fn label_by_folder(&mut self, known: Option<&[String]>) -> Result<(), DataError> {
        let names: Vec<String> = self.paths.iter().map(|path| class_of(path)).collect();
        self.classes = known.map_or_else(|| sorted(&names), <[String]>::to_vec);
        for name in names {
            let label = self.classes.binary_search(&name).map_err(|_| DataError::UnknownClass {
                path: self.root.join(&name),
                class: name,
                known: self.classes.len(),
            })?;
            self.labels.push(label as u32);
        }
        Ok(())
    }

    /// Relative to the folder, sorted, in the order of the images.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Files passed over because their ending is not an image's.
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

/// The sorted distinct names: a class's number is its place among them.
pub(super) fn sorted(names: &[String]) -> Vec<String> {
    let mut classes = names.to_vec();
    classes.sort();
    classes.dedup();
    classes
}

/// Whether a path ends like an image.
pub fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    matches!(ending.as_deref(), Some("jpg" | "jpeg" | "png" | "webp" | "bmp" | "tif" | "tiff"))
}

fn class_of(path: &Path) -> String {
    path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Every image below `root`, relative to it, sorted by class and then by path; and how many other files there are.
fn walk(root: &Path) -> Result<(Vec<PathBuf>, usize), DataError> {
    let hidden = |e: &DirEntry| e.depth() > 0 && e.file_name().as_encoded_bytes().starts_with(b".");
    let mut paths = Vec::new();
    let mut ignored = 0;
    for entry in WalkDir::new(root).follow_links(true).into_iter().filter_entry(|e| !hidden(e)) {
        let entry = entry.map_err(|e| DataError::Io {
            path: e.path().unwrap_or(root).into(),
            source: e.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links")),
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        match entry.path().strip_prefix(root) {
            Ok(path) if is_image(path) => paths.push(path.to_owned()),
            _ => ignored += 1,
        }
    }
    // by component, so that the order of classes is that of their names whatever the separator sorts like
    paths.sort();
    Ok((paths, ignored))
}

impl Dataset for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }
    fn name(&self, index: usize) -> String {
        self.root.join(&self.paths[index]).display().to_string()
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let fault = |reason: String| DataError::Image { name: self.name(index), reason };
        let bytes = std::fs::read(self.root.join(&self.paths[index]))
            .map_err(|e| fault(format!("cannot be read: {e}")))?;
        decode(&bytes).map_err(|e| fault(e.to_string()))
    }
    /// Over class names, relative paths, labels and file sizes: a copy elsewhere has the same fingerprint.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("files {} {}\n", self.paths.len(), self.classes.join("\n")));
        for (index, path) in self.paths.iter().enumerate() {
            let size = std::fs::metadata(self.root.join(path)).map_or(0, |m| m.len());
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(format!("\n{size} {:?}\n", self.label(index)));
        }
        format!("{:x}", hash.finalize())
    }
}
