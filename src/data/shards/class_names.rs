//! `classes.json` beside shards: the names of the classes that `.cls` members number, a JSON list in the order of the
//! numbers. Written by `data pack`; other readers of shards do not look at it.

pub(super) const FILE: &str = "classes.json";

/// The names in the content of the file.
///
/// # Errors
/// Why they are none.
pub(super) fn parse(json: &[u8]) -> Result<Vec<String>, String> {
    let names: Vec<String> = serde_json::from_slice(json).map_err(|error| {
        format!("expected a JSON list of class names, in the order of their numbers: {error}")
    })?;
    if names.is_empty() { Err("the list of class names is empty; remove the file".into()) } else { Ok(names) }
}

/// The content of the file for these names.
pub(super) fn content(names: &[String]) -> String {
    let lines: Vec<String> =
        names.iter().map(|name| format!("  {}", serde_json::Value::from(name.as_str()))).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        let names: Vec<String> = ["tench, Tinca", "a \"b\"\n", "ü", ""].map(String::from).into();
        assert_eq!(parse(content(&names).as_bytes()), Ok(names));
        for wrong in ["", "[]", "{\"a\": 0}", "[1]"] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
