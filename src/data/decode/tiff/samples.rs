//! Assembles the stored samples of strips, tiles and planes in one buffer.

use super::{
    faults::{said, truncated, unread},
    strip,
    tags::{JPEG, Tags},
};
use crate::data::decode::{
    jpeg,
    undecodable::{MAX_BYTES, Undecodable},
};
use half::f16;

/// Every sample of the image, in native byte order; rows are byte-aligned.
pub(super) struct TiffSamples {
    bytes: Vec<u8>,
    /// Bytes of a row.
    row: usize,
    /// Bytes of a plane.
    plane: usize,
}

/// A decompressed strip or tile.
struct Chunk {
    bytes: Vec<u8>,
    row: usize,
    rows: usize,
}

impl TiffSamples {
    /// Decompresses the strips or tiles.
    pub(super) fn read(tags: &Tags, file: &[u8]) -> Result<Self, Undecodable> {
        let grid = ChunkGrid::of(tags)?;
        grid.check_lengths(tags, file)?;
        let mut bytes = vec![0; grid.plane * grid.planes];
        for (i, range) in tags.chunks()?.enumerate().take(grid.chunks()) {
            let data = file.get(range).ok_or_else(truncated)?;
            let chunk = if tags.compression == JPEG {
                grid.jpeg_chunk(tags, data)?
            } else {
                grid.decompressed(tags, i, data)?
            };
            grid.paste(i, &chunk, &mut bytes).ok_or_else(truncated)?;
        }
        Ok(Self { bytes, row: grid.row, plane: grid.plane })
    }

    /// Row `y`, interleaved and divided by `white`; None if the data are too short.
    pub(super) fn row(&self, tags: &Tags, y: usize, white: f64, row: &mut [f64]) -> Option<()> {
        if !tags.planar {
            return values(self.bytes.get(y * self.row..)?, tags, white, row);
        }
        let mut line = vec![0.0; tags.width];
        for channel in 0..tags.samples {
            values(self.bytes.get(channel * self.plane + y * self.row..)?, tags, white, &mut line)?;
            row.iter_mut().skip(channel).step_by(tags.samples).zip(&line).for_each(|(to, from)| *to = *from);
        }
        Some(())
    }
}

/// Layout of the strips or tiles.
struct ChunkGrid {
    width: usize,
    height: usize,
    /// Width and height of a strip or tile.
    chunk: (usize, usize),
    tiled: bool,
    /// Interleaved samples of a pixel.
    channels: usize,
    /// Bits of a pixel.
    pixel: usize,
    row: usize,
    plane: usize,
    planes: usize,
}

impl ChunkGrid {
    fn of(tags: &Tags) -> Result<Self, Undecodable> {
        let (width, height, tiled) = (tags.width, tags.height, tags.tiled);
        let chunk = (tags.chunk.0, if tiled { tags.chunk.1 } else { tags.chunk.1.min(height) });
        let (channels, planes) = if tags.planar { (1, tags.samples) } else { (tags.samples, 1) };
        let pixel = channels * usize::from(tags.bits);
        let row = (width * pixel).div_ceil(8);
        let plane = row.saturating_mul(height);
        let of_chunk = (chunk.0.saturating_mul(pixel) / 8).saturating_mul(chunk.1);
        if plane.saturating_mul(planes).max(of_chunk) > MAX_BYTES {
            return Err(Undecodable::too_large(width as u32, height as u32));
        }
        let grid = Self { width, height, chunk, tiled, channels, pixel, row, plane, planes };
        if tags.offsets.len() < grid.chunks() {
            return Err(truncated());
        }
        Ok(grid)
    }

    /// Identical tiles may share their bytes, but compression never expands data much: reject files that claim
    /// otherwise, since they would be read many times over.
    fn check_lengths(&self, tags: &Tags, file: &[u8]) -> Result<(), Undecodable> {
        let claimed = tags.lengths.iter().take(self.chunks()).fold(0, |sum: u64, n| sum.saturating_add(*n));
        let most = (self.plane * self.planes) as u64 * 2 + file.len() as u64;
        if claimed > most {
            return Err(Undecodable::new(
                "damaged: its strips or tiles claim more bytes than they could hold",
            ));
        }
        Ok(())
    }

    fn across(&self) -> usize {
        self.width.div_ceil(self.chunk.0)
    }

    fn down(&self) -> usize {
        self.height.div_ceil(self.chunk.1)
    }

    fn chunks(&self) -> usize {
        self.across() * self.down() * self.planes
    }

