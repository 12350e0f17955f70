//! The key reference: a schema as a page of Markdown, with one section for each definition. It reads nothing but the
//! schema.

mod pages; // order, titles and links

mod words; // types, ranges and defaults in words

mod section; // one section

use super::definitions::{DEFINITIONS, referred};
use pages::Pages;
use section::section;
use serde_json::{Map, Value};

/// How to read the page.
const HEAD: &str = "\
This page lists every key of an experiment. It is written by `hueristic schema --markdown` from the types that the program
reads, and not edited by hand. `hueristic schema --out FILE` writes the same as a JSON Schema, with which editors complete
and check keys.

- **Default** is the value of a key that is left out; a **required** key has none. Where it is empty, the meaning says what
  happens without the key, which may also be written `key: ~`.
- A list of names, such as that of the optimizers, means a section with exactly one of them:
  `optimizer: { sgd: { lr: 0.1 } }`. Names marked *alone* may be written without settings: `task: rotation`.
- Relations between keys are not stated here: `hueristic check FILE` reports what does not fit together, and
  `hueristic show FILE` prints an experiment with all of its defaults.
";

/// The page of a schema made by [`super::schema`].
pub fn reference(schema: &Value) -> String {
    let empty = Map::new();
    let pages = Pages { definitions: schema[DEFINITIONS].as_object().unwrap_or(&empty) };
    let Some(whole) = referred(&schema["else"]) else { return String::new() };
    let order = pages.order(whole);
    let title = schema["title"].as_str().unwrap_or(whole);
    let mut page = format!("# Keys of an {}\n\n{HEAD}", title.to_lowercase());
    page += &base(pages.resolve(&schema["then"]));
    page += "\n## Contents\n\n";
    let links: Vec<String> = order.iter().map(|name| pages.link(name)).collect();
    page += &format!("{}\n", links.join(" ·\n"));
    for name in order {
        page += &section(&pages, name);
    }
    page
}

/// A paragraph on files with a base.
fn base(definition: &Value) -> String {
    let text = |schema: &Value, keyword: &str| schema[keyword].as_str().unwrap_or_default().to_string();
    let (title, about) = (text(definition, "title"), text(definition, "description"));
    format!(
        "\n## {title}\n\n{about}\n\n- `extends`: {}\n",
        text(&definition["properties"]["extends"], "description")
    )
}
