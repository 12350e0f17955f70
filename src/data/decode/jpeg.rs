//! JPEG decoding, bit-identical to libjpeg-turbo's defaults: slow integer inverse DCT, triangle-filter chroma
//! upsampling, its YCbCr-to-RGB tables. Published color scores were computed from such pixels; a decoder that rounds
//! differently shifts the class-rebalanced AuC by 0.1 points.

use super::undecodable::{DecodedPicture, MAX_BYTES, Undecodable};
use crate::data::dataset::RgbImage;
use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, Image, JpegError, PixelFormat};

/// Most scans of a progressive JPEG. Ten are usual; thousands are a denial-of-service attack.
const MOST_SCANS: usize = 500;

/// Decodes a JPEG file.
///
/// # Errors A file without an end-of-image marker, damaged data, an unsupported kind (lossless, 12 bits), an image
/// larger than [`MAX_BYTES`].
pub(super) fn decode(bytes: &[u8]) -> Result<DecodedPicture, Undecodable> {
    if !is_complete(bytes) {
        return Err(Undecodable::new("truncated: the JPEG ends before its end-of-image marker"));
    }
    let decoder = open(bytes)?;
    let format = if decoder.header().components.len() == 4 { PixelFormat::Cmyk } else { PixelFormat::Rgb };
    let image = pixels(decoder, format, None)?;
    let orientation = image.exif_data.as_deref().and_then(Orientation::from_exif_chunk);
    let rgb = RgbImage { width: image.width, height: image.height, pixels: image.data };
    Ok(DecodedPicture {
        rgb: if format == PixelFormat::Cmyk { inverted_cmyk(rgb) } else { rgb },
        orientation,
    })
}

/// The samples of a JPEG inside another format.
pub(super) struct JpegSamples {
    pub width: usize,
    pub height: usize,
    /// Per pixel, interleaved.
    pub channels: usize,
    pub values: Vec<u8>,
}

/// Decodes a JPEG stream whose color model is given by its container: with `rgb`, three channels are converted from
/// YCbCr, as in libjpeg; else they are returned unchanged.
///
/// # Errors
/// As [`decode`], without the end-of-image marker.
pub(super) fn samples(bytes: &[u8], rgb: bool) -> Result<JpegSamples, Undecodable> {
    let decoder = open(bytes)?;
    let channels = decoder.header().components.len();
    let (format, space) = match channels {
        1 => (PixelFormat::Grayscale, None),
        3 if !rgb && decoder.jpeg_color_space() == ColorSpace::YCbCr => {
            (PixelFormat::Rgb, Some(ColorSpace::YCbCr))
        }
        3 => (PixelFormat::Rgb, None),
        4 => (PixelFormat::Cmyk, None),
        n => return Err(Undecodable(format!("a JPEG of {n} channels is not read"))),
    };
    let image = pixels(decoder, format, space)?;
    Ok(JpegSamples { width: image.width, height: image.height, channels, values: image.data })
}

fn open(bytes: &[u8]) -> Result<Decoder<'_>, Undecodable> {
    let limits = DecodeLimits {
        max_width: 65_535,
        max_height: 65_535,
        max_pixels: (MAX_BYTES / 3) as u64,
        max_scans: MOST_SCANS,
        ..DecodeLimits::default()
    };
    let decoder = Decoder::new_with_limits(bytes, limits).map_err(said)?;
    let header = decoder.header();
    if header.width == 0 || header.height == 0 {
        return Err(Undecodable::new("the image has no pixels"));
    }
    if header.precision != 8 || header.is_lossless {
        let kind = if header.is_lossless { "lossless".into() } else { format!("{}-bit", header.precision) };
        return Err(Undecodable(format!("a {kind} JPEG is not read; convert it to PNG")));
    }
    Ok(decoder)
}

fn pixels(
    mut decoder: Decoder<'_>,
    format: PixelFormat,
    space: Option<ColorSpace>,
) -> Result<Image, Undecodable> {
    decoder.set_output_format(format);
    if let Some(space) = space {
        decoder.set_output_colorspace(space);
    }
    decoder.decode_image().map_err(said)
}

/// Translates the decoder's error.
fn said(error: JpegError) -> Undecodable {
    Undecodable(match error {
        JpegError::UnexpectedEof => "truncated: the JPEG's data ends before its last row".into(),
        JpegError::LimitExceeded { what, actual, limit } => {
            format!("too large: the JPEG's {what} is {actual}, at most {limit} is read")
        }
        other => format!("damaged: {}", crate::text::excerpt(&other.to_string())),
    })
}

/// Converts Adobe's inverted CMYK (255 is no ink) without a color profile, as Pillow does.
fn inverted_cmyk(cmyk: RgbImage) -> RgbImage {
    let convert = |&[c, m, y, k]: &[u8; 4]| {
        let light = u32::from(k);
        [c, m, y].map(|ink| ((u32::from(ink) * light + 127) / 255) as u8)
    };
    let pixels = cmyk.pixels.as_chunks::<4>().0.iter().flat_map(convert).collect();
    RgbImage { pixels, ..cmyk }
}

/// Whether an end-of-image marker follows the first scan; the one in an EXIF thumbnail does not count.
fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        match (first, marker) {
            (0xff, 0xda) => return bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]),
            (..0xff, _) | (_, 0xff) => at += 1, // stray and fill bytes
            (_, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2, // markers without a segment
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}
