//! Typed YAML. Nothing here knows what an experiment is; this module turns text into values that cannot be wrong, or into a
//! message that points at the line, the column and the nearest known name.
//!
//! The way of a file: text → values, each with its place (`node`, `marks`) → `extends:` and `--set` merged in
//! (`document`, `overrides`) → the typed spec (`typed`).
//! Sections are keyed by name (`optimizer: { adam: { lr: 3e-5 } }`); when a later layer (the extending file, then
//! `--set`) names another variant than an earlier one, the later name replaces the earlier.

mod document;
mod error;
mod marks;
pub mod names;
mod node;
pub mod on_backbone;
mod overrides;
mod paths;
mod source;
mod typed;

pub use document::Document;
pub(crate) use document::On;
pub(crate) use error::Fault;
pub use error::SpecError;
pub(crate) use node::Node;
pub(crate) use paths::{at_home, relative};

use crate::yaml;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Reads one YAML file with `extends:` and the `--set key.path=value` overrides applied.
///
/// # Errors
/// An unreadable file, YAML that does not parse, and everything that the type refuses, each with its place.
pub fn parse<T: DeserializeOwned>(path: &Path, sets: &[String]) -> Result<T, SpecError> {
    let mut document = Document::read(path)?;
    for argument in sets {
        document.set(argument, |keys, _| Ok(keys))?;
    }
    document.typed()
}

/// The spec as YAML, defaults written out, keys in the order of the structs; parses back to an equal value.
///
/// # Errors
/// When a value cannot be written as YAML (a map with keys that are not text).
pub fn resolved_yaml<T: Serialize>(spec: &T) -> Result<String, serde_yaml::Error> {
    yaml::write(spec)
}

/// SHA-256, in hexadecimal, of the spec as JSON with sorted keys: the same for every spelling of the same experiment.
///
/// # Errors
/// When a value cannot be written as JSON.
pub fn hash<T: Serialize>(spec: &T) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    value.sort_all_objects();
    let digest = Sha256::digest(value.to_string());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
