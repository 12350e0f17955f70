//! Decompresses one strip or tile by wrapping it in a grayscale TIFF of its own. As grayscale, the `tiff` crate
//! returns all samples unchanged, whereas it rejects palettes and gray with alpha and drops extra channels. This also
//! avoids its bugs with planar tiles (wrong edges) and LZW tiles (ends early) in 0.11.3.

use super::tags::Tags;
use crate::data::decode::undecodable::MAX_BYTES;
use std::io::Cursor;
use tiff::{
    TiffResult,
    decoder::{Decoder, DecodingResult, Limits},
};

const SHORT: u16 = 3;
const LONG: u16 = 4;
const BLACK_IS_ZERO: u32 = 1;

/// The samples of `data` in native byte order: a strip of `size` (width, rows) with `channels` per pixel.
pub(super) fn decompress(tags: &Tags, channels: u16, size: (u32, u32), data: &[u8]) -> TiffResult<Vec<u8>> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_BYTES;
    limits.intermediate_buffer_size = MAX_BYTES;
    let file = file(tags, channels, size, data);
    let mut samples = DecodingResult::U8(vec![]);
    let mut decoder = Decoder::new(Cursor::new(file))?.with_limits(limits);
    decoder.read_image_to_buffer(&mut samples)?;
    Ok(match samples {
        DecodingResult::U8(bytes) => bytes,
        mut other => other.as_buffer(0).as_bytes().to_vec(),
    })
}

/// Builds a TIFF of the same byte order that contains only this strip.
fn file(tags: &Tags, channels: u16, (width, rows): (u32, u32), data: &[u8]) -> Vec<u8> {
    let entries = [
        (256, LONG, width),
        (257, LONG, rows),
        (258, SHORT, tags.bits.into()),
        (259, SHORT, tags.compression.into()),
        (262, SHORT, BLACK_IS_ZERO),
        (273, LONG, 0),
        (277, SHORT, channels.into()),
        (278, LONG, rows),
        (279, LONG, data.len() as u32),
        (317, SHORT, tags.predictor.into()),
        (339, SHORT, tags.format.into()),
    ];
    let start = 8 + 2 + 12 * entries.len() as u32 + 4;
    let mut out = TiffWriter { bytes: vec![], little: tags.little };
    out.bytes.extend(if tags.little { b"II" } else { b"MM" });
    out.short(42);
    out.long(8);
    out.short(entries.len() as u16);
    for (tag, kind, value) in entries {
        out.short(tag);
        out.short(kind);
        out.long(1);
        match (tag, kind) {
            (273, _) => out.long(start),
            (_, SHORT) => {
                out.short(value as u16);
                out.short(0);
            }
            _ => out.long(value),
        }
    }
    out.long(0);
    out.bytes.extend(data);
    out.bytes
}

struct TiffWriter {
    bytes: Vec<u8>,
    little: bool,
}

impl TiffWriter {
    fn short(&mut self, value: u16) {
        self.bytes.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn long(&mut self, value: u32) {
        self.bytes.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }
}
