//! Locates a devkit's folders and the files of an image.

use crate::data::{error::DataError, walk::is_image};
use std::path::{Path, PathBuf};

const LAYOUT: &str = "a PASCAL VOC devkit: a folder with ImageSets, JPEGImages and Annotations, or one that holds it as \
                      VOC2007 (or another year) or VOCdevkit/VOC2007";
const SBD_LAYOUT: &str = "the Semantic Boundaries Dataset: a folder with cls/*.mat, train.txt and val.txt, or one that \
                          holds it as dataset or benchmark_RELEASE/dataset";

/// Extensions of images, VOC's own first.
pub const PHOTOGRAPHS: [&str; 16] = [
    "jpg", "JPG", "jpeg", "JPEG", "png", "PNG", "webp", "WEBP", "bmp", "BMP", "tif", "TIF", "tiff", "TIFF",
    "Jpg", "Png",
];
/// Extensions of masks.
pub const MASKS: [&str; 2] = ["png", "PNG"];
/// Extensions of annotations.
pub const ANNOTATIONS: [&str; 2] = ["xml", "XML"];

/// The folder of one year, and optionally SBD's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devkit {
    /// The folder with `ImageSets`.
    pub root: PathBuf,
    /// The folder with `cls`.
    pub sbd: Option<PathBuf>,
}

impl Devkit {
    /// Finds the folder of one year in `dir`.
    ///
    /// # Errors
    /// No devkit found; several years and none requested; the requested year is missing.
    pub fn find(dir: &Path, year: Option<u16>, sbd: Option<&Path>) -> Result<Self, DataError> {
        let root = if is_root(dir) { the_folder(dir, year)? } else { one_year(dir, year)? };
        Ok(Self { root, sbd: sbd.map(find_sbd).transpose()? })
    }

    pub fn annotation(&self, id: &str) -> PathBuf {
        of(&self.root.join("Annotations"), id, &ANNOTATIONS)
    }

    pub fn palette_mask(&self, id: &str) -> PathBuf {
        of(&self.root.join("SegmentationClass"), id, &MASKS)
    }

    pub fn sbd_mask(&self, id: &str) -> Option<PathBuf> {
        self.sbd.as_ref().map(|sbd| sbd.join("cls").join(format!("{id}.mat")))
    }

    /// The devkit's image, or SBD's if the devkit has none; with several, the one with the extension of `filename`
    /// from the annotation.
    pub fn photograph(&self, id: &str, filename: Option<&str>) -> PathBuf {
        let named =
            filename.map(Path::new).filter(|name| is_image(name)).and_then(|name| name.extension()?.to_str());
        let endings: Vec<&str> = named.into_iter().chain(PHOTOGRAPHS).collect();
        // if there is none, errors name VOC's default file
        let missing = || self.root.join("JPEGImages").join(format!("{id}.jpg"));
        let other = || self.sbd.as_ref().and_then(|sbd| existing(&sbd.join("img"), id, &endings));
        existing(&self.root.join("JPEGImages"), id, &endings).or_else(other).unwrap_or_else(missing)
    }
}

/// The existing file of an image, or else the expected path.
pub fn of(folder: &Path, id: &str, endings: &[&str]) -> PathBuf {
    let expected = || folder.join(format!("{id}.{}", endings.first().copied().unwrap_or_default()));
    existing(folder, id, endings).unwrap_or_else(expected)
}

fn existing(folder: &Path, id: &str, endings: &[&str]) -> Option<PathBuf> {
    endings.iter().map(|ending| folder.join(format!("{id}.{ending}"))).find(|path| path.is_file())
}

fn is_root(dir: &Path) -> bool {
    dir.join("ImageSets").is_dir()
}

/// The year in a folder's name: `VOC2007`.
fn year_of(dir: &Path) -> Option<u16> {
    dir.file_name()?.to_str()?.strip_prefix("VOC")?.parse().ok()
}

/// `dir` if it is the requested year's folder.
fn the_folder(dir: &Path, year: Option<u16>) -> Result<PathBuf, DataError> {
    match (year, year_of(dir)) {
        (Some(wanted), Some(year)) if wanted != year => Err(DataError::Spec(format!(
            "{} is VOC{year}, but `year: {wanted}` is asked for; change one of them",
            dir.display()
        ))),
        _ => Ok(dir.into()),
    }
}

