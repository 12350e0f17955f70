//! PASCAL VOC (Everingham et al., IJCV 2010) in its devkit's layout: `ImageSets`, `JPEGImages`, `Annotations`,
//! `SegmentationClass`; and the masks of the Semantic Boundaries Dataset (SBD; Hariharan et al., ICCV 2011) for more of
//! its pictures.
//!
//! Boxes and masks belong to the pixels of a picture as they are stored, and these are used, unturned, whatever orientation
//! EXIF gives; only where an annotation's size is that of the turned picture, it was made on that, and the picture is turned.
//!
//! A picture with anything wrong is left out of its set with a warning, and too many of them are an error; `verify`
//! names every fault. What belongs to no class (parts of persons, actions, outlines of instances) is not read.

pub mod devkit; // where the folders and files are
mod encoding; // the characters of XML files
mod header; // sizes and orientations of pictures
pub mod lists; // ImageSets: which pictures, which classes
pub mod mask; // palette images of class indices
pub mod palette; // colors and labels
mod picture; // one picture's files, and what is wrong with them
pub mod sbd; // MATLAB masks
pub mod set; // Voc, an annotated set
pub mod verify; // what `data verify` reports
pub mod xml; // boxes

use palette::Palette;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The classes in the devkit's order; a label of a mask is the position plus one.
pub const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Where a devkit lies and which of its lists are the two splits. In YAML:
/// `source: { voc: { devkit: VOCdevkit, year: 2007, train: trainval, val: test } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocSource {
    /// Holds `VOC2007/`, or is it, or holds `VOCdevkit/`.
    pub devkit: PathBuf,
    /// Which of several years; absent: the only one there.
    #[serde(default)]
    pub year: Option<u16>,
    /// A list below `ImageSets`, or the path of a text file (it ends in `.txt`) with one identifier a line.
    pub train: String,
    #[serde(default)]
    pub val: Option<String>,
    /// SBD's `dataset` folder. Its masks are preferred for training, its lists are found before the devkit's, and its
    /// pictures stand in for those that the devkit lacks.
    #[serde(default)]
    pub sbd: Option<PathBuf>,
    /// The colors of the masks; absent: VOC's.
    #[serde(default, skip_serializing_if = "Palette::is_voc")]
    pub palette: Palette,
}

impl VocSource {
    /// The folders that it names, and the lists that are files of their own.
    pub(super) fn paths(&self) -> Vec<&Path> {
        let lists = [Some(&self.train), self.val.as_ref()].into_iter().flatten();
        let lists = lists.filter(|name| lists::is_path(name)).map(Path::new);
        [self.devkit.as_path()].into_iter().chain(self.sbd.as_deref()).chain(lists).collect()
    }

    /// The same source with its paths below `dir`.
    pub(super) fn below(&self, dir: &Path) -> Self {
        let list =
            |name: &String| if lists::is_path(name) { path_text(&dir.join(name)) } else { name.clone() };
        Self {
            devkit: dir.join(&self.devkit),
            year: self.year,
            train: list(&self.train),
            val: self.val.as_ref().map(list),
            sbd: self.sbd.as_ref().map(|sbd| dir.join(sbd)),
            palette: self.palette.clone(),
        }
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

impl fmt::Display for VocSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.devkit.display())?;
        self.year.map_or(Ok(()), |year| write!(f, " (VOC{year})"))
    }
}
