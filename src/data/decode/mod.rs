//! Bytes to 8-bit RGB: JPEG, PNG, WebP, BMP and TIFF, told apart by content, never by file name.
//!
//! Grey is repeated over the three channels, CMYK is converted without a colour profile, 16-bit and float samples
//! are rounded to 8 bits, transparency is composited over white (what a page or a viewer shows). [`decode`] applies an
//! EXIF orientation, so that width and height are those a person sees; [`stored`] does not, since annotations belong
//! to the stored pixels. Embedded color profiles and PNG gamma are ignored: every image counts as sRGB.
//!
//! What cannot be decoded is an error, never a panic and never half a picture: a JPEG that ends before its
//! end-of-image marker is refused, although its decoder would fill the rest with grey.

mod jpeg;
mod tiff;
mod webp;

use super::source::RgbImage;
use crate::{guarded, text};
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

    fn too_large(width: u32, height: u32) -> Self {
        Self(format!("{width}×{height} is too large: over 512 MiB when decoded"))
    }
}

impl From<image::ImageError> for Undecodable {
    fn from(error: image::ImageError) -> Self {
        Self(text::excerpt(&words(&error.to_string())))
    }
}

/// A reader's message without the notation of programs.
fn words(message: &str) -> String {
    without_variants(&without_lists(&without_structures(message)))
}

/// Of a list every different member, once: `[4, 4]` is `4`.
fn without_lists(message: &str) -> String {
    let Some((before, rest)) = message.split_once('[') else { return message.to_owned() };
    let (members, after) = rest.split_once(']').unwrap_or((rest, ""));
    let mut different: Vec<&str> = vec![];
    for member in members.split(", ") {
        if !different.contains(&member) {
            different.push(member);
        }
    }
    format!("{before}{}{}", different.join(", "), without_lists(after))
}

/// A variant with a value (`Unknown(4)`) as two words (`Unknown 4`).
fn without_variants(message: &str) -> String {
    let Some((before, rest)) = message.split_once('(') else { return message.to_owned() };
    let name = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    match rest.split_once(')') {
        Some((value, after)) if name.starts_with(char::is_uppercase) => {
            format!("{before} {value}{}", without_variants(after))
        }
        _ => format!("{before}({}", without_variants(rest)),
    }
}

/// Of a structure (`ChunkType { type: IDAT, … }`) the first field alone (`IDAT`).
fn without_structures(message: &str) -> String {
    let Some((before, rest)) = message.split_once(" { ") else { return message.to_owned() };
    let (fields, after) = rest.split_once(" }").unwrap_or((rest, ""));
    let before = before.rsplit_once(' ').map_or("", |(before, _name)| before);
    let first = fields.split(", ").next().unwrap_or_default();
    let value = first.split_once(": ").map_or(first, |(_, value)| value);
    format!("{before} {value}{}", without_structures(after))
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

/// A picture as it is stored, and how it is to be turned.
struct Picture {
    rgb: RgbImage,
    orientation: Option<Orientation>,
}

fn decode_as(format: ImageFormat, bytes: &[u8], orient: Orient) -> Result<RgbImage, Undecodable> {
    let Picture { rgb, orientation } = match format {
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
fn plain(format: ImageFormat, bytes: &[u8]) -> Result<Picture, Undecodable> {
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
    // A broken EXIF block does not make the pixels unusable.
    let may_turn = format != ImageFormat::WebP || webp::exif_fits(bytes);
    let orientation = if may_turn { decoder.orientation().ok() } else { None };
    Ok(Picture { rgb: flatten(DynamicImage::from_decoder(decoder)?), orientation })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_speak_in_words() {
        for (said, words_of_it) in [
            (
                "sample format [Unknown(4), Unknown(4)] is unsupported",
                "sample format Unknown 4 is unsupported",
            ),
            ("inconsistent bits per sample: [8, 8, 16]", "inconsistent bits per sample: 8, 16"),
            ("tag `Unknown(300)` with [1] and a cut [2, 2", "tag `Unknown 300` with 1 and a cut 2"),
            ("no ChunkType { type: IDAT, critical: true } found", "no IDAT found"),
            ("invalid chunk index (7) requested", "invalid chunk index (7) requested"),
            ("either (A and B) or byte(s)", "either (A and B) or byte(s)"),
        ] {
            assert_eq!(words(said), words_of_it);
        }
    }
}
