//! Error messages for unreadable TIFFs.

use crate::{
    data::decode::undecodable::{Undecodable, words},
    text,
};
use tiff::TiffError;

pub(super) fn unread(what: &str) -> Undecodable {
    Undecodable(format!("a TIFF with {what} is not read; convert it to an 8-bit RGB TIFF or to PNG"))
}

pub(super) fn truncated() -> Undecodable {
    Undecodable::new("truncated: the TIFF ends before its last row")
}

/// Translates an error of the `tiff` crate.
pub(super) fn said(error: TiffError) -> Undecodable {
    match error {
        TiffError::IoError(_) => truncated(),
        TiffError::LimitsExceeded => Undecodable::new("too large: over 512 MiB when decoded"),
        other => Undecodable(format!(
            "damaged or of a kind that is not read: {}",
            text::excerpt(&words(&other.to_string()))
        )),
    }
}
