//! Limits on YAML input: size, nesting depth, and size after alias expansion. A few hundred bytes can expand to more
//! than fits in memory, and parsing time grows with the square of the depth; so the parser's events are counted
//! before any value is built.

use super::Refused;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use yaml_rust2::{
    Event,
    parser::Parser,
    scanner::{Marker, ScanError},
};

/// Deepest nesting of sections and lists.
pub const MOST_DEPTH: usize = 64;
/// Most bytes of a text, and of all its scalars with aliases expanded.
const MOST_BYTES: usize = 4 << 20;
/// Most values with aliases expanded: more than twice the longest list of classes in use.
const MOST_VALUES: usize = 100_000;

/// Calls `each` with every parser event of the single document in `text`.
///
/// # Errors
/// Invalid YAML; several documents; more than 4 MiB, 64 levels or, with aliases expanded, 100,000 values.
pub fn scan(text: &str, mut each: impl FnMut(Event, Marker)) -> Result<(), Refused> {
    if text.len() > MOST_BYTES {
        return Err(Refused::at(1, 0, format!("{} bytes are more than {MOST_BYTES}", text.len())));
    }
    printable(text)?;
    let (mut parser, mut seen) = (Parser::new_from_str(text), EventCounter::default());
    loop {
        let (event, at) = parser.next_token().map_err(|error| not_yaml(text, &error))?;
        if event == Event::StreamEnd {
            return Ok(());
        }
        seen.take(&event).map_err(|reason| Refused::at(at.line(), at.col(), reason))?;
        each(event, at);
    }
}

/// serde_yaml has better error messages, but it only runs on texts that it parses quickly.
fn not_yaml(text: &str, error: &ScanError) -> Refused {
    let small = text.len() <= 1 << 16 && text.matches(['[', '{']).count() <= 1000;
    let asked = small.then(|| serde_yaml::from_str::<IgnoredAny>(text).err()).flatten();
    let at = error.marker();
    let own = || Refused::at(at.line(), at.col(), crate::text::excerpt(error.info()));
    asked.map_or_else(own, |error| super::refused(&error))
}

/// YAML allows no control characters except line breaks and tabs; some parsers take others for the end of the text.
fn printable(text: &str) -> Result<(), Refused> {
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    let Some(at) = text.find(odd) else { return Ok(()) };
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    Err(Refused::at(line, before[start..].chars().count(), "control characters are not allowed"))
}

/// Number of values, and bytes of scalars.
#[derive(Clone, Copy, Default)]
struct NodeSize {
    values: usize,
    bytes: usize,
}

#[derive(Default)]
struct EventCounter {
    documents: usize,
    whole: NodeSize,
    /// Anchor of each open collection, and the totals before it.
    open: Vec<(usize, NodeSize)>,
    anchors: HashMap<usize, NodeSize>,
}

impl EventCounter {
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
                    return Err(format!("nested more than {MOST_DEPTH} levels deep"));
                }
                self.add(NodeSize { values: 1, bytes: 0 })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, _, anchor, _) => {
                let size = NodeSize { values: 1, bytes: text.len() };
                self.anchors.insert(*anchor, size);
                self.add(size)?;
            }
            Event::Alias(anchor) => {
                let Some(size) = self.anchors.get(anchor).copied() else {
                    return Err("an alias refers to a section that contains it".into());
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
        self.anchors.insert(anchor, NodeSize { values, bytes });
    }

    /// The sums cannot overflow: each part is within the limits.
    fn add(&mut self, size: NodeSize) -> Result<(), String> {
        self.whole.values += size.values;
        self.whole.bytes += size.bytes;
        if self.whole.values > MOST_VALUES {
            return Err(format!("with its aliases expanded it holds more than {MOST_VALUES} values"));
        }
        if self.whole.bytes > MOST_BYTES {
            return Err(format!("with its aliases expanded it holds more than {MOST_BYTES} bytes"));
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
        refused("a: &a [1, *a]", "refers to a section that contains it");
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
        refused("a: 1\nüb\0[[[[", "control characters are not allowed (line 2, column 3)");
        let classes: String = (0..50_000).map(|i| format!("- name {i}\n")).collect();
        assert_eq!(read::<Vec<String>>(&classes).unwrap().len(), 50_000);
        assert_eq!(read::<Vec<i32>>("a: &a 1\n").unwrap_err().line, 1);
    }
}
