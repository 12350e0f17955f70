//! YAML values with positions, and how two of them merge.

use super::{
    error::Diagnostic,
    marks::{Mark, MarkShape},
    source::SourceSpan,
};
use serde_yaml::Value;
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// Keys of which one says how long a training is.
const LENGTHS: [&str; 3] = ["steps", "epochs", "images"];
/// Keys that tell the section of a training from others, in which users choose the names.
const BESIDE: [&str; 2] = ["batch", "optimizer"];

/// A value and its position.
#[derive(Clone, Debug)]
pub struct SpecNode {
    pub at: SourceSpan,
    /// Position of its key, if any; errors of a whole section are shown there.
    pub key: Option<SourceSpan>,
    pub content: NodeContent,
}

#[derive(Clone, Debug)]
pub enum NodeContent {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Seq(Vec<SpecNode>),
    Map(Vec<MapEntry>),
}

#[derive(Clone, Debug)]
pub struct MapEntry {
    pub key: String,
    pub key_at: SourceSpan,
    pub value: SpecNode,
}

/// Options for building nodes from a text.
pub(super) struct NodeReader {
    /// Layer of the text.
    pub layer: usize,
    /// Set if all parts of the value have the same position (`--set`).
    pub whole: Option<SourceSpan>,
}

impl NodeReader {
    /// Combines `value` with its `mark`; parts without a mark take their parent's position.
    pub fn node(
        &self,
        value: Value,
        mark: Option<&Mark>,
        parent: SourceSpan,
    ) -> Result<SpecNode, Diagnostic> {
        let at = self.place(mark).unwrap_or(parent);
        let content = match value {
            Value::Null => NodeContent::Null,
            Value::Bool(b) => NodeContent::Bool(b),
            Value::Number(n) => number(&n).map_err(|f| f.or_at(at))?,
            Value::String(text) => NodeContent::Text(text),
            Value::Sequence(items) => NodeContent::Seq(self.items(items, mark, at)?),
            Value::Mapping(map) => NodeContent::Map(self.entries(map, mark, at)?),
            Value::Tagged(tagged) => {
                let message = format!("the YAML tag `{}` means nothing here", tagged.tag);
                return Err(Diagnostic::new(message).note("take it out").or_at(at));
            }
        };
        Ok(SpecNode { at, key: None, content })
    }

    fn items(
        &self,
        items: Vec<Value>,
        mark: Option<&Mark>,
        at: SourceSpan,
    ) -> Result<Vec<SpecNode>, Diagnostic> {
        let marks = match mark.map(|m| &m.shape) {
            Some(MarkShape::Seq(marks)) => marks.as_slice(),
            _ => &[],
        };
        items.into_iter().enumerate().map(|(i, item)| self.node(item, marks.get(i), at)).collect()
    }

    fn entries(
        &self,
        map: serde_yaml::Mapping,
        mark: Option<&Mark>,
        at: SourceSpan,
    ) -> Result<Vec<MapEntry>, Diagnostic> {
        let marks = match mark.map(|m| &m.shape) {
            Some(MarkShape::Map(marks)) => marks.as_slice(),
            _ => &[],
        };
        let mut entries = vec![];
        let mut merged = vec![];
        for (i, (key, value)) in map.into_iter().enumerate() {
            let key_at = self.place(marks.get(i).map(|m| &m.0)).unwrap_or(at);
            let Value::String(key) = key else {
                return Err(Diagnostic::new("keys must be text").note("put it in quotes").or_at(key_at));
            };
            let mut value = self.node(value, marks.get(i).map(|m| &m.1), key_at)?;
            value.set_key(key_at, marks.get(i).and_then(|m| m.1.first));
            match key.as_str() {
                "<<" => merged.extend(merge_key(value)?),
                _ => entries.push(MapEntry { key, key_at, value }),
            }
        }
        // YAML merge keys: own entries take precedence, then earlier sections over later ones.
        let mut taken: HashSet<String> = entries.iter().map(|e: &MapEntry| e.key.clone()).collect();
        entries.extend(merged.into_iter().filter(|entry| taken.insert(entry.key.clone())));
        Ok(entries)
    }

    fn place(&self, mark: Option<&Mark>) -> Option<SourceSpan> {
        if self.whole.is_some() {
            return self.whole;
        }
        let mark = mark?;
        let width = match &mark.shape {
            MarkShape::Scalar { text, plain: true } => text.chars().count(),
            _ => 0,
        };
        Some(SourceSpan { layer: self.layer, line: mark.line, column: mark.column, width })
    }
}

/// The entries merged by `<<: …`.
fn merge_key(value: SpecNode) -> Result<Vec<MapEntry>, Diagnostic> {
    let wrong = |at| Err(Diagnostic::new("`<<` takes a section, or a list of sections").or_at(at));
    match value.content {
        NodeContent::Map(entries) => Ok(entries),
        NodeContent::Seq(items) => {
            let mut all = vec![];
            for item in items {
                let NodeContent::Map(entries) = item.content else { return wrong(item.at) };
                all.extend(entries);
            }
            Ok(all)
        }
        _ => wrong(value.at),
    }
}

