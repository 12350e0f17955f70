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
    source::{HoldOut, Split},
    walk::{self, PictureListing},
};
use crate::{bounded::Part, rng::Rng, text::counted};
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::OnceLock,
};

const LAYOUT: &str = "one subfolder of images per class, or images directly in it (unlabeled); \
                      endings read: jpg, jpeg, png, webp, bmp, tif, tiff";
/// Most class folders that a message names.
const NAMED: usize = 5;

/// Image files in a fixed order.
#[derive(Clone, Debug)]
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
            let skipped = counted(found.others, "file");
            tracing::info!("{}: skipped {skipped} without an image extension", root.display());
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

    /// The images held out for validation, or the others. Of each class a rounded share is held out, and at least one image
    /// if it has two. An image keeps its rank when others are added.
    pub(super) fn part(self, HoldOut { share, seed }: HoldOut, split: Split) -> Self {
        let rng = Rng::new(seed).split("hold_out");
        let mut ranked: Vec<(Option<u32>, u64, usize)> = (self.paths.iter().enumerate())
            .map(|(index, path)| {
                let rank = rng.split(&slashed(path)).at(0, 0).random();
                (self.labels.get(index), rank, index)
            })
            .collect();
        ranked.sort_unstable();
        let classes = ranked.chunk_by(|a, b| a.0 == b.0);
        let mut kept: Vec<usize> = classes
            .flat_map(|class| {
                let (held, others) = class.split_at(held_out(class.len(), share));
                let part = if split == Split::Val { held } else { others };
                part.iter().map(|(_, _, index)| *index)
            })
            .collect();
        kept.sort_unstable();
        let paths = kept.iter().map(|index| self.paths[*index].clone()).collect();
        Self { paths, labels: self.labels.of(&kept), content: OnceLock::new(), ..self }
    }

    /// Number of images that [`Self::part`] holds out.
    pub(super) fn held_out(&self, share: Part) -> usize {
        let mut classes: BTreeMap<Option<u32>, usize> = BTreeMap::new();
        (0..self.paths.len()).for_each(|index| *classes.entry(self.labels.get(index)).or_default() += 1);
        classes.into_values().map(|images| held_out(images, share)).sum()
    }

    /// Sorted paths relative to the folder, in image order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn read(&self, index: usize) -> Result<Vec<u8>, String> {
        std::fs::read(self.root.join(&self.paths[index])).map_err(|e| format!("cannot be read: {e}"))
    }

    /// Number of files skipped for their extension.
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

/// Number of images held out of `images`.
fn held_out(images: usize, share: Part) -> usize {
    let rounded = (images as f64 * share.get()).round() as usize;
    rounded.max(1).min(images.saturating_sub(1))
}

/// The path with `/` on every system.
fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
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
        decode(&self.read(index).map_err(fault)?).map_err(|e| fault(e.to_string()))
    }
    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        let fault = |reason| DataError::Image { name: self.name(index), reason };
        self.read(index).map(Some).map_err(fault)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty images of `a`, three of `b`, one of `c`; `more` of `a`.
    fn files(more: usize) -> Files {
        let of = |class: &str, count: usize| -> Vec<PathBuf> {
            (0..count).map(|number| PathBuf::from(format!("{class}/{number:02}.png"))).collect()
        };
        let paths = [of("a", 20 + more), of("b", 3), of("c", 1)].concat();
        let labels = by_folder(Path::new("root"), &paths);
        Files::listed("root".into(), paths).labeled(labels)
    }

    fn held(files: Files, share: f64, seed: u64) -> Vec<PathBuf> {
        let hold_out = HoldOut { share: Part::try_from(share).unwrap(), seed };
        files.part(hold_out, Split::Val).paths().to_vec()
    }

    #[test]
    fn each_class_gives_its_share_and_keeps_an_image() {
        let hold_out = HoldOut { share: Part::try_from(0.1).unwrap(), seed: 0 };
        let (train, val) = (files(0).part(hold_out, Split::Train), files(0).part(hold_out, Split::Val));
        let of = |set: &Files, class| (0..set.len()).filter(|i| set.label(*i) == Some(class)).count();
        assert_eq!([0, 1, 2].map(|class| of(&val, class)), [2, 1, 0]);
        assert_eq!([0, 1, 2].map(|class| of(&train, class)), [18, 2, 1]);
        let mut all = [train.paths(), val.paths()].concat();
        all.sort();
        assert_eq!(all, files(0).paths());
        assert_eq!((train.classes(), val.classes()), (files(0).classes(), files(0).classes()));
        assert_ne!(train.fingerprint(), val.fingerprint());
        for set in [&train, &val] {
            for (index, path) in set.paths().iter().enumerate() {
                let class = set.label(index).map(|class| set.classes()[class as usize].clone());
                assert_eq!(class, Some(class_of(path)));
            }
        }
    }

    #[test]
    fn the_seed_decides_and_added_images_move_few() {
        assert_eq!(held(files(0), 0.5, 1), held(files(0), 0.5, 1));
        assert_ne!(held(files(0), 0.5, 1), held(files(0), 0.5, 2));
        let (before, after) = (held(files(0), 0.5, 1), held(files(2), 0.5, 1));
        let moved = before.iter().filter(|path| !after.contains(path)).count();
        assert!(moved <= 1, "{moved} images left the validation split");
    }

    #[test]
    fn without_labels_all_images_are_one_group() {
        let paths: Vec<PathBuf> = (0..10).map(|number| format!("{number}.png").into()).collect();
        let flat = || Files::listed("root".into(), paths.clone());
        assert_eq!(held(flat(), 0.2, 0).len(), 2);
        assert!(held(flat(), 0.999, 0).len() == 9 && held(flat(), 0.001, 0).len() == 1);
    }
}
