//! What a picture's file says before its pixels: its size.

use crate::guarded;
use image::ImageReader;
use std::path::Path;

/// Width and height of the stored picture; `None` for what cannot be read.
pub(super) fn size(path: &Path) -> Option<(usize, usize)> {
    let read = || ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok();
    let (width, height) = guarded::call(read).ok()??;
    Some((width as usize, height as usize))
}
