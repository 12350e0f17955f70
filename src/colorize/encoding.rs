//! 8-bit RGB to picture files. Color profiles and camera data of the original are not carried over.

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

    /// The longest side that the format has.
    fn longest(self) -> usize {
        match self {
            Self::Png => i32::MAX as usize,
            Self::Jpeg => 65_535,
            Self::WebP => 16_383,
        }
    }

    /// Refuses a picture that the format cannot hold.
    ///
    /// # Errors
    /// A side beyond the format's, with what to do.
    pub fn check(self, picture: &RgbImage) -> io::Result<()> {
        let (width, height) = (picture.width, picture.height);
        if width.max(height) <= self.longest() {
            return Ok(());
        }
        let (name, longest) = (self.ending().to_uppercase(), self.longest());
        let said = format!(
            "{width}×{height} is too large for {name}, whose sides end at {longest} pixels; give --format png"
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, said))
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
    format.check(picture)?;
    atomic_write::write_with(path, |out| encode(out, picture, format, quality).map_err(io::Error::other))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_beyond_a_format_are_refused_with_what_to_do() {
        let strip = |width: usize| RgbImage { width, height: 1, pixels: vec![9; 3 * width] };
        let dir = tempfile::tempdir().unwrap();
        for (format, longest) in [(Format::WebP, 16_383), (Format::Jpeg, 65_535)] {
            let to = dir.path().join(format.ending());
            assert!(write(&to, &strip(longest), format, 90).is_ok());
            let said = write(&to, &strip(longest + 1), format, 90).unwrap_err().to_string();
            let part = format!("sides end at {longest} pixels; give --format png");
            assert!(said.contains(&part) && said.contains(&format!("{}×1", longest + 1)), "{said}");
        }
        assert!(write(&dir.path().join("png"), &strip(70_000), Format::Png, 0).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
