//! Assembles cropped images into one tensor on the compute device: applies the column crop and flip, and pads with
//! black to the largest image of the batch.

use super::crop_policy::CroppedImage;
#[cfg(feature = "cuda")]
use crate::device::cuda::UploadQueue;
use candle_core::{Device, Result, Tensor, bail};

#[cfg(feature = "cuda")]
mod cuda;

/// Writes batches to a device.
pub(super) struct Destination {
    device: Device,
    #[cfg(feature = "cuda")]
    upload: Option<UploadQueue>,
}

impl Destination {
    pub fn new(device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        let upload = if let Device::Cuda(device) = device { Some(UploadQueue::new(device)?) } else { None };
        Ok(Self {
            device: device.clone(),
            #[cfg(feature = "cuda")]
            upload,
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Uploads images as one u8 tensor `(B, H, W, 3)` of the largest height and width. On a GPU the copy overlaps
    /// with computation.
    ///
    /// # Errors
    /// Out of memory; a batch over the size limit.
    pub fn send(&mut self, pictures: &[CroppedImage]) -> Result<Tensor> {
        let largest = |side: fn(&CroppedImage) -> usize| pictures.iter().map(side).max().unwrap_or(0);
        let (width, height) = (largest(|p| p.frame.size.0), largest(|p| p.frame.size.1));
        let bytes = bytes(pictures.len(), (height, width))?;
        #[cfg(feature = "cuda")]
        if let Some(upload) = &mut self.upload {
            return cuda::send(upload, pictures, (height, width));
        }
        let mut pixels = vec![0; bytes];
        for (picture, place) in pictures.iter().zip(pixels.chunks_exact_mut(3 * height * width)) {
            picture.write(width, place);
        }
        Tensor::from_vec(pixels, (pictures.len(), height, width, 3), &self.device)
    }
}

/// Largest batch: 32 GiB.
const MOST_BYTES: usize = 1 << 35;

/// Size in bytes of that many images of `(height, width)` pixels.
fn bytes(pictures: usize, (height, width): (usize, usize)) -> Result<usize> {
    let bytes = [height, width, 3].into_iter().try_fold(pictures, usize::checked_mul);
    match bytes.filter(|bytes| *bytes <= MOST_BYTES) {
        Some(bytes) => Ok(bytes),
        None => bail!(
            "{pictures} pictures of {height} × {width} pixels are more than {MOST_BYTES} bytes: take a smaller `batch` or \
             `crop`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_beyond_memory_are_refused() {
        assert_eq!(bytes(2, (3, 5)).unwrap(), 90);
        for (pictures, side) in [(1, 1 << 32), (usize::MAX, 1), (65_535, 65_535), (1, 65_535 * 2)] {
            let error = bytes(pictures, (side, side)).unwrap_err().to_string();
            assert!(error.contains("smaller `batch`"), "{error}");
        }
    }
}
