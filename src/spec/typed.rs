//! A serde deserializer for values with positions: an error takes the position of the innermost value, and unknown
//! keys are collected instead of stopping at the first. What follows an error is read too, by reading again without the
//! entry that it is about.

use super::{
    error::{Diagnostic, DiagnosticKind},
    names::list,
    node::{MapEntry, NodeContent, SpecNode},
    on_backbone::OnBackbone,
    paths::resolve,
    source::{SourceSpan, SourceText},
};
use crate::{
    data::voc::lists::ListName,
    spec_path::{ShardPath, SpecPath, WeightPath},
    weight_source,
};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor, value::StrDeserializer,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    path::Path,
};

/// Maximum number of readings of a spec, hence of entries that are left out.
const MOST_READINGS: usize = 100;

/// Deserializes a `T` from the values of `sources`, or returns all errors.
pub(super) fn typed<T: DeserializeOwned>(
    root: &SpecNode,
    sources: &[SourceText],
) -> Result<T, Vec<Diagnostic>> {
    let context = ReadContext::new(sources);
    let mut faults = vec![];
    for _ in 0..MOST_READINGS {
        match T::deserialize(Typed { node: root, context: &context }) {
            Ok(spec) if context.is_clean() => return Ok(spec),
            Ok(_) => break,
            Err(fault) if fault.kind != DiagnosticKind::Silent => faults.push(fault),
            Err(_) => {}
        }
        let Some(entry) = context.failed.take() else { break };
        context.left_out.borrow_mut().push(entry);
    }
    Err([context.unknown.into_inner(), faults].concat())
}

/// State shared by all values of one spec.
struct ReadContext<'a> {
    sources: &'a [SourceText],
    unknown: RefCell<Vec<Diagnostic>>,
    /// The innermost entry that the present reading failed at.
    failed: Cell<Option<SourceSpan>>,
    /// The entries that earlier readings failed at.
    left_out: RefCell<Vec<SourceSpan>>,
    /// Notices already given.
    given_notices: RefCell<BTreeSet<String>>,
}

impl<'s> ReadContext<'s> {
    fn new(sources: &'s [SourceText]) -> Self {
        Self {
            sources,
            unknown: RefCell::default(),
            failed: Cell::default(),
            left_out: RefCell::default(),
            given_notices: RefCell::default(),
        }
    }

    /// Whether no error was found so far.
    fn is_clean(&self) -> bool {
        self.unknown.borrow().is_empty() && self.left_out.borrow().is_empty()
    }

    /// The entries that no reading failed at.
    fn kept<'a>(&self, entries: &'a [MapEntry]) -> Vec<&'a MapEntry> {
        let left_out = self.left_out.borrow();
        entries.iter().filter(|entry| !left_out.contains(&entry.key_at)).collect()
    }

    /// The error of an entry, with its position.
    fn fail(&self, entry: &MapEntry, fault: Diagnostic) -> Diagnostic {
        self.failed.set(self.failed.get().or(Some(entry.key_at)));
        fault.or_at(entry.key_at)
    }

    /// Records unknown keys once.
    fn add_unknown(&self, found: impl Iterator<Item = Diagnostic>) {
        let mut unknown = self.unknown.borrow_mut();
        for fault in found {
            if unknown.iter().all(|other| other.at != fault.at) {
                unknown.push(fault);
            }
        }
    }

    /// Resolves the path `text` against the folder of its file. What `is_name` tells to be no path is kept.
    fn path(
        &self,
        text: &str,
        at: SourceSpan,
        is_name: impl Fn(&str, &Path) -> bool,
    ) -> Result<String, Diagnostic> {
        let here = SourceText::default();
        let source = self.sources.get(at.layer).unwrap_or(&here);
        if text.is_empty() {
            return Err(Diagnostic::new("expected a path, got empty text"));
        }
        let found = resolve(text, &source.folder)?;
        if is_name(text, &found.path) {
            return Ok(text.into());
        }
        if let Some(notice) =
            found.notice.filter(|notice| self.given_notices.borrow_mut().insert(notice.clone()))
        {
            tracing::warn!("{}: {notice}", source.place(at));
        }
        let text = found.path.into_os_string().into_string();
        text.map_err(|_| Diagnostic::new("the folder of the spec has a name that is not UTF-8; rename it"))
    }
}

/// Whether a newtype holds a path, or may.
fn is_path(newtype: &str, text: &str) -> bool {
    [SpecPath::NAME, WeightPath::NAME].contains(&newtype)
        || (newtype == ShardPath::NAME && !ShardPath::is_remote(Path::new(text)))
        || (newtype == ListName::NAME && ListName::is_path(text))
}

#[derive(Clone, Copy)]
struct Typed<'a> {
    node: &'a SpecNode,
    context: &'a ReadContext<'a>,
}

