//! Embedded checksums. A JSON file stores the CRC-32C of the whole file as `"crc32c": "0123abcd"`, computed with the
//! eight digits set to zero. Detects every single-bit error and every burst of up to 32 bits.

use serde::Serialize;

/// Placeholder digits; a writer sets the key `crc32c` to this value.
pub const BLANK: &str = "00000000";
const KEY: &[u8] = b"\"crc32c\":";

/// Result of verifying a file's checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    Valid,
    /// No checksum: written by an earlier version or another program.
    Missing,
    /// The content does not match the checksum.
    Mismatch {
        stated: String,
        found: String,
    },
}

/// Offset of the digits in `json`. Inside a JSON string the quotes of the key would be escaped, so a string never
/// matches.
pub fn digits_offset(json: &[u8]) -> Option<usize> {
    let ends = json.windows(KEY.len()).enumerate().filter(|(_, w)| *w == KEY).map(|(at, _)| at + KEY.len());
    ends.filter_map(|at| {
        let quote = at + json[at..].iter().take_while(|byte| **byte == b' ').count();
        let closed = json.get(quote) == Some(&b'"') && json.get(quote + 1 + BLANK.len()) == Some(&b'"');
        closed.then_some(quote + 1)
    })
    .next()
}

/// Formats a checksum as eight hex digits.
pub fn digits(crc: u32) -> String {
    format!("{crc:08x}")
}

/// Fills in the checksum of `json`, which holds the placeholder; without it, returns `json` unchanged.
pub fn fill(mut json: String) -> String {
    if let Some(at) = digits_offset(json.as_bytes()) {
        json.replace_range(at..at + BLANK.len(), &digits(crc32c::crc32c(json.as_bytes())));
    }
    json
}

/// Serializes `value`, a struct or map, as pretty-printed JSON with its checksum as the last entry.
///
/// # Errors
/// A value that JSON cannot represent.
pub fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Checksummed<'a, T> {
        #[serde(flatten)]
        value: &'a T,
        crc32c: &'static str,
    }
    Ok(fill(serde_json::to_string_pretty(&Checksummed { value, crc32c: BLANK })? + "\n"))
}

/// Replaces the digits in `json` by the placeholder and returns them.
pub fn blank_digits(json: &mut [u8]) -> Option<String> {
    let at = digits_offset(json)?;
    let digits = &mut json[at..at + BLANK.len()];
    let stated = String::from_utf8_lossy(digits).into_owned();
    digits.copy_from_slice(BLANK.as_bytes());
    Some(stated)
}

/// Verifies the checksum of a whole JSON file.
pub fn verify(json: &[u8]) -> Verification {
    let mut json = json.to_vec();
    match blank_digits(&mut json) {
        None => Verification::Missing,
        Some(stated) => compare(stated, crc32c::crc32c(&json)),
    }
}

/// Compares the stated checksum with the computed one.
pub fn compare(stated: String, crc: u32) -> Verification {
    let found = digits(crc);
    if stated == found { Verification::Valid } else { Verification::Mismatch { stated, found } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        for text in [
            "{\"a\":1,\"crc32c\":\"00000000\"}",
            "{\n  \"crc32c\": \"00000000\",\n  \"b\": \"\\\"crc32c\\\":\\\"1\"\n}",
        ] {
            let whole = fill(text.into());
            assert_eq!(verify(whole.as_bytes()), Verification::Valid);
            for bit in 0..8 * whole.len() {
                let mut bytes = whole.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(verify(&bytes), Verification::Valid, "bit {bit}");
            }
            for length in 0..whole.len() {
                assert_ne!(verify(&whole.as_bytes()[..length]), Verification::Valid, "{length} bytes");
            }
        }
    }

    #[test]
    fn texts_and_maps_are_not_taken_for_it() {
        for text in
            ["{}", "{\"a\":\"\\\"crc32c\\\":\\\"00000000\\\"\"}", "{\"crc32c\": {\"a\": \"00000000\"}}"]
        {
            assert_eq!(
                (verify(text.as_bytes()), fill(text.into())),
                (Verification::Missing, text.to_string())
            );
        }
    }
}
