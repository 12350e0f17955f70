//! Reads text files: UTF-8 with or without a byte order mark, and UTF-16 with one, as Windows editors write.

use encoding_rs::{Encoding, UTF_8};
use std::{borrow::Cow, error::Error, fs, io, path::Path};

/// Most characters of a file's line that a message quotes.
const QUOTED: usize = 200;
/// Most characters in one line of a message.
const LINE: usize = 1000;

/// `1 seed`, `2 seeds`, `2 classes`.
pub fn counted(count: usize, one: &str) -> String {
    let ending = match count {
        1 => "",
        _ if one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {one}{ending}")
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// An error with its causes, which alone say what went wrong: a name that is not found, a refused connection.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if !text.contains(&inner.to_string()) {
            text += &format!(": {inner}");
        }
        cause = inner.source();
    }
    text
}

/// Reads a number of bytes, as `268435456`, `256M` or `1G`.
///
/// # Errors
/// The expected form.
pub fn byte_count(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number of bytes, as 268435456, 256M or 1G".to_string();
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// An unreadable file; `InvalidData` for bytes that are not valid UTF-8, or UTF-16 after its mark.
pub fn read(path: &Path) -> io::Result<String> {
    decode(&fs::read(path)?)
}

/// Decodes `bytes` without the byte order mark: UTF-16 if a mark says so, else UTF-8.
///
/// # Errors
/// `InvalidData`, with the offset of the first invalid byte.
pub fn decode(bytes: &[u8]) -> io::Result<String> {
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or((UTF_8, 0));
    if encoding == UTF_8 {
        let text = std::str::from_utf8(&bytes[mark..]);
        return text.map(String::from).map_err(|e| {
            invalid(format!(
                "not UTF-8 text: byte {} is invalid; save the file as UTF-8",
                mark + e.valid_up_to()
            ))
        });
    }
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes[mark..]);
    text.map(Cow::into_owned).ok_or_else(|| {
        invalid(format!("the byte order mark says {}, but the text is invalid", encoding.name()))
    })
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Shortens `line` for a message: at most 200 characters, control characters escaped.
pub fn excerpt(line: &str) -> String {
    cut(line, QUOTED, |c| !c.is_control())
}

/// Makes a text that quotes files safe for a terminal: escapes control characters other than line ends and tabs,
/// which could move the cursor, change colors or hide earlier output.
pub fn printable(text: &str) -> String {
    cut(text, usize::MAX, is_printable)
}

/// Formats a message: like [`printable`], with every line cut to 1000 characters.
pub fn message(text: &str) -> String {
    text.split('\n').map(|line| cut(line, LINE, is_printable)).collect::<Vec<_>>().join("\n")
}

fn is_printable(c: char) -> bool {
    !c.is_control() || c == '\n' || c == '\t'
}

/// The first `most` characters, followed by `…` if the text is longer. Characters that are not `plain` are escaped.
fn cut(text: &str, most: usize, plain: impl Fn(char) -> bool) -> String {
    let (mut shown, mut length) = (String::with_capacity(text.len().min(4 * LINE)), 0);
    for c in text.chars() {
        if length >= most {
            shown.push('…');
            break;
        }
        if plain(c) {
            shown.push(c);
            length += 1;
        } else {
            shown.extend(c.escape_default());
            length += c.escape_default().len();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_have_a_unit() {
        let read = ["7", "2k", "256M", "1G"].map(byte_count);
        assert_eq!(read, [Ok(7), Ok(2048), Ok(256 << 20), Ok(1 << 30)]);
        for wrong in ["", "M", "0", "1.5G", "-1", "1T", "99999999999999999999", "18446744073709551615G", "1ü"]
        {
            assert!(byte_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let utf16 =
            |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        for bytes in [
            "cat ü\n".as_bytes().to_vec(),
            "\u{feff}cat ü\n".as_bytes().to_vec(),
            utf16("\u{feff}cat ü\n", u16::to_le_bytes),
            utf16("\u{feff}cat ü\n", u16::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).unwrap(), "cat ü\n", "{bytes:?}");
        }
        assert_eq!(decode(b"").unwrap(), "");
    }

    #[test]
    fn what_is_no_text_is_said_with_its_place() {
        for (bytes, part) in
            [(&b"ab\xffcd"[..], "byte 2"), (b"\xff\xfea", "UTF-16LE"), (b"\xff\xfe\x00\xd8", "UTF-16LE")]
        {
            let error = decode(bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn long_lines_are_cut_and_control_characters_escaped() {
        assert_eq!(excerpt("a\tb\u{1b}[31m"), "a\\tb\\u{1b}[31m");
        assert_eq!(excerpt(&"ü".repeat(5000)).chars().count(), QUOTED + 1);
    }

    #[test]
    fn what_is_printed_cannot_control_the_terminal() {
        assert_eq!(printable("a\tb\n\u{1b}[2J\r\u{9b}ü\0"), "a\tb\n\\u{1b}[2J\\r\\u{9b}ü\\u{0}");
        assert_eq!(printable(&"ü".repeat(5000)), "ü".repeat(5000));
        let long = format!("a\n{}\n\u{7}", "ü".repeat(5000));
        assert_eq!(message(&long), format!("a\n{}…\n\\u{{7}}", "ü".repeat(LINE)));
        assert_eq!(message("error: x\n"), "error: x\n");
        assert!(message(&"\u{b}".repeat(5000)).len() < LINE + 10, "escapes count as what they show");
    }
}
