//! What is wrong with a spec, and the message that says so.

use super::{
    names::{list, nearest},
    source::{Place, Source},
};
use crate::text::excerpt;
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// A spec that was refused. `Display` is the whole message, several lines long, ready to print.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file itself cannot be read.
    #[error("error: cannot read the spec `{path}`: {source}")]
    Unreadable {
        /// As the user wrote it.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// One or more faults, each with its place.
    #[error("{0}")]
    Refused(String),
}

/// What kind of fault it is, as far as reporting cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Belongs to the section, so that its key is shown.
    Missing,
    /// A value of another type than the section holds.
    WrongType,
    Other,
    /// Only a consequence of a fault already reported.
    Silent,
}

/// One thing that is wrong; the place is filled in by the innermost value that knows it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub message: String,
    pub note: String,
    pub at: Option<Place>,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: Kind::Other, message: message.into(), note: String::new(), at: None }
    }

    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Sets the place, unless something further in has.
    pub fn or_at(mut self, place: Place) -> Self {
        self.at = self.at.or(Some(place));
        self
    }

    /// `name` is not one of `known`.
    pub fn unknown(what: &str, name: &str, known: &[&str]) -> Self {
        let known_names = list(known);
        let given = excerpt(name);
        let message = match known {
            [] => format!("unknown {what} `{given}`: there are none here"),
            [_] => format!("unknown {what} `{given}`, expected {known_names}"),
            _ => format!("unknown {what} `{given}`, expected one of {known_names}"),
        };
        let note = nearest(&given, known).map(|n| format!("did you mean `{n}`?"));
        Self::new(message).note(note.unwrap_or_default())
    }
}

/// Faults that are shown at once.
const MOST: usize = 20;

/// The message for `faults`, which lie in `sources`.
pub(super) fn refuse(faults: &[Fault], sources: &[Source]) -> SpecError {
    let one = |fault: &Fault| {
        let place = fault.at.unwrap_or_default();
        match sources.get(place.layer) {
            Some(source) => format!("error: {}\n{}", fault.message, source.excerpt(place, &fault.note)),
            None => format!("error: {}", fault.message),
        }
    };
    let mut said: Vec<String> = faults.iter().take(MOST).map(one).collect();
    if faults.len() > MOST {
        said.push(format!("… and {} more", faults.len() - MOST));
    }
    SpecError::Refused(said.join("\n\n"))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
    fn invalid_type(got: Unexpected, expected: &dyn Expected) -> Self {
        let message = format!("expected {}, got {}", wanted(&expected.to_string()), found(&got));
        Self::new(message).kind(Kind::WrongType)
    }
    fn invalid_value(got: Unexpected, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, got {}", wanted(&expected.to_string()), found(&got)))
    }
    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown("name", name, known)
    }
    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown("field", name, known)
    }
    fn missing_field(name: &'static str) -> Self {
        Self::new(format!("missing field `{name}`"))
            .kind(Kind::Missing)
            .note(format!("add `{name}: …` to this section"))
    }
    fn duplicate_field(name: &'static str) -> Self {
        Self::new(format!("field `{name}` is given twice"))
    }
}

/// serde's word for what it wanted, in the words of someone who writes YAML.
fn wanted(expected: &str) -> String {
    match expected {
        "f32" | "f64" => "a number".into(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "string" => "text".into(),
        "path string" => "a path".into(),
        "a sequence" => "a list".into(),
        "a map" => "a section (`key: value` lines)".into(),
        "unit" => "no settings".into(),
        other if other.starts_with("struct ") => "a section (`key: value` lines)".into(),
        other => other.into(),
    }
}

/// What the YAML holds, in the same words.
fn found(got: &Unexpected) -> String {
    match got {
        Unexpected::Bool(b) => b.to_string(),
        Unexpected::Unsigned(n) => n.to_string(),
        Unexpected::Signed(n) => n.to_string(),
        Unexpected::Float(n) => n.to_string(),
        Unexpected::Str(s) => format!("the text \"{}\"", excerpt(s)),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a section".into(),
        other => other.to_string(),
    }
}
