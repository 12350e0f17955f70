//! `--set key.path=value`: one value from the command line, with positions within the argument; and the same of an entry
//! `key.path: value` in a file.

use super::{
    error::Diagnostic,
    node::{MapEntry, NodeContent, NodeReader, SpecNode},
    source::SourceSpan,
};
use crate::yaml::{self, MOST_DEPTH};
use serde_yaml::Value;

/// One parsed argument.
#[derive(Debug)]
pub(super) struct Override {
    /// Keys and their positions; keys added by expansion take the position of the next written one.
    keys: Vec<(String, SourceSpan)>,
    value: SpecNode,
}

impl Override {
    pub fn parse(argument: &str, layer: usize) -> Result<Self, Diagnostic> {
        let all = SourceSpan { layer, line: 1, column: 0, width: argument.chars().count() };
        let (path, text) = argument
            .split_once('=')
            .ok_or_else(|| Diagnostic::new("expected `key.path=value`").note("there is no `=`").or_at(all))?;
        let keys = keys(path, all, "before `=`")?;
        let column = path.chars().count() + 1;
        let at = SourceSpan { column, width: text.chars().count(), ..all };
        Ok(Self { keys, value: value(text, at)? })
    }

    /// Of an entry whose key is a path.
    pub fn of(entry: &MapEntry) -> Result<Self, Diagnostic> {
        let mut keys = keys(&entry.key, entry.key_at, "of this path")?;
        // Within quotes, parts of the key are not where they are in the text.
        if entry.key_at.width != entry.key.chars().count() {
            keys.iter_mut().for_each(|(_, at)| *at = entry.key_at);
        }
        Ok(Self { keys, value: entry.value.clone() })
    }

    /// The keys.
    pub fn path(&self) -> Vec<String> {
        self.keys.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Completes the path: `longer` returns the full keys, the written ones last.
    pub fn expand(
        mut self,
        longer: impl FnOnce(Vec<String>) -> Result<Vec<String>, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let first = self.keys.first().map_or(self.value.at, |k| k.1);
        let keys = longer(self.keys.iter().map(|k| k.0.clone()).collect()).map_err(|f| f.or_at(first))?;
        let mut written = std::mem::take(&mut self.keys).into_iter().peekable();
        for key in keys {
            let at = written.peek().map_or(first, |k| k.1);
            if written.peek().is_some_and(|k| k.0 == key) {
                written.next();
            }
            self.keys.push((key, at));
        }
        Ok(self)
    }

    /// The value in its nested sections, ready to merge into `root`. A number indexes into a list.
    pub fn node(self, root: &SpecNode) -> SpecNode {
        nest(&self.keys, self.value, Some(root))
    }
}

/// The keys of a path that starts at `all`, with their positions.
fn keys(path: &str, all: SourceSpan, which: &str) -> Result<Vec<(String, SourceSpan)>, Diagnostic> {
    let mut keys = vec![];
    let mut column = all.column;
    for key in path.split('.') {
        let width = key.chars().count();
        let at = SourceSpan { column, width: width.max(1), ..all };
        if key.is_empty() {
            return Err(Diagnostic::new(format!("a key {which} is empty")).or_at(at));
        }
        if keys.len() == MOST_DEPTH {
            return Err(Diagnostic::new(format!("more than {MOST_DEPTH} keys {which}")).or_at(at));
        }
        keys.push((key.to_string(), at));
        column += width + 1;
    }
    Ok(keys)
}

fn nest(keys: &[(String, SourceSpan)], value: SpecNode, below: Option<&SpecNode>) -> SpecNode {
    let Some(((key, at), rest)) = keys.split_first() else { return value };
    if let Some(NodeContent::Seq(items)) = below.map(|n| &n.content)
        && let Some(index) = key.parse().ok().filter(|i: &usize| *i < items.len())
    {
        let mut items = items.clone();
        let inner = nest(rest, value, Some(&items[index]));
        items[index].overlay(inner);
        return SpecNode { at: *at, key: Some(*at), content: NodeContent::Seq(items) };
    }
    let mut inner = nest(rest, value, below.and_then(|n| n.get(key)).map(|e| &e.value));
    inner.key = Some(*at);
    if !rest.is_empty() {
        inner.at = *at;
    }
    let entry = MapEntry { key: key.clone(), key_at: *at, value: inner };
    SpecNode { at: *at, key: Some(*at), content: NodeContent::Map(vec![entry]) }
}

fn value(text: &str, at: SourceSpan) -> Result<SpecNode, Diagnostic> {
    let value: Value = yaml::read(text)
        .map_err(|e| Diagnostic::new(format!("the value is not YAML: {}", e.reason)).or_at(at))?;
    NodeReader { layer: at.layer, whole: Some(at) }.node(value, None, at)
}
