//! Tags of the first image file directory.

use super::faults::{said, truncated, unread};
use crate::data::decode::undecodable::{MAX_BYTES, Undecodable};
use std::{borrow::Cow, io::Cursor, ops::Range};
use tiff::{
    decoder::{ChunkType, Decoder},
    tags::{ByteOrder, PlanarConfiguration, Tag},
};

pub(super) type File<'a> = Decoder<Cursor<&'a [u8]>>;

/// Compression code of JPEG strips and tiles.
pub(super) const JPEG: u16 = 7;

const INK_SET: Tag = Tag::Unknown(332);
const LOWEST_BIT_FIRST: u16 = 2;
const UNSIGNED: u16 = 1;
const SIGNED: u16 = 2;
const FLOAT: u16 = 3;
const CMYK: u16 = 5;
const YCBCR: u16 = 6;

pub(super) struct Tags {
    pub width: usize,
    pub height: usize,
    pub photometric: u16,
    pub compression: u16,
    /// Per pixel, alpha and others included.
    pub samples: usize,
    pub bits: u16,
    /// 1 unsigned, 2 signed, 3 float.
    pub format: u16,
    pub planar: bool,
    /// Extra samples: 1 premultiplied alpha, 2 straight alpha, else unknown.
    pub extra: Vec<u16>,
    pub palette: Vec<u16>,
    pub subsampling: Vec<u16>,
    pub ink_set: u16,
    pub predictor: u16,
    pub fill_order: u16,
    pub orientation: u16,
    pub little: bool,
    pub tiled: bool,
    /// Width and height of a strip or tile.
    pub chunk: (usize, usize),
    pub offsets: Vec<u64>,
    pub lengths: Vec<u64>,
    pub jpeg_tables: Vec<u8>,
}

impl Tags {
    pub(super) fn read(decoder: &mut File) -> Result<Self, Undecodable> {
        let (width, height) = decoder.dimensions().map_err(said)?;
        let chunk = decoder.chunk_dimensions();
        let tiled = decoder.get_chunk_type() == ChunkType::Tile;
        let [offsets, lengths] = if tiled {
            [Tag::TileOffsets, Tag::TileByteCounts]
        } else {
            [Tag::StripOffsets, Tag::StripByteCounts]
        };
        let mut list = |tag| -> Result<Vec<u64>, Undecodable> {
            Ok(decoder.find_tag_unsigned_vec(tag).map_err(said)?.unwrap_or_default())
        };
        let [offsets, lengths] = [list(offsets)?, list(lengths)?];
        let jpeg_tables = match decoder.find_tag(Tag::JPEGTables).map_err(said)? {
            Some(value) => value.into_u8_vec().map_err(said)?,
            None => vec![],
        };
        let mut list = |tag| -> Result<Vec<u16>, Undecodable> {
            Ok(decoder.find_tag_unsigned_vec(tag).map_err(said)?.unwrap_or_default())
        };
        let mut first =
            |tag, absent| -> Result<u16, Undecodable> { Ok(list(tag)?.first().copied().unwrap_or(absent)) };
        Ok(Self {
            width: width as usize,
            height: height as usize,
            photometric: first(Tag::PhotometricInterpretation, u16::MAX)?,
            compression: first(Tag::Compression, 1)?,
            samples: first(Tag::SamplesPerPixel, 1)?.into(),
            bits: first(Tag::BitsPerSample, 1)?,
            format: first(Tag::SampleFormat, 1)?,
            planar: first(Tag::PlanarConfiguration, 1)? == PlanarConfiguration::Planar.to_u16(),
            ink_set: first(INK_SET, 1)?,
            predictor: first(Tag::Predictor, 1)?,
            fill_order: first(Tag::FillOrder, 1)?,
            orientation: first(Tag::Orientation, 1)?,
            extra: list(Tag::ExtraSamples)?,
            palette: list(Tag::ColorMap)?,
            subsampling: list(Tag::ChromaSubsampling)?,
            little: decoder.byte_order() == ByteOrder::LittleEndian,
            tiled,
            chunk: (chunk.0 as usize, chunk.1 as usize),
            offsets,
            lengths,
            jpeg_tables,
        })
    }

    /// Rejects unsupported features by name.
    pub(super) fn check(&self) -> Result<(), Undecodable> {
        if let Some(name) = self.unread_compression() {
            return Err(unread(&format!("compression {name}")));
        }
        if let Some(samples) = self.unread_samples() {
            return Err(unread(&samples));
        }
        if self.is_ycbcr() && self.compression != JPEG && self.subsampling != [1, 1] {
            return Err(unread("subsampled YCbCr without JPEG compression"));
        }
        if self.photometric == CMYK && self.ink_set != 1 {
            return Err(unread("inks other than CMYK"));
        }
        if self.is_too_large() {
            return Err(Undecodable::too_large(self.width as u32, self.height as u32));
        }
        let present = |list: &[u64]| !list.is_empty() && list.iter().all(|n| *n > 0);
        if !present(&self.offsets) || !present(&self.lengths) {
            return Err(Undecodable::new("a strip or tile is missing (a sparse file); write it in full"));
        }
        Ok(())
    }

    /// Decoded samples take at least a byte each, and one row is held as f64.
    fn is_too_large(&self) -> bool {
        let row = (self.width as u64).saturating_mul(self.samples.max(3) as u64);
        row.saturating_mul(self.height as u64) > MAX_BYTES as u64 || row > MAX_BYTES as u64 / 8
    }

    fn unread_compression(&self) -> Option<String> {
        Some(match self.compression {
            1 | 4 | 5 | JPEG | 8 | 32946 | 32773 | 50000 | 50001 => return None,
            2 | 3 => "CCITT group 3 fax".into(),
            6 => "old-style JPEG (6)".into(),
            34712 => "JPEG 2000".into(),
            34925 => "LZMA".into(),
            50002 | 52546 => "JPEG XL".into(),
            other => format!("number {other}"),
        })
    }

    fn unread_samples(&self) -> Option<String> {
        Some(match (self.format, self.bits) {
            (UNSIGNED, 1..=8 | 16 | 32 | 64) | (FLOAT, 16 | 32 | 64) => return None,
            (SIGNED, _) => "signed samples, whose black and white are not agreed on".into(),
            (UNSIGNED, bits) => format!("samples of {bits} bits"),
            (FLOAT, bits) => format!("float samples of {bits} bits"),
            _ => "samples that are no plain numbers".into(),
        })
    }

    /// File ranges of the strips or tiles.
    pub(super) fn chunks(&self) -> Result<impl Iterator<Item = Range<usize>>, Undecodable> {
        let ranges = self.offsets.iter().zip(&self.lengths).map(|(from, length)| {
            let to = from.checked_add(*length)?;
            Some(usize::try_from(*from).ok()?..usize::try_from(to).ok()?)
        });
        Ok(ranges.collect::<Option<Vec<_>>>().ok_or_else(truncated)?.into_iter())
    }

    /// The file with most-significant-bit-first bytes; JPEG streams always are.
    pub(super) fn bits_in_order<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>, Undecodable> {
        let mut file = Cow::from(file);
        if self.fill_order == LOWEST_BIT_FIRST && self.compression != JPEG {
            for range in self.chunks()? {
                let chunk = file.to_mut().get_mut(range).ok_or_else(truncated)?;
                chunk.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
            }
        }
        Ok(file)
    }

    pub(super) fn is_ycbcr(&self) -> bool {
        self.photometric == YCBCR
    }

    pub(super) fn is_float(&self) -> bool {
        self.format == FLOAT
    }
}
