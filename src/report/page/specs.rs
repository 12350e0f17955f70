//! Specs: one in full for every kind of stage, with the keys marked in which its variants differ, and a table of these.

use super::{run::RunRecord, table::class};
use crate::{train::spec_change::flatten, yaml};
use maud::{Markup, html};
use serde_yaml::{Mapping, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What differs between runs of one variant: seed, and hashes of what they start from.
const OF_RUN: [&str; 3] = ["seed", "lineage", "upstream"];
/// Most variants of a table, and most characters of a value.
const VARIANTS: usize = 24;
const VALUE: usize = 120;

/// Runs with the same spec but for their seed.
struct Variant<'a> {
    name: String,
    experiment: String,
    runs: usize,
    spec: &'a Mapping,
    /// Every value by its key.
    keys: BTreeMap<String, String>,
}

/// Variants of one kind of stage that belong together: of one experiment, or of stages of the same name.
struct Group<'a> {
    kind: String,
    experiments: Vec<&'a str>,
    stages: Vec<&'a str>,
    variants: Vec<Variant<'a>>,
}

/// The specs of all runs by kind of stage; None without any.
pub(super) fn specs(runs: &[RunRecord]) -> Option<Markup> {
    let mut groups: Vec<Group> = vec![];
    for run in runs {
        let Some(Value::Mapping(spec)) = &run.spec else { continue };
        let (kind, experiment, stage) = (kind(spec), run.experiment.as_str(), run.stage.as_str());
        let belongs = |group: &Group| {
            group.kind == kind && (group.experiments.contains(&experiment) || group.stages.contains(&stage))
        };
        let at = groups.iter().position(belongs).unwrap_or_else(|| {
            groups.push(Group { kind, experiments: vec![], stages: vec![], variants: vec![] });
            groups.len() - 1
        });
        groups[at].experiments.push(experiment);
        groups[at].stages.push(stage);
        add(&mut groups[at].variants, run, spec);
    }
    (!groups.is_empty()).then(|| {
        html! {
            @for Group { kind, experiments, variants, .. } in &groups {
                h3 { @if groups.len() > 1 { (experiments[0]) ": " } (kind) }
                (of_kind(kind, variants))
            }
        }
    })
}

/// The key of the stage's section.
fn kind(spec: &Mapping) -> String {
    let section = spec.get("work").and_then(Value::as_mapping).and_then(|work| work.keys().next());
    section.and_then(Value::as_str).unwrap_or("run").into()
}

fn add<'a>(variants: &mut Vec<Variant<'a>>, run: &RunRecord, spec: &'a Mapping) {
    let mut keys = BTreeMap::new();
    for (key, value) in spec {
        let key = key.as_str().unwrap_or_default();
        if !OF_RUN.contains(&key) {
            flatten(value, key, &mut keys);
        }
    }
    let (name, experiment) = (run.label(), run.experiment.clone());
    let same =
        |known: &&mut Variant| known.keys == keys && known.name == name && known.experiment == experiment;
    match variants.iter_mut().find(same) {
        Some(known) => known.runs += 1,
        None => variants.push(Variant { name, experiment, runs: 1, spec, keys }),
    }
}

fn of_kind(kind: &str, variants: &[Variant]) -> Markup {
    let differing = differing(variants);
    let first = &variants[0];
    html! {
        @if variants.len() == 1 {
            p.about { "All runs of this kind have the same spec." }
        } @else if differing.is_empty() {
            p.about { "Their " (variants.len()) " specs do not differ, but for seeds and what they start from." }
        } @else { (differences(kind, variants, &differing)) }
        details {
            summary { "Spec of " bdi { (first.name) } " in full" @if !differing.is_empty() { ", marked where specs differ" } }
            pre { (lines(first.spec, &differing)) }
        }
    }
}

/// Keys in which not all variants agree.
fn differing(variants: &[Variant]) -> BTreeSet<String> {
    let all: BTreeSet<&String> = variants.iter().flat_map(|variant| variant.keys.keys()).collect();
    let differs = |key: &&String| {
        let first = variants[0].keys.get(*key);
        variants.iter().any(|variant| variant.keys.get(*key) != first)
    };
    all.into_iter().filter(differs).cloned().collect()
}

