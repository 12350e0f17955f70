//! Where everything in a YAML text stands: the shape of the document with a line and a column for each part.
//! serde_yaml gives the values without places; this second, shape-only parse gives the places without values.

use crate::yaml::{self, Refused};
use std::{collections::HashMap, iter::Peekable, str::Chars};
use yaml_rust2::{
    Event,
    scanner::{Marker, TScalarStyle},
};

/// One part of the document.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// From 1.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
    /// The character that stands there: a bracket where a collection is in flow style.
    pub first: Option<char>,
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
    let mut lines = HashMap::new();
    keys.into_iter().find_map(|(key, text)| {
        let first_line = lines.insert(text, key.line)?;
        Some(Repeated { key, text, first_line })
    })
}

/// The marks of the document in `text`; None when it is empty.
///
/// # Errors
/// As [`yaml::scan`], which bounds what aliases are written out here.
pub(super) fn marks(text: &str) -> Result<Option<Mark>, Refused> {
    let mut builder = Builder::new(text);
    yaml::scan(text, |event, at| builder.take(event, at))?;
    Ok(builder.root)
}

/// Collections that are still open, innermost last.
struct Builder<'a> {
    open: Vec<Open>,
    anchors: HashMap<usize, Mark>,
    root: Option<Mark>,
    /// The text from the last event's character on, and that character's number: events come in the order of the text.
    rest: Peekable<Chars<'a>>,
    at: usize,
}

struct Open {
    /// Without its parts.
    mark: Mark,
    anchor: usize,
    parts: Vec<Mark>,
    is_map: bool,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str) -> Self {
        Self { open: vec![], anchors: HashMap::new(), root: None, rest: text.chars().peekable(), at: 0 }
    }

    fn mark(&mut self, at: Marker, shape: Shape) -> Mark {
        while self.at < at.index() && self.rest.next().is_some() {
            self.at += 1;
        }
        Mark { line: at.line(), column: at.col(), first: self.rest.peek().copied(), shape }
    }

    fn open(&mut self, at: Marker, anchor: usize, is_map: bool) {
        let mark = self.mark(at, Shape::Seq(vec![]));
        self.open.push(Open { mark, anchor, parts: vec![], is_map });
    }

    fn close(&mut self) {
        let Some(Open { mark, anchor, parts, is_map }) = self.open.pop() else { return };
        let shape = if is_map { Shape::Map(pairs(parts)) } else { Shape::Seq(parts) };
        self.add(Mark { shape, ..mark }, anchor);
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

    fn take(&mut self, event: Event, at: Marker) {
        match event {
            Event::SequenceStart(anchor, _) => self.open(at, anchor, false),
            Event::MappingStart(anchor, _) => self.open(at, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == TScalarStyle::Plain;
                let mark = self.mark(at, Shape::Scalar { text, plain });
                self.add(mark, anchor);
            }
            // A part that is referred to stands where it is defined: that is where a fault in it is mended.
            Event::Alias(anchor) => {
                let here = self.mark(at, Shape::Scalar { text: String::new(), plain: false });
                let mark = self.anchors.get(&anchor).cloned().unwrap_or(here);
                self.add(mark, 0);
            }
            _ => {}
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
