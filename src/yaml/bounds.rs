//! How large a YAML text may be: its bytes, how deep it is nested, and what its aliases make of it. A text of a few
//! hundred bytes can stand for more than fits in memory, and the parsers' time grows with the square of the depth; so
//! the events are counted as they come, before anything is built of them.

use super::Refused;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use yaml_rust2::{
    Event,
    parser::Parser,
    scanner::{Marker, ScanError},
};

/// Sections and lists inside of one another.
pub const MOST_DEPTH: usize = 64;
/// Bytes of a text, and bytes of all its scalars with aliases written out.
const MOST_BYTES: usize = 4 << 20;
/// Values with aliases written out: twice the longest list of classes that anybody trains on, and room.
const MOST_VALUES: usize = 100_000;

/// Calls `each` with every event of the one document in `text`.
///
/// # Errors
/// Text that is not YAML; several documents; more than 4 MiB, 64 levels or, with aliases written out, 100,000 values.
pub fn scan(text: &str, mut each: impl FnMut(Event, Marker)) -> Result<(), Refused> {
    if text.len() > MOST_BYTES {
        return Err(Refused::at(1, 0, format!("{} bytes are more than {MOST_BYTES}", text.len())));
    }
    printable(text)?;
    let (mut parser, mut seen) = (Parser::new_from_str(text), Seen::default());
    loop {
        let (event, at) = parser.next_token().map_err(|error| not_yaml(text, &error))?;
        if event == Event::StreamEnd {
            return Ok(());
        }
        seen.take(&event).map_err(|reason| Refused::at(at.line(), at.col(), reason))?;
        each(event, at);
    }
}

/// serde_yaml says better what is wrong, but may only be asked where the text cannot keep it long.
fn not_yaml(text: &str, error: &ScanError) -> Refused {
    let small = text.len() <= 1 << 16 && text.matches(['[', '{']).count() <= 1000;
    let asked = small.then(|| serde_yaml::from_str::<IgnoredAny>(text).err()).flatten();
    let at = error.marker();
    let own = || Refused::at(at.line(), at.col(), crate::text::excerpt(error.info()));
    asked.map_or_else(own, |error| super::refused(&error))
}

/// YAML knows no control characters but line breaks and tabs; parsers take some for the end of the text.
fn printable(text: &str) -> Result<(), Refused> {
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    let Some(at) = text.find(odd) else { return Ok(()) };
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    Err(Refused::at(line, before[start..].chars().count(), "a control character stands here"))
}

/// Values and bytes of scalars.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

#[derive(Default)]
struct Seen {
    documents: usize,
    whole: Size,
    /// Of every collection that is open, its anchor and what there was before it.
    open: Vec<(usize, Size)>,
    anchors: HashMap<usize, Size>,
}

impl Seen {
    fn take(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::DocumentStart => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("a second document begins here; a file holds one".into());
                }
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                self.open.push((*anchor, self.whole));
                if self.open.len() > MOST_DEPTH {
                    return Err(format!("it is nested more than {MOST_DEPTH} levels deep"));
                }
                self.add(Size { values: 1, bytes: 0 })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, _, anchor, _) => {
                let size = Size { values: 1, bytes: text.len() };
                self.anchors.insert(*anchor, size);
                self.add(size)?;
            }
            Event::Alias(anchor) => {
                let Some(size) = self.anchors.get(anchor).copied() else {
                    return Err("an alias stands inside of what it names".into());
                };
                self.add(size)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some((anchor, before)) = self.open.pop() else { return };
        let (values, bytes) = (self.whole.values - before.values, self.whole.bytes - before.bytes);
        self.anchors.insert(anchor, Size { values, bytes });
    }

    /// Neither sum can wrap: each part is within the bounds.
    fn add(&mut self, size: Size) -> Result<(), String> {
        self.whole.values += size.values;
        self.whole.bytes += size.bytes;
        if self.whole.values > MOST_VALUES {
            return Err(format!("with its aliases written out it holds more than {MOST_VALUES} values"));
        }
        if self.whole.bytes > MOST_BYTES {
            return Err(format!("with its aliases written out it holds more than {MOST_BYTES} bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use std::time::{Duration, Instant};

    /// Refused, quickly and without the memory that it stands for.
    fn refused(text: &str, why: &str) {
        let began = Instant::now();
        let error = read::<serde_yaml::Value>(text).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(began.elapsed() < Duration::from_secs(3), "{why}: {:?}", began.elapsed());
    }

    /// Every anchor names nine of the one before.
    fn swelling(head: &str, open: &str, item: &str, close: &str) -> String {
        let row =
            |i: usize| format!("a{i}: &a{i} {open}{}{close}\n", item.replace('*', &format!("*a{}", i - 1)));
        format!("{head}a0: &a0 x\n{}", (1..12).map(row).collect::<String>())
    }

    #[test]
    fn aliases_are_counted_before_they_are_written_out() {
        let nine = ["*"; 9].join(", ");
        let named = (0..9).map(|i| format!("k{i}: *")).collect::<Vec<_>>().join(", ");
        for head in ["", "b: 1\nb: 2\n"] {
            refused(&swelling(head, "[", &nine, "]"), "100000 values");
            refused(&swelling(head, "{", &named, "}"), "100000 values");
            refused(&swelling(head, "{<<: [", &nine, "]}"), "100000 values");
        }
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1000].join(", "));
        refused(&long, "4194304 bytes");
        refused("a: &a [1, *a]", "inside of what it names");
    }

    #[test]
    fn depth_is_bounded_in_every_style() {
        for unit in ["[", "{a: ", "- ", "? ", "[? ", "[\"]\", ", "a: {", "!!seq [", "&a [", "[[a], "] {
            let began = Instant::now();
            let error = read::<serde_yaml::Value>(&unit.repeat(30_000)).unwrap_err();
            assert!(began.elapsed() < Duration::from_secs(3), "{unit}: {:?} {error}", began.elapsed());
        }
        let steps: String = (0..400).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        refused(&steps, "64 levels");
        refused(&format!("{}x", "- ".repeat(65)), "64 levels");
        assert!(read::<serde_yaml::Value>(&format!("{}x", "- ".repeat(64))).is_ok());
    }

    #[test]
    fn size_documents_and_control_characters_are_bounded() {
        refused(&"# x\n".repeat(2 << 20), "8388608 bytes");
        refused(&"- x\n".repeat(100_001), "100000 values");
        refused("a: 1\n---\nb: 2\n", "second document");
        refused("a: 1\nüb\0[[[[", "control character stands here (line 2, column 3)");
        let classes: String = (0..50_000).map(|i| format!("- name {i}\n")).collect();
        assert_eq!(read::<Vec<String>>(&classes).unwrap().len(), 50_000);
        assert_eq!(read::<Vec<i32>>("a: &a 1\n").unwrap_err().line, 1);
    }
}
