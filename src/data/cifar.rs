//! The original CIFAR-10 binary folder, read by candle-datasets (`load_dir`; its parquet reader transposes images and
//! is not used).
//!
//! candle-datasets reads both splits as f32 planes, so opening peaks at well over 1 GB; afterwards only the bytes of
//! one split are kept, at most 154 MB.

use super::{
    dataset::{Dataset, RgbImage, Split},
    error::DataError,
};
use crate::guarded;
use candle_core::{DType, Tensor};
use candle_datasets::vision::cifar::load_dir;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const IMAGE: usize = 3 * SIDE * SIDE;
/// Every file holds 10,000 images: a label byte and three planes each.
const FILE_BYTES: u64 = 10_000 * (1 + IMAGE as u64);
const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// One split of CIFAR-10, decoded.
pub struct Cifar {
    dir: PathBuf,
    split: Split,
    /// `(N, 32, 32, 3)`
    pixels: Vec<u8>,
    labels: Vec<u32>,
    classes: Vec<String>,
}

impl Cifar {
    /// Opens `cifar-10-batches-bin`, as unpacked from the original archive; `Val` is its test batch.
    ///
    /// Errors: a file missing or of another size, a label above 9.
    pub fn open(dir: &Path, split: Split) -> Result<Self, DataError> {
        FILES.iter().try_for_each(|file| check(&dir.join(file)))?;
        let fault = |reason| DataError::Table { path: dir.into(), reason };
        let data = guarded::call(|| load_dir(dir)).map_err(|panicked| fault(panicked.to_string()))?;
        let data = data.map_err(|error| fault(format!("cannot be read: {error}")))?;
        let (images, labels) = match split {
            Split::Train => (data.train_images, data.train_labels),
            Split::Val => (data.test_images, data.test_labels),
        };
        let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        if let Some(at) = labels.iter().position(|&label| label as usize >= CLASSES.len()) {
            let reason = format!("image {at} of {} has label {}, above 9", split.name(), labels[at]);
            return Err(fault(reason));
        }
        let classes = CLASSES.map(str::to_owned).to_vec();
        Ok(Self { dir: dir.into(), split, pixels: bytes(&images)?, labels, classes })
    }
}

/// Converts `(N, 3, 32, 32)` in [0, 1] back to `(N, 32, 32, 3)` bytes; byte/255·255 rounds to the original byte.
fn bytes(images: &Tensor) -> candle_core::Result<Vec<u8>> {
    let planes = images.flatten_all()?.to_vec1::<f32>()?;
    let mut pixels = Vec::with_capacity(planes.len());
    for image in planes.chunks_exact(IMAGE) {
        for at in 0..SIDE * SIDE {
            pixels.extend((0..3).map(|c| (image[c * SIDE * SIDE + at] * 255.).round() as u8));
        }
    }
    Ok(pixels)
}

fn check(path: &Path) -> Result<(), DataError> {
    let expected = "the six .bin files of cifar-10-batches-bin (https://www.cs.toronto.edu/~kriz/cifar.html)";
    let Ok(meta) = std::fs::metadata(path) else {
        return Err(DataError::Missing { path: path.into(), expected: expected.into() });
    };
    if meta.len() != FILE_BYTES {
        let reason =
            format!("{} bytes where the format has {FILE_BYTES}; unpack the archive again", meta.len());
        return Err(DataError::Table { path: path.into(), reason });
    }
    Ok(())
}

impl Dataset for Cifar {
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }
    fn name(&self, index: usize) -> String {
        format!("{} {} image {index}", self.dir.display(), self.split.name())
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let pixels = self.pixels[index * IMAGE..(index + 1) * IMAGE].to_vec();
        Ok(RgbImage { width: SIDE, height: SIDE, pixels })
    }
    /// Covers every pixel and label.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("cifar {}\n", self.labels.len()));
        hash.update(&self.pixels);
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        format!("{:x}", hash.finalize())
    }
}
