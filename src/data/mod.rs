//! Images in, batches of bytes out: sources, decoding, transforms, the loader. A batch travels as u8 RGB and becomes Lab
//! on the compute device.

pub mod annotated; // trait Annotated: objects, presence, masks
pub mod annotated_source; // AnnotatedSpec, opened
pub mod annotated_view; // limit and cache around an annotated set
pub mod catalog;
#[cfg(feature = "cifar")]
pub mod cifar;
mod content; // what tells one set of files from another
pub mod crop_policy; // crops, random scales, whole images
pub mod dataset; // trait Dataset, pictures, splits
pub mod decode;
mod destination; // framed pictures as one tensor on the device
pub mod error;
pub mod folder; // class folders, flat folders
pub mod labels; // numbers and names of classes, and what becomes of them where two sources meet
pub mod list; // text files that name images
pub mod loader;
pub mod mat; // MATLAB files
pub mod open; // a spec's source opened
pub mod paired; // data sets matched image by image with another set
pub mod parquet;
mod pass; // in which order a loader takes pictures
mod pillow; // Pillow's resize
pub mod proposals; // boxes that may hold objects
pub mod scenes; // procedural generator
pub mod source; // SourceSpec, DataSpec
pub mod transforms;
pub mod verify; // what `data verify` reports
pub mod view; // limit, class names and cache around a set
pub mod voc; // PASCAL VOC
pub mod walk; // the pictures below a folder
mod worker; // the loader's threads

use candle_core::Tensor;

/// One batch on the compute device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// u8 RGB `(B, H, W, 3)`; pictures of unequal sizes are filled up with black, to the right and below
    pub pixels: Tensor,
    /// u32 `(B)`; None when the data set has no labels
    pub labels: Option<Tensor>,
    /// Index of each image in its data set.
    pub indices: Vec<usize>,
    /// Where each lies on its stored picture.
    pub frames: Vec<crop_policy::Frame>,
}
