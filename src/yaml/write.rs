//! YAML output that versions 1.1 and 1.2 read alike. Version 1.1 (Python's PyYAML) reads `on`, `1:30` and
//! `2026-01-01` as a boolean, a number and a date, and `1e-6` as a string; version 1.2 does not. So numbers are
//! written in a form valid in both, and a string is left unquoted only if both read it as one.

use serde::{Serialize, ser::Error as _};
use serde_yaml::{Error, Mapping, Number, Value, value::Serializer, with::singleton_map_recursive};
use std::fmt::Write as _;

/// Indentation step.
const STEP: usize = 2;
/// Words that one of the two versions reads as a boolean or null.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Serializes `value` as one YAML document: fields in struct order, enum variants as single-key maps.
///
/// # Errors
/// A map whose keys are themselves maps or lists.
pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let value = value_of(value)?;
    let mut text = String::new();
    match &value {
        Value::Mapping(map) if !map.is_empty() => entries(map, 0, "", &mut text)?,
        Value::Sequence(list) if !list.is_empty() => items(list, 0, "", &mut text)?,
        other => {
            text += &scalar(other, 0)?;
            text.push('\n');
        }
    }
    Ok(text)
}

/// The value tree that [`write`] serializes.
///
/// # Errors
/// As [`write`].
pub fn value_of<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    singleton_map_recursive::serialize(&value, Serializer)
}

/// Writes `key: value` lines; `head` replaces the indentation of the first.
fn entries(map: &Mapping, margin: usize, head: &str, out: &mut String) -> Result<(), Error> {
    for (i, (key, value)) in map.iter().enumerate() {
        start(i, margin, head, out);
        match key {
            Value::String(text) => *out += &on_one_line(text),
            Value::Sequence(_) | Value::Mapping(_) => return Err(Error::custom("a key must be text")),
            other => *out += &scalar(other, margin)?,
        }
        out.push(':');
        match value {
            Value::Mapping(map) if !map.is_empty() => {
                out.push('\n');
                entries(map, margin + STEP, "", out)?;
            }
            Value::Sequence(list) if !list.is_empty() => {
                out.push('\n');
                items(list, margin, "", out)?;
            }
            other => end(other, margin, out)?,
        }
    }
    Ok(())
}

/// Writes `- value` lines.
fn items(list: &[Value], margin: usize, head: &str, out: &mut String) -> Result<(), Error> {
    for (i, value) in list.iter().enumerate() {
        start(i, margin, head, out);
        out.push('-');
        match value {
            Value::Mapping(map) if !map.is_empty() => entries(map, margin + STEP, " ", out)?,
            Value::Sequence(list) if !list.is_empty() => items(list, margin + STEP, " ", out)?,
            other => end(other, margin, out)?,
        }
    }
    Ok(())
}

fn start(line: usize, margin: usize, head: &str, out: &mut String) {
    match line {
        0 if !head.is_empty() => *out += head,
        _ => *out += &" ".repeat(margin),
    }
}

fn end(value: &Value, margin: usize, out: &mut String) -> Result<(), Error> {
    // Writing to a String cannot fail.
    let _ = writeln!(out, " {}", scalar(value, margin)?);
    Ok(())
}

/// A scalar on one line, or a block string indented deeper than `margin`.
fn scalar(value: &Value, margin: usize) -> Result<String, Error> {
    Ok(match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(n) => number(n),
        Value::String(text) if is_block(text) => block(text, margin + STEP),
        Value::String(text) => on_one_line(text),
        Value::Sequence(_) => "[]".into(),
        Value::Mapping(_) => "{}".into(),
        Value::Tagged(_) => return Err(Error::custom("tags are not supported")),
    })
}

/// Version 1.1 requires a decimal point: `1.0e-6`, not `1e-6`.
fn number(n: &Number) -> String {
    let text = n.to_string();
    let Some((digits, exponent)) = text.split_once('e').filter(|_| n.is_f64()) else { return text };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    format!("{digits}{point}e{sign}{exponent}")
}

