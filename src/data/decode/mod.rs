//! Decodes JPEG, PNG, WebP, BMP and TIFF to 8-bit RGB. The format is detected from the content, not the file name.
//!
//! Gray is repeated over the three channels, CMYK is converted without a color profile, 16-bit and float samples are
//! rounded to 8 bits, and transparency is composited over white, as in viewers. [`decode`] applies the EXIF
//! orientation; [`stored`] does not, since annotations refer to the stored pixels. Embedded color profiles and PNG
//! gamma are ignored: every image is treated as sRGB.
//!
//! Undecodable data is an error, never a panic or a partial image: a JPEG that ends before its end-of-image marker is
//! rejected, although its decoder would fill the rest with gray.

mod jpeg;
mod tiff;
mod undecodable;
mod webp;

use super::dataset::RgbImage;
use crate::guarded;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbaImage, metadata::Orientation};
use std::io::Cursor;
use undecodable::DecodedPicture;
pub use undecodable::{MAX_BYTES, Undecodable};

/// Decodes an image file held in memory and applies its EXIF orientation: for photographs.
///
/// # Errors
/// Empty or truncated data, content in none of the five formats, an image that would exceed 512 MiB when
/// decoded.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, Undecodable> {
    read(bytes, Orient::Upright)
}

/// Like [`decode`], but ignores the EXIF orientation: for images whose annotations (boxes, masks) refer to stored
/// pixels.
///
/// # Errors
/// As [`decode`].
pub fn stored(bytes: &[u8]) -> Result<RgbImage, Undecodable> {
    read(bytes, Orient::AsStored)
}

/// How to treat the EXIF orientation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Orient {
    Upright,
    AsStored,
}

/// A decoder panic on a malformed file fails one image, not the run.
fn read(bytes: &[u8], orient: Orient) -> Result<RgbImage, Undecodable> {
    let format = format_of(bytes)?;
    guarded::call(|| decode_as(format, bytes, orient)).unwrap_or_else(|e| Err(Undecodable(e.to_string())))
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, Undecodable> {
    if bytes.is_empty() {
        return Err(Undecodable::new("the file is empty"));
    }
    if tiff::is_tiff(bytes) {
        return Ok(ImageFormat::Tiff);
    }
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => {
            Ok(format)
        }
        Ok(other) => {
            Err(Undecodable(format!("{other:?} is not read; convert it to JPEG, PNG, WebP, BMP or TIFF")))
        }
        Err(_) => Err(Undecodable::new("not an image: neither JPEG, PNG, WebP, BMP nor TIFF by its content")),
    }
}

fn decode_as(format: ImageFormat, bytes: &[u8], orient: Orient) -> Result<RgbImage, Undecodable> {
    let DecodedPicture { rgb, orientation } = match format {
        ImageFormat::Jpeg => jpeg::decode(bytes)?,
        ImageFormat::Tiff => tiff::decode(bytes)?,
        other => plain(other, bytes)?,
    };
    match orientation {
        Some(orientation) if orient == Orient::Upright => turned(rgb, orientation),
        _ => Ok(rgb),
    }
}

fn turned(picture: RgbImage, orientation: Orientation) -> Result<RgbImage, Undecodable> {
    if orientation == Orientation::NoTransforms {
        return Ok(picture);
    }
    let (width, height) = (picture.width as u32, picture.height as u32);
    let rgb = image::RgbImage::from_raw(width, height, picture.pixels);
    let mut image = DynamicImage::from(rgb.ok_or_else(|| Undecodable::new("damaged: rows are missing"))?);
    image.apply_orientation(orientation);
    Ok(flatten(image))
}

/// PNG, WebP and BMP.
fn plain(format: ImageFormat, bytes: &[u8]) -> Result<DecodedPicture, Undecodable> {
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
        return Err(Undecodable::too_large(width, height));
    }
    // A broken EXIF block is ignored: the pixels are still usable.
    let may_turn = format != ImageFormat::WebP || webp::exif_fits(bytes);
    let orientation = if may_turn { decoder.orientation().ok() } else { None };
    Ok(DecodedPicture { rgb: flatten(DynamicImage::from_decoder(decoder)?), orientation })
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
