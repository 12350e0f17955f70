//! The schema of experiments says what the parser accepts.

mod documents;
mod witness;

use documents::documents;
use hueristic::{
    experiment::Experiment,
    spec::{resolved_yaml, schema::schema},
};
use serde_json::Value;
use std::{fs, path::PathBuf};
use walkdir::WalkDir;
use witness::{Witness, json, parsed};

const SPEC: &str = "\
name: tiny
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 32
backbone: { alexnet: { stem: small, width: 0.25 } }
stages:
  pretrain:
    pretext:
      task: colorization
      train:
        steps: 20
        batch: 8
        optimizer: { adam: { lr: 3e-5 } }
  probe:
    linear_probe:
      backbones: { trained: { stage: pretrain }, gaussian: { init: msra } }
      train: { steps: 20, batch: 8, optimizer: { adam: { lr: 1e-3 } } }
";

/// `SPEC` with one part of it written otherwise.
fn with(part: &str, other: &str) -> String {
    assert!(SPEC.contains(part), "{part}");
    SPEC.replacen(part, other, 1)
}

fn experiments() -> Vec<PathBuf> {
    let files = WalkDir::new("experiments").into_iter().map(|entry| entry.unwrap().into_path());
    let files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    assert!(files.len() > 20, "{files:?}");
    files
}

#[test]
fn every_experiment_and_what_show_prints_of_it_is_valid() {
    let witness = Witness::of_experiments();
    for path in experiments() {
        let written = json(&fs::read_to_string(&path).unwrap());
        witness.check(&written).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let experiment = Experiment::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        let shown = json(&resolved_yaml(&experiment).unwrap());
        witness.check(&shown).unwrap_or_else(|error| panic!("{}, resolved: {error}", path.display()));
    }
}

