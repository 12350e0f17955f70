//! A spec document: the file, its base and the overrides, merged but not yet typed.

use super::{
    error::{Diagnostic, SpecError, refuse},
    marks::{Mark, RepeatedKey, marks},
    node::{MapEntry, NodeContent, NodeReader, SpecNode},
    overrides::Override,
    paths,
    source::{SourceSpan, SourceText},
    typed::typed,
};
use crate::{
    text,
    yaml::{self, Refused},
};
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use std::path::Path;

/// Layers in override order. Values that [`Document::assign`] moves within the files are in layers of their own above both
/// files; `--set` arguments follow.
const BASE: usize = 0;
const FILE: usize = 1;
const FILES: usize = 2;

/// Position at which a diagnostic for a path is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// At the last key of the path.
    Key,
    /// At the value.
    Value,
}

/// A merged YAML document that tracks file, line and column of every value.
#[derive(Clone, Debug)]
pub struct Document {
    root: SpecNode,
    sources: Vec<SourceText>,
}

impl Document {
    /// Reads `path` and, if it has `extends: base.yaml` (relative to itself), merges it over that base.
    ///
    /// # Errors
    /// An unreadable file; YAML that does not parse; a base that itself extends.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = text::read(path)
            .map_err(|source| SpecError::Unreadable { path: path.display().to_string(), source })?;
        let file = SourceText::file(path, text);
        let mut sources = vec![SourceText::default(), file];
        let root = read(&sources[FILE], FILE).and_then(|root| extend(root, &mut sources));
        match root {
            Ok(root) => {
                sources.extend_from_within(..FILES);
                Ok(Self { root, sources })
            }
            Err(fault) => Err(refuse(&[fault], &sources)),
        }
    }

    /// A document of one command-line option, `NAME=VALUE`, whose value is YAML.
    ///
    /// # Errors
    /// A value that is not YAML.
    pub fn option(argument: &str) -> Result<Self, SpecError> {
        let name = format!("--{argument}");
        let sources = vec![SourceText { name, text: argument.into(), ..SourceText::default() }];
        let mut root = SpecNode::section(SourceSpan::default());
        match Override::parse(argument, 0) {
            Ok(value) => root.overlay(value.node(&root)),
            Err(fault) => return Err(refuse(&[fault], &sources)),
        }
        Ok(Self { root, sources })
    }

    /// Applies one `key.path=value`; returns the path. `expand` may complete an abbreviated one.
    ///
    /// # Errors
    /// An argument without `=`; a value that is not YAML; errors of `expand`.
    pub fn set(
        &mut self,
        argument: &str,
        expand: impl Fn(Vec<String>, &SpecNode) -> Result<Vec<String>, Diagnostic>,
    ) -> Result<Vec<String>, SpecError> {
        let layer = self.sources.len();
        self.sources.push(SourceText::argument(argument));
        let done = Override::parse(argument, layer).and_then(|change| self.apply(change, expand));
        done.map_err(|fault| refuse(&[fault], &self.sources))
    }

    /// Applies an entry of a section, `key.path: value`, as [`Self::set`] applies an argument; returns the path. It
    /// overrides both files, and its errors are shown where it is written.
    ///
    /// # Errors
    /// An empty or unknown key.
    pub fn assign(
        &mut self,
        entry: &MapEntry,
        expand: impl Fn(Vec<String>, &SpecNode) -> Result<Vec<String>, Diagnostic>,
    ) -> Result<Vec<String>, Diagnostic> {
        Override::of(&entry.clone().above(FILES)).and_then(|change| self.apply(change, expand))
    }

    fn apply(
        &mut self,
        change: Override,
        expand: impl Fn(Vec<String>, &SpecNode) -> Result<Vec<String>, Diagnostic>,
    ) -> Result<Vec<String>, Diagnostic> {
        let change = change.expand(|keys| expand(keys, &self.root))?;
        let path = change.path();
        self.root.overlay(change.node(&self.root));
        Ok(path)
    }

    /// Takes the section `key` out, from the top of the document.
    pub fn take(&mut self, key: &str) -> Option<MapEntry> {
        let NodeContent::Map(entries) = &mut self.root.content else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at))
    }

    /// Deserializes the spec.
    ///
    /// # Errors
    /// All unknown keys, and every value that is not of its type.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, SpecError> {
        self.typed_part(&self.root).map_err(|faults| self.refuse_all(&faults))
    }

    /// Deserializes a part of the spec, or what was taken out of it.
    ///
    /// # Errors
    /// As [`Self::typed`].
    pub fn typed_part<T: DeserializeOwned>(&self, part: &SpecNode) -> Result<T, Vec<Diagnostic>> {
        typed(part, &self.sources)
    }

    /// All values.
    pub fn root(&self) -> &SpecNode {
        &self.root
    }

    /// The error for a problem at `path` that only the whole document reveals.
    pub fn refuse(&self, path: &[&str], on: On, fault: Diagnostic) -> SpecError {
        self.refuse_all(&[self.located(path, on, fault)])
    }

    /// The error for several problems, each with its position.
    pub fn refuse_all(&self, faults: &[Diagnostic]) -> SpecError {
        refuse(faults, &self.sources)
    }

    /// Whether a problem is shown at or below the key of a section, not at an anchor or in a file that its values come from.
    pub fn shows_below(&self, section: &[&str], fault: &Diagnostic) -> bool {
        let begin = self.located(section, On::Key, Diagnostic::new("")).at;
        let shown = |(begin, at): (SourceSpan, SourceSpan)| {
            begin.layer == at.layer && (begin.line, begin.column) <= (at.line, at.column)
        };
        begin.zip(fault.at).is_some_and(shown)
    }

    /// A problem with the position of `path`, unless it has one.
    pub fn located(&self, path: &[&str], on: On, fault: Diagnostic) -> Diagnostic {
        let mut node = &self.root;
        let mut at = self.root.entries().first().map_or(self.root.at, |e| e.key_at);
        for step in path {
            let next = match &node.content {
                NodeContent::Seq(items) => {
                    step.parse().ok().and_then(|i: usize| items.get(i)).map(|n| (n, n.at))
                }
                _ => node.get(step).map(|e| (&e.value, e.key_at)),
            };
            // A missing part has its default value; report the error at its section.
            let Some((value, key_at)) = next else { break };
            node = value;
            at = if on == On::Key { key_at } else { value.at };
        }
        fault.or_at(at)
    }
}

