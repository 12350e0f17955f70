//! The result types shared by all decoders: an image, or the reason why there is none.

use crate::{data::dataset::RgbImage, text};
use image::metadata::Orientation;

/// Largest decoded image in bytes, against decompression bombs: 178 megapixels of 8-bit RGB.
pub const MAX_BYTES: usize = 512 << 20;

/// Why bytes are not an image.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(pub String);

impl Undecodable {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    pub(super) fn too_large(width: u32, height: u32) -> Self {
        Self(format!("{width}×{height} is too large: over 512 MiB when decoded"))
    }
}

impl From<image::ImageError> for Undecodable {
    fn from(error: image::ImageError) -> Self {
        Self(text::excerpt(&words(&error.to_string())))
    }
}

/// Rewrites Rust debug notation in a decoder's message as plain text.
pub(super) fn words(message: &str) -> String {
    without_variants(&without_lists(&without_structures(message)))
}

/// Replaces a list by its distinct members: `[4, 4]` becomes `4`.
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

/// Replaces a variant with a value (`Unknown(4)`) by two words (`Unknown 4`).
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

/// Replaces a struct (`ChunkType { type: IDAT, … }`) by its first field (`IDAT`).
fn without_structures(message: &str) -> String {
    let Some((before, rest)) = message.split_once(" { ") else { return message.to_owned() };
    let (fields, after) = rest.split_once(" }").unwrap_or((rest, ""));
    let before = before.rsplit_once(' ').map_or("", |(before, _name)| before);
    let first = fields.split(", ").next().unwrap_or_default();
    let value = first.split_once(": ").map_or(first, |(_, value)| value);
    format!("{before} {value}{}", without_structures(after))
}

/// The decoded pixels as stored, and the EXIF orientation.
pub(super) struct DecodedPicture {
    pub rgb: RgbImage,
    pub orientation: Option<Orientation>,
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
