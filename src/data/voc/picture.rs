//! One picture of a devkit: its files, its objects, and everything that is wrong with them.

use super::{
    CLASSES,
    devkit::Devkit,
    mask, sbd,
    xml::{self, RecordObject},
};
use crate::data::{
    annotated::{self, Mask, Object, Presence, VOID},
    error::DataError,
    source::Split,
};
use std::path::PathBuf;

/// What the devkit says of one picture; nothing is decoded.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub id: String,
    pub photograph: PathBuf,
    /// width, height
    pub size: (usize, usize),
    pub objects: Vec<Object>,
    pub mask: Option<MaskFile>,
}

/// A file with the class of every pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MaskFile {
    Palette(PathBuf),
    Sbd(PathBuf),
}

impl Picture {
    /// Reads what there is of picture `id`, and says what is wrong with it. SBD's mask comes first in training and the
    /// devkit's in validation.
    pub fn read(devkit: &Devkit, id: &str, split: Split) -> (Self, Vec<String>) {
        let mut faults = vec![];
        let photograph = devkit.photograph(id);
        if !photograph.is_file() {
            faults.push(format!("{} is not there", photograph.display()));
        }
        let annotation = devkit.annotation(id);
        let (mut size, mut objects) = ((0, 0), vec![]);
        match xml::read(&annotation) {
            Ok(record) => {
                size = (record.width, record.height);
                for (number, object) in record.objects.iter().enumerate() {
                    match checked(object, size) {
                        Ok(object) => objects.push(object),
                        Err(reason) => {
                            let file = annotation.display();
                            faults.push(format!("{file}: object {} ({}) {reason}", number + 1, object.name));
                        }
                    }
                }
            }
            Err(error) => faults.push(error.to_string()),
        }
        let mask = MaskFile::of(devkit, id, split);
        (Self { id: id.into(), photograph, size, objects, mask }, faults)
    }

    /// For each class whether the objects show it: a class with difficult objects alone counts in nothing.
    pub fn presence(&self) -> Vec<Presence> {
        annotated::presence(&self.objects, CLASSES.len())
    }

    /// The mask, as large as the picture and with known labels.
    pub fn mask(&self) -> Result<Option<Mask>, DataError> {
        let Some(file) = &self.mask else { return Ok(None) };
        let mask = file.read()?;
        match self.objection(&mask) {
            Some(reason) => Err(DataError::Image { name: file.path().display().to_string(), reason }),
            None => Ok(Some(mask)),
        }
    }

    fn objection(&self, mask: &Mask) -> Option<String> {
        let (width, height) = self.size;
        if (mask.width, mask.height) != (width, height) {
            return Some(format!(
                "the mask is {}×{}, but the picture is {width}×{height} by its annotation",
                mask.width, mask.height
            ));
        }
        let unknown = |label: &u8| usize::from(*label) > CLASSES.len() && *label != VOID;
        let label = mask.labels.iter().copied().find(unknown)?;
        Some(format!("label {label} in the mask is no class (0 to {}, or {VOID} for none)", CLASSES.len()))
    }
}

impl MaskFile {
    fn of(devkit: &Devkit, id: &str, split: Split) -> Option<Self> {
        let palette = Some(devkit.palette_mask(id)).filter(|path| path.is_file()).map(Self::Palette);
        let sbd = devkit.sbd_mask(id).filter(|path| path.is_file()).map(Self::Sbd);
        match split {
            Split::Train => sbd.or(palette),
            Split::Val => palette.or(sbd),
        }
    }

    fn path(&self) -> &PathBuf {
        match self {
            Self::Palette(path) | Self::Sbd(path) => path,
        }
    }

    fn read(&self) -> Result<Mask, DataError> {
        match self {
            Self::Palette(path) => mask::read_indices(path),
            Self::Sbd(path) => sbd::read_mask(path),
        }
    }
}

/// The object of a record, or what is wrong with it; coordinates in messages are 1-based, as in the file.
fn checked(object: &RecordObject, (width, height): (usize, usize)) -> Result<Object, String> {
    let class = CLASSES.iter().position(|class| *class == object.name);
    let class = class.ok_or("is of no class of PASCAL VOC; correct its name")?;
    let bounds = object.bounds;
    let corners = [bounds.x1, bounds.y1, bounds.x2, bounds.y2].map(|v| (v + 1.0).to_string()).join(" ");
    if !(bounds.x2 > bounds.x1 && bounds.y2 > bounds.y1) {
        return Err(format!("has a box without area: {corners}"));
    }
    if bounds.clipped((width, height)) != bounds {
        return Err(format!("has a box that reaches outside the {width}×{height} picture: {corners}"));
    }
    let (difficult, truncated, occluded) = (object.difficult, object.truncated, object.occluded);
    Ok(Object { class, bounds, difficult, truncated, occluded })
}