impl<'a> Typed<'a> {
    fn with(self, node: &'a SpecNode) -> Self {
        Self { node, ..self }
    }

    /// Deserializes this value, and sets the position of errors that occur afterwards (e.g. a number out of range).
    fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Diagnostic> {
        seed.deserialize(self).map_err(|fault| self.place(fault))
    }

    /// Sets the position of an error: this value, or its key for a missing field.
    fn place(self, fault: Diagnostic) -> Diagnostic {
        let section =
            self.node.key.unwrap_or_else(|| self.node.entries().first().map_or(self.node.at, |e| e.key_at));
        let at = if fault.kind == DiagnosticKind::Missing { section } else { self.node.at };
        fault.or_at(at)
    }

    /// Deserializes a section with the given fields. Unknown keys are recorded and skipped, so that the rest is still
    /// checked. A field that is then missing is probably the misspelled one, or one with an error, and not reported.
    fn section<'de, V: Visitor<'de>>(self, fields: &[&str], visitor: V) -> Result<V::Value, Diagnostic> {
        let NodeContent::Map(entries) = &self.node.content else {
            return self.deserialize_any(visitor).map_err(|fault| self.with_keys(fault, fields));
        };
        let (known, others): (Vec<_>, Vec<_>) =
            self.context.kept(entries).into_iter().partition(|e| fields.contains(&e.key.as_str()));
        let unknown = |e: &&MapEntry| Diagnostic::unknown("field", &e.key, fields).or_at(e.key_at);
        self.context.add_unknown(others.iter().map(unknown));
        let is_partial = known.len() < entries.len();
        let result = visitor.visit_map(MapEntries { entries: known.into_iter(), current: None, typed: self });
        result.map_err(|fault| match fault.kind {
            DiagnosticKind::Missing if is_partial && fault.at.is_none() => fault.kind(DiagnosticKind::Silent),
            _ => self.place(fault),
        })
    }

    /// Adds to the error of a value that stands where a section belongs which keys that has.
    fn with_keys(self, fault: Diagnostic, fields: &[&str]) -> Diagnostic {
        let is_own = fault.kind == DiagnosticKind::WrongType && fault.at == Some(self.node.at);
        match fields {
            _ if !is_own => fault,
            [] => fault,
            [one] => fault.note(format!("write `{{ {one}: … }}`")),
            _ => fault.note(format!("its keys are {}", list(fields))),
        }
    }

    /// The single entry of a section that selects a variant. Names in a later layer replace those of earlier ones:
    /// `sgd` overrides a base's `adam`.
    fn selected_variant(self, entries: &'a [MapEntry], known: &[&str]) -> Result<&'a MapEntry, Diagnostic> {
        let latest = entries.iter().map(|e| e.key_at.layer).max();
        let mut named = entries.iter().filter(|e| Some(e.key_at.layer) == latest);
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one),
            (Some(one), Some(two)) => {
                let message = format!("expected one name here, got both `{}` and `{}`", one.key, two.key);
                Err(Diagnostic::new(message).note("take one out").or_at(two.key_at))
            }
            _ => Err(Diagnostic::new(format!("expected one of {}, got an empty section", list(known)))),
        }
    }
}

