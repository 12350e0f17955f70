//! YAML input and output: input is checked against size limits before parsing; output means the same in YAML 1.1 and
//! 1.2.
//!
//! All YAML input (specs, headers of weight files, specs of runs) is read through [`read`] or [`scan`].

mod bounds;
mod write;

pub use bounds::{MOST_DEPTH, scan};
pub use write::{value_of, write};

use serde::de::DeserializeOwned;

/// A YAML error with its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (line {line}, column {})", .column + 1)]
pub struct Refused {
    /// From 1.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
    pub reason: String,
    /// What the parser was reading there; may be empty.
    pub context: String,
}

impl Refused {
    fn at(line: usize, column: usize, reason: impl Into<String>) -> Self {
        Self { line, column, reason: reason.into(), context: String::new() }
    }
}

/// Deserializes one YAML document.
///
/// # Errors
/// Invalid YAML, input over the limits of [`scan`], or a document that is not a `T`.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Refused> {
    scan(text, |_, _| {})?;
    serde_yaml::from_str(text).map_err(|error| refused(&error))
}

/// Converts serde_yaml's error, without the position in its message.
fn refused(error: &serde_yaml::Error) -> Refused {
    let text = error.to_string();
    let (what, rest) = text.split_once(" at line ").unwrap_or((&text, ""));
    let context = rest.split_once(", ").map_or("", |(_, context)| context);
    let (line, column) = error.location().map_or((1, 0), |l| (l.line(), l.column().saturating_sub(1)));
    Refused { context: context.into(), ..Refused::at(line, column, crate::text::excerpt(what)) }
}
