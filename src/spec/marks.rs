//! Positions of all parts of a YAML text: the structure of the document with the line and column of each part.
//! serde_yaml provides values without positions; this second parse provides the positions.

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
    /// Character at the position: a bracket for collections in flow style.
    pub first: Option<char>,
    pub shape: MarkShape,
}

#[derive(Clone, Debug)]
pub(super) enum MarkShape {
    /// With its text, to compare keys and to size the caret; `plain` if unquoted.
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Mark>),
    /// Keys and values in order.
    Map(Vec<(Mark, Mark)>),
}

/// A key that is repeated within its section.
#[derive(Debug)]
pub(super) struct RepeatedKey<'a> {
    pub key: &'a Mark,
    pub text: &'a str,
    /// Line of the first occurrence.
    pub first_line: usize,
}

impl Mark {
    /// The first key that is repeated within a section.
    pub fn repeated_key(&self) -> Option<RepeatedKey<'_>> {
        match &self.shape {
            MarkShape::Scalar { .. } => None,
            MarkShape::Seq(items) => items.iter().find_map(Self::repeated_key),
            MarkShape::Map(pairs) => {
                repeated(pairs).or_else(|| pairs.iter().find_map(|(_, v)| v.repeated_key()))
            }
        }
    }
}

fn repeated(pairs: &[(Mark, Mark)]) -> Option<RepeatedKey<'_>> {
    let keys: Vec<(&Mark, &str)> = pairs
        .iter()
        .filter_map(|(key, _)| match &key.shape {
            MarkShape::Scalar { text, .. } => Some((key, text.as_str())),
            _ => None,
        })
        .collect();
    let mut lines = HashMap::new();
    keys.into_iter().find_map(|(key, text)| {
        let first_line = lines.insert(text, key.line)?;
        Some(RepeatedKey { key, text, first_line })
    })
}

/// Positions of the document in `text`; None if it is empty.
///
/// # Errors
/// As [`yaml::scan`], which limits the expansion of aliases.
pub(super) fn marks(text: &str) -> Result<Option<Mark>, Refused> {
    let mut builder = Builder::new(text);
    yaml::scan(text, |event, at| builder.take(event, at))?;
    Ok(builder.root)
}

/// The stack of open collections, innermost last.
struct Builder<'a> {
    open: Vec<Open>,
    anchors: HashMap<usize, Mark>,
    root: Option<Mark>,
    /// The text from the last event's character on, and the index of that character. Events arrive in text order.
    rest: Peekable<Chars<'a>>,
    at: usize,
}

struct Open {
    /// Without its children.
    mark: Mark,
    anchor: usize,
    parts: Vec<Mark>,
    is_map: bool,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str) -> Self {
        Self { open: vec![], anchors: HashMap::new(), root: None, rest: text.chars().peekable(), at: 0 }
    }

    fn mark(&mut self, at: Marker, shape: MarkShape) -> Mark {
        while self.at < at.index() && self.rest.next().is_some() {
            self.at += 1;
        }
        Mark { line: at.line(), column: at.col(), first: self.rest.peek().copied(), shape }
    }

    fn open(&mut self, at: Marker, anchor: usize, is_map: bool) {
        let mark = self.mark(at, MarkShape::Seq(vec![]));
        self.open.push(Open { mark, anchor, parts: vec![], is_map });
    }

    fn close(&mut self) {
        let Some(Open { mark, anchor, parts, is_map }) = self.open.pop() else { return };
        let shape = if is_map { MarkShape::Map(pairs(parts)) } else { MarkShape::Seq(parts) };
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
                let mark = self.mark(at, MarkShape::Scalar { text, plain });
                self.add(mark, anchor);
            }
            // An alias takes the position of its anchor, where an error in it has to be fixed.
            Event::Alias(anchor) => {
                let here = self.mark(at, MarkShape::Scalar { text: String::new(), plain: false });
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