/// Parses one file of a spec.
fn read(source: &SourceText, layer: usize) -> Result<SpecNode, Diagnostic> {
    let mark = marks(&source.text).map_err(|e| syntax(&e, layer))?;
    if let Some(again) = mark.as_ref().and_then(Mark::repeated_key) {
        return Err(repeated_key(&again, layer));
    }
    let value: Value = yaml::read(&source.text).map_err(|e| syntax(&e, layer))?;
    let start = SourceSpan { layer, line: 1, column: 0, width: 1 };
    let root = NodeReader { layer, whole: None }.node(value, mark.as_ref(), start)?;
    match root.content {
        NodeContent::Map(_) => Ok(root),
        NodeContent::Null => Err(Diagnostic::new("the file is empty").or_at(start)),
        _ => Err(Diagnostic::new("expected a section (`key: value` lines) at the top").or_at(root.at)),
    }
}

fn repeated_key(again: &RepeatedKey<'_>, layer: usize) -> Diagnostic {
    let width = again.text.chars().count();
    let at = SourceSpan { layer, line: again.key.line, column: again.key.column, width };
    let message = format!("`{}` is given twice in one section", text::excerpt(again.text));
    Diagnostic::new(message).note(format!("first on line {}", again.first_line)).or_at(at)
}

fn syntax(Refused { line, column, reason, context }: &Refused, layer: usize) -> Diagnostic {
    let place = SourceSpan { layer, line: *line, column: *column, width: 1 };
    Diagnostic::new(format!("this is not YAML: {reason}")).note(context.as_str()).or_at(place)
}

/// Merges `root` over the base that it names.
fn extend(mut root: SpecNode, sources: &mut [SourceText]) -> Result<SpecNode, Diagnostic> {
    let Some(entry) = root.get("extends") else { return Ok(root) };
    let at = entry.value.at;
    let NodeContent::Text(name) = &entry.value.content else {
        return Err(
            Diagnostic::new("`extends` takes the path of one YAML file, relative to this one").or_at(at)
        );
    };
    let base = paths::resolve_in(name, &sources[FILE].folder).map_err(|fault| fault.or_at(at))?;
    let text = text::read(&base).map_err(|e| {
        let base = text::excerpt(&base.display().to_string());
        Diagnostic::new(format!("cannot read the base `{base}`: {e}")).or_at(at)
    })?;
    sources[BASE] = SourceText::file(&base, text);
    let mut below = read(&sources[BASE], BASE)?;
    if let Some(deeper) = below.get("extends") {
        let message = "a base may not itself extend: `extends` goes one level deep";
        return Err(Diagnostic::new(message).or_at(deeper.key_at));
    }
    if let NodeContent::Map(entries) = &mut root.content {
        entries.retain(|e| e.key != "extends");
    }
    below.overlay(root);
    Ok(below)
}
