//! Image files on disk: folders with one subfolder per class, and flat folders of unlabeled images.
//!
//! Class names are the sorted names of the subfolders that contain images, at any depth. A folder with an image
//! directly in it is unlabeled and includes everything below ([`walk`] lists the exclusions). Files are opened
//! lazily; `decode` detects their format.

use super::{
    content::add_files,
    dataset::{Dataset, RgbImage},
    decode::decode,
    error::DataError,
    labels::{Labels, Relabel},
    walk::{self, PictureListing},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const LAYOUT: &str = "one subfolder of images per class, or images directly in it (unlabeled); \
                      endings read: jpg, jpeg, png, webp, bmp, tif, tiff";
/// Most class folders that a message names.
const NAMED: usize = 5;

/// Image files in a fixed order.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    /// relative to `root`
    paths: Vec<PathBuf>,
    labels: Labels,
    ignored: usize,
    /// of the files alone
    content: OnceLock<String>,
}

impl Files {
    /// Unlabeled files from a list of paths relative to `root`.
    pub fn listed(root: PathBuf, paths: Vec<PathBuf>) -> Self {
        Self { root, paths, labels: Labels::default(), ignored: 0, content: OnceLock::new() }
    }

    /// Attaches labels, one per path or none at all.
    pub(super) fn labeled(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// Opens a folder and logs what it skips. Classes are numbered in the order of their names.
    ///
    /// # Errors
    /// Not a folder, an unreadable folder, a folder without images.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        let (files, found) = Self::walk(root)?;
        found.warn();
        if found.others > 0 {
            tracing::info!("{}: skipped {} files without an image extension", root.display(), found.others);
        }
        Ok(files)
    }

    /// The labels of a folder's images. Errors as [`Files::open`].
    pub(super) fn labels_of(root: &Path) -> Result<Labels, DataError> {
        Ok(Self::walk(root)?.0.labels)
    }

    fn walk(root: &Path) -> Result<(Self, PictureListing), DataError> {
        if !root.is_dir() {
            return Err(DataError::Missing {
                path: root.into(),
                expected: format!("a folder with {LAYOUT}"),
            });
        }
        let mut found = walk::pictures(root, usize::MAX, |_| false)
            .map_err(|source| DataError::Io { path: root.into(), source })?;
        found.skip_dangling_links(root);
        let relative = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).to_owned();
        let paths: Vec<PathBuf> = found.pictures.iter().map(relative).collect();
        if paths.is_empty() {
            return Err(DataError::Empty { path: root.into(), expected: LAYOUT.into() });
        }
        let labels = by_folder(root, &paths);
        let (root, ignored) = (root.into(), found.others);
        Ok((Self { root, paths, labels, ignored, content: OnceLock::new() }, found))
    }

    /// Sorted paths relative to the folder, in image order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Number of files skipped for their extension.
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

/// Labels by top-level folder; unlabeled if an image is directly in `root`.
fn by_folder(root: &Path, paths: &[PathBuf]) -> Labels {
    let (below, beside): (Vec<&PathBuf>, Vec<&PathBuf>) =
        paths.iter().partition(|path| path.components().count() > 1);
    let names: Vec<String> = below.iter().map(|path| class_of(path)).collect();
    match (beside.first(), names.is_empty()) {
        (None, _) => Labels::named(root, &names),
        (Some(_), true) => Labels::default(),
        (Some(first), false) => Labels::missing(stray(root, first, beside.len(), &names)),
    }
}

fn stray(root: &Path, first: &Path, count: usize, names: &[String]) -> String {
    let folders: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let shown: Vec<&str> = folders.iter().take(NAMED).copied().collect();
    let more = if folders.len() > NAMED { ", …" } else { "" };
    let who = if count == 1 {
        format!("{} lies", root.join(first).display())
    } else {
        format!("{count} pictures ({} is the first) lie", root.join(first).display())
    };
    format!(
        "{who} beside its folders {}{more}; for classes by folder, move what lies beside them away",
        shown.join(", ")
    )
}

fn class_of(path: &Path) -> String {
    path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
}

impl Relabel for Files {
    fn labels(&mut self) -> &mut Labels {
        &mut self.labels
    }
}

impl Dataset for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }
    fn classes(&self) -> &[String] {
        self.labels.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }
    fn why_unlabeled(&self) -> Option<&str> {
        self.labels.why_missing()
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
    /// Covers class names, relative paths, labels and file contents or sizes: a copy elsewhere has the same
    /// fingerprint.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("files {} {}\n", self.paths.len(), self.classes().join("\n")));
        for (index, path) in self.paths.iter().enumerate() {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(format!("\n{:?}\n", self.label(index)));
        }
        hash.update(self.content.get_or_init(|| {
            let mut hash = Sha256::new();
            add_files(&mut hash, &self.paths.iter().map(|path| self.root.join(path)).collect::<Vec<_>>());
            format!("{:x}", hash.finalize())
        }));
        format!("{:x}", hash.finalize())
    }
}