fn number(n: &serde_yaml::Number) -> Result<NodeContent, Diagnostic> {
    if let Some(n) = n.as_u64() {
        return Ok(NodeContent::Unsigned(n));
    }
    if let Some(n) = n.as_i64() {
        return Ok(NodeContent::Signed(n));
    }
    match n.as_f64() {
        Some(n) if n.is_finite() => Ok(NodeContent::Float(n)),
        _ => Err(Diagnostic::new(format!("expected a finite number, got {n}"))),
    }
}

impl MapEntry {
    /// The same entry in a layer that is so many above its own, whose text is the same.
    pub(super) fn above(self, layers: usize) -> Self {
        Self { key: self.key, key_at: self.key_at.above(layers), value: self.value.above(layers) }
    }
}

impl SpecNode {
    /// As [`MapEntry::above`].
    fn above(self, layers: usize) -> Self {
        let content = match self.content {
            NodeContent::Seq(items) => {
                NodeContent::Seq(items.into_iter().map(|item| item.above(layers)).collect())
            }
            NodeContent::Map(entries) => {
                NodeContent::Map(entries.into_iter().map(|entry| entry.above(layers)).collect())
            }
            scalar => scalar,
        };
        Self { at: self.at.above(layers), key: self.key.map(|key| key.above(layers)), content }
    }

    /// Whether there is no value: `~`, or nothing after the key.
    pub fn is_null(&self) -> bool {
        matches!(self.content, NodeContent::Null)
    }

    /// Items of a list.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            NodeContent::Seq(items) => items,
            _ => &[],
        }
    }

    /// An empty section at `at`.
    pub fn section(at: SourceSpan) -> Self {
        Self { at, key: Some(at), content: NodeContent::Map(vec![]) }
    }

    /// Sets the key. Block-style sections and empty values also take its position.
    fn set_key(&mut self, key_at: SourceSpan, first: Option<char>) {
        self.key = Some(key_at);
        let block = match self.content {
            NodeContent::Map(_) => first != Some('{'),
            NodeContent::Seq(_) => first != Some('['),
            NodeContent::Null => first != Some('n') && first != Some('~'),
            _ => false,
        };
        if block {
            self.at = key_at;
        }
    }

    /// Entries of a section.
    pub fn entries(&self) -> &[MapEntry] {
        match &self.content {
            NodeContent::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Entry with the key `key`.
    pub fn get(&self, key: &str) -> Option<&MapEntry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// The entry of a section that selects a variant: that of the latest layer.
    pub fn variant(&self) -> Option<&MapEntry> {
        self.entries().iter().max_by_key(|entry| entry.key_at.layer)
    }

    /// Merges `over` into this value: sections key by key, anything else is replaced. What `over` says in one of several
    /// ways replaces what is said in another.
    pub fn overlay(&mut self, over: SpecNode) {
        let (NodeContent::Map(mine), NodeContent::Map(theirs)) = (&mut self.content, &over.content) else {
            *self = over;
            return;
        };
        let has =
            |entries: &[MapEntry], keys: &[&str]| entries.iter().any(|e| keys.contains(&e.key.as_str()));
        if has(theirs, &LENGTHS) && (has(mine, &BESIDE) || has(theirs, &BESIDE)) {
            mine.retain(|e| !LENGTHS.contains(&e.key.as_str()));
        }
        let places: HashMap<String, usize> =
            mine.iter().enumerate().map(|(i, entry)| (entry.key.clone(), i)).collect();
        for entry in theirs {
            match places.get(&entry.key).and_then(|i| mine.get_mut(*i)) {
                Some(old) => {
                    old.key_at = entry.key_at;
                    old.value.overlay(entry.value.clone());
                }
                None => mine.push(entry.clone()),
            }
        }
        self.at = over.at;
        self.key = over.key;
    }
}

/// In one line, as YAML in brackets.
impl fmt::Display for SpecNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |parts: Vec<String>| parts.join(", ");
        match &self.content {
            NodeContent::Null => f.write_str("~"),
            NodeContent::Bool(value) => value.fmt(f),
            NodeContent::Unsigned(value) => value.fmt(f),
            NodeContent::Signed(value) => value.fmt(f),
            NodeContent::Float(value) => value.fmt(f),
            NodeContent::Text(text) => text.fmt(f),
            NodeContent::Seq(items) => write!(f, "[{}]", joined(items.iter().map(Self::to_string).collect())),
            NodeContent::Map(entries) => {
                let entry = |entry: &MapEntry| format!("{}: {}", entry.key, entry.value);
                write!(f, "{{{}}}", joined(entries.iter().map(entry).collect()))
            }
        }
    }
}
