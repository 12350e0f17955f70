//! The definitions of a schema as sections of a page: their order, titles and links.

use crate::spec::schema::definitions::referred;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, VecDeque};

/// Definitions by name.
pub(super) struct Pages<'a> {
    pub definitions: &'a Map<String, Value>,
}

impl<'a> Pages<'a> {
    /// Definitions that are reached from `first`, those nearest to it first.
    pub fn order(&self, first: &'a str) -> Vec<&'a str> {
        let (mut order, mut seen) = (vec![], BTreeSet::from([first]));
        let mut next = VecDeque::from([first]);
        while let Some(name) = next.pop_front() {
            order.push(name);
            let mut found = vec![];
            references(self.definition(name), &mut found);
            next.extend(found.into_iter().filter(|name| seen.insert(*name)));
        }
        order
    }

    pub fn definition(&self, name: &str) -> &'a Value {
        self.definitions.get(name).unwrap_or(&Value::Null)
    }

    /// The schema itself, or the definition that it refers to.
    pub fn resolve(&self, schema: &'a Value) -> &'a Value {
        referred(schema).map_or(schema, |name| self.definition(name))
    }

    pub fn title(&self, name: &'a str) -> &'a str {
        self.definition(name)["title"].as_str().unwrap_or(name)
    }

    /// A link to the section of a definition.
    pub fn link(&self, name: &'a str) -> String {
        let title = self.title(name);
        format!("[{title}](#{})", anchor(title))
    }

    /// The description of a key, else that of its type: its first paragraph.
    pub fn meaning(&self, schema: &'a Value, description: &'a Value) -> &'a str {
        let own = description.as_str();
        let text = own.or_else(|| self.resolve(schema)["description"].as_str()).unwrap_or_default();
        text.split("\n\n").next().unwrap_or_default()
    }
}

/// The anchor that GitHub gives to a heading.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// Names of the definitions that a schema refers to, in order.
fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    found.extend(referred(schema));
    match schema {
        Value::Object(keywords) => keywords.values().for_each(|value| references(value, found)),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