fn differences(kind: &str, variants: &[Variant], differing: &BTreeSet<String>) -> Markup {
    let shown = &variants[..variants.len().min(VARIANTS)];
    let first = |key: &str| shown[0].keys.get(key);
    let section = format!("work.{kind}.");
    let many = shown.iter().any(|variant| variant.experiment != shown[0].experiment);
    html! {
        figure.table {
            figcaption { "Keys that differ; marked where a value is not that of " bdi { (shown[0].name) } }
            div.scroll role="region" tabindex="0" aria-label="Differences between specs" { table.text {
                thead { tr { th scope="col" { "key" } @for variant in shown {
                    th class=[class(&variant.name)] scope="col" {
                        @if many { (variant.experiment) ": " }
                        bdi { (variant.name) }
                        @if variant.runs > 1 { " (" (variant.runs) " runs)" }
                    }
                } } }
                tbody { @for key in differing { tr {
                    th scope="row" { (key.strip_prefix(&section).unwrap_or(key)) }
                    @for variant in shown {
                        @let value = variant.keys.get(key);
                        @let text = value.map_or("–".into(), |value| excerpt(value));
                        td class=[marks(value != first(key), &text)] { (text) }
                    }
                } } }
            } }
            @if shown.len() < variants.len() { p.notes { (shown.len()) " of " (variants.len()) " specs." } }
        }
    }
}

/// The classes of a value.
fn marks(differs: bool, text: &str) -> Option<String> {
    let classes: Vec<&str> = [differs.then_some("differs"), class(text)].into_iter().flatten().collect();
    (!classes.is_empty()).then(|| classes.join(" "))
}

fn excerpt(value: &str) -> String {
    if value.chars().count() <= VALUE {
        return value.into();
    }
    value.chars().take(VALUE).chain(['…']).collect()
}

/// The spec as YAML, with the lines of differing keys marked.
fn lines(spec: &Mapping, differing: &BTreeSet<String>) -> Markup {
    let mut lines = vec![];
    write(&Value::Mapping(spec.clone()), "", 0, "", &mut lines);
    html! {
        @for (key, line) in &lines {
            @if differing.contains(key) { mark { (line) } } @else { (line) }
            "\n"
        }
    }
}

/// Adds a line for each entry of `value`, with its key.
fn write(value: &Value, key: &str, depth: usize, before: &str, into: &mut Vec<(String, String)>) {
    let indent = "  ".repeat(depth);
    let below = |name: &str| if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
    match value {
        Value::Mapping(entries) if !entries.is_empty() => {
            if !before.is_empty() {
                into.push((key.into(), format!("{indent}{before}")));
            }
            let depth = depth + usize::from(!before.is_empty());
            for (name, value) in entries {
                let name = scalar(name);
                write(value, &below(&name), depth, &format!("{name}:"), into);
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            into.push((key.into(), format!("{indent}{before}")));
            for (at, item) in items.iter().enumerate() {
                write(item, &below(&at.to_string()), depth + 1, "-", into);
            }
        }
        _ => into.push((key.into(), format!("{indent}{before} {}", scalar(value)))),
    }
}

fn scalar(value: &Value) -> String {
    yaml::write(value).map_or_else(|_| "?".into(), |text| text.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Mapping {
        yaml::read(text).unwrap()
    }

    #[test]
    fn seeds_are_no_variants_and_what_differs_is_marked() {
        let of = |seed: u64, lr: &str| {
            spec(&format!("seed: {seed}\nupstream: h{seed}\nwork: {{ pretext: {{ lr: {lr}, at: [1, 2] }} }}"))
        };
        let runs = [of(0, "0.1"), of(1, "0.1"), of(0, "0.2")];
        let runs = ["a", "a", "b"].into_iter().zip(runs).map(|(stage, spec)| RunRecord {
            stage: stage.into(),
            spec: Some(Value::Mapping(spec)),
            ..RunRecord::named("e")
        });
        let page = specs(&runs.collect::<Vec<_>>()).unwrap().into_string();
        assert!(page.contains("<h3>pretext</h3>") && page.contains("<mark>    lr: 0.1</mark>"), "{page}");
        assert!(
            page.contains("<bdi>a</bdi> (2 runs)") && page.contains("<th scope=\"row\">lr</th>"),
            "{page}"
        );
        assert!(page.contains("<td class=\"differs\">0.2</td>") && page.contains("<td>0.1</td>"), "{page}");
        assert_eq!(page.matches("<th scope=\"row\">").count(), 1, "{page}");
        assert!(page.contains("    at:\n      - 1\n      - 2\n"), "{page}");
    }
}
