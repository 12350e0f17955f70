//! TIFF, its first page: the `tiff` crate takes the file apart and decompresses, here samples become colors.
//!
//! Unsigned samples of n bits run from 0 to 2ⁿ − 1. Float samples run from 0 (black) to 1 (white); what lies beyond is clipped,
//! but a picture that reaches below −1 or above 2 is on another scale, and which one is not known: refused, like signed
//! samples. Gray (black or white is zero), RGB, palettes, CMYK and YCbCr are read, each with or without alpha, straight or
//! premultiplied; further channels are passed over. Strips and tiles, interleaved or in planes, of 1 to 64 bits a sample.

mod colors;
mod faults;
mod samples;
mod strip;
mod tags;

use super::undecodable::{MAX_BYTES, Picture, Undecodable};
use crate::data::dataset::RgbImage;
use colors::Colors;
use faults::{said, truncated};
use image::metadata::Orientation;
use samples::Samples;
use std::io::Cursor;
use tags::{File, Tags};
use tiff::decoder::{Decoder, Limits};

/// Whether a file is a TIFF, of either byte order, classic or Big.
pub(super) fn is_tiff(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic))
}

/// Decodes the first page.
///
/// # Errors
/// A damaged or truncated file; kinds of compression, of samples and of colors that are not read, by name; a picture
/// beyond [`MAX_BYTES`].
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, Undecodable> {
    let tags = Tags::read(&mut open(bytes)?)?;
    tags.check()?;
    let colors = Colors::of(&tags)?;
    let samples = Samples::read(&tags, &tags.bits_in_order(bytes)?)?;
    let orientation = u8::try_from(tags.orientation).ok().and_then(Orientation::from_exif);
    Ok(Picture { rgb: picture(&tags, &samples, &colors)?, orientation })
}

fn picture(tags: &Tags, samples: &Samples, colors: &Colors) -> Result<RgbImage, Undecodable> {
    let mut pixels = Vec::with_capacity(3 * tags.width * tags.height);
    let mut row = vec![0.0; tags.width * tags.samples];
    for y in 0..tags.height {
        samples.row(tags, y, colors.white(), &mut row).ok_or_else(truncated)?;
        if tags.is_float() {
            check_scale(&row)?;
        }
        pixels.extend(row.chunks_exact(tags.samples).flat_map(|pixel| colors.over_white(pixel)));
    }
    Ok(RgbImage { width: tags.width, height: tags.height, pixels })
}

fn open(file: &[u8]) -> Result<File<'_>, Undecodable> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_BYTES;
    limits.intermediate_buffer_size = MAX_BYTES;
    limits.ifd_value_size = MAX_BYTES;
    Ok(Decoder::new(Cursor::new(file)).map_err(said)?.with_limits(limits))
}

/// Floats on another scale than 0 to 1 would come out white or black without a word.
fn check_scale(row: &[f64]) -> Result<(), Undecodable> {
    match row.iter().find(|v| !(-1.0..=2.0).contains(*v)) {
        None => Ok(()),
        Some(v) if v.is_nan() => Err(Undecodable::new("a sample is not a number (NaN)")),
        Some(v) => Err(Undecodable(format!(
            "float samples reach {v}: black is 0 and white is 1; divide them by what white is in the file"
        ))),
    }
}
