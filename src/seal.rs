//! Checksums inside the files that they are of. JSON holds the CRC-32C of the whole file as `"crc32c": "0123abcd"`, computed
//! as if its eight digits were zeros. One flipped bit, or any run of up to 32, never goes unseen.

use serde::Serialize;

/// The digits before the checksum is known; a writer gives the key `crc32c` this value.
pub const BLANK: &str = "00000000";
const KEY: &[u8] = b"\"crc32c\":";

/// What a file's checksum says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    Whole,
    /// It has no checksum: an earlier version wrote it, or another program.
    Absent,
    /// It is not as it was written.
    Broken {
        stated: String,
        found: String,
    },
}

/// Where the digits begin in `json`. Inside of a JSON text the quotes of the key would be escaped, so they are no text's.
pub fn place(json: &[u8]) -> Option<usize> {
    let ends = json.windows(KEY.len()).enumerate().filter(|(_, w)| *w == KEY).map(|(at, _)| at + KEY.len());
    ends.filter_map(|at| {
        let quote = at + json[at..].iter().take_while(|byte| **byte == b' ').count();
        let closed = json.get(quote) == Some(&b'"') && json.get(quote + 1 + BLANK.len()) == Some(&b'"');
        closed.then_some(quote + 1)
    })
    .next()
}

/// The eight digits of a checksum.
pub fn digits(crc: u32) -> String {
    format!("{crc:08x}")
}

/// Fills in the checksum of `json`, which holds blank digits; without them it stays as it is.
pub fn close(mut json: String) -> String {
    if let Some(at) = place(json.as_bytes()) {
        json.replace_range(at..at + BLANK.len(), &digits(crc32c::crc32c(json.as_bytes())));
    }
    json
}

/// `value`, which is a struct or a map, as JSON for people with its checksum as the last entry.
///
/// # Errors
/// A value that JSON does not have.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Sealed<'a, T> {
        #[serde(flatten)]
        value: &'a T,
        crc32c: &'static str,
    }
    Ok(close(serde_json::to_string_pretty(&Sealed { value, crc32c: BLANK })? + "\n"))
}

/// Takes the digits out of `json`, leaving blank ones.
pub fn open(json: &mut [u8]) -> Option<String> {
    let at = place(json)?;
    let digits = &mut json[at..at + BLANK.len()];
    let stated = String::from_utf8_lossy(digits).into_owned();
    digits.copy_from_slice(BLANK.as_bytes());
    Some(stated)
}

/// Compares the checksum of a whole JSON file with its content.
pub fn check(json: &[u8]) -> Seal {
    let mut json = json.to_vec();
    match open(&mut json) {
        None => Seal::Absent,
        Some(stated) => compare(stated, crc32c::crc32c(&json)),
    }
}

/// Compares what a file states with what was computed over it.
pub fn compare(stated: String, crc: u32) -> Seal {
    let found = digits(crc);
    if stated == found { Seal::Whole } else { Seal::Broken { stated, found } }
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
            let whole = close(text.into());
            assert_eq!(check(whole.as_bytes()), Seal::Whole);
            for bit in 0..8 * whole.len() {
                let mut bytes = whole.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(check(&bytes), Seal::Whole, "bit {bit}");
            }
            for length in 0..whole.len() {
                assert_ne!(check(&whole.as_bytes()[..length]), Seal::Whole, "{length} bytes");
            }
        }
    }

    #[test]
    fn texts_and_maps_are_not_taken_for_it() {
        for text in
            ["{}", "{\"a\":\"\\\"crc32c\\\":\\\"00000000\\\"\"}", "{\"crc32c\": {\"a\": \"00000000\"}}"]
        {
            assert_eq!((check(text.as_bytes()), close(text.into())), (Seal::Absent, text.to_string()));
        }
    }
}
