//! YAML: bounded before anything is built of it, and written so that every reader takes it for the same.
//!
//! Whatever is read as YAML, specs, headers of weight files and specs of runs, comes through [`read`] or [`scan`].

mod bounds;
mod write;

pub use bounds::{MOST_DEPTH, scan};
pub use write::{value_of, write};

use serde::de::DeserializeOwned;

/// Text that is not taken for YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (line {line}, column {})", .column + 1)]
pub struct Refused {
    /// From 1.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
    pub reason: String,
    /// What was being read there; may be empty.
    pub context: String,
}

impl Refused {
    fn at(line: usize, column: usize, reason: impl Into<String>) -> Self {
        Self { line, column, reason: reason.into(), context: String::new() }
    }
}

/// A value of one YAML document.
///
/// # Errors
/// Text that is not YAML, that is larger than [`scan`] allows, or that says something else than a `T`.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Refused> {
    scan(text, |_, _| {})?;
    serde_yaml::from_str(text).map_err(|error| refused(&error))
}

/// serde_yaml's error, its own words about the place taken off.
fn refused(error: &serde_yaml::Error) -> Refused {
    let text = error.to_string();
    let (what, rest) = text.split_once(" at line ").unwrap_or((&text, ""));
    let context = rest.split_once(", ").map_or("", |(_, context)| context);
    let (line, column) = error.location().map_or((1, 0), |l| (l.line(), l.column().saturating_sub(1)));
    Refused { context: context.into(), ..Refused::at(line, column, crate::text::excerpt(what)) }
}
