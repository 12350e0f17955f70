//! Decodes the first page of a TIFF: the `tiff` crate parses and decompresses, this module converts samples to
//! colors.
//!
//! Unsigned samples of n bits span 0 to 2ⁿ − 1. Float samples span 0 (black) to 1 (white); values outside are
//! clipped, but an image with values below −1 or above 2 has an unknown scale and is rejected, like signed samples.
//! Supported: gray (black or white is zero), RGB, palettes, CMYK and YCbCr, each with or without alpha, straight or
//! premultiplied; further channels are ignored. Strips and tiles, interleaved or planar, 1 to 64 bits per sample.

mod colors;
mod faults;
mod samples;
mod strip;
mod tags;

use super::undecodable::{DecodedPicture, MAX_BYTES, Undecodable};
use crate::data::dataset::RgbImage;
use colors::Photometric;
use faults::{said, truncated};
use image::metadata::Orientation;
use samples::TiffSamples;
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
/// A damaged or truncated file; unsupported compression, sample formats or color models, by name; an image
/// larger than [`MAX_BYTES`].
pub(super) fn decode(bytes: &[u8]) -> Result<DecodedPicture, Undecodable> {
    let tags = Tags::read(&mut open(bytes)?)?;
    tags.check()?;
    let colors = Photometric::of(&tags)?;
    let samples = TiffSamples::read(&tags, &tags.bits_in_order(bytes)?)?;
    let orientation = u8::try_from(tags.orientation).ok().and_then(Orientation::from_exif);
    Ok(DecodedPicture { rgb: picture(&tags, &samples, &colors)?, orientation })
}

fn picture(tags: &Tags, samples: &TiffSamples, colors: &Photometric) -> Result<RgbImage, Undecodable> {
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

/// Rejects floats on another scale than 0 to 1, which would silently decode to white or black.
fn check_scale(row: &[f64]) -> Result<(), Undecodable> {
    match row.iter().find(|v| !(-1.0..=2.0).contains(*v)) {
        None => Ok(()),
        Some(v) if v.is_nan() => Err(Undecodable::new("a sample is not a number (NaN)")),
        Some(v) => Err(Undecodable(format!(
            "float samples reach {v}: black is 0 and white is 1; divide them by what white is in the file"
        ))),
    }
}
