//! Decodes an XML file by its byte order mark, else by its declared encoding, else as UTF-8.

use crate::text;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Length of the prefix searched for the declaration, in bytes.
const DECLARATION: usize = 1024;

/// Decodes the file, without a byte order mark.
///
/// # Errors
/// An unknown encoding; bytes that are invalid in the file's encoding.
pub(super) fn decode(bytes: &[u8]) -> Result<String, String> {
    if Encoding::for_bom(bytes).is_some() {
        return text::decode(bytes).map_err(|e| e.to_string());
    }
    let encoding = encoding(bytes)?;
    if encoding == UTF_8 {
        return text::decode(bytes).map_err(|e| e.to_string());
    }
    let decoded = encoding.decode_without_bom_handling_and_without_replacement(bytes);
    let damaged = || format!("it is not text in {}, which it declares; save it as UTF-8", encoding.name());
    Ok(decoded.ok_or_else(damaged)?.into_owned())
}

fn encoding(bytes: &[u8]) -> Result<&'static Encoding, String> {
    match bytes {
        [b'<', 0, b'?', 0, ..] => return Ok(UTF_16LE),
        [0, b'<', 0, b'?', ..] => return Ok(UTF_16BE),
        _ => {}
    }
    let Some(label) = declared(bytes) else { return Ok(UTF_8) };
    let unknown =
        || format!("declares the encoding `{}`, which is not known; save it as UTF-8", text::excerpt(label));
    let encoding = Encoding::for_label(label.as_bytes()).ok_or_else(unknown)?;
    // A declaration readable as single bytes is not UTF-16, even if it says so: .NET's string writers produce such
    // files.
    Ok(if [UTF_16LE, UTF_16BE].contains(&encoding) { UTF_8 } else { encoding })
}

/// `ISO-8859-1` of `<?xml version="1.0" encoding="ISO-8859-1"?>`.
fn declared(bytes: &[u8]) -> Option<&str> {
    let head = bytes.get(..bytes.len().min(DECLARATION))?.strip_prefix(b"<?xml")?;
    let end = head.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(&head[..end]).ok()?;
    let (_, after) = declaration.split_once("encoding")?;
    let quoted = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = quoted.chars().next().filter(|c| ['"', '\''].contains(c))?;
    quoted[1..].split_once(quote).map(|(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_encoding_is_read() {
        for (declaration, name, bytes, text) in [
            ("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>", "latin 1", &b"caf\xe9"[..], "café"),
            ("<?xml version='1.0' encoding = 'windows-1252' standalone='yes'?>", "1252", b"\x80", "€"),
            ("<?xml version=\"1.0\" encoding=\"GB2312\"?>", "GBK", b"\xb9\xb7", "狗"),
            ("<?xml version=\"1.0\" encoding=\"Shift_JIS\"?>", "Shift_JIS", b"\x8c\xa2", "犬"),
            ("<?xml version=\"1.0\" encoding=\"utf-16\"?>", "UTF-8 that says UTF-16", "é".as_bytes(), "é"),
            ("<?xml version=\"1.0\"?>", "UTF-8 by default", "é".as_bytes(), "é"),
            ("", "no declaration", "é".as_bytes(), "é"),
        ] {
            let file = [declaration.as_bytes(), bytes].concat();
            assert_eq!(decode(&file).unwrap(), format!("{declaration}{text}"), "{name}");
        }
    }

    #[test]
    fn utf_16_is_read_with_and_without_a_mark() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><ä/>";
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = mark.encode_utf16().chain(text.encode_utf16()).collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!(
                (decode(&little).unwrap(), decode(&big).unwrap()),
                (text.into(), text.into()),
                "{mark:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (bytes, part) in [
            (&b"<?xml version=\"1.0\" encoding=\"klingon\"?>"[..], "`klingon`, which is not known"),
            (b"<?xml version=\"1.0\" encoding=\"GBK\"?>\xff\xff", "not text in GBK"),
            (b"<?xml version=\"1.0\"?>caf\xe9", "not UTF-8"),
        ] {
            let fault = decode(bytes).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
