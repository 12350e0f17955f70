//! Bytes to 8-bit RGB: JPEG, PNG, WebP, BMP and TIFF, told apart by content, never by file name.
//!
//! Grey is repeated over the three channels, CMYK is converted without a colour profile, 16-bit and float samples
//! are rounded to 8 bits, transparency is composited over white (what a page or a viewer shows). [`decode`] applies an
//! EXIF orientation, so that width and height are those a person sees; [`stored`] does not, since annotations belong
//! to the stored pixels. Embedded color profiles and PNG gamma are ignored: every image counts as sRGB.
//!
//! What cannot be decoded is an error, never a panic and never half a picture: a JPEG that ends before its
//! end-of-image marker is refused, although its decoder would fill the rest with grey.

use super::source::RgbImage;
use crate::guarded;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbaImage, metadata::Orientation};
use std::io::Cursor;

/// The most memory that one decoded image may take, against decompression bombs: 178 megapixels of 8-bit RGB.
pub const MAX_BYTES: usize = 512 << 20;

/// Why bytes are not an image.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(pub String);

impl Undecodable {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<image::ImageError> for Undecodable {
    fn from(error: image::ImageError) -> Self {
        Self(error.to_string())
    }
}

/// Decodes a whole image file held in memory, turned as its EXIF orientation says: for photographs.
///
/// # Errors
/// Empty or truncated data, content that is none of the five formats (whatever the file is called), an image whose
/// decoded form would exceed 512 MiB.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, Undecodable> {
    read(bytes, Orient::Upright)
}

/// Like [`decode`], but without turning: for pictures whose annotations (boxes, masks) are in stored pixels.
///
/// # Errors
/// As [`decode`].
pub fn stored(bytes: &[u8]) -> Result<RgbImage, Undecodable> {
    read(bytes, Orient::AsStored)
}

/// What becomes of an EXIF orientation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Orient {
    Upright,
    AsStored,
}

/// A decoder that panics on a malformed file must cost one image, not the run.
fn read(bytes: &[u8], orient: Orient) -> Result<RgbImage, Undecodable> {
    let format = format_of(bytes)?;
    guarded::call(|| decode_as(format, bytes, orient)).unwrap_or_else(|e| Err(Undecodable(e.to_string())))
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, Undecodable> {
    if bytes.is_empty() {
        return Err(Undecodable::new("the file is empty"));
    }
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Tiff),
        ) => Ok(format),
        Ok(other) => {
            Err(Undecodable(format!("{other:?} is not read; convert it to JPEG, PNG, WebP, BMP or TIFF")))
        }
        Err(_) => Err(Undecodable::new("not an image: neither JPEG, PNG, WebP, BMP nor TIFF by its content")),
    }
}

fn decode_as(format: ImageFormat, bytes: &[u8], orient: Orient) -> Result<RgbImage, Undecodable> {
    let mut may_turn = orient == Orient::Upright;
    if format == ImageFormat::Jpeg {
        let outline = JpegOutline::of(bytes);
        if !outline.complete {
            return Err(Undecodable::new("truncated: the JPEG ends before its end-of-image marker"));
        }
        may_turn &= outline.exif;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES as u64);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Undecodable::new("the image has no pixels"));
    }
    if decoder.total_bytes() > MAX_BYTES as u64 {
        return Err(Undecodable(format!("{width}×{height} is too large: over 512 MiB when decoded")));
    }
    // A broken EXIF block does not make the pixels unusable.
    let orientation = if may_turn { decoder.orientation().ok() } else { None };
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(flatten(image))
}

/// 8-bit RGB, transparency composited over white.
fn flatten(image: DynamicImage) -> RgbImage {
    let rgb = if image.color().has_alpha() { over_white(&image.into_rgba8()) } else { image.into_rgb8() };
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    RgbImage { width, height, pixels: rgb.into_raw() }
}

fn over_white(image: &RgbaImage) -> image::RgbImage {
    image::RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, alpha] = image.get_pixel(x, y).0;
        let mix =
            |c: u8| ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8;
        image::Rgb([mix(r), mix(g), mix(b)])
    })
}

/// What a glance at a JPEG's markers tells, without decoding it.
struct JpegOutline {
    /// an EXIF block is there, so that an orientation is worth looking for
    exif: bool,
    /// an end-of-image marker follows the first scan (the one in an EXIF thumbnail does not count)
    complete: bool,
}

impl JpegOutline {
    fn of(bytes: &[u8]) -> Self {
        let mut outline = Self { exif: false, complete: false };
        let mut at = 2;
        while let (Some(&0xff), Some(&marker)) = (bytes.get(at), bytes.get(at + 1)) {
            match marker {
                0xff => at += 1, // fill byte
                0xda => {
                    outline.complete = bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
                    break;
                }
                0x01 | 0xd0..=0xd8 => at += 2, // markers without a segment
                _ => {
                    let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { break };
                    outline.exif |= marker == 0xe1 && bytes[at + 4..].starts_with(b"Exif\0");
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
            }
        }
        outline
    }
}
