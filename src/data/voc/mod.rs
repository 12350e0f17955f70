//! PASCAL VOC (Everingham et al., IJCV 2010) in its devkit's layout: `ImageSets`, `JPEGImages`, `Annotations`,
//! `SegmentationClass`; and the masks of the Semantic Boundaries Dataset (SBD; Hariharan et al., ICCV 2011) for more
//! of its images.
//!
//! Boxes and masks refer to the stored pixels, so the EXIF orientation is ignored; only if an annotation's size
//! matches the rotated image, the image is rotated.
//!
//! Faulty images are excluded with a warning; too many of them are an error, and `verify` lists every fault. Person
//! parts, actions and instance outlines are not read.

mod classes;
pub mod devkit; // locates folders and files
mod encoding; // text encoding of XML files
mod header; // sizes and orientations of images
pub mod lists; // ImageSets: image and class lists
pub mod mask; // palette images of class indices
pub mod palette; // colors and labels
mod picture; // the files of one image, and their faults
pub mod sbd; // MATLAB masks
pub mod set; // Voc, an annotated set
pub(in crate::data) mod source; // VocSource
pub mod verify; // report of `data verify`
pub mod xml; // boxes

pub use classes::CLASSES;
pub use source::VocSource;
