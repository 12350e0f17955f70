//! Typed YAML, independent of experiments: parses text into validated values, or into a message with line, column and
//! the nearest known name.
//!
//! Steps: text → values with positions (`node`, `marks`) → `extends:` and `--set` merged (`document`, `overrides`) →
//! the typed spec (`typed`). Variants are sections keyed by name (`optimizer: { adam: { lr: 3e-5 } }`). If a later
//! layer (the extending file, then `--set`) names another variant than an earlier one, it replaces the earlier one.
//!
//! [`schema`] states what is accepted, for editors and as a page of keys.

mod document;
mod error;
mod marks;
pub mod names;
mod node;
pub mod on_backbone;
mod overrides;
mod paths;
pub mod schema;
mod source;
mod typed;

pub use document::Document;
pub(crate) use document::On;
pub(crate) use error::Diagnostic;
pub use error::SpecError;
pub(crate) use node::{MapEntry, SpecNode};
pub(crate) use paths::{expand_home, relative};

use crate::yaml;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path};

/// Reads one YAML file and applies `extends:` and the `--set key.path=value` overrides.
///
/// # Errors
/// An unreadable file; YAML that does not parse; every error of the type, with its position.
pub fn parse<T: DeserializeOwned>(path: &Path, sets: &[String]) -> Result<T, SpecError> {
    let mut document = Document::read(path)?;
    for argument in sets {
        document.set(argument, |keys, _| Ok(keys))?;
    }
    document.typed()
}

/// Reads the value of the command-line option `--name` as YAML: `alexnet`, or `{ resnet: { depth: 50 } }`.
///
/// # Errors
/// As [`parse`].
pub fn option<T: DeserializeOwned>(name: &str, value: &str) -> Result<T, SpecError> {
    let document = Document::option(&format!("{name}={value}"))?;
    let mut values: BTreeMap<String, T> = document.typed()?;
    let missing = || document.refuse(&[], On::Value, Diagnostic::new(format!("--{name} has no value")));
    values.remove(name).ok_or_else(missing)
}

/// The spec as YAML with all defaults and keys in struct order; parses back to an equal value.
///
/// # Errors
/// A value that has no YAML form (a map with non-text keys).
pub fn resolved_yaml<T: Serialize>(spec: &T) -> Result<String, serde_yaml::Error> {
    yaml::write(spec)
}

/// SHA-256 (hexadecimal) of the spec as JSON with sorted keys: independent of how the same spec is written.
///
/// # Errors
/// A value that has no JSON form.
pub fn hash<T: Serialize>(spec: &T) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    value.sort_all_objects();
    let digest = Sha256::digest(value.to_string());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
