//! Types, ranges and defaults of keys in words.

use super::pages::Pages;
use crate::spec::schema::definitions::referred;
use serde_json::{Map, Value};

/// The bound from which on it is of no interest: it only keeps products of counts within 64 bits.
const IMPRACTICAL: f64 = 4_294_967_295.0;

/// What is written as the value of a key. `~` is named only where it means something else than to leave out the key.
pub(super) fn kind<'a>(pages: &Pages<'a>, schema: &'a Value) -> String {
    let kinds = kinds(pages, schema);
    let is_default = schema.get("default").is_none() && kinds.len() > 1;
    or(kinds.into_iter().filter(|kind| !is_default || kind != "`~`").collect())
}

/// Each of the forms of a value.
fn kinds<'a>(pages: &Pages<'a>, schema: &'a Value) -> Vec<String> {
    let code = |value: &Value| format!("`{}`", flow(value));
    if *schema == Value::Bool(true) {
        return vec!["value".into()];
    }
    if let Some(name) = referred(schema) {
        return vec![pages.link(name)];
    }
    if let Some(value) = schema.get("const") {
        return vec![code(value)];
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(code).collect();
    }
    if let Some(alternatives) = alternatives(schema) {
        return alternatives.iter().flat_map(|schema| kinds(pages, schema)).collect();
    }
    let types = schema["type"].as_array().map_or(std::slice::from_ref(&schema["type"]), Vec::as_slice);
    types.iter().filter_map(Value::as_str).map(|name| of_type(pages, name, schema)).collect()
}

fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    schema["anyOf"].as_array().or(schema["oneOf"].as_array())
}

fn of_type<'a>(pages: &Pages<'a>, name: &str, schema: &'a Value) -> String {
    match name {
        "integer" => "whole number".into(),
        "number" => "number".into(),
        "string" => "text".into(),
        "boolean" => "`true` or `false`".into(),
        "null" => "`~`".into(),
        "array" => {
            let length = schema["maxItems"].as_u64().map(|length| format!("{length} ")).unwrap_or_default();
            format!("list of {length}{}", plural(kind(pages, &schema["items"])))
        }
        _ => format!("map of names to {}", kind(pages, &schema["additionalProperties"])),
    }
}

fn plural(kind: String) -> String {
    if ["whole number", "number", "text", "value"].contains(&kind.as_str()) { kind + "s" } else { kind }
}

/// The range of a number, or of each number of a list; empty if there is none.
pub(super) fn range(schema: &Value) -> String {
    if let Some(items) = schema.get("items") {
        return match range(items) {
            none if none.is_empty() => none,
            each => format!("each {each}"),
        };
    }
    if let Some(alternatives) = alternatives(schema) {
        return alternatives
            .iter()
            .map(range)
            .filter(|range| !range.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
    }
    if schema["enum"].is_array() {
        return String::new();
    }
    let bound = |keyword: &str| schema[keyword].as_f64().filter(|bound| *bound < IMPRACTICAL);
    let least = bound("minimum").map(|least| least.to_string());
    let least = least.or_else(|| bound("exclusiveMinimum").map(|limit| format!("above {limit}")));
    let most = bound("maximum").map(|most| most.to_string());
    let most = most.or_else(|| bound("exclusiveMaximum").map(|limit| format!("below {limit}")));
    match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) if least.starts_with("above") => least,
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => String::new(),
    }
}

/// A default as it is written in YAML, without what is the default of its own keys.
pub(super) fn default<'a>(pages: &Pages<'a>, value: &'a Value, schema: &'a Value) -> String {
    flow(&differing(pages, value, schema))
}

fn differing<'a>(pages: &Pages<'a>, value: &'a Value, schema: &'a Value) -> Value {
    let Some(entries) = value.as_object() else { return value.clone() };
    let definition = pages.resolve(schema);
    let mut sections = alternatives(definition).into_iter().flatten();
    let section = sections.find(|section| section["properties"].is_object()).unwrap_or(definition);
    let differs = |(key, value): (&'a String, &'a Value)| {
        let schema = &section["properties"][key];
        let is_default = schema.get("default").unwrap_or(&Value::Null) == value;
        (!is_default).then(|| (key.clone(), differing(pages, value, schema)))
    };
    let kept: Map<String, Value> = entries.iter().filter_map(differs).collect();
    match kept.iter().next() {
        // A name whose settings are the defaults.
        Some((name, Value::Object(settings))) if section["maxProperties"] == 1 && settings.is_empty() => {
            name.as_str().into()
        }
        _ => kept.into(),
    }
}

fn or(mut all: Vec<String>) -> String {
    let last = all.pop().unwrap_or_default();
    if all.is_empty() { last } else { format!("{} or {last}", all.join(", ")) }
}

/// A value on one line of YAML.
fn flow(value: &Value) -> String {
    match value {
        Value::Null => "~".into(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) if entries.is_empty() => "{}".into(),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key}: {}", flow(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
