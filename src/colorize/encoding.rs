//! 8-bit RGB to picture files. Colour profiles and camera data of the original are not carried over.

use crate::{data::source::RgbImage, train::atomic};
use image::{
    ExtendedColorType, ImageEncoder, ImageResult,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};
use std::{
    ffi::OsStr,
    io::{self, Write},
    path::Path,
};

/// A kind of picture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    /// Without loss.
    WebP,
}

impl Format {
    /// By the ending of a file's name; None for any other.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// The ending that files are given.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }
}

/// Writes `path` whole or not at all; `quality` (1…100) is that of JPEG.
///
/// # Errors
/// A file that cannot be written, or a picture larger than the format allows.
pub fn write(path: &Path, picture: &RgbImage, format: Format, quality: u8) -> io::Result<()> {
    atomic::write(path, |out| encode(out, picture, format, quality).map_err(io::Error::other))
}

fn encode(out: &mut impl Write, picture: &RgbImage, format: Format, quality: u8) -> ImageResult<()> {
    let (width, height, kind) = (picture.width as u32, picture.height as u32, ExtendedColorType::Rgb8);
    match format {
        Format::Png => PngEncoder::new(out).write_image(&picture.pixels, width, height, kind),
        Format::Jpeg => {
            JpegEncoder::new_with_quality(out, quality).write_image(&picture.pixels, width, height, kind)
        }
        Format::WebP => WebPEncoder::new_lossless(out).write_image(&picture.pixels, width, height, kind),
    }
}
