//! PASCAL VOC (Everingham et al., IJCV 2010) in its devkit's layout: `ImageSets`, `JPEGImages`, `Annotations`,
//! `SegmentationClass`; and the masks of the Semantic Boundaries Dataset (SBD; Hariharan et al., ICCV 2011) for more of
//! its pictures.
//!
//! Boxes and masks belong to the pixels of a picture as they are stored, and these are used, unturned, whatever orientation
//! EXIF gives; only where an annotation's size is that of the turned picture, it was made on that, and the picture is turned.
//!
//! A picture with anything wrong is left out of its set with a warning, and too many of them are an error; `verify`
//! names every fault. What belongs to no class (parts of persons, actions, outlines of instances) is not read.

mod classes;
pub mod devkit; // where the folders and files are
mod encoding; // the characters of XML files
mod header; // sizes and orientations of pictures
pub mod lists; // ImageSets: which pictures, which classes
pub mod mask; // palette images of class indices
pub mod palette; // colors and labels
mod picture; // one picture's files, and what is wrong with them
pub mod sbd; // MATLAB masks
pub mod set; // Voc, an annotated set
pub(in crate::data) mod source; // VocSource
pub mod verify; // what `data verify` reports
pub mod xml; // boxes

pub use classes::CLASSES;
pub use source::VocSource;
