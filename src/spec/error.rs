//! Diagnostics for invalid specs.

use super::{
    names::{elsewhere, list, nearest},
    source::{SourceSpan, SourceText},
};
use crate::text::excerpt;
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// A rejected spec. `Display` gives the complete multi-line message.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("error: cannot read the spec `{path}`: {source}")]
    Unreadable {
        /// As spelled by the user.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// One or more diagnostics with their positions.
    #[error("{0}")]
    Refused(String),
}

/// Kind of a diagnostic, as far as reporting depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiagnosticKind {
    /// A missing field; shown at the key of the section.
    Missing,
    /// A value of the wrong type.
    WrongType,
    Other,
    /// A consequence of an error that was already reported.
    Silent,
}

/// One problem. The innermost value with a known position sets the position.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub kind: DiagnosticKind,
    pub message: String,
    pub note: String,
    pub at: Option<SourceSpan>,
}

impl Diagnostic {
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: DiagnosticKind::Other, message: message.into(), note: String::new(), at: None }
    }

    pub fn kind(mut self, kind: DiagnosticKind) -> Self {
        self.kind = kind;
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Sets the position, unless an inner value has set it.
    pub fn or_at(mut self, place: SourceSpan) -> Self {
        self.at = self.at.or(Some(place));
        self
    }

    /// `name` is not in `known`.
    pub fn unknown(what: &str, name: &str, known: &[&str]) -> Self {
        let known_names = list(known);
        let given = excerpt(name);
        let message = match known {
            [] => format!("unknown {what} `{given}`: there are none here"),
            [_] => format!("unknown {what} `{given}`, expected {known_names}"),
            _ => format!("unknown {what} `{given}`, expected one of {known_names}"),
        };
        let translated = || elsewhere(&given, known).filter(|_| what == "field");
        let note = translated().or_else(|| nearest(&given, known).map(|n| format!("did you mean `{n}`?")));
        Self::new(message).note(note.unwrap_or_default())
    }
}

/// Maximum number of diagnostics in a message.
const MAX_DIAGNOSTICS: usize = 20;

/// The message for `faults`, whose positions refer to `sources`.
pub(super) fn refuse(faults: &[Diagnostic], sources: &[SourceText]) -> SpecError {
    let one = |fault: &Diagnostic| {
        let place = fault.at.unwrap_or_default();
        match sources.get(place.layer) {
            Some(source) => format!("error: {}\n{}", fault.message, source.excerpt(place, &fault.note)),
            None => format!("error: {}", fault.message),
        }
    };
    let mut said: Vec<String> = faults.iter().take(MAX_DIAGNOSTICS).map(one).collect();
    if faults.len() > MAX_DIAGNOSTICS {
        said.push(format!("… and {} more", faults.len() - MAX_DIAGNOSTICS));
    }
    SpecError::Refused(said.join("\n\n"))
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Diagnostic {}

impl de::Error for Diagnostic {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
    fn invalid_type(got: Unexpected, expected: &dyn Expected) -> Self {
        let message = format!("expected {}, got {}", wanted(&expected.to_string()), found(&got));
        Self::new(message).kind(DiagnosticKind::WrongType)
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
            .kind(DiagnosticKind::Missing)
            .note(format!("add `{name}: …` to this section"))
    }
    fn duplicate_field(name: &'static str) -> Self {
        Self::new(format!("field `{name}` is given twice"))
    }
}

/// Describes serde's expected type for YAML users.
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

/// Describes a YAML value in the same terms.
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
