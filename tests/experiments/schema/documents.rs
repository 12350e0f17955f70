//! Documents made from a schema: for each of its definitions one for every key, name and bound, and the mistakes that can
//! be made there.

use super::witness::Witness;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Documents that a schema means to accept, and some that it means to refuse.
#[derive(Default)]
pub struct Documents {
    pub good: Vec<Value>,
    pub bad: Vec<Value>,
}

/// A document around a value at one place of it.
type Around<'a> = dyn Fn(Value) -> Value + 'a;

/// Those of the definition `name`.
pub fn documents(schema: &Value, name: &str) -> Documents {
    let mut maker = Maker { schema, seen: BTreeSet::new(), made: Documents::default() };
    let definition = json!({ "$ref": format!("#/$defs/{name}") });
    maker.visit(&definition, &|value| value);
    maker.made
}

struct Maker<'a> {
    schema: &'a Value,
    /// Definitions that were visited, each at the first place that leads to it.
    seen: BTreeSet<String>,
    made: Documents,
}

impl<'a> Maker<'a> {
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let to = schema["$ref"].as_str().and_then(|to| self.schema.pointer(to.strip_prefix('#')?));
        to.unwrap_or(schema)
    }

    /// The smallest value that a schema accepts.
    fn least(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema);
        if *schema == Value::Bool(true) {
            return 1.into();
        }
        if let Some(value) = schema.get("const").or(schema["enum"].get(0)) {
            return value.clone();
        }
        if schema["properties"].is_object() {
            return self.least_section(schema);
        }
        if let Some(first) = schema["anyOf"].get(0).or(schema["oneOf"].get(0)) {
            return self.least(first);
        }
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
        match kind.as_str().unwrap_or_default() {
            "null" => Value::Null,
            "boolean" => true.into(),
            "integer" => schema["minimum"].as_u64().unwrap_or(0).into(),
            "number" => schema["minimum"].as_f64().unwrap_or(0.5).into(),
            "string" => text(schema),
            "array" => {
                vec![self.least(&schema["items"]); schema["minItems"].as_u64().unwrap_or(0) as usize].into()
            }
            "object" if schema["minProperties"] == 1 => {
                json!({ "a": self.least(&schema["additionalProperties"]) })
            }
            "object" => json!({}),
            other => panic!("what is {other} in {schema}?"),
        }
    }

    fn least_section(&self, schema: &Value) -> Value {
        let first_name = || schema["properties"].as_object().and_then(|keys| keys.keys().next());
        let first_of_several = one_of(schema).first().map(|key| key.to_string());
        let required: Vec<String> = match (schema["required"].as_array(), schema["oneOf"].as_array()) {
            (Some(keys), _) => {
                let keys = keys.iter().filter_map(|key| Some(key.as_str()?.to_string()));
                keys.chain(first_of_several).collect()
            }
            (_, Some(names)) => vec![names[0]["required"][0].as_str().unwrap().into()],
            _ if schema["minProperties"] == 1 => first_name().into_iter().cloned().collect(),
            _ => vec![],
        };
        let entry = |key: String| (key.clone(), self.least(&schema["properties"][key]));
        required.into_iter().map(entry).collect::<Map<_, _>>().into()
    }

    /// Makes the documents around values of `schema`.
    fn visit(&mut self, schema: &Value, around: &Around<'_>) {
        if let Some(to) = schema["$ref"].as_str()
            && !self.seen.insert(to.into())
        {
            return self.made.good.push(around(self.least(schema)));
        }
        let schema = self.resolve(schema).clone();
        self.made.good.extend(schema.get("default").map(|default| around(default.clone())));
        if schema["properties"].is_object() {
            self.visit_section(&schema, around);
        } else if let Some(alternatives) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            alternatives.iter().for_each(|alternative| self.visit(alternative, around));
        } else if let Some(values) = schema["enum"].as_array() {
            self.made.good.extend(values.iter().map(|value| around(value.clone())));
        } else {
            self.visit_value(&schema, around);
        }
        // Not even names of names of texts, which are the deepest sections of free names except those of any values.
        if schema["additionalProperties"] != true {
            self.made.bad.push(around(json!({ "strange": { "strange": ["strange"] } })));
        }
    }

    fn visit_value(&mut self, schema: &Value, around: &Around<'_>) {
        self.made.good.push(around(self.least(schema)));
        if schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null"))) {
            self.made.good.push(around(Value::Null));
        }
        for (bound, step) in [("minimum", -1.0), ("maximum", 1.0)] {
            // Beyond are numbers that no float tells from the bound.
            if let Some(value) = schema[bound].as_f64().filter(|value| *value < 1e15) {
                self.made.good.push(around(schema[bound].clone()));
                self.made.bad.push(around(json!(value + step)));
            }
        }
        for bound in ["exclusiveMinimum", "exclusiveMaximum"] {
            self.made.bad.extend(schema.get(bound).map(|value| around(value.clone())));
        }
        if schema["type"] == "integer" {
            self.made.bad.push(around(json!(1.5)));
        }
        if schema["items"].is_object() {
            let most = schema["maxItems"].as_u64().unwrap_or(1) as usize;
            self.visit(&schema["items"], &|value| around(vec![value; most].into()));
        }
        if schema["additionalProperties"].is_object() {
            let name = schema["propertyNames"]["enum"][0].as_str().unwrap_or("a").to_string();
            self.visit(&schema["additionalProperties"], &|value| around(json!({ name.clone(): value })));
        }
    }

    fn visit_section(&mut self, schema: &Value, around: &Around<'_>) {
        let least = self.least_section(schema);
        let names = least.as_object().unwrap().clone();
        let (is_choice, is_row) = (schema["maxProperties"] == 1, schema["oneOf"].is_array());
        self.made.good.push(around(least.clone()));
        self.made.bad.push(around(with(&least, "no_such_key", json!(1))));
        for name in names.keys().filter(|name| !one_of(schema).contains(&name.as_str())) {
            let mut less = names.clone();
            less.shift_remove(name);
            self.made.bad.push(around(less.into()));
        }
        for (key, value) in schema["properties"].as_object().unwrap() {
            let is_name = is_choice
                || is_row && schema["oneOf"].as_array().unwrap().iter().any(|r| r["required"][0] == *key);
            let mut base = if is_name { json!({}) } else { least.clone() };
            if let Some(keys) = base.as_object_mut().filter(|_| one_of(schema).contains(&key.as_str())) {
                keys.retain(|other, _| !one_of(schema).contains(&other.as_str()));
            }
            self.visit(value, &|value| around(with(&base, key, value)));
            if is_name && !names.contains_key(key) {
                self.made.bad.push(around(with(&least, key, self.least(value))));
            }
        }
    }
}

/// Keys of which a section has exactly one, beside others.
fn one_of(section: &Value) -> Vec<&str> {
    let rules = section["allOf"].as_array().into_iter().flatten();
    let keys = rules.flat_map(|rule| rule["oneOf"].as_array().into_iter().flatten());
    keys.filter_map(|key| key["required"][0].as_str()).collect()
}

fn with(section: &Value, key: &str, value: Value) -> Value {
    let mut section = section.clone();
    section[key] = value;
    section
}

/// A text of the right form.
fn text(schema: &Value) -> Value {
    let witness = Witness::of(schema);
    let fits = ["a", "auto", "5 %"].map(Value::from).into_iter().find(|text| witness.check(text).is_ok());
    fits.unwrap_or_else(|| panic!("no text fits {schema}"))
}
