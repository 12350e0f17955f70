//! Files with `extends`: they say only what differs from their base, so that every key is optional, in each section. A list
//! replaces that of the base, so that its items are complete.

use super::definitions::{self, DEFINITIONS, referred};
use schemars::Schema;
use serde_json::{Map, Value, json};

/// The definition of such files; its own definitions are those of the whole file, with every key optional.
const EXTENDING: &str = "Extending";

/// The schema of a file that is a whole spec or extends one. `name` is that of the definition of whole files.
pub(super) fn with_base(root: Schema, name: &str) -> Value {
    let mut whole = match root.to_value() {
        Value::Object(keywords) => keywords,
        other => return other,
    };
    let dialect = whole.shift_remove("$schema");
    let title = whole.get("title").cloned();
    let others = match whole.shift_remove(DEFINITIONS) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    let extending = extending(&whole, &others);
    let mut definitions = Map::from_iter([(name.to_string(), whole.into())]);
    definitions.extend(others);
    definitions.insert(EXTENDING.into(), extending);
    json!({
        "$schema": dialect,
        "title": title,
        "type": "object",
        "if": { "required": ["extends"] },
        "then": { "$ref": definitions::to(EXTENDING) },
        "else": { "$ref": definitions::to(name) },
        DEFINITIONS: definitions,
    })
}

fn extending(whole: &Map<String, Value>, definitions: &Map<String, Value>) -> Value {
    let mut part = Value::from(whole.clone());
    loosen(&mut part);
    part["title"] = "File that extends another".into();
    part["description"] = "A file with `extends` says only what differs from its base: sections are merged key by key, lists \
                           and single values replaced. Where a section names one of several, as `optimizer` does, another \
                           name replaces that of the base."
        .into();
    if let Some(keys) = part.get_mut("properties").and_then(Value::as_object_mut) {
        let base = json!({
            "description": "Path of the base, a file without `extends`; relative ones start at the folder of this file.",
            "type": "string",
        });
        keys.shift_insert(0, "extends".into(), base);
    }
    let loose = definitions.iter().map(|(name, definition)| {
        let mut definition = definition.clone();
        loosen(&mut definition);
        (name.clone(), definition)
    });
    part[DEFINITIONS] = loose.collect::<Map<_, _>>().into();
    part
}

/// Makes every key of a section, and of those below it, optional.
fn loosen(schema: &mut Value) {
    if let Some(name) = referred(schema) {
        schema["$ref"] = format!("{}/{DEFINITIONS}/{name}", definitions::to(EXTENDING)).into();
    }
    let Some(keywords) = schema.as_object_mut() else { return };
    for rule in ["required", "minProperties", "default"] {
        keywords.shift_remove(rule);
    }
    let requires = |item: &Value| item.as_object().is_some_and(|rules| rules.keys().eq(["required"]));
    if keywords.get("oneOf").and_then(Value::as_array).is_some_and(|items| items.iter().all(requires)) {
        keywords.shift_remove("oneOf");
    }
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(keys)) => keys.values_mut().for_each(loosen),
            ("oneOf" | "anyOf" | "allOf", Value::Array(items)) => items.iter_mut().for_each(loosen),
            ("additionalProperties", value) => loosen(value),
            _ => {}
        }
    }
}
