//! Titles, descriptions and keywords in the form that editors and readers expect.

use super::definitions::DEFINITIONS;
use schemars::Schema;
use serde_json::{Map, Value};

/// Acronyms in the names of types.
const ACRONYMS: [&str; 2] = ["SVM", "kNN"];

/// Unwraps the lines of a description, puts it in front, and replaces what is not JSON Schema's: `format: uint64`. An
/// absent value is no default.
pub(super) fn standard(schema: &mut Schema) {
    let Some(keywords) = schema.as_object_mut() else { return };
    if keywords.get("default") == Some(&Value::Null) {
        keywords.shift_remove("default");
    }
    if let Some(Value::String(format)) = keywords.shift_remove("format")
        && ["uint", "uint64"].contains(&format.as_str())
    {
        keywords.entry("maximum").or_insert_with(|| u64::MAX.into());
    }
    if let Some(Value::String(text)) = keywords.get_mut("description") {
        *text = unwrapped(text);
    }
    for first in ["description", "title", "$schema"] {
        if let Some(value) = keywords.shift_remove(first) {
            keywords.shift_insert(0, first.into(), value);
        }
    }
}

/// Paragraphs on one line each, apart from code.
fn unwrapped(text: &str) -> String {
    let paragraph = |lines: &str| match lines.starts_with("```") {
        true => lines.to_string(),
        false => lines.split('\n').collect::<Vec<_>>().join(" "),
    };
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n")
}

/// Gives definitions without a title one from their name.
pub(super) fn add_titles(root: &mut Schema) {
    let definitions = root.get_mut(DEFINITIONS).and_then(Value::as_object_mut);
    for (name, definition) in definitions.into_iter().flatten() {
        if let Some(keywords) = definition.as_object_mut().filter(|keywords| !keywords.contains_key("title"))
        {
            add_title(keywords, name);
        }
    }
}

fn add_title(keywords: &mut Map<String, Value>, name: &str) {
    keywords.shift_insert(0, "title".into(), title(name).into());
}

/// `LinearProbeStage` → `Linear probe stage`; `DataSpec` → `Data`.
fn title(name: &str) -> String {
    let mut words: Vec<String> = vec![];
    for letter in name.replace("Spec", "").chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.into()),
        }
    }
    let written = |(i, word): (usize, String)| {
        let acronym = ACRONYMS.into_iter().find(|acronym| acronym.eq_ignore_ascii_case(&word));
        acronym.map_or_else(|| if i == 0 { word.clone() } else { word.to_lowercase() }, Into::into)
    };
    words.into_iter().enumerate().map(written).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_words() {
        for (name, expected) in
            [("LinearProbeStage", "Linear probe stage"), ("DataSpec", "Data"), ("SvmSpecStage", "SVM stage")]
        {
            assert_eq!(title(name), expected);
        }
    }

    #[test]
    fn code_keeps_its_lines() {
        let text = "One\ntwo.\n\n```yaml\na:\n  b: 1\n```";
        assert_eq!(unwrapped(text), "One two.\n\n```yaml\na:\n  b: 1\n```");
    }
}
