//! `hueristic schema`, and the key reference made of it.

use super::skipping::answer_of_python;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
};

const PAGE: &str = "docs/spec.md";

fn schema(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hueristic")).arg("schema").args(arguments).output().unwrap()
}

fn says(arguments: &[&str]) -> String {
    let output = schema(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_key_reference_is_what_the_program_prints() {
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    let first =
        says(&["--markdown"]).lines().zip(page.lines()).find(|(a, b)| a != b).map(|(a, _)| a.to_string());
    assert!(
        page == says(&["--markdown"]),
        "{PAGE} is not what the types say, from {first:?} on; renew it:\n  hueristic schema --markdown --out {PAGE}"
    );
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn links_of_the_key_reference_lead_to_its_sections() {
    let page = fs::read_to_string(PAGE).unwrap();
    let headings: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches(['#', ' '])))
        .collect();
    let anchors: BTreeSet<&String> = headings.iter().collect();
    assert_eq!(anchors.len(), headings.len(), "a heading is used twice");
    let links: BTreeSet<String> =
        page.split("](#").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.into())).collect();
    let dead: Vec<&String> = links.iter().filter(|link| !anchors.contains(link)).collect();
    assert!(links.len() > 80 && dead.is_empty(), "{dead:?}");
}

#[test]
fn tables_have_as_many_cells_as_their_head() {
    let page = fs::read_to_string(PAGE).unwrap();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
    }
}

#[test]
fn the_schema_is_printed_or_written() {
    let printed: Value = serde_json::from_str(&says(&[])).unwrap();
    assert_eq!(printed["title"], "Experiment");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hueristic.schema.json");
    let said = says(&["--out", path.to_str().unwrap()]);
    assert!(said.contains(&format!("# yaml-language-server: $schema={}", path.display())), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&path).unwrap()).unwrap(), printed);
    let output = schema(&["--out", dir.path().join("no/such/folder.json").to_str().unwrap()]);
    let fault = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{fault}");
    assert!(fault.contains("cannot write") && fault.contains("does its folder exist"), "{fault}");
}

/// Where two readings differ, with both values.
fn apart(path: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().flat_map(|(key, value)| apart(&format!("{path}.{key}"), value, &b[key])).collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).flat_map(|(a, b)| apart(path, a, b)).collect()
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => vec![],
        _ if ours == theirs => vec![],
        _ => vec![format!("{path}: {ours} and {theirs}")],
    }
}

/// `off` is false in YAML 1.1, and 1e-3 is text.
#[test]
fn every_file_here_reads_the_same_in_yaml_1_1() {
    for folder in ["experiments", "configs"] {
        let Some(answer) = answer_of_python("yaml_1_1.py", Path::new(folder), "PyYAML") else { return };
        let theirs: BTreeMap<String, Value> = serde_json::from_slice(&answer).unwrap();
        assert!(!theirs.is_empty());
        for (path, theirs) in &theirs {
            let mut ours: serde_yaml::Value =
                serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            ours.apply_merge().unwrap();
            let ours = serde_json::to_value(ours).unwrap();
            assert_eq!(apart(path, &ours, theirs), [""; 0], "write 'off' in quotes and numbers as 1.0e-3");
        }
    }
}
