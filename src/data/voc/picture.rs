//! One image of a devkit: its files, objects and faults.

use super::{
    classes::CLASSES,
    devkit::Devkit,
    header, mask,
    palette::Palette,
    sbd,
    xml::{self, AnnotatedObject, Annotation},
};
use crate::{
    data::{
        annotated::{self, Mask, Object, Presence, VOID},
        dataset::{RgbImage, Split},
        decode::{decode, stored},
        error::DataError,
    },
    text::excerpt,
};
use std::path::{Path, PathBuf};

/// The devkit's entry for one image; nothing is decoded.
#[derive(Clone, Debug)]
pub(super) struct VocPicture {
    pub id: String,
    pub photograph: PathBuf,
    /// Width and height from the annotation, else from the stored image; 0 if neither can be read.
    pub size: (usize, usize),
    /// EXIF orientation, 1 to 8; 1 is upright.
    pub orientation: u8,
    pub objects: Vec<Object>,
    pub mask: Option<MaskFile>,
}

/// A mask file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MaskFile {
    Palette(PathBuf),
    Sbd(PathBuf),
}

impl VocPicture {
    /// Reads the entry of image `id` and returns it with its faults. SBD's mask takes precedence in training, the
    /// devkit's in validation.
    pub fn read(devkit: &Devkit, id: &str, split: Split) -> (Self, Vec<String>) {
        let annotation = devkit.annotation(id);
        let record = xml::read(&annotation);
        let filename = record.as_ref().ok().and_then(|record| record.filename.as_deref());
        let photograph = devkit.photograph(id, filename);
        let mut faults = vec![];
        if !photograph.is_file() {
            faults.push(format!("{} is missing", photograph.display()));
        }
        let orientation = header::orientation(&photograph);
        let mask = MaskFile::of(devkit, id, split);
        let mut picture =
            Self { id: id.into(), photograph, size: (0, 0), orientation, objects: vec![], mask };
        match record {
            Ok(record) => faults.extend(picture.annotate(&record, &annotation)),
            Err(error) => faults.push(error.to_string()),
        }
        (picture, faults)
    }

    /// Applies an annotation and returns its faults.
    fn annotate(&mut self, record: &Annotation, annotation: &Path) -> Vec<String> {
        let file = annotation.display();
        let Some(size) = record.size.or_else(|| header::size(&self.photograph)) else {
            return vec![format!("{file}: has no <size>, and its picture cannot be read")];
        };
        self.size = size;
        let mut faults = vec![];
        for (number, object) in record.objects.iter().enumerate() {
            match checked(object, size) {
                Ok(object) => self.objects.push(object),
                Err(reason) => {
                    faults.push(format!(
                        "{file}: object {} ({}) {reason}",
                        number + 1,
                        excerpt(&object.name)
                    ));
                }
            }
        }
        faults
    }

    /// The pixels, and whether they were rotated: as stored, unless only the rotated image matches the annotation's
    /// size.
    ///
    /// # Errors
    /// An unreadable image, or one whose size differs from its annotation's.
    pub fn pixels(&self) -> Result<(RgbImage, bool), String> {
        let bytes = std::fs::read(&self.photograph).map_err(|e| format!("cannot be read: {e}"))?;
        let image = stored(&bytes).map_err(|e| e.to_string())?;
        let size = |image: &RgbImage| (image.width, image.height);
        if size(&image) == self.size {
            return Ok((image, false));
        }
        let turned = if self.orientation > 1 { decode(&bytes).ok() } else { None };
        if let Some(turned) = turned.filter(|turned| size(turned) == self.size) {
            return Ok((turned, true));
        }
        let ((w, h), (width, height)) = (size(&image), self.size);
        Err(format!("is {w}×{h}, but its annotation says {width}×{height}"))
    }

    /// Presence of each class; a class with difficult objects only is ignored.
    pub fn presence(&self) -> Vec<Presence> {
        annotated::presence(&self.objects, CLASSES.len())
    }

    /// The mask, checked for size and labels.
    ///
    /// # Errors
    /// Errors of [`mask::read`] and [`sbd::read_mask`]; a wrong size, invalid labels,
    /// [`mask::DecodedMask::suspicion`].
    pub fn mask(&self, palette: &Palette) -> Result<Option<Mask>, DataError> {
        let Some(file) = &self.mask else { return Ok(None) };
        let found = file.read(palette)?;
        let shown: Vec<u8> = self.objects.iter().map(|object| object.class as u8 + 1).collect();
        let suspected = || found.suspicion(Some(&shown[..]).filter(|shown| !shown.is_empty()));
        match self.objection(&found.mask).or_else(suspected) {
            Some(reason) => Err(DataError::Image { name: file.path().display().to_string(), reason }),
            None => Ok(Some(found.mask)),
        }
    }

    fn objection(&self, mask: &Mask) -> Option<String> {
        let (width, height) = self.size;
        if (mask.width, mask.height) != (width, height) {
            let turned = if self.orientation > 4 && (mask.height, mask.width) == (width, height) {
                format!(
                    "; one of them was made on the picture turned by its EXIF orientation, {}",
                    self.orientation
                )
            } else {
                String::new()
            };
            return Some(format!(
                "the mask is {}×{}, but the picture is {width}×{height} by its annotation{turned}",
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

    fn read(&self, palette: &Palette) -> Result<mask::DecodedMask, DataError> {
        match self {
            Self::Palette(path) => mask::read(path, palette),
            Self::Sbd(path) => {
                Ok(mask::DecodedMask { mask: sbd::read_mask(path)?, narrow: None, gray: false })
            }
        }
    }
}

/// Validates an annotated object; coordinates in messages are 1-based, as in the file.
fn checked(object: &AnnotatedObject, (width, height): (usize, usize)) -> Result<Object, String> {
    let class = CLASSES.iter().position(|class| *class == object.name);
    let class = class.ok_or("is of no class of PASCAL VOC; correct its name")?;
    let bounds = object.bounds;
    let corners = [bounds.x1, bounds.y1, bounds.x2, bounds.y2].map(|v| (v + 1.0).to_string()).join(" ");
    if !(bounds.x2 >= bounds.x1 && bounds.y2 >= bounds.y1) {
        return Err(format!("has a box that is inverted: {corners}"));
    }
    if bounds.clipped((width, height)) != bounds {
        let from_0 =
            bounds.x1.min(bounds.y1) == -1.0 && bounds.x2 < width as f32 && bounds.y2 < height as f32;
        let hint =
            if from_0 { "; pixels count from 1, so that a 0 suggests a file that counts from 0" } else { "" };
        return Err(format!("has a box that reaches outside the {width}×{height} picture: {corners}{hint}"));
    }
    let (difficult, truncated, occluded) = (object.difficult, object.truncated, object.occluded);
    Ok(Object { class, bounds, difficult, truncated, occluded })
}
