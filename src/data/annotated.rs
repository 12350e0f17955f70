//! Annotated data sets: object boxes, image-level class presence and segmentation masks. PASCAL VOC and the composite
//! scenes implement the trait, which the transfer tasks use.

use super::{dataset::Dataset, error::DataError};
use crate::boxes::Rect;

/// One annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Index into [`Dataset::classes`].
    pub class: usize,
    /// On the stored image, 0-based, corners inclusive.
    pub bounds: Rect,
    /// Ignored in evaluation.
    pub difficult: bool,
    pub truncated: bool,
    pub occluded: bool,
}

/// Presence of a class in an image; 1, −1 and 0 in VOC's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Present,
    Absent,
    /// Difficult examples only: excluded from losses and from average precision.
    Ignored,
}

/// Presence of each of `classes` classes among `objects`. A class with difficult objects only is
/// [`Presence::Ignored`].
pub fn presence(objects: &[Object], classes: usize) -> Vec<Presence> {
    let mut presence = vec![Presence::Absent; classes];
    for object in objects {
        if let Some(of) = presence.get_mut(object.class) {
            match (object.difficult, *of) {
                (false, _) => *of = Presence::Present,
                (true, Presence::Absent) => *of = Presence::Ignored,
                (true, _) => {}
            }
        }
    }
    presence
}

/// Label of ignored pixels.
pub const VOID: u8 = 255;

/// A segmentation mask: 0 is background, class c of [`Dataset::classes`] is c + 1, [`VOID`] is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    pub width: usize,
    pub height: usize,
    /// `(height, width)` in rows.
    pub labels: Vec<u8>,
}

/// A data set with object annotations and, for some images, masks.
pub trait Annotated: Dataset {
    /// Identifier of an image in lists and result files: `2008_000008`.
    fn id(&self, index: usize) -> &str;

    /// Width and height of the stored image.
    fn size(&self, index: usize) -> (usize, usize);

    fn objects(&self, index: usize) -> &[Object];

    /// Presence of each class.
    fn presence(&self, index: usize) -> Vec<Presence>;

    /// The segmentation mask; `None` for an image without one.
    ///
    /// # Errors
    /// A mask that cannot be read, whose size differs from its image's, or with labels that are not classes.
    fn mask(&self, index: usize) -> Result<Option<Mask>, DataError>;
}