/// Whether the text can be written as a block scalar (`|`).
fn is_block(text: &str) -> bool {
    let plain = |c: char| c == '\n' || !needs_escape(c);
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(plain)
}

fn block(text: &str, margin: usize) -> String {
    let mut out = String::from(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.lines() {
        let margin = if line.is_empty() { 0 } else { margin };
        let _ = write!(out, "\n{}{line}", " ".repeat(margin));
    }
    out
}

fn on_one_line(text: &str) -> String {
    if text.chars().any(needs_escape) {
        return escaped(text);
    }
    if is_bare(text) { text.into() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Whether both versions read the unquoted `text`, which holds no control characters, as this string.
fn is_bare(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let starts = match first {
        // Numbers and dates contain no slash: `../photographs` and `2007/JPEGImages` are paths.
        '.' | '0'..='9' => text.contains('/'),
        '/' | '_' => true,
        _ => first.is_alphabetic(),
    };
    let ends = !text.ends_with([' ', ':']);
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    starts && ends && !word && !text.contains(": ") && !text.contains(" #")
}

/// Characters that must be escaped, including the line breaks of either version.
fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            c if needs_escape(c) => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn layout_is_that_of_specs() {
        let value = json!({
            "name": "tiny", "seeds": [0, 1], "empty": {}, "none": null, "list": [],
            "nested": [[1, 2], [{"a": 1, "b": [true]}], []],
            "text": "two\n\nlines\n", "open": "two\nlines", "odd": " two\nlines", "tab": "a\tb",
        });
        let wanted = "name: tiny\nseeds:\n- 0\n- 1\nempty: {}\nnone: null\nlist: []\n\
                      nested:\n- - 1\n  - 2\n- - a: 1\n    b:\n    - true\n- []\n\
                      text: |\n  two\n\n  lines\n\nopen: |-\n  two\n  lines\n\
                      odd: \" two\\nlines\"\ntab: \"a\\tb\"\n";
        // A text that ends in a line break ends its block: the next key follows at once.
        let written = write(&value).unwrap();
        assert_eq!(read::<serde_json::Value>(&written).unwrap(), value, "{written}");
        assert_eq!(written, wanted.replace("lines\n\n", "lines\n"));
    }

    #[test]
    fn numbers_are_numbers_in_both_versions() {
        for (n, text) in [
            (1e-6, "1.0e-6"),
            (1.5e-7, "1.5e-7"),
            (1e20, "1.0e+20"),
            (-2.5e300, "-2.5e+300"),
            (0.1, "0.1"),
            (3.0, "3.0"),
            (f64::INFINITY, ".inf"),
        ] {
            assert_eq!(write(&n).unwrap(), format!("{text}\n"));
            assert_eq!(read::<f64>(text).unwrap(), n);
        }
        assert_eq!(write(&u64::MAX).unwrap(), "18446744073709551615\n");
        assert_eq!(write("1e20").unwrap(), "'1e20'\n", "text stays text");
    }

    /// What PyYAML (1.1) and ruamel (1.2) make of each text that stands without quotes: `scripts/oracles/yaml_text.py`.
    #[test]
    fn text_is_text_to_both_readers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/oracles/yaml_text.json");
        let known: Vec<(String, String, String)> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut bare = 0;
        for (text, one, two) in &known {
            let written = write(text).unwrap();
            assert_eq!(&read::<String>(&written).unwrap(), text, "{written}");
            let is_bare = written.trim_end() == text;
            assert!(
                !is_bare || (one == "str" && two == "str"),
                "`{text}` is {one} and {two}, but was written bare"
            );
            bare += usize::from(is_bare);
        }
        assert!(known.len() > 100 && bare > 10 && bare < known.len() / 2, "{bare} of {}", known.len());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "(\\PC|[ \n\t:#'\"\\-\\[{&*!|>%@`?,=~.0-9a-fxo_+]){0,24}", key in "\\PC{1,8}") {
            let value = json!({ key: [text.clone(), { "a": text.clone(), "b": [[text]] }] });
            let written = write(&value).unwrap();
            prop_assert_eq!(read::<serde_json::Value>(&written).unwrap(), value, "{}", written);
        }
    }
}
