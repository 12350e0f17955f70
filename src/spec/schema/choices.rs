//! Variants of enums as the parser reads them: a section with one key, the name; the bare name, if it takes no settings or
//! all of them have defaults; a name without settings also as `name: ~`.

use super::definitions::{DEFINITIONS, referred};
use schemars::{
    Schema,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Map, Value, json};

/// Rewrites the enums of a schema.
pub(super) struct Choices {
    /// Definitions as derived.
    definitions: Value,
}

impl Choices {
    /// With the definitions of a root schema.
    pub fn of(root: &Schema) -> Self {
        Self { definitions: root.get(DEFINITIONS).cloned().unwrap_or_default() }
    }

    /// The schema itself, or the definition that it refers to.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        referred(schema).and_then(|name| self.definitions.get(name)).unwrap_or(schema)
    }

    /// Whether settings may be left out: a section without required keys, which may be empty.
    fn is_optional(&self, settings: &Value) -> bool {
        let section = self.resolve(settings);
        let demands = ["required", "minProperties"].iter().any(|rule| section.get(rule).is_some());
        section.get("type") == Some(&json!("object")) && !demands
    }

    fn description(&self, variant: &Variant) -> Option<Value> {
        let of_settings = || self.resolve(variant.settings.as_ref()?).get("description").cloned();
        variant.description.clone().or_else(of_settings)
    }

    /// The names that may be written alone.
    fn words(&self, variants: &[Variant]) -> Vec<Value> {
        let alone = |variant: &&Variant| variant.settings.as_ref().is_none_or(|s| self.is_optional(s));
        let word = |variant: &Variant| {
            let mut word = json!({ "const": variant.name });
            if let Some(description) = self.description(variant) {
                word["description"] = description;
            }
            word
        };
        variants.iter().filter(alone).map(word).collect()
    }

    fn rewrite(&self, schema: &mut Schema, variants: Vec<Variant>) {
        let mut alternatives = self.words(&variants);
        let section = section(variants);
        for keyword in ["oneOf", "enum", "type"] {
            schema.remove(keyword);
        }
        if alternatives.is_empty() {
            schema.ensure_object().extend(section);
        } else {
            alternatives.push(section.into());
            schema.insert("oneOf".into(), alternatives.into());
        }
    }
}

impl Transform for Choices {
    /// The schema before those below it, which would take its words for enums of their own.
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(variants) = variants(schema) {
            self.rewrite(schema, variants);
        }
        transform_subschemas(self, schema);
    }
}

/// The section with exactly one of the names, and the keys that go with any of them.
fn section(variants: Vec<Variant>) -> Map<String, Value> {
    let one_of: Vec<Value> = variants.iter().map(|variant| json!({ "required": [variant.name] })).collect();
    let (mut keys, mut beside) = (Map::new(), Map::new());
    for Variant { name, settings, description, others } in variants {
        let mut settings = settings.unwrap_or_else(|| json!({ "type": "null" }));
        if let Some(description) = description {
            settings["description"] = description;
        }
        keys.insert(name, settings);
        beside.extend(others);
    }
    let mut section = Map::from_iter([("type".into(), "object".into())]);
    if beside.is_empty() {
        section.extend([("minProperties".into(), 1.into()), ("maxProperties".into(), 1.into())]);
    } else {
        section.insert("oneOf".into(), one_of.into());
        keys.extend(beside);
    }
    section.extend([("properties".into(), keys.into()), ("additionalProperties".into(), false.into())]);
    section
}

/// A variant as schemars writes it.
struct Variant {
    name: String,
    /// None for a unit variant.
    settings: Option<Value>,
    description: Option<Value>,
    /// Keys beside the name.
    others: Map<String, Value>,
}

/// The variants of a schema; None unless it is that of an enum.
fn variants(schema: &Schema) -> Option<Vec<Variant>> {
    if let Some(units) = units(schema.as_value()) {
        return Some(units);
    }
    let each = schema.get("oneOf")?.as_array()?.iter().map(Variant::read).collect::<Option<Vec<_>>>()?;
    Some(each.into_iter().flatten().collect())
}

/// Unit variants, which are text.
fn units(schema: &Value) -> Option<Vec<Variant>> {
    let names = match (schema.get("type")?.as_str()?, schema.get("enum"), schema.get("const")) {
        ("string", Some(names), None) => names.as_array()?.as_slice(),
        ("string", None, Some(name)) => std::slice::from_ref(name),
        _ => return None,
    };
    let unit = |name: &Value| {
        let description = schema.get("description").filter(|_| names.len() == 1).cloned();
        Some(Variant { name: name.as_str()?.into(), settings: None, description, others: Map::new() })
    };
    names.iter().map(unit).collect()
}

impl Variant {
    /// The variants of one alternative: several if they are undocumented.
    fn read(schema: &Value) -> Option<Vec<Self>> {
        units(schema).or_else(|| {
            let [name] = schema.get("required")?.as_array()?.as_slice() else { return None };
            let mut others = schema.get("properties")?.as_object()?.clone();
            let settings = others.shift_remove(name.as_str()?)?;
            let description = schema.get("description").cloned();
            Some(vec![Self { name: name.as_str()?.into(), settings: Some(settings), description, others }])
        })
    }
}
