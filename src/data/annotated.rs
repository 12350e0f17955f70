//! Pictures with more than one label: objects in boxes, classes present or not, a class for every pixel. PASCAL VOC's
//! devkit and the composite scenes are such sets; the transfer tasks read them through the trait here.

use super::{dataset::Dataset, error::DataError};
use crate::boxes::Rect;

/// One annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Index into [`Dataset::classes`].
    pub class: usize,
    /// On the stored picture, 0-based, corners included.
    pub bounds: Rect,
    /// Counts neither for nor against a detector.
    pub difficult: bool,
    pub truncated: bool,
    pub occluded: bool,
}

/// Whether a picture shows a class; VOC's lists write 1, −1 and 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Present,
    Absent,
    /// Only difficult examples: left out of losses and of average precision.
    Ignored,
}

/// For each of `classes` classes whether `objects` show it; one with difficult objects alone is [`Presence::Ignored`].
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

/// The label of pixels that count in nothing.
pub const VOID: u8 = 255;

/// A class for every pixel of a picture: 0 is background, class c of [`Dataset::classes`] is c + 1, [`VOID`] is neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    pub width: usize,
    pub height: usize,
    /// `(height, width)` in rows.
    pub labels: Vec<u8>,
}

/// A set whose pictures carry objects, and some of whose pictures carry masks.
pub trait Annotated: Dataset {
    /// Identifier of a picture in lists and result files: `2008_000008`.
    fn id(&self, index: usize) -> &str;

    /// Width and height of the stored picture.
    fn size(&self, index: usize) -> (usize, usize);

    fn objects(&self, index: usize) -> &[Object];

    /// For each class, whether the picture shows it.
    fn presence(&self, index: usize) -> Vec<Presence>;

    /// The class of every pixel; `None` for a picture without a mask.
    ///
    /// # Errors
    /// A mask that cannot be read, of another size than its picture, or with labels that are no class.
    fn mask(&self, index: usize) -> Result<Option<Mask>, DataError>;
}
