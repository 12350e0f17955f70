//! Framed pictures become one tensor on the compute device: columns are cut, pictures mirrored, and filled up with black
//! to the largest of the batch.

use super::framing::Framed;
#[cfg(feature = "cuda")]
use crate::device::cuda::Upload;
use candle_core::{Device, Result, Tensor, bail};

#[cfg(feature = "cuda")]
mod cuda;

/// Where batches go.
pub(super) struct Destination {
    device: Device,
    #[cfg(feature = "cuda")]
    upload: Option<Upload>,
}

impl Destination {
    pub fn new(device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        let upload = if let Device::Cuda(device) = device { Some(Upload::new(device)?) } else { None };
        Ok(Self {
            device: device.clone(),
            #[cfg(feature = "cuda")]
            upload,
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Pictures as one u8 tensor `(B, H, W, 3)` of the largest height and width. To a GPU they go while it computes.
    ///
    /// # Errors
    /// Memory; a batch larger than fits into any.
    pub fn send(&mut self, pictures: &[Framed]) -> Result<Tensor> {
        let largest = |side: fn(&Framed) -> usize| pictures.iter().map(side).max().unwrap_or(0);
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

/// Bytes of a batch, at most: 32 GiB.
const MOST_BYTES: usize = 1 << 35;

/// Bytes of that many pictures of `(height, width)` pixels.
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