/// Every key with its default and at its bounds, every name with and without settings, and the mistakes there.
#[test]
fn the_parser_and_the_schema_agree_on_every_key() {
    let schema = schema::<Experiment>();
    let (witness, made) = (Witness::of(&schema), documents(&schema, "Experiment"));
    assert!(made.good.len() > 500 && made.bad.len() > 500, "{} and {}", made.good.len(), made.bad.len());
    let mut wrong = vec![];
    for (documents, is_good) in [(&made.good, true), (&made.bad, false)] {
        for document in documents {
            let said = (witness.check(document), parsed(&document.to_string()).map(drop));
            if (said.0.is_ok(), said.1.is_ok()) != (is_good, is_good) {
                wrong.push(format!("{document}\nschema: {:?}\nparser: {:?}", said.0, said.1));
            }
        }
    }
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn mistakes_are_refused_by_both() {
    let witness = Witness::of_experiments();
    let adam = "optimizer: { adam: { lr: 3e-5 } }";
    for (part, other) in [
        ("name: tiny", "name: a b"),
        ("name: tiny", "name: 5"),
        ("name: tiny\n", ""),
        ("name: tiny", "name: tiny\nseeds: []"),
        ("name: tiny", "name: tiny\nseeds: [1, 1]"),
        ("name: tiny", "name: tiny\nseeds: [-1]"),
        ("name: tiny", "name: tiny\ncompute: { device: gpu }"),
        ("  crop: 32", "  crop: 32\n  flipp: true"),
        ("  crop: 32", "  crop: 0"),
        ("  crop: 32", "  crop: 65536"),
        ("  crop: 32", "  crop: 3.5"),
        ("  crop: 32", "  crop: big"),
        ("  crop: 32", "  crop: ~"),
        ("  crop: 32", "  crop: 32\n  max_bad: 1.5"),
        ("  crop: 32", "  crop: 32\n  flip: ~"),
        ("train: 64, val: 16", "train: 64"),
        ("stem: small", "stem: tiny"),
        ("stem: small", "conv1_pad: 11"),
        ("width: 0.25", "width: 0"),
        ("task: colorization", "task: colorisation"),
        ("task: colorization", "task: { colorization: ~ }"),
        ("task: colorization", "task: { colorization: {}, rotation: {} }"),
        ("task: colorization", "task: {}"),
        ("task: colorization", "task: { colorization: { neighbors: 5, neighbours: 5 } }"),
        ("task: colorization", "task: { colorization: { rebalance: { off: {} } } }"),
        ("task: colorization", "task: { colorization: { rebalance: lambda } }"),
        ("task: colorization", "task: colorization\n      monitor: { budget: 5 }"),
        ("task: colorization", "task: colorization\n      monitor: { budget: 120 % }"),
        ("steps: 20\n        batch", "steps: 20 hours\n        batch"),
        ("steps: 20\n", "steps: 20\n        evaluate_every: 200 %\n"),
        ("steps: 20\n", "steps: 20\n        evaluate_every: 0.0 %\n"),
        ("  crop: 32", "  crop: 32\n  label: ''"),
        ("  crop: 32", "  crop: 32\n  label: ' '"),
        (
            "        batch: 8\n        optimizer: { adam: { lr: 3e-5",
            "        batch: 8\n        log_every: 0\n        optimizer: { adam: { lr: 3e-5",
        ),
        (adam, "optimizer: adam"),
        (adam, "optimizer: { adam: {} }"),
        (adam, "optimizer: { adam: { lr: 3e-5 }, sgd: { lr: 0.1 } }"),
        (adam, "optimizer: { adam: { lr: 3e-5, beta1: 1 } }"),
        (
            adam,
            "optimizer: { adam: { lr: 3e-5 } }\n        schedule: { decay: { multi_step: { at: [], rates: [] } } }",
        ),
        ("    pretext:", "    pretext: ~\n    pretexts:"),
        ("init: msra", "init: gaussian"),
        ("init: msra", "init: msra, stage: pretrain"),
        ("gaussian: { init: msra }", "gaussian: { backbone: { resnet: {} } }"),
        ("gaussian: { init: msra }", "gaussian: ~"),
        ("gaussian: { init: msra }", "'a b': { init: msra }"),
    ] {
        let text = with(part, other);
        assert!(parsed(&text).is_err(), "the parser accepts `{other}`");
        assert!(witness.check(&json(&text)).is_err(), "the schema accepts `{other}`");
    }
}

#[test]
fn unusual_spellings_are_accepted_by_both() {
    let witness = Witness::of_experiments();
    let adam = "optimizer: { adam: { lr: 3e-5 } }";
    for (part, other) in [
        ("name: tiny", "name: tiny\ndescription: ~"),
        ("name: tiny", "name: tiny\nseeds: [18446744073709551615]"),
        ("name: tiny", "name: tiny\ncompute: { device: 'cuda:1', precision: { bf16: ~ } }"),
        ("  crop: 32", "  crop: 32.0\n  resize: ~"),
        ("stem: small", "stem: { small: ~ }"),
        ("backbone: { alexnet: { stem: small, width: 0.25 } }", "backbone: alexnet"),
        ("stem: small", "preset: noroozi, conv1_stride: ~, channels: [8, 8, 8, 8, 8]"),
        ("task: colorization", "task: { colorization: {} }"),
        ("task: colorization", "task: { colorization: { neighbours: 5, grey_gate: ~ } }"),
        ("task: colorization", "task: { colorization: { rebalance: off, prior: measured } }"),
        ("task: colorization", "task: { colorization: { rebalance: { off: ~ } } }"),
        ("task: colorization", "task: { colorization: { rebalance: { lambda: 1 } } }"),
        ("task: colorization", "task: autoencoder\n      init_from: data_dependent"),
        ("task: colorization", "task: colorization\n      monitor: { budget: 5 % }"),
        ("task: colorization", "task: colorization\n      monitor: {}"),
        ("steps: 20\n", "epochs: 0.5\n        log_every: 1 epoch\n        evaluate_every: 12.5 %\n"),
        (
            "steps: 20\n",
            "images: 1e3\n        checkpoint_every: 1e3 images\n        schedule: { warmup: 0 }\n",
        ),
        (adam, "optimizer: { sgd: { lr: 1, multipliers: [{ pattern: '*', lr: 0 }] } }"),
        (adam, "optimizer: { adam: { lr: 3e-5 } }\n        schedule: { decay: cosine }"),
        ("init: msra", "data_dependent: {}"),
        ("gaussian: { init: msra }", "gaussian: data_dependent"),
        ("gaussian: { init: msra }", "gaussian: { init: { xavier: ~ }, backbone: resnet }"),
        (
            "gaussian: { init: msra }",
            "gaussian: { rescaled: { rescaled: { init: { gaussian: { std: 1 } } } } }",
        ),
    ] {
        let text = with(part, other);
        parsed(&text).unwrap_or_else(|error| panic!("`{other}`: {error}"));
        witness.check(&json(&text)).unwrap_or_else(|error| panic!("`{other}`: {error}"));
    }
}

/// The types do not say so, but the whole spec is refused.
#[test]
fn a_training_has_one_length() {
    let witness = Witness::of_experiments();
    for other in ["", "        steps: 20\n        epochs: 1\n"] {
        let text = with("        steps: 20\n", other);
        assert!(witness.check(&json(&text)).is_err(), "{other}");
    }
}

#[test]
fn a_file_that_extends_another_says_only_what_differs() {
    let witness = Witness::of_experiments();
    for good in [
        "extends: base.yaml",
        "extends: base.yaml\nstages: { pretrain: { pretext: { train: { steps: 5, optimizer: { adam: { beta1: 0.5 } } } } } }",
        "extends: base.yaml\nstages: { probe: { linear_probe: { backbones: { b: { backbone: { resnet: {} } } } } } }",
    ] {
        witness.check(&json(good)).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for bad in [
        "extends: [a.yaml, b.yaml]",
        "extends: base.yaml\nnam: a",
        "extends: base.yaml\ndata: { crop: 0 }",
        "extends: base.yaml\ndata: { corp: 32 }",
        "extends: base.yaml\nstages: { a: { pretext: {}, supervised: {} } }",
    ] {
        assert!(witness.check(&json(bad)).is_err(), "{bad}");
    }
    let list = "optimizer: { sgd: { multipliers: [{ lr: 0 }] } }";
    let list = format!("extends: base.yaml\nstages: {{ a: {{ supervised: {{ train: {{ {list} }} }} }} }}");
    assert!(witness.check(&json(&list)).is_err(), "items of a list are whole");
}

/// Calls `each` with every key of the sections of a schema, and its definition's name.
fn keys<'a>(schema: &'a Value, each: &mut impl FnMut(&'a str, &'a Value)) {
    if let Some(keys) = schema["properties"].as_object() {
        keys.iter().for_each(|(key, value)| each(key, value));
    }
    let below = schema
        .as_object()
        .map(|keywords| keywords.values().collect())
        .or(schema.as_array().map(|all| all.iter().collect()));
    below.into_iter().flat_map(|values: Vec<&Value>| values).for_each(|value| keys(value, each));
}

#[test]
fn every_key_is_described() {
    let schema = schema::<Experiment>();
    let (mut bare, mut count) = (vec![], 0);
    keys(&schema, &mut |key, value| {
        let definition = value["$ref"].as_str().and_then(|to| schema.pointer(to.strip_prefix('#')?));
        let own = value["description"].as_str().or(definition.and_then(|d| d["description"].as_str()));
        let text = own.unwrap_or_default();
        count += 1;
        if text.is_empty() || text.contains("[`") || text.contains("](") || !text.ends_with(['.', ']', '`']) {
            bare.push(format!("{key}: {text}"));
        }
    });
    assert!(count > 500 && bare.is_empty(), "{count}: {}", bare.join("\n"));
}

#[test]
fn titles_are_unique_and_keys_keep_their_order() {
    let schema = schema::<Experiment>();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut titles: Vec<&str> = definitions.values().map(|d| d["title"].as_str().unwrap()).collect();
    titles.sort_unstable();
    let doubled: Vec<_> = titles.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let top: Vec<&String> = definitions["Experiment"]["properties"].as_object().unwrap().keys().collect();
    let expected = [
        "name",
        "description",
        "seeds",
        "sweep",
        "compute",
        "data",
        "annotated",
        "backbone",
        "stages",
        "expected",
    ];
    assert_eq!(top, expected);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema.get("$id").is_none());
}
