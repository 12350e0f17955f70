//! Differences between the spec of a run directory and the requested one. Specs with the same `lineage` agree in
//! everything that affects learning up to the end of the shorter run.

use crate::yaml;
use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Longest list of differences; the rest is summarized as "and N more".
const MAX_LINES: usize = 12;

/// The top-level key shared by runs that differ only in length.
pub const LINEAGE: &str = "lineage";

/// One line per key in which two specs differ, `stored → requested`; empty if they agree.
pub fn differences(there: &str, asked: &str) -> Vec<String> {
    if there == asked {
        return vec![];
    }
    let (mut there, mut asked) = (flat(there), flat(asked));
    if let (Some(there), Some(asked)) = (there.remove(LINEAGE), asked.remove(LINEAGE))
        && there == asked
    {
        return vec![];
    }
    let keys: BTreeSet<_> = there.keys().chain(asked.keys()).collect();
    let show = |value: Option<&String>| value.map_or("absent", |v| v.as_str()).to_string();
    let mut lines: Vec<_> = keys
        .into_iter()
        .filter(|key| there.get(*key) != asked.get(*key))
        .map(|key| format!("  {key}: {} → {}", show(there.get(key)), show(asked.get(key))))
        .collect();
    if lines.len() > MAX_LINES {
        let more = lines.split_off(MAX_LINES - 1).len();
        lines.push(format!("  and {more} more"));
    }
    lines
}

/// Every scalar of a YAML text by its dotted key; a placeholder if the text is not YAML.
pub(super) fn flat(text: &str) -> BTreeMap<String, String> {
    let mut into = BTreeMap::new();
    match yaml::read(text) {
        Ok(value) => flatten(&value, "", &mut into),
        Err(_) => drop(into.insert("(not YAML)".into(), format!("{} bytes", text.len()))),
    }
    into
}

/// Adds every scalar below `value`, as YAML, by its dotted key; `key` is that of `value`.
pub fn flatten(value: &Value, key: &str, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            map.iter().for_each(|(name, value)| flatten(value, &below(&scalar(name)), into));
        }
        Value::Sequence(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, value)| flatten(value, &below(&i.to_string()), into));
        }
        _ => drop(into.insert(key.into(), scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    yaml::write(value).map_or_else(|_| "?".into(), |text| text.trim().into())
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn layout_and_order_are_not_differences() {
        assert!(differences("a: 1\nb: [x, y]\n", "# note\nb:\n- x\n- y\na: 1\n").is_empty());
    }

    #[test]
    fn each_key_is_named_with_both_values() {
        let lines = differences("train: {lr: 0.1, at: [1, 2]}\n", "train: {lr: 0.2, at: [1], clip: 5}\n");
        let expected = ["  train.at.1: 2 → absent", "  train.clip: absent → 5", "  train.lr: 0.1 → 0.2"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn runs_of_one_lineage_do_not_differ() {
        let of = |lineage: &str, steps: usize| format!("lineage: {lineage}\ntrain: {{ steps: {steps} }}\n");
        assert!(differences(&of("a", 3), &of("a", 4)).is_empty());
        assert_eq!(differences(&of("a", 3), &of("b", 4)), ["  train.steps: 3 → 4"]);
    }

    #[test]
    fn long_lists_are_cut() {
        let many: String = (0..30).map(|i| format!("k{i}: {i}\n")).collect();
        let lines = differences(&many, "{}");
        assert_eq!((lines.len(), lines[11].as_str()), (12, "  and 20 more"));
    }
}
