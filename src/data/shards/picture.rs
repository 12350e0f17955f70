//! One picture as it is stored in a shard.

use crate::data::{
    dataset::{Dataset, RgbImage},
    decode::decode,
    error::DataError,
    transforms,
};
use image::{
    ExtendedColorType, ImageEncoder, ImageFormat, ImageResult,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};

/// A picture file and its class.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PackedPicture {
    pub extension: &'static str,
    pub bytes: Vec<u8>,
    pub label: Option<u32>,
}

/// The file of image `index`: as stored, if that is a JPEG, PNG or WebP file whose short side is `size`, or any without
/// `size`. Others are resized (antialiased, bilinear) and compressed as JPEG without subsampling of colors, or without
/// `size` stored as PNG.
///
/// # Errors
/// It cannot be decoded or resized.
pub(super) fn packed(
    set: &dyn Dataset,
    index: usize,
    size: Option<usize>,
    quality: u8,
) -> Result<PackedPicture, DataError> {
    let fault = |reason: String| DataError::Image { name: set.name(index), reason };
    let (stored, label) = (set.encoded(index)?, set.label(index));
    let image = match &stored {
        Some(bytes) => decode(bytes).map_err(|error| fault(error.to_string()))?,
        None => set.image(index)?,
    };
    let fits = size.is_none_or(|size| image.width.min(image.height) == size);
    if let Some(bytes) = stored.filter(|_| fits)
        && let Some(extension) = extension(&bytes)
    {
        return Ok(PackedPicture { extension, bytes, label });
    }
    let (extension, bytes) = match size {
        None => ("png", png(&image)),
        Some(size) => {
            let image = transforms::resize(image, size).map_err(|error| fault(error.to_string()))?;
            ("jpg", jpeg(&image, quality))
        }
    };
    let bytes = bytes.map_err(|error| fault(error.to_string()))?;
    Ok(PackedPicture { extension, bytes, label })
}

fn png(image: &RgbImage) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    write(image, PngEncoder::new(&mut bytes))?;
    Ok(bytes)
}

fn jpeg(image: &RgbImage, quality: u8) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    write(image, JpegEncoder::new_with_quality(&mut bytes, quality))?;
    Ok(bytes)
}

fn write(image: &RgbImage, encoder: impl ImageEncoder) -> ImageResult<()> {
    encoder.write_image(&image.pixels, image.width as u32, image.height as u32, ExtendedColorType::Rgb8)
}

/// Of the formats that every reader of shards knows.
fn extension(bytes: &[u8]) -> Option<&'static str> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => Some("jpg"),
        Ok(ImageFormat::Png) => Some("png"),
        Ok(ImageFormat::WebP) => Some("webp"),
        _ => None,
    }
}
