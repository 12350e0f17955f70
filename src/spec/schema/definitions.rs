//! Where the definitions of a schema are, and how others refer to them.

use serde_json::Value;

/// The keyword of definitions.
pub(super) const DEFINITIONS: &str = "$defs";

/// A reference to a definition.
pub(super) fn to(name: &str) -> String {
    format!("#/{DEFINITIONS}/{name}")
}

/// The name of the definition that a schema refers to.
pub(super) fn referred(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/")?.strip_prefix(DEFINITIONS)?.strip_prefix('/')
}
