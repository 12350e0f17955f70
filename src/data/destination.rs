//! Framed pictures become one tensor on the compute device: columns are cut, pictures mirrored, and filled up with black
//! to the largest of the batch.

use super::framing::Framed;
#[cfg(feature = "cuda")]
use crate::device::cuda::Upload;
use candle_core::{Device, Result, Tensor};

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
    /// Memory.
    pub fn send(&mut self, pictures: &[Framed]) -> Result<Tensor> {
        let largest = |side: fn(&Framed) -> usize| pictures.iter().map(side).max().unwrap_or(0);
        let (width, height) = (largest(|p| p.frame.size.0), largest(|p| p.frame.size.1));
        #[cfg(feature = "cuda")]
        if let Some(upload) = &mut self.upload {
            return cuda::send(upload, pictures, (height, width));
        }
        let mut pixels = vec![0; pictures.len() * height * width * 3];
        for (picture, place) in pictures.iter().zip(pixels.chunks_exact_mut(3 * height * width)) {
            picture.write(width, place);
        }
        Tensor::from_vec(pixels, (pictures.len(), height, width, 3), &self.device)
    }
}
