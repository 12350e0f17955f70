//! Where everything in a YAML text stands: the shape of the document with a line and a column for each part.
//! serde_yaml gives the values without places; this second, shape-only parse gives the places without values.

use std::collections::HashMap;
use yaml_rust2::{
    Event,
    parser::{MarkedEventReceiver, Parser},
    scanner::{Marker, ScanError, TScalarStyle},
};

/// One part of the document.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// From 1.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
    pub shape: Shape,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// With its text, so that keys can be compared and a caret can be as wide; a plain scalar stands as it reads.
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Mark>),
    /// Keys and values in order.
    Map(Vec<(Mark, Mark)>),
}

/// A key that stands a second time in its section.
#[derive(Debug)]
pub(super) struct Repeated<'a> {
    pub key: &'a Mark,
    pub text: &'a str,
    /// Where it stands first.
    pub first_line: usize,
}

impl Mark {
    /// The first key that stands twice in one section.
    pub fn repeated_key(&self) -> Option<Repeated<'_>> {
        match &self.shape {
            Shape::Scalar { .. } => None,
            Shape::Seq(items) => items.iter().find_map(Self::repeated_key),
            Shape::Map(pairs) => repeated(pairs).or_else(|| pairs.iter().find_map(|(_, v)| v.repeated_key())),
        }
    }
}

fn repeated(pairs: &[(Mark, Mark)]) -> Option<Repeated<'_>> {
    let keys: Vec<(&Mark, &str)> = pairs
        .iter()
        .filter_map(|(key, _)| match &key.shape {
            Shape::Scalar { text, .. } => Some((key, text.as_str())),
            _ => None,
        })
        .collect();
    keys.iter().enumerate().find_map(|(i, (key, text))| {
        let (first, _) = keys[..i].iter().find(|(_, t)| t == text)?;
        Some(Repeated { key, text, first_line: first.line })
    })
}

/// The marks of the first document in `text`; None when it is empty.
pub(super) fn marks(text: &str) -> Result<Option<Mark>, ScanError> {
    let mut builder = Builder::default();
    Parser::new_from_str(text).load(&mut builder, false)?;
    Ok(builder.root)
}

/// Collections that are still open, innermost last.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Mark>,
    root: Option<Mark>,
}

struct Open {
    start: Marker,
    anchor: usize,
    parts: Vec<Mark>,
    is_map: bool,
}

impl Builder {
    fn close(&mut self) {
        let Some(Open { start, anchor, parts, is_map }) = self.open.pop() else { return };
        let shape = if is_map { Shape::Map(pairs(parts)) } else { Shape::Seq(parts) };
        self.add(Mark { line: start.line(), column: start.col(), shape }, anchor);
    }

    fn add(&mut self, mark: Mark, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, mark.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.parts.push(mark),
            None => self.root = Some(mark),
        }
    }
}

fn pairs(parts: Vec<Mark>) -> Vec<(Mark, Mark)> {
    let mut parts = parts.into_iter();
    let mut pairs = vec![];
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((key, value));
    }
    pairs
}

impl MarkedEventReceiver for Builder {
    fn on_event(&mut self, event: Event, at: Marker) {
        let (line, column) = (at.line(), at.col());
        match event {
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open { start: at, anchor, parts: vec![], is_map: false });
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open { start: at, anchor, parts: vec![], is_map: true });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == TScalarStyle::Plain;
                self.add(Mark { line, column, shape: Shape::Scalar { text, plain } }, anchor);
            }
            // A part that is referred to stands where it is defined: that is where a fault in it is mended.
            Event::Alias(anchor) => {
                let here = Mark { line, column, shape: Shape::Scalar { text: String::new(), plain: false } };
                let mark = self.anchors.get(&anchor).cloned().unwrap_or(here);
                self.add(mark, 0);
            }
            _ => {}
        }
    }
}
