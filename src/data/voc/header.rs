//! Reads the size and EXIF orientation of an image without decoding it.

use crate::guarded;
use image::{ImageDecoder, ImageReader, metadata::Orientation};
use std::{fs::File, io::Read, path::Path};

/// Length of the prefix of a JPEG searched for the EXIF segment.
const HEAD: u64 = 2 << 16;

/// Width and height of the stored image; `None` if unreadable.
pub(super) fn size(path: &Path) -> Option<(usize, usize)> {
    let read = || ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok();
    let (width, height) = guarded::call(read).ok()??;
    Some((width as usize, height as usize))
}

/// EXIF orientation, 1 to 8; 1 (upright) if there is none.
pub(super) fn orientation(path: &Path) -> u8 {
    let found = guarded::call(|| of_file(path)).ok().flatten();
    found.unwrap_or(Orientation::NoTransforms).to_exif()
}

fn of_file(path: &Path) -> Option<Orientation> {
    let mut head = vec![];
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    if head.starts_with(&[0xff, 0xd8]) {
        return Orientation::from_exif_chunk(exif(&head)?);
    }
    ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_decoder().ok()?.orientation().ok()
}

/// The EXIF segment of a JPEG.
fn exif(jpeg: &[u8]) -> Option<&[u8]> {
    let mut rest = jpeg.get(2..)?;
    while let [0xff, marker, after @ ..] = rest {
        match marker {
            0xff => rest = &rest[1..], // fill byte
            0x01 | 0xd0..=0xd8 => rest = after,
            0xda | 0xd9 => return None,
            _ => {
                let &[high, low] = after.first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes([high, low]));
                let segment = after.get(2..length.min(after.len()))?;
                if let Some(exif) = segment.strip_prefix(b"Exif\0\0").filter(|_| *marker == 0xe1) {
                    return Some(exif);
                }
                rest = after.get(length..)?;
            }
        }
    }
    None
}
