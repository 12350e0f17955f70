//! Encodes 8-bit RGB pictures. Color profiles and metadata of the original are not preserved.

use crate::{atomic_write, data::source::RgbImage};
use image::{
    ExtendedColorType, ImageEncoder, ImageResult,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};
use std::{
    ffi::OsStr,
    io::{self, Write},
    path::Path,
};

/// File format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    Png,
    Jpeg,
    /// Lossless.
    WebP,
}

impl ImageFormat {
    /// Format by file extension; None for any other.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// Maximum side of the format, in pixels.
    fn max_side(self) -> usize {
        match self {
            Self::Png => i32::MAX as usize,
            Self::Jpeg => 65_535,
            Self::WebP => 16_383,
        }
    }

    /// Checks that the format can store a picture of this size.
    ///
    /// # Errors
    /// A side larger than the format's maximum.
    pub fn check(self, picture: &RgbImage) -> io::Result<()> {
        let (width, height) = (picture.width, picture.height);
        if width.max(height) <= self.max_side() {
            return Ok(());
        }
        let (name, max_side) = (self.extension().to_uppercase(), self.max_side());
        let said = format!(
            "{width}×{height} is too large for {name}, whose maximum side is {max_side} pixels; use --format png"
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, said))
    }

    /// Extension of new files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }
}

/// Writes `path` atomically; `quality` (1…100) applies to JPEG.
///
/// # Errors
/// A file that cannot be written; a picture larger than the format allows.
pub fn write(path: &Path, picture: &RgbImage, format: ImageFormat, quality: u8) -> io::Result<()> {
    format.check(picture)?;
    atomic_write::write_with(path, |out| encode(out, picture, format, quality).map_err(io::Error::other))
}

fn encode(out: &mut impl Write, picture: &RgbImage, format: ImageFormat, quality: u8) -> ImageResult<()> {
    let (width, height, kind) = (picture.width as u32, picture.height as u32, ExtendedColorType::Rgb8);
    match format {
        ImageFormat::Png => PngEncoder::new(out).write_image(&picture.pixels, width, height, kind),
        ImageFormat::Jpeg => {
            JpegEncoder::new_with_quality(out, quality).write_image(&picture.pixels, width, height, kind)
        }
        ImageFormat::WebP => WebPEncoder::new_lossless(out).write_image(&picture.pixels, width, height, kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_beyond_a_format_are_refused_with_what_to_do() {
        let strip = |width: usize| RgbImage { width, height: 1, pixels: vec![9; 3 * width] };
        let dir = tempfile::tempdir().unwrap();
        for (format, max_side) in [(ImageFormat::WebP, 16_383), (ImageFormat::Jpeg, 65_535)] {
            let to = dir.path().join(format.extension());
            assert!(write(&to, &strip(max_side), format, 90).is_ok());
            let said = write(&to, &strip(max_side + 1), format, 90).unwrap_err().to_string();
            let part = format!("maximum side is {max_side} pixels; use --format png");
            assert!(said.contains(&part) && said.contains(&format!("{}×1", max_side + 1)), "{said}");
        }
        assert!(write(&dir.path().join("png"), &strip(70_000), ImageFormat::Png, 0).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