fn one_year(dir: &Path, year: Option<u16>) -> Result<PathBuf, DataError> {
    let all = years(dir);
    let found: Vec<&PathBuf> = all.iter().filter(|root| year.is_none() || year_of(root) == year).collect();
    match found[..] {
        [root] => Ok(root.clone()),
        [] if all.is_empty() => Err(DataError::Missing { path: dir.into(), expected: LAYOUT.into() }),
        [] => Err(DataError::Spec(format!(
            "{} has no VOC{}; it has {}",
            dir.display(),
            year.unwrap_or_default(),
            names(&all)
        ))),
        _ => Err(DataError::Spec(format!(
            "{} holds more than one devkit ({}); say which one with `year:`, or name its own folder",
            dir.display(),
            names(&all)
        ))),
    }
}

/// Every year's folder in `dir` and in `dir/VOCdevkit`.
fn years(dir: &Path) -> Vec<PathBuf> {
    let inside = [dir.to_owned(), dir.join("VOCdevkit")];
    let entries = inside.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let mut roots: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|path| year_of(path).is_some() && is_root(path)).collect();
    roots.sort();
    roots
}

fn names(roots: &[PathBuf]) -> String {
    let names = roots.iter().filter_map(|root| root.file_name());
    names.map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
}

fn find_sbd(dir: &Path) -> Result<PathBuf, DataError> {
    let places = [dir.to_owned(), dir.join("dataset"), dir.join("benchmark_RELEASE").join("dataset")];
    let found = places.into_iter().find(|place| place.join("cls").is_dir());
    found.ok_or_else(|| DataError::Missing { path: dir.into(), expected: SBD_LAYOUT.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::create_dir_all(dir.path().join(name)).unwrap());
        dir
    }

    #[test]
    fn the_devkit_is_found_from_each_of_its_folders() {
        let dir = folders(&["data/VOCdevkit/VOC2007/ImageSets", "data/SBD/dataset/cls"]);
        let root = dir.path().join("data/VOCdevkit/VOC2007");
        for from in ["data", "data/VOCdevkit", "data/VOCdevkit/VOC2007"] {
            assert_eq!(Devkit::find(&dir.path().join(from), Some(2007), None).unwrap().root, root, "{from}");
            assert_eq!(Devkit::find(&dir.path().join(from), None, None).unwrap().root, root, "{from}");
        }
        let sbd = dir.path().join("data/SBD");
        assert_eq!(Devkit::find(&root, None, Some(&sbd)).unwrap().sbd, Some(sbd.join("dataset")));
    }

    #[test]
    fn a_photograph_has_the_ending_that_its_annotation_names_or_another_that_is_there() {
        let dir = folders(&["ImageSets", "JPEGImages"]);
        let devkit = Devkit::find(dir.path(), None, None).unwrap();
        let photograph = |filename| {
            let path = devkit.photograph("a", filename);
            path.strip_prefix(dir.path().join("JPEGImages")).unwrap().display().to_string()
        };
        assert_eq!(photograph(None), "a.jpg", "the one that is missed");
        for file in ["a.tiff", "a.png", "a.jpeg", "a.JPG", "a.jpg"] {
            std::fs::write(dir.path().join("JPEGImages").join(file), "").unwrap();
            assert_eq!(photograph(None), file);
            for other in ["a.gif", "a.webp", "a", "C:\\pictures\\a.bmp"] {
                assert_eq!(photograph(Some(other)), file, "{other}");
            }
        }
        assert_eq!(photograph(Some("a.png")), "a.png");
        assert_eq!(photograph(Some("/elsewhere/b.jpeg")), "a.jpeg", "the ending alone counts");
    }

    #[test]
    fn what_cannot_be_told_is_asked_for() {
        let dir = folders(&["VOC2007/ImageSets", "VOC2012/ImageSets", "VOC2009"]);
        let fault = |from: &Path, year, sbd| Devkit::find(from, year, sbd).unwrap_err().to_string();
        let several = fault(dir.path(), None, None);
        assert!(several.contains("VOC2007, VOC2012") && several.contains("`year:`"), "{several}");
        assert!(fault(dir.path(), Some(2010), None).contains("has no VOC2010; it has VOC2007, VOC2012"));
        let other = fault(&dir.path().join("VOC2012"), Some(2007), None);
        assert!(other.contains("is VOC2012, but `year: 2007`"), "{other}");
        let nothing = fault(&dir.path().join("VOC2009"), None, None);
        assert!(nothing.contains("not found; expected a PASCAL VOC devkit"), "{nothing}");
        let sbd = fault(&dir.path().join("VOC2007"), None, Some(dir.path()));
        assert!(sbd.contains("cls/*.mat"), "{sbd}");
    }
}
