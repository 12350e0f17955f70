//! One list of a devkit as an annotated data set.

use super::{
    classes::CLASSES,
    devkit::{self, Devkit, PHOTOGRAPHS},
    lists::{self, Lists},
    palette::Palette,
    picture::{MaskFile, VocPicture},
    source::VocSource,
};
use crate::bounded::part_of;
use crate::data::{
    annotated::{Annotated, Mask, Object, Presence},
    content::add_files,
    dataset::{Dataset, RgbImage, Split},
    error::DataError,
    folder::Files,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The valid images of one list, in list order.
#[derive(Debug)]
pub struct Voc {
    pictures: Vec<VocPicture>,
    /// one per image
    presence: Vec<Vec<Presence>>,
    classes: Vec<String>,
    palette: Palette,
    /// hash of images and masks
    content: OnceLock<String>,
}

impl VocSource {
    /// The devkit and the list of one split.
    pub(super) fn list(&self, split: Split, lists: Lists) -> Result<(Devkit, PathBuf), DataError> {
        let name = match split {
            Split::Train => &self.train,
            Split::Val => self.val.as_ref().ok_or(DataError::NoSplit { split: "val" })?,
        };
        let devkit = Devkit::find(&self.devkit, self.year, self.sbd.as_deref())?;
        let list = lists::file(&devkit, lists, split, name);
        Ok((devkit, list))
    }
}

/// The images of one list of `Main`, without annotations.
///
/// # Errors
/// A missing devkit or list.
pub fn photographs(source: &VocSource, split: Split) -> Result<Files, DataError> {
    let (devkit, list) = source.list(split, Lists::Main)?;
    let folder = devkit.root.join("JPEGImages");
    let file = |id: &String| devkit::of(&folder, id, &PHOTOGRAPHS).file_name().map(PathBuf::from);
    let paths = lists::read(&list)?.iter().filter_map(file).collect();
    Ok(Files::listed(folder, paths))
}

impl Voc {
    /// Opens the list of one split. Up to a fraction `max_bad` of faulty images is excluded, each with a warning.
    /// Images of a segmentation list need masks, which are all read once here.
    ///
    /// # Errors
    /// A missing devkit or list, a class list without an entry for an image, too many faulty images.
    pub fn open(source: &VocSource, split: Split, lists: Lists, max_bad: f64) -> Result<Self, DataError> {
        let (devkit, list) = source.list(split, lists)?;
        let ids = lists::read(&list)?;
        let examined: Vec<(VocPicture, Vec<String>)> =
            ids.par_iter().map(|id| examined(&devkit, id, split, (lists, &source.palette))).collect();
        let pictures = sound(examined, max_bad)?;
        if pictures.is_empty() {
            let expected = "at least one valid image".into();
            return Err(DataError::Empty { path: list, expected });
        }
        let presence = match lists {
            Lists::Main => listed_presence(&list, &pictures)?,
            // the class lists cover only the images of `Main`
            Lists::Segmentation => pictures.iter().map(VocPicture::presence).collect(),
        };
        let (classes, palette) = (CLASSES.map(String::from).to_vec(), source.palette.clone());
        Ok(Self { pictures, presence, classes, palette, content: OnceLock::new() })
    }
}

fn examined(
    devkit: &Devkit,
    id: &str,
    split: Split,
    (lists, palette): (Lists, &Palette),
) -> (VocPicture, Vec<String>) {
    let (picture, mut faults) = VocPicture::read(devkit, id, split);
    if lists == Lists::Segmentation && faults.is_empty() {
        match picture.mask(palette) {
            Ok(Some(_)) => {}
            Ok(None) => faults.push(format!("{} is missing", devkit.palette_mask(id).display())),
            Err(error) => faults.push(error.to_string()),
        }
    }
    (picture, faults)
}

/// Keeps the images without faults; warns about the others, or fails if there are too many.
fn sound(examined: Vec<(VocPicture, Vec<String>)>, max_bad: f64) -> Result<Vec<VocPicture>, DataError> {
    let len = examined.len();
    let (good, bad): (Vec<_>, Vec<_>) = examined.into_iter().partition(|(_, faults)| faults.is_empty());
    if bad.len() > part_of(max_bad, len) {
        let first = bad.iter().take(3).map(|(picture, faults)| (picture.id.clone(), faults.join("; ")));
        return Err(DataError::TooManyBad { bad: bad.len(), len, allowed: max_bad, first: first.collect() });
    }
    for (number, (picture, faults)) in bad.iter().enumerate() {
        let (id, why) = (&picture.id, faults.join("; "));
        tracing::warn!("{id} is excluded ({} of {} faulty images): {why}", number + 1, bad.len());
    }
    Ok(good.into_iter().map(|(picture, _)| picture).collect())
}

/// Presence by the class lists, or by the objects for classes without a list.
fn listed_presence(list: &Path, pictures: &[VocPicture]) -> Result<Vec<Vec<Presence>>, DataError> {
    let classes = lists::presence(list)?;
    let of = |picture: &VocPicture| {
        let mut presence = picture.presence();
        for ((class, of), known) in CLASSES.iter().zip(&mut presence).zip(&classes) {
            let Some(known) = known else { continue };
            *of = said(known, &picture.id, &lists::class_file(list, class))?;
        }
        Ok(presence)
    };
    pictures.iter().map(of).collect()
}

fn said(known: &HashMap<String, Presence>, id: &str, file: &Path) -> Result<Presence, DataError> {
    let reason = || format!("has no entry for {id}, which is in the image list; add it, or remove the file");
    known.get(id).copied().ok_or_else(|| DataError::Table { path: file.into(), reason: reason() })
}

impl Dataset for Voc {
    fn len(&self) -> usize {
        self.pictures.len()
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    /// None: an image has several labels.
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
    fn name(&self, index: usize) -> String {
        self.pictures[index].photograph.display().to_string()
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let pixels = self.pictures[index].pixels();
        pixels.map(|(image, _)| image).map_err(|reason| DataError::Image { name: self.name(index), reason })
    }
    /// Covers identifiers, sizes, objects, labels, the kind of mask, non-default settings, and the content of images
    /// and masks: a copy elsewhere has the same fingerprint.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("voc {}\n", self.pictures.len()));
        for (picture, presence) in self.pictures.iter().zip(&self.presence) {
            let mask = match picture.mask {
                None => "none",
                Some(MaskFile::Palette(_)) => "palette",
                Some(MaskFile::Sbd(_)) => "sbd",
            };
            let VocPicture { id, size, objects, .. } = picture;
            hash.update(format!("{id} {size:?} {objects:?} {presence:?} {mask}\n"));
            if picture.orientation > 1 {
                hash.update(format!("oriented {}\n", picture.orientation));
            }
        }
        if !self.palette.is_voc() {
            hash.update(format!("palette {:?}\n", self.palette));
        }
        hash.update(self.content.get_or_init(|| {
            let masks = self.pictures.iter().filter_map(|picture| match &picture.mask {
                Some(MaskFile::Palette(path) | MaskFile::Sbd(path)) => Some(path),
                None => None,
            });
            let files: Vec<_> = self.pictures.iter().map(|p| &p.photograph).chain(masks).cloned().collect();
            let mut hash = Sha256::new();
            add_files(&mut hash, &files);
            format!("{:x}", hash.finalize())
        }));
        format!("{:x}", hash.finalize())
    }
}

impl Annotated for Voc {
    fn id(&self, index: usize) -> &str {
        &self.pictures[index].id
    }
    fn size(&self, index: usize) -> (usize, usize) {
        self.pictures[index].size
    }
    fn objects(&self, index: usize) -> &[Object] {
        &self.pictures[index].objects
    }
    fn presence(&self, index: usize) -> Vec<Presence> {
        self.presence[index].clone()
    }
    fn mask(&self, index: usize) -> Result<Option<Mask>, DataError> {
        self.pictures[index].mask(&self.palette)
    }
}
