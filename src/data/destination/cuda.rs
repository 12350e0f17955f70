//! Batches on an NVIDIA GPU: decoded rows are uploaded after a table of crop descriptors, and one kernel crops, flips
//! and pads.

use crate::data::crop_policy::CroppedImage;
use crate::device::cuda::{Arg, Grid, UploadQueue, alloc_uninit, launch, modules};
use candle_core::{DType, Result, Storage, Tensor, op::BackpropOp};

/// The kernel's `Picture`: byte offset of the first visible pixel, row length in pixels, width, height, flipped.
type FrameDescriptor = [i64; 5];

pub(super) fn send(
    upload: &mut UploadQueue,
    pictures: &[CroppedImage],
    (height, width): (usize, usize),
) -> Result<Tensor> {
    let table = size_of::<FrameDescriptor>() * pictures.len();
    let bytes = table + pictures.iter().map(|p| p.pixels.len()).sum::<usize>();
    let shape = (pictures.len(), height, width, 3);
    let device = upload.device().clone();
    let place = |staged| {
        let (storage, out) = alloc_uninit(&device, shape, DType::U8)?;
        let args = [Arg::Pointer(staged), Arg::Pointer(out), Arg::length(height), Arg::length(width)];
        launch(&device, modules::FRAMES, "frames", Grid::rows(pictures.len() * height, 3 * width), &args)?;
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    };
    upload.send(bytes, |to| pack(pictures, to.split_at_mut(table)), place)
}

/// Writes the table followed by the rows of every image.
fn pack(pictures: &[CroppedImage], (table, mut pixels): (&mut [u8], &mut [u8])) {
    let mut at = table.len();
    for (picture, entry) in pictures.iter().zip(table.chunks_exact_mut(size_of::<FrameDescriptor>())) {
        let (own, rest) = pixels.split_at_mut(picture.pixels.len());
        own.copy_from_slice(&picture.pixels);
        pixels = rest;
        let (width, height) = picture.frame.size;
        let shown = [at + 3 * picture.left, picture.row, width, height, usize::from(picture.frame.mirror)];
        let numbers: FrameDescriptor = shown.map(|n| n as i64);
        entry.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(to, n)| *to = n.to_ne_bytes());
        at += picture.pixels.len();
    }
}
