//! Keys of a spec that were renamed. Serde reads the old name by `alias`; the schema of the spec states it by [`OldKey`].

use schemars::{Schema, json_schema, transform::Transform};
use serde_json::Value;

/// Adds the old name of a key to the schema of its section. As in `#[schemars(transform = OldKey("grey", "gray"))]`.
#[derive(Clone, Copy, Debug)]
pub struct OldKey(pub &'static str, pub &'static str);

impl Transform for OldKey {
    fn transform(&mut self, schema: &mut Schema) {
        let Self(old, new) = *self;
        let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
        let Some(mut key) = keys.get(new).cloned() else { return };
        key["description"] = format!("Old name of `{new}`.").into();
        key["deprecated"] = true.into();
        if let Some(key) = key.as_object_mut() {
            key.remove("default");
        }
        keys.insert(old.into(), key);
        let both = json_schema!({ "not": { "required": [old, new] } });
        let rules = schema.ensure_object().entry("allOf").or_insert_with(|| Value::Array(vec![]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(both.into());
        }
    }
}