    /// Upper left pixel of a strip or tile.
    fn origin(&self, chunk: usize) -> (usize, usize) {
        let (across, down) = (self.across(), self.down());
        (chunk % across * self.chunk.0, chunk / across % down * self.chunk.1)
    }

    fn decompressed(&self, tags: &Tags, index: usize, data: &[u8]) -> Result<Chunk, Undecodable> {
        // The last strip may be shorter; tiles are always complete.
        let rows =
            if self.tiled { self.chunk.1 } else { self.chunk.1.min(self.height - self.origin(index).1) };
        let size = (self.chunk.0 as u32, rows as u32);
        let bytes = strip::decompress(tags, self.channels as u16, size, data).map_err(said)?;
        Ok(Chunk { row: (self.chunk.0 * self.pixel).div_ceil(8), rows, bytes })
    }

    /// YCbCr JPEG data are converted to RGB.
    fn jpeg_chunk(&self, tags: &Tags, data: &[u8]) -> Result<Chunk, Undecodable> {
        if tags.bits != 8 || tags.is_float() {
            return Err(unread("JPEG compression of other than 8 bits"));
        }
        let samples = jpeg::samples(&with_tables(&tags.jpeg_tables, data), tags.is_ycbcr())?;
        if samples.channels != self.channels {
            return Err(Undecodable::new("damaged: a strip's JPEG has other channels than the file says"));
        }
        Ok(Chunk { row: samples.width * self.channels, rows: samples.height, bytes: samples.values })
    }

    /// Copies the visible part of a strip or tile; None if it is incomplete.
    fn paste(&self, index: usize, chunk: &Chunk, picture: &mut [u8]) -> Option<()> {
        let (x, y) = self.origin(index);
        let (wide, high) = (self.chunk.0.min(self.width - x), self.chunk.1.min(self.height - y));
        let bytes = (wide * self.pixel).div_ceil(8);
        if chunk.rows < high || chunk.row < bytes || !(x * self.pixel).is_multiple_of(8) {
            return None;
        }
        let to = index / (self.across() * self.down()) * self.plane + x * self.pixel / 8;
        for line in 0..high {
            let from = chunk.bytes.get(line * chunk.row..)?.get(..bytes)?;
            picture.get_mut(to + (y + line) * self.row..)?.get_mut(..bytes)?.copy_from_slice(from);
        }
        Some(())
    }
}

/// Builds a complete JPEG stream: the shared tables, then the strip without its start marker.
fn with_tables(tables: &[u8], chunk: &[u8]) -> Vec<u8> {
    match (tables.strip_suffix(&[0xff, 0xd9]), chunk.strip_prefix(&[0xff, 0xd8])) {
        (Some(tables), Some(rest)) => [tables, rest].concat(),
        _ => chunk.to_vec(),
    }
}

/// The first samples of `bytes`, divided by `white`. Samples of fewer than 8 bits are packed, highest bits first.
fn values(bytes: &[u8], tags: &Tags, white: f64, out: &mut [f64]) -> Option<()> {
    fn each<const N: usize>(bytes: &[u8], out: &mut [f64], value: impl Fn([u8; N]) -> f64) -> Option<()> {
        let fields = bytes.get(..N * out.len())?.as_chunks::<N>().0;
        out.iter_mut().zip(fields).for_each(|(out, field)| *out = value(*field));
        Some(())
    }
    match (tags.is_float(), tags.bits) {
        (false, 8) => each(bytes, out, |[v]| f64::from(v) / white),
        (false, 16) => each(bytes, out, |v| f64::from(u16::from_ne_bytes(v)) / white),
        (false, 32) => each(bytes, out, |v| f64::from(u32::from_ne_bytes(v)) / white),
        (false, 64) => each(bytes, out, |v| u64::from_ne_bytes(v) as f64 / white),
        (true, 16) => each(bytes, out, |v| f16::from_ne_bytes(v).to_f64()),
        (true, 32) => each(bytes, out, |v| f32::from_ne_bytes(v).into()),
        (true, 64) => each(bytes, out, f64::from_ne_bytes),
        (_, bits) => {
            let bits = usize::from(bits);
            let packed = bytes.get(..(out.len() * bits).div_ceil(8))?;
            (out.iter_mut().enumerate())
                .for_each(|(i, out)| *out = f64::from(unpacked(packed, i, bits)) / white);
            Some(())
        }
    }
}

fn unpacked(packed: &[u8], index: usize, bits: usize) -> u16 {
    let bit = |at: usize| u16::from(packed[at / 8] >> (7 - at % 8) & 1);
    (index * bits..(index + 1) * bits).fold(0, |value, at| value << 1 | bit(at))
}
