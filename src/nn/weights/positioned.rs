//! Tensors of f32 read from their places in a file by all threads, each row permuted to memory layout while it is in
//! the cache. A network of 130 MB is read as fast as its memory can be filled, with no second copy of it.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::{
    fs::File,
    io::{self, ErrorKind},
};

/// Elements that one thread reads at a time, at least one row.
const PIECE: usize = 1 << 16;

/// The tensor of this shape (in the file's layout) whose first byte is at `offset`.
///
/// # Errors
/// Errors of the file, also that it ends early.
pub(super) fn floats(file: &File, offset: u64, shape: &[usize]) -> Result<Tensor> {
    let (mut dims, mut row, mut window) = (shape.to_vec(), 1, 1);
    if let [outputs, inputs, height, width] = *shape {
        dims = vec![outputs, height, width, inputs];
        (row, window) = (inputs * height * width, height * width);
    }
    let mut values = vec![0f32; shape.iter().product()];
    let piece = row * (PIECE / row.max(1)).max(1);
    values.par_chunks_mut(piece).enumerate().try_for_each_init(Vec::new, |bytes, (at, out)| {
        bytes.resize(size_of_val(out), 0);
        read_exact_at(file, bytes, offset + (at * piece * size_of::<f32>()) as u64)?;
        let rows = bytes.as_chunks::<4>().0.chunks_exact(row);
        out.chunks_exact_mut(row).zip(rows).for_each(|(out, row)| permute(out, row, window));
        io::Result::Ok(())
    })?;
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// Little-endian `(inputs, window)` → `(window, inputs)`.
fn permute(out: &mut [f32], row: &[[u8; 4]], window: usize) {
    for (tap, out) in out.chunks_exact_mut(row.len() / window).enumerate() {
        let inputs = row[tap..].iter().step_by(window);
        out.iter_mut().zip(inputs).for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
    }
}

/// Fills `bytes` from `offset` on, independent of the file's own position.
pub(super) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match read_at(file, bytes, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::weights::layout::{TO_MEMORY, permuted};
    use std::io::Write;

    /// Shapes of less than a piece and of more, with rows longer than a piece, at an odd offset.
    #[test]
    fn every_shape_is_what_candle_permutes() -> Result<()> {
        for shape in [&[5][..], &[2, 3], &[3, 70_000], &[70, 40, 3, 5], &[2, 9000, 3, 3], &[3, 7, 1, 1]] {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|i| i as f32 - 7.5).collect();
            let mut file = tempfile::tempfile()?;
            file.write_all(&[1, 2, 3])?;
            file.write_all(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())?;
            let theirs = permuted(&Tensor::from_vec(values, shape, &Device::Cpu)?, TO_MEMORY)?;
            let ours = floats(&file, 3, shape)?;
            assert_eq!(ours.dims(), theirs.dims());
            assert!(ours.flatten_all()?.to_vec1::<f32>()? == theirs.flatten_all()?.to_vec1::<f32>()?);
            assert!(floats(&file, 4, shape).is_err(), "{shape:?}: the file ends early");
        }
        Ok(())
    }
}