/// Largest magnitude up to which every whole number is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whole numbers may be written with a decimal point: `1.0`.
macro_rules! whole_numbers {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Diagnostic> {
            match self.node.content {
                NodeContent::Float(n) if n.fract() == 0.0 && n.abs() <= EXACT => {
                    visitor.visit_i64(n as i64).map_err(|fault| self.place(fault))
                }
                _ => self.deserialize_any(visitor),
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = Diagnostic;

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Diagnostic> {
        let result = match &self.node.content {
            NodeContent::Null => visitor.visit_unit(),
            NodeContent::Bool(b) => visitor.visit_bool(*b),
            NodeContent::Unsigned(n) => visitor.visit_u64(*n),
            NodeContent::Signed(n) => visitor.visit_i64(*n),
            NodeContent::Float(n) => visitor.visit_f64(*n),
            NodeContent::Text(text) => visitor.visit_str(text),
            NodeContent::Seq(items) => visitor.visit_seq(Items { items: items.iter(), typed: self }),
            NodeContent::Map(entries) => {
                let entries = self.context.kept(entries).into_iter();
                visitor.visit_map(MapEntries { entries, current: None, typed: self })
            }
        };
        result.map_err(|fault| self.place(fault))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Diagnostic> {
        match self.node.content {
            NodeContent::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Diagnostic> {
        let result = match &self.node.content {
            NodeContent::Map(entries) if name == OnBackbone::<()>::NAME => match split(self.node, entries) {
                Some(both) => visitor.visit_seq(Items { items: both.iter(), typed: self }),
                None => visitor.visit_newtype_struct(self),
            },
            NodeContent::Text(text) if is_path(name, text) => {
                let is_name = |text: &str, path: &Path| {
                    name == WeightPath::NAME && weight_source::is_name(Path::new(text), path)
                };
                let path = self.context.path(text, self.node.at, is_name);
                path.and_then(|path| visitor.visit_newtype_struct(path.into_deserializer()))
            }
            _ => visitor.visit_newtype_struct(self),
        };
        result.map_err(|fault| self.place(fault))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Diagnostic> {
        self.section(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Diagnostic> {
        let variant = match &self.node.content {
            NodeContent::Text(name) => Ok(VariantNode { name, at: self.node.at, value: None, typed: self }),
            NodeContent::Map(entries) => self.selected_variant(entries, known).map(|e| VariantNode {
                name: &e.key,
                at: e.key_at,
                value: Some(&e.value),
                typed: self,
            }),
            _ => Err(Diagnostic::new(format!("expected one of {}", list(known)))),
        };
        variant.and_then(|v| visitor.visit_enum(v)).map_err(|fault| self.place(fault))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Diagnostic> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier
    }
}

/// Splits a section into the rest and its `backbone`.
fn split(node: &SpecNode, entries: &[MapEntry]) -> Option<[SpecNode; 2]> {
    let (beside, rest): (Vec<&MapEntry>, Vec<&MapEntry>) =
        entries.iter().partition(|entry| entry.key == OnBackbone::<()>::KEY);
    let content = NodeContent::Map(rest.into_iter().cloned().collect());
    Some([SpecNode { content, ..node.clone() }, beside.first()?.value.clone()])
}

struct Items<'a> {
    items: std::slice::Iter<'a, SpecNode>,
    typed: Typed<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Diagnostic;
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Diagnostic> {
        self.items.next().map(|item| self.typed.with(item).seed(seed)).transpose()
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct MapEntries<'a> {
    entries: std::vec::IntoIter<&'a MapEntry>,
    /// The entry whose value is next.
    current: Option<&'a MapEntry>,
    typed: Typed<'a>,
}

impl<'de> MapAccess<'de> for MapEntries<'_> {
    type Error = Diagnostic;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Diagnostic> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.current = Some(entry);
        let key: StrDeserializer<'_, Diagnostic> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| self.typed.context.fail(entry, fault))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Diagnostic> {
        let Some(entry) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let read = self.typed.with(&entry.value).seed(seed);
        read.map_err(|fault| self.typed.context.fail(entry, fault))
    }
}

struct VariantNode<'a> {
    name: &'a str,
    at: SourceSpan,
    /// None if only the name is given.
    value: Option<&'a SpecNode>,
    typed: Typed<'a>,
}

impl<'de, 'a> EnumAccess<'de> for VariantNode<'a> {
    type Error = Diagnostic;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Diagnostic> {
        let name: StrDeserializer<'_, Diagnostic> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|fault| fault.or_at(self.at))?;
        Ok((value, self))
    }
}

impl VariantNode<'_> {
    /// Treats a bare name as the name with an empty section, so that `decay: cosine` takes all defaults.
    fn with_defaults<T>(
        &self,
        read: impl FnOnce(Typed<'_>) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        let empty = SpecNode::section(self.at);
        read(Typed { node: &empty, context: self.typed.context }).map_err(|fault| match fault.kind {
            DiagnosticKind::WrongType => {
                let message = format!("`{}` needs a value: write `{}: …`", self.name, self.name);
                Diagnostic::new(message).or_at(self.at)
            }
            DiagnosticKind::Missing => {
                let field = fault.message.split('`').nth(1).unwrap_or("…").to_string();
                fault.note(format!("write `{{ {}: {{ {field}: … }} }}`", self.name))
            }
            _ => fault,
        })
    }
}

impl<'de> VariantAccess<'de> for VariantNode<'_> {
    type Error = Diagnostic;

    fn unit_variant(self) -> Result<(), Diagnostic> {
        match self.value.map(|v| &v.content) {
            None | Some(NodeContent::Null) => Ok(()),
            Some(_) => Err(Diagnostic::new(format!("`{}` takes no settings", self.name))
                .note(format!("write just `{}`", self.name))
                .or_at(self.at)),
        }
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Diagnostic> {
        match self.value {
            Some(node) => self.typed.with(node).seed(seed),
            None => self.with_defaults(|empty| empty.seed(seed)),
        }
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Diagnostic> {
        self.struct_variant(&[], visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Diagnostic> {
        match self.value {
            Some(node) => self.typed.with(node).section(fields, visitor),
            None => self.with_defaults(|empty| empty.section(fields, visitor)),
        }
    }
}
