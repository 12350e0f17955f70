//! Batches on an NVIDIA GPU: rows travel as they were decoded, behind a table that says what each picture shows of them;
//! one kernel cuts, mirrors and fills up.

use crate::data::framing::Framed;
use crate::device::cuda::{Arg, Grid, Upload, alloc_uninit, launch, modules};
use candle_core::{DType, Result, Storage, Tensor, op::BackpropOp};

/// The kernel's `Picture`: where its first shown pixel lies in the bytes, pixels of a row, width, height, mirrored.
type Picture = [i64; 5];

pub(super) fn send(
    upload: &mut Upload,
    pictures: &[Framed],
    (height, width): (usize, usize),
) -> Result<Tensor> {
    let table = size_of::<Picture>() * pictures.len();
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

/// Writes the table, and every picture's rows behind it.
fn pack(pictures: &[Framed], (table, mut pixels): (&mut [u8], &mut [u8])) {
    let mut at = table.len();
    for (picture, entry) in pictures.iter().zip(table.chunks_exact_mut(size_of::<Picture>())) {
        let (own, rest) = pixels.split_at_mut(picture.pixels.len());
        own.copy_from_slice(&picture.pixels);
        pixels = rest;
        let (width, height) = picture.frame.size;
        let shown = [at + 3 * picture.left, picture.row, width, height, usize::from(picture.frame.mirror)];
        let numbers: Picture = shown.map(|n| n as i64);
        entry.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(to, n)| *to = n.to_ne_bytes());
        at += picture.pixels.len();
    }
}
