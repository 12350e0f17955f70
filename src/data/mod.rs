//! Data pipeline from image files to batches: sources, decoding, transforms, the loader. Batches are uploaded as u8
//! RGB and converted to Lab on the compute device.

pub mod annotated; // trait Annotated: objects, presence, masks
pub mod annotated_source; // AnnotatedSpec, opened
pub mod annotated_view; // limit and cache around an annotated set
pub mod catalog;
#[cfg(feature = "cifar")]
pub mod cifar;
mod content; // content fingerprints of file sets
pub mod crop_policy; // crops, random scales, whole images
pub mod dataset; // trait Dataset, pictures, splits
pub mod dataset_label; // names of data sets for tables
pub mod decode;
mod destination; // cropped images as one tensor on the device
pub mod error;
pub mod folder; // class folders, flat folders
pub mod labels; // class numbers and names, and matching them between sources
pub mod list; // text files that name images
pub mod loader;
mod loader_faults; // unreadable and small images
pub mod mat; // MATLAB files
pub mod open; // opens a spec's source
pub mod paired; // data sets matched image by image with another set
pub mod parquet;
mod pass; // image order and augmentation of a loader
pub mod peers; // processes that share a pass
mod pillow; // Pillow's resize
pub mod proposals; // object proposals
pub mod scenes; // procedural generator
pub mod shard_layout; // order of an epoch over shards
pub mod shards; // WebDataset shards
mod shared_pass; // a pass that several processes share
pub mod source; // SourceSpec, DataSpec
pub mod subset; // some pictures, evenly over the classes
pub mod train_crop; // windows of random size, pictures of random scale
pub mod transforms;
pub mod verify; // report of `data verify`

pub mod survey; // a first look at a folder

pub mod view; // limit, class names and cache around a set
pub mod voc; // PASCAL VOC
pub mod walk; // lists the images below a folder
mod worker; // what a loader's thread does
mod worker_pool; // the loader's threads

pub use worker::Fault;

use candle_core::Tensor;

/// One batch on the compute device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// u8 RGB `(B, H, W, 3)`; images of different sizes are padded with black on the right and bottom
    pub pixels: Tensor,
    /// u32 `(B)`; None when the data set has no labels
    pub labels: Option<Tensor>,
    /// Index of each image in its data set.
    pub indices: Vec<usize>,
    /// Geometry of each image within its stored image.
    pub frames: Vec<crop_policy::Frame>,
}
