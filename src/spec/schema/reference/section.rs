//! One section of the key reference: what a definition means, then its keys as a table or its names as a list.

use super::{
    pages::{Pages, anchor},
    words,
};
use serde_json::{Map, Value};

/// The section of the definition `name`.
pub(super) fn section<'a>(pages: &Pages<'a>, name: &'a str) -> String {
    let (title, definition) = (pages.title(name), pages.definition(name));
    let mut text = format!("\n## {title}\n");
    if let Some(description) = definition["description"].as_str() {
        text += &format!("\n{description}\n");
    }
    let choices = choices(definition);
    if !choices.is_empty() {
        text += &names(pages, title, &choices);
    } else if let Some(keys) = definition["properties"].as_object() {
        text += &table(pages, definition, keys);
    } else if definition["additionalProperties"] == false {
        text += "\nIt has no keys.\n";
    } else {
        text += &format!("\n{}\n", written(pages, definition));
    }
    text
}

/// A value without keys of its own.
fn written<'a>(pages: &Pages<'a>, definition: &'a Value) -> String {
    let (kind, range) = (words::kind(pages, definition), words::range(definition));
    if range.is_empty() { format!("Written as {kind}.") } else { format!("Written as {kind}, {range}.") }
}

/// One of several names.
struct Choice<'a> {
    name: &'a str,
    /// Null if it takes none.
    settings: &'a Value,
    description: &'a Value,
    /// Whether the name may be written without settings.
    is_alone: bool,
    /// Whether it goes with any of the others.
    is_extra: bool,
}

/// The names of a definition that is a choice; none for others.
fn choices<'a>(definition: &'a Value) -> Vec<Choice<'a>> {
    let alternatives = definition["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    let named = alternatives.iter().find(|section| section["properties"].is_object()).unwrap_or(definition);
    let words: Vec<&str> = alternatives.iter().filter_map(|word| word["const"].as_str()).collect();
    let required = named["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    let required: Vec<&str> = required.iter().filter_map(|rule| rule["required"][0].as_str()).collect();
    if required.is_empty() && named["maxProperties"] != 1 {
        return vec![];
    }
    let choice = |(name, settings): (&'a String, &'a Value)| Choice {
        name,
        settings: if settings["type"] == "null" { &Value::Null } else { settings },
        description: &settings["description"],
        is_alone: words.contains(&name.as_str()),
        is_extra: !required.is_empty() && !required.contains(&name.as_str()),
    };
    named["properties"].as_object().into_iter().flatten().map(choice).collect()
}

/// A list of names, and tables of those with keys of their own.
fn names<'a>(pages: &Pages<'a>, title: &str, choices: &[Choice<'a>]) -> String {
    let (mut list, mut tables) = (String::from("\n"), String::new());
    for choice in choices {
        let (name, settings) = (choice.name, choice.settings);
        let mut kind = if settings.is_null() { String::new() } else { words::kind(pages, settings) };
        if let Some(keys) = settings["properties"].as_object() {
            let heading = format!("{title}: `{name}`");
            kind = format!("[keys](#{})", anchor(&heading));
            tables += &format!("\n### {heading}\n{}", table(pages, settings, keys));
        }
        if choice.is_alone && !kind.is_empty() {
            kind = format!("{kind}, or *alone*");
        }
        if choice.is_extra {
            kind = format!("with any of the others: {kind}");
        }
        let kind = if kind.is_empty() { kind } else { format!(" ({kind})") };
        list += &format!("- `{name}`{kind}: {}\n", pages.meaning(settings, choice.description));
    }
    list + &tables
}

fn table<'a>(pages: &Pages<'a>, section: &'a Value, keys: &'a Map<String, Value>) -> String {
    let mut text = String::from("\n| Key | Type | Default | Range | Meaning |\n|---|---|---|---|---|\n");
    let required = section["required"].as_array().map_or(&[][..], Vec::as_slice);
    for (key, schema) in keys {
        let default = match schema.get("default") {
            _ if required.iter().any(|name| name == key) => "**required**".into(),
            Some(value) => format!("`{}`", words::default(pages, value, schema)),
            None => String::new(),
        };
        let (kind, range) = (words::kind(pages, schema), words::range(schema));
        let meaning = pages.meaning(schema, &schema["description"]).replace('|', "\\|");
        text += &format!("| `{key}` | {kind} | {default} | {range} | {meaning} |\n");
    }
    text
}
