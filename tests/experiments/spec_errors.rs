//! Every kind of invalid spec, with the complete error message.

use hueristic::{
    bounded::Count,
    experiment::Experiment,
    spec::{hash, parse, resolved_yaml},
};
use insta::assert_snapshot;
use std::{fs, path::Path};

const GOOD: &str = "\
name: tiny
seeds: [0, 1]
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 32
backbone: { alexnet: { stem: small, width: 0.25 } }
stages:
  pretrain:
    pretext:
      task: colorization
      train: &train
        steps: 20
        batch: 8
        optimizer: { adam: { lr: 3e-5, decay: 1e-3 } }
  probe:
    linear_probe:
      backbones:
        colorization: { stage: pretrain }
        gaussian: { init: { gaussian: { std: 0.01 } } }
      train:
        <<: *train
        optimizer:
          sgd:
            lr: 0.01
";

/// A temporary folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn load(dir: &Path, sets: &[&str]) -> Result<Experiment, String> {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    Experiment::load(&dir.join("spec.yaml"), &sets)
        .map_err(|e| e.to_string().replace(&format!("{}/", dir.display()), ""))
}

/// The error message for `text`.
fn refused(text: &str, sets: &[&str]) -> String {
    load(folder(&[("spec.yaml", text)]).path(), sets).expect_err("the spec was accepted")
}

/// The error message for the valid spec after one change.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} is not in the spec exactly once");
    refused(&GOOD.replace(from, to), &[])
}

fn accepted(text: &str, sets: &[&str]) -> Experiment {
    load(folder(&[("spec.yaml", text)]).path(), sets).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_good_spec_is_accepted() {
    let spec = accepted(GOOD, &[]);
    assert_eq!((&*spec.name, &*spec.seeds), ("tiny", &[0, 1][..]));
    let kinds: Vec<_> = spec.stages.iter().map(|(n, s)| (n, s.key())).collect();
    assert_eq!(kinds, [("pretrain", "pretext"), ("probe", "linear_probe")]);
}

#[test]
fn an_unknown_key() {
    assert_snapshot!(changed("        batch: 8", "        bacth: 8"), @r"
    error: unknown field `bacth`, expected one of `steps`, `epochs`, `images`, `batch`, `iter_size`, `optimizer`, `schedule`, `clip`, `ema`, `log_every`, `evaluate_every`, `checkpoint_every`, `keep`
      --> spec.yaml:13:9
       |
    13 |         bacth: 8
       |         ^^^^^ did you mean `batch`?
    ");
}

#[test]
fn all_unknown_keys_at_once() {
    let text = GOOD.replace("batch: 8", "bacth: 8").replace("seeds:", "sedes:");
    assert_snapshot!(refused(&text, &[]), @r"
    error: unknown field `sedes`, expected one of `name`, `description`, `seeds`, `sweep`, `compute`, `data`, `annotated`, `backbone`, `stages`, `expected`
     --> spec.yaml:2:1
      |
    2 | sedes: [0, 1]
      | ^^^^^ did you mean `seeds`?

    error: unknown field `bacth`, expected one of `steps`, `epochs`, `images`, `batch`, `iter_size`, `optimizer`, `schedule`, `clip`, `ema`, `log_every`, `evaluate_every`, `checkpoint_every`, `keep`
      --> spec.yaml:13:9
       |
    13 |         bacth: 8
       |         ^^^^^ did you mean `batch`?
    ");
}

/// Required keys among them, without which their sections cannot be read.
#[test]
fn unknown_keys_of_all_levels_at_once() {
    let mut text = GOOD.to_string();
    let changes = [
        ("seeds:", "sedes:"),
        ("crop:", "corp:"),
        ("val: 16", "vla: 16"),
        ("width:", "widht:"),
        ("task: colorization", "task: { colorization: { gird: 10 } }"),
        ("steps: 20", "setps: 20"),
        ("{ lr: 3e-5,", "{ rate: 3e-5,"),
    ];
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    let said = refused(&text, &[]);
    for key in ["sedes", "corp", "vla", "widht", "gird", "setps", "rate"] {
        assert!(said.contains(&format!("unknown field `{key}`")), "{key}: {said}");
    }
    assert_eq!(said.matches("error: ").count(), changes.len(), "{said}");
}

#[test]
fn errors_after_the_first_are_found_too() {
    let text = GOOD.replace("crop: 32", "crop: big").replace("adam:", "adma:").replace("lr: 0.01", "lr: 0");
    assert_snapshot!(refused(&text, &[]), @r#"
    error: expected a number, got the text "big"
     --> spec.yaml:5:9
      |
    5 |   crop: big
      |         ^^^

    error: unknown name `adma`, expected one of `adam`, `adamw`, `sgd`, `lars`
      --> spec.yaml:14:22
       |
    14 |         optimizer: { adma: { lr: 3e-5, decay: 1e-3 } }
       |                      ^^^^ did you mean `adam`?

    error: expected a finite number above 0, got 0
      --> spec.yaml:24:17
       |
    24 |             lr: 0
       |                 ^
    "#);
}

#[test]
fn an_unknown_name() {
    assert_snapshot!(changed("adam:", "adma:"), @r"
    error: unknown name `adma`, expected one of `adam`, `adamw`, `sgd`, `lars`
      --> spec.yaml:14:22
       |
    14 |         optimizer: { adma: { lr: 3e-5, decay: 1e-3 } }
       |                      ^^^^ did you mean `adam`?
    ");
    assert_snapshot!(changed("stem: small", "stem: smal"), @r"
    error: unknown name `smal`, expected one of `standard`, `small`
     --> spec.yaml:6:30
      |
    6 | backbone: { alexnet: { stem: smal, width: 0.25 } }
      |                              ^^^^ did you mean `small`?
    ");
    assert_snapshot!(changed("task: colorization", "task: colorisation"), @r"
    error: unknown name `colorisation`, expected one of `colorization`, `siggraph17`, `dahl`, `iizuka`, `larsson`, `cross_channel`, `autoencoder`, `split_brain`, `rotation`, `jigsaw`, `context`, `bigan`, `inpainting`, `simclr`
      --> spec.yaml:10:13
       |
    10 |       task: colorisation
       |             ^^^^^^^^^^^^ did you mean `colorization`?
    ");
}

#[test]
fn a_wrong_type() {
    assert_snapshot!(changed("steps: 20", "steps: many"), @r#"
    error: expected a number, got the text "many"
      --> spec.yaml:12:16
       |
    12 |         steps: many
       |                ^^^^
    "#);
    assert_snapshot!(changed("seeds: [0, 1]", "seeds: 3"), @r"
    error: expected a list, got 3
     --> spec.yaml:2:8
      |
    2 | seeds: 3
      |        ^
    ");
    assert_snapshot!(changed("name: tiny", "name: [a]"), @r"
    error: expected text, got a list
     --> spec.yaml:1:7
      |
    1 | name: [a]
      |       ^^^
    ");
    assert_snapshot!(changed("{ lr: 3e-5, decay: 1e-3 }", "fast"), @r#"
    error: expected a section (`key: value` lines), got the text "fast"
      --> spec.yaml:14:28
       |
    14 |         optimizer: { adam: fast }
       |                            ^^^^ its keys are `lr`, `beta1`, `beta2`, `decay`, `multipliers`
    "#);
    assert_snapshot!(changed("crop: 32", "crop:"), @r"
    error: expected a number, got nothing
     --> spec.yaml:5:3
      |
    5 |   crop:
      |   ^^^^
    ");
}

#[test]
fn a_value_out_of_range() {
    assert_snapshot!(changed("steps: 20", "steps: -1"), @r"
    error: expected a whole number of at least 1, got -1
      --> spec.yaml:12:16
       |
    12 |         steps: -1
       |                ^^
    ");
    for (from, to, wrong, column) in [
        ("crop: 32", "crop: 4294967296", "expected a whole number from 1 to 65535, got 4294967296", 9),
        ("train: 64", "train: 4294967296", "expected a whole number from 1 to 16777216, got 4294967296", 30),
        ("val: 16", "val: 16, size: 65536", "expected a whole number from 1 to 4096, got 65536", 49),
        ("batch: 8", "batch: 9007199254740991", "expected a whole number from 1 to 65535, got", 16),
        (
            "batch: 8",
            "batch: 8\n        iter_size: 1e300",
            "expected a whole number from 1 to 65535, got 1e300",
            20,
        ),
        ("steps: 20", "steps: 1e10", "expected a whole number from 1 to 4294967295, got 10000000000", 16),
        ("width: 0.25", "width: 1e300", "the network would have", 1),
        ("width: 0.25", "fc: 1048576", "the network would have", 1),
        (
            "width: 0.25",
            "preset: caffenet, channels: [1048576, 1048576, 8, 8, 8]",
            "the network would have",
            1,
        ),
        ("width: 0.25", "conv1_pad: 4294967296", "`conv1_pad` is 4294967296", 22),
    ] {
        let said = changed(from, to);
        assert!(said.contains(wrong), "{to}: {said}");
        let place = said.lines().nth(1).unwrap();
        assert!(place.ends_with(&format!(":{column}")), "{to}: {said}");
    }
    assert!(
        changed("name: tiny", &format!("name: {}", "a".repeat(101))).contains("longer than 100 characters")
    );
    assert_snapshot!(changed("width: 0.25", "width: 0"), @r"
    error: expected a finite number above 0, got 0
     --> spec.yaml:6:44
      |
    6 | backbone: { alexnet: { stem: small, width: 0 } }
      |                                            ^
    ");
    assert_snapshot!(changed("lr: 0.01", "lr: .inf"), @r"
    error: expected a finite number, got .inf
      --> spec.yaml:24:17
       |
    24 |             lr: .inf
       |                 ^^^^
    ");
    assert_snapshot!(changed("seeds: [0, 1]", "seeds: [0, 1, 0]"), @r"
    error: the seed 0 is given twice
     --> spec.yaml:2:8
      |
    2 | seeds: [0, 1, 0]
      |        ^^^^^^^^^
    ");
    assert_snapshot!(changed("name: tiny", "name: ../tiny"), @r"
    error: `../tiny` cannot be a name: use letters, digits, `_`, `.` and `-`, starting with a letter or digit
     --> spec.yaml:1:7
      |
    1 | name: ../tiny
      |       ^^^^^^^
    ");
}

#[test]
fn a_missing_key() {
    // The second section lacks it too, since it merges the first.
    assert_snapshot!(changed("        batch: 8\n", ""), @r"
    error: missing field `batch`
      --> spec.yaml:11:7
       |
    11 |       train: &train
       |       ^^^^^ add `batch: …` to this section

    error: missing field `batch`
      --> spec.yaml:19:7
       |
    19 |       train:
       |       ^^^^^ add `batch: …` to this section
    ");
    assert_snapshot!(changed("name: tiny\n", ""), @r"
    error: missing field `name`
     --> spec.yaml:1:1
      |
    1 | seeds: [0, 1]
      | ^^^^^ add `name: …` to this section
    ");
    assert_snapshot!(changed("lr: 3e-5, ", ""), @r"
    error: missing field `lr`
      --> spec.yaml:14:22
       |
    14 |         optimizer: { adam: { decay: 1e-3 } }
       |                      ^^^^ add `lr: …` to this section
    ");
}

#[test]
fn a_value_where_a_section_belongs() {
    assert_snapshot!(changed("batch: 8", "batch: 8\n        ema: 0.99"), @r"
    error: expected a section (`key: value` lines), got 0.99
      --> spec.yaml:14:14
       |
    14 |         ema: 0.99
       |              ^^^^ write `{ decay: … }`
    ");
    assert_snapshot!(changed("{ stage: pretrain }", "{ file: '' }"), @r"
    error: expected a path, got empty text
      --> spec.yaml:18:31
       |
    18 |         colorization: { file: '' }
       |                               ^^
    ");
}

#[test]
fn settings_where_none_belong_and_none_where_some_do() {
    assert_snapshot!(changed("{ adam: { lr: 3e-5, decay: 1e-3 } }", "adam"), @r"
    error: missing field `lr`
      --> spec.yaml:14:20
       |
    14 |         optimizer: adam
       |                    ^^^^ write `{ adam: { lr: … } }`
    ");
    assert_snapshot!(changed("{ scenes: { train: 64, val: 16 } }", "catalog"), @r"
    error: `catalog` needs a value: write `catalog: …`
     --> spec.yaml:4:11
      |
    4 |   source: catalog
      |           ^^^^^^^
    ");
    assert_snapshot!(changed("stem: small", "stem: { small: 3 }"), @r"
    error: `small` takes no settings
     --> spec.yaml:6:32
      |
    6 | backbone: { alexnet: { stem: { small: 3 }, width: 0.25 } }
      |                                ^^^^^ write just `small`
    ");
}

#[test]
fn two_names_where_one_belongs() {
    assert_snapshot!(changed("adam: { lr", "sgd: { lr: 1 }, adam: { lr"), @r"
    error: expected one name here, got both `sgd` and `adam`
      --> spec.yaml:14:38
       |
    14 |         optimizer: { sgd: { lr: 1 }, adam: { lr: 3e-5, decay: 1e-3 } }
       |                                      ^^^^ take one out
    ");
}

#[test]
fn a_key_twice() {
    assert_snapshot!(changed("        batch: 8\n", "        batch: 8\n        batch: 9\n"), @r"
    error: `batch` is given twice in one section
      --> spec.yaml:14:9
       |
    14 |         batch: 9
       |         ^^^^^ first on line 13
    ");
}

#[test]
fn a_key_twice_in_other_quotes() {
    assert_snapshot!(changed("  crop: 32\n", "  crop: 32\n  \"crop\": 16\n"), @r#"
    error: `crop` is given twice in one section
     --> spec.yaml:6:3
      |
    6 |   "crop": 16
      |   ^^^^ first on line 5
    "#);
}

#[test]
fn text_that_swells() {
    let rows: String =
        (1..30).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "))).collect();
    let swelling = format!("a0: &a0 x\n{rows}");
    let twice = format!("b: 1\nb: 2\n{swelling}");
    let set = format!("seeds=[&a [x, x, x], {}]", vec!["[*a, *a, *a]"; 20_000].join(", "));
    let based = folder(&[("spec.yaml", "extends: base.yaml\n"), ("base.yaml", &twice)]);
    for said in [
        refused(&swelling, &[]),
        refused(&twice, &[]),
        refused(GOOD, &[&set]),
        load(based.path(), &[]).unwrap_err(),
    ] {
        assert!(said.contains("with its aliases expanded it holds more than 100000 values"), "{said}");
        assert!(said.lines().all(|line| line.chars().count() < 260), "{said}");
    }
    assert_snapshot!(refused(&format!("a: {}", "[".repeat(10_000)), &[]).split('\n').next().unwrap(), @"error: this is not YAML: recursion limit exceeded");
}

#[test]
fn text_that_is_not_yaml() {
    assert_snapshot!(changed("seeds: [0, 1]", "seeds: [0, 1"), @r"
    error: this is not YAML: did not find expected ',' or ']'
     --> spec.yaml:3:5
      |
    3 | data:
      |     ^ while parsing a flow sequence at line 2 column 8
    ");
    assert_snapshot!(changed("  crop: 32", "\tcrop: 32"), @r"
    error: this is not YAML: found character that cannot start any token
     --> spec.yaml:5:1
      |
    5 | 	crop: 32
      | ^ while scanning for the next token
    ");
    assert_snapshot!(refused("", &[]), @r"
    error: the file is empty
     --> spec.yaml:1:1
      |
    1 |
      | ^
    ");
    assert_snapshot!(refused("- a\n", &[]), @r"
    error: expected a section (`key: value` lines) at the top
     --> spec.yaml:1:1
      |
    1 | - a
      | ^^^
    ");
    assert_snapshot!(changed("stem: small", "stem: !big small"), @r"
    error: the YAML tag `!big` means nothing here
     --> spec.yaml:6:35
      |
    6 | backbone: { alexnet: { stem: !big small, width: 0.25 } }
      |                                   ^^^^^ take it out
    ");
    assert_snapshot!(changed("stem: small", "1: small"), @r"
    error: keys must be text
     --> spec.yaml:6:24
      |
    6 | backbone: { alexnet: { 1: small, width: 0.25 } }
      |                        ^ put it in quotes
    ");
}

#[test]
fn stages_that_refer_to_nothing() {
    assert_snapshot!(changed("{ stage: pretrain }", "{ stage: pretrian }"), @r"
    error: unknown stage `pretrian`, expected `pretrain`
      --> spec.yaml:18:32
       |
    18 |         colorization: { stage: pretrian }
       |                                ^^^^^^^^ did you mean `pretrain`?
    ");
    assert_snapshot!(changed("{ stage: pretrain }", "{ stage: probe }"), @r"
    error: `probe` is this stage itself
      --> spec.yaml:18:32
       |
    18 |         colorization: { stage: probe }
       |                                ^^^^^ give an earlier one
    ");
    let pretrain = "      task: colorization\n";
    let before = |stages: &str| {
        let text = GOOD.replace(pretrain, &format!("{pretrain}      init_from: {{ stage: later }}\n"));
        let later = format!("  later:\n    pretext:\n      task: rotation\n{stages}      train: *train\n");
        refused(&format!("{text}{later}"), &[])
    };
    assert_snapshot!(before(""), @r"
    error: the stage `later` does not come before this one
      --> spec.yaml:11:27
       |
    11 |       init_from: { stage: later }
       |                           ^^^^^ move it up: stages run in order
    ");
    assert_snapshot!(before("      init_from: { stage: pretrain }\n"), @r"
    error: the stage `later` starts from this one, and cannot come before it
      --> spec.yaml:11:27
       |
    11 |       init_from: { stage: later }
       |                           ^^^^^ give another stage
    ");
    assert_snapshot!(changed("backbone: { alexnet: { stem: small, width: 0.25 } }\n", ""), @r"
    error: the stage `pretrain` has no `backbone`
     --> spec.yaml:8:5
      |
    8 |     pretext:
      |     ^^^^^^^ add `backbone: …` here or at the top of the file

    error: the stage `probe` has no `backbone`
      --> spec.yaml:18:9
       |
    18 |         gaussian: { init: { gaussian: { std: 0.01 } } }
       |         ^^^^^^^^ add `backbone: …` here or at the top of the file
    ");
    assert_snapshot!(refused("name: a\nstages: {}\n", &[]), @r"
    error: an experiment needs at least one stage
     --> spec.yaml:2:1
      |
    2 | stages: {}
      | ^^^^^^
    ");
}

#[test]
fn all_rows_and_all_layers_of_a_stage() {
    let rows = "        one: { stage: nowhere }\n        two: { stage: probe }\n        three: { stage: pretrain }\n";
    let all = changed("        colorization: { stage: pretrain }\n", rows);
    assert_eq!(all.matches("error: ").count(), 2, "{all}");
    assert!(all.contains("unknown stage `nowhere`") && all.contains("`probe` is this stage itself"), "{all}");
    let probe =
        "      probe: { layers: [conv1, conv9, conv2, conv8, conv1] }\n      train:\n        <<: *train\n";
    let all = changed("      train:\n        <<: *train\n", probe);
    assert_eq!(all.matches("error: ").count(), 3, "{all}");
    for part in ["unknown layer `conv9`", "unknown layer `conv8`", "the layer `conv1` is given twice"] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
}

#[test]
fn names_of_things_outside_the_file() {
    assert_snapshot!(changed("scenes: { train: 64, val: 16 }", "catalog: cifra10"), @r"
    error: unknown data set `cifra10`, expected one of `cifar10`, `imagenet`, `imagenette160`, `sun6_learch`, `voc2007`, `voc2012`, `voc2012_sbd`, `voc2012_small`
     --> spec.yaml:4:22
      |
    4 |   source: { catalog: cifra10 }
      |                      ^^^^^^^ did you mean `cifar10`?
    ");
    for (hub, wrong) in [
        ("repo: a/b, train: [../../x.parquet]", "the file's path has a `..` in it"),
        ("repo: a/b, train: [a, /etc/x]", "`/etc/x` is an absolute path"),
        ("repo: a/b, train: ['a\\..\\b']", "holds a backslash"),
        ("repo: a/b, train: [a], val: ['C:/x']", "absolute path"),
        ("repo: ../b, train: [a]", "begins or ends with `-` or `.`"),
        ("repo: a/b/c, train: [a]", "unexpected `c` after the repository `b`"),
        ("repo: a/b, revision: a/../b, train: [a]", "cannot be a branch"),
    ] {
        let said = changed("scenes: { train: 64, val: 16 }", &format!("hub: {{ {hub} }}"));
        assert!(said.contains(wrong) && said.contains("spec.yaml:4:"), "{hub}: {said}");
    }
    let probe = "      probe: { layers: [conv1, conv_2] }\n      backbones:\n        colorization";
    assert_snapshot!(changed("      backbones:\n        colorization", probe), @r"
    error: unknown layer `conv_2`, expected one of `conv1`, `pool1`, `conv2`, `pool2`, `conv3`, `conv4`, `conv5`, `pool5`, `fc6`, `fc7`
      --> spec.yaml:17:32
       |
    17 |       probe: { layers: [conv1, conv_2] }
       |                                ^^^^^^ did you mean `conv2`?
    ");
    let twice = probe.replace("conv_2", "conv1");
    assert_snapshot!(changed("      backbones:\n        colorization", &twice), @r"
    error: the layer `conv1` is given twice
      --> spec.yaml:17:32
       |
    17 |       probe: { layers: [conv1, conv1] }
       |                                ^^^^^
    ");
}

#[test]
fn a_reference_to_a_probe() {
    let second =
        "  again:\n    linear_probe:\n      backbones: { x: { stage: probe } }\n      train: *train\n";
    assert_snapshot!(refused(&format!("{GOOD}{second}"), &[]), @r"
    error: the stage `probe` is a probe: it trains no backbone
      --> spec.yaml:27:32
       |
    27 |       backbones: { x: { stage: probe } }
       |                                ^^^^^
    ");
}

#[test]
fn overrides_are_typed_like_the_file() {
    assert_snapshot!(refused(GOOD, &["pretrain.train.bacth=64"]), @r"
    error: unknown field `bacth`, expected one of `steps`, `epochs`, `images`, `batch`, `iter_size`, `optimizer`, `schedule`, `clip`, `ema`, `log_every`, `evaluate_every`, `checkpoint_every`, `keep`
     --> --set pretrain.train.bacth=64
      |
      | pretrain.train.bacth=64
      |                ^^^^^ did you mean `batch`?
    ");
    assert_snapshot!(refused(GOOD, &["pretrain.train.batch=many"]), @r#"
    error: expected a number, got the text "many"
     --> --set pretrain.train.batch=many
      |
      | pretrain.train.batch=many
      |                      ^^^^
    "#);
    assert_snapshot!(refused(GOOD, &["pretrian.train.batch=64"]), @r"
    error: unknown stage or field `pretrian`, expected one of `pretrain`, `probe`, `name`, `description`, `seeds`, `sweep`, `compute`, `data`, `annotated`, `backbone`, `stages`, `expected`
     --> --set pretrian.train.batch=64
      |
      | pretrian.train.batch=64
      | ^^^^^^^^ did you mean `pretrain`?
    ");
    assert_snapshot!(refused(GOOD, &["stages.probe.linear_probe.train.optimizer.sdg.lr=1"]), @r"
    error: unknown name `sdg`, expected one of `adam`, `adamw`, `sgd`, `lars`
     --> --set stages.probe.linear_probe.train.optimizer.sdg.lr=1
      |
      | stages.probe.linear_probe.train.optimizer.sdg.lr=1
      |                                           ^^^ did you mean `sgd`?
    ");
    assert_snapshot!(refused(GOOD, &["seeds"]), @r"
    error: expected `key.path=value`
     --> --set seeds
      |
      | seeds
      | ^^^^^ there is no `=`
    ");
    assert_snapshot!(refused(GOOD, &["seeds=[0"]), @r"
    error: the value is not YAML: did not find expected ',' or ']'
     --> --set seeds=[0
      |
      | seeds=[0
      |       ^^
    ");
    assert_snapshot!(refused(GOOD, &["name.x=1"]), @r"
    error: expected text, got a section
     --> --set name.x=1
      |
      | name.x=1
      | ^^^^
    ");
    assert_snapshot!(refused(GOOD, &["a..b=1"]), @r"
    error: a key before `=` is empty
     --> --set a..b=1
      |
      | a..b=1
      |   ^
    ");
}

#[test]
fn overrides_reach_what_they_name() {
    let spec = accepted(GOOD, &["pretrain.train.batch=64", "seeds=[7]", "seeds.0=9"]);
    let stage = spec.stages.get("pretrain").unwrap();
    assert_eq!((stage.train().unwrap().batch.get(), &*spec.seeds), (64, &[9][..]));
    // Only the named stage changes: the probe had copied the section before.
    assert_eq!(spec.stages.get("probe").unwrap().train().unwrap().batch.get(), 8);
    let swapped = accepted(GOOD, &["pretrain.train.optimizer.sgd.lr=0.5"]);
    let yaml = resolved_yaml(&swapped.stages.get("pretrain").unwrap().train().unwrap().optimizer).unwrap();
    assert!(yaml.starts_with("sgd:\n  lr: 0.5\n"), "{yaml}");
}

#[test]
fn extends_merges_sections_and_the_extending_file_wins() {
    let over = "\
extends: base.yaml
name: longer
stages:
  pretrain:
    pretext:
      train:
        steps: 99
        optimizer: { sgd: { lr: 0.5 } }
";
    let dir = folder(&[("spec.yaml", over), ("base.yaml", GOOD)]);
    let spec = load(dir.path(), &[]).unwrap();
    let train = spec.stages.get("pretrain").unwrap().train().unwrap();
    assert_eq!((&*spec.name, train.steps.map(Count::get), train.batch.get()), ("longer", Some(99), 8));
    assert!(resolved_yaml(&train.optimizer).unwrap().starts_with("sgd:"));
}

#[test]
fn faults_are_shown_in_the_file_that_they_stand_in() {
    let both = |over: &str, base: &str| {
        let dir = folder(&[("spec.yaml", over), ("base.yaml", base), ("deep.yaml", "extends: base.yaml\n")]);
        load(dir.path(), &[]).expect_err("the spec was accepted")
    };
    assert_snapshot!(both("extends: base.yaml\n", &GOOD.replace("steps: 20", "steps: 0")), @r"
    error: expected a whole number of at least 1, got 0
      --> base.yaml:12:16
       |
    12 |         steps: 0
       |                ^
    ");
    assert_snapshot!(both("extends: base.yaml\nseeds: []\n", GOOD), @r"
    error: expected at least one seed
     --> spec.yaml:2:8
      |
    2 | seeds: []
      |        ^^
    ");
    assert_snapshot!(both("extends: bsae.yaml\n", GOOD), @r"
    error: cannot read the base `bsae.yaml`: No such file or directory (os error 2)
     --> spec.yaml:1:10
      |
    1 | extends: bsae.yaml
      |          ^^^^^^^^^
    ");
    assert_snapshot!(both("extends: deep.yaml\n", GOOD), @r"
    error: a base may not itself extend: `extends` goes one level deep
     --> deep.yaml:1:1
      |
    1 | extends: base.yaml
      | ^^^^^^^
    ");
    assert_snapshot!(both("extends: [base.yaml]\n", GOOD), @r"
    error: `extends` takes the path of one YAML file, relative to this one
     --> spec.yaml:1:10
      |
    1 | extends: [base.yaml]
      |          ^^^^^^^^^^^
    ");
}

#[test]
fn settings_of_an_optimizer_that_make_no_sense() {
    let optimizer = |yaml: &str| changed("{ adam: { lr: 3e-5, decay: 1e-3 } }", yaml);
    assert_snapshot!(optimizer("{ sgd: { lr: 0.1, momentum: 0, nesterov: true } }"), @r"
    error: sgd: `nesterov` needs a `momentum` above 0
      --> spec.yaml:14:27
       |
    14 |         optimizer: { sgd: { lr: 0.1, momentum: 0, nesterov: true } }
       |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
    assert_snapshot!(optimizer("{ adamw: { lr: 1e-3, decay: -0.01 } }"), @r"
    error: expected a finite number of at least 0, got -0.01
      --> spec.yaml:14:48
       |
    14 |         optimizer: { adamw: { lr: 1e-3, decay: -0.01 } }
       |                                                ^^^^^
    ");
    assert_snapshot!(optimizer("{ adamw: { lr: 1e-3, beta2: 1 } }"), @r"
    error: expected a number from 0 to below 1, got 1
      --> spec.yaml:14:48
       |
    14 |         optimizer: { adamw: { lr: 1e-3, beta2: 1 } }
       |                                                ^
    ");
    assert_snapshot!(optimizer("{ lars: { lr: 1, trust_coefficient: 0 } }"), @r"
    error: expected a finite number above 0, got 0
      --> spec.yaml:14:56
       |
    14 |         optimizer: { lars: { lr: 1, trust_coefficient: 0 } }
       |                                                        ^
    ");
    assert_snapshot!(optimizer("{ lars: { lr: 1, nesterov: true } }"), @r"
    error: unknown field `nesterov`, expected one of `lr`, `momentum`, `trust_coefficient`, `decay`, `multipliers`
      --> spec.yaml:14:37
       |
    14 |         optimizer: { lars: { lr: 1, nesterov: true } }
       |                                     ^^^^^^^^
    ");
    assert_snapshot!(changed("steps: 20", "steps: 20\n        ema: { decay: 1 }"), @r"
    error: expected a number from 0 to below 1, got 1
      --> spec.yaml:13:23
       |
    13 |         ema: { decay: 1 }
       |                       ^
    ");
    assert_snapshot!(changed("steps: 20", "steps: 20\n        ema: {}"), @r"
    error: missing field `decay`
      --> spec.yaml:13:9
       |
    13 |         ema: {}
       |         ^^^ add `decay: …` to this section
    ");
}

#[test]
fn optimizers_and_averages_are_accepted() {
    for (optimizer, written) in [
        (
            "{ adamw: { lr: 1e-3, decay: 0.05, beta2: 0.95 } }",
            "adamw:\n  lr: 0.001\n  beta1: 0.9\n  beta2: 0.95\n",
        ),
        ("{ sgd: { lr: 0.1, nesterov: true } }", "sgd:\n  lr: 0.1\n  momentum: 0.9\n  nesterov: true\n"),
        (
            "{ lars: { lr: 2 } }",
            "lars:\n  lr: 2.0\n  momentum: 0.9\n  trust_coefficient: 0.001\n  decay: 0.0\n",
        ),
    ] {
        let text = GOOD.replace("{ adam: { lr: 3e-5, decay: 1e-3 } }", optimizer);
        let spec = accepted(&text, &["pretrain.train.ema.decay=0.99"]);
        let train = spec.stages.get("pretrain").unwrap().train().unwrap();
        let yaml = resolved_yaml(&train.optimizer).unwrap();
        assert!(yaml.starts_with(written), "{yaml}");
        assert_eq!(train.ema.unwrap().decay.get(), 0.99);
        assert!(
            train
                .in_steps(64)
                .unwrap()
                .notes()
                .iter()
                .any(|note| note.contains("initial weights make up 82 %"))
        );
        assert_eq!(accepted(&resolved_yaml(&spec).unwrap(), &[]), spec);
    }
    let without = resolved_yaml(&accepted(GOOD, &[])).unwrap();
    assert!(!without.contains("ema"), "runs without an average keep their hashes: {without}");
}

#[test]
fn a_missing_file() {
    assert_snapshot!(load(folder(&[]).path(), &[]).unwrap_err(), @"error: cannot read the spec `spec.yaml`: No such file or directory (os error 2)");
}

#[test]
fn any_type_can_be_read() {
    let dir = folder(&[("spec.yaml", "crop: 8\nsource: { catalog: cifar10 }\n")]);
    let data: hueristic::data::source::DataSpec = parse(&dir.path().join("spec.yaml"), &[]).unwrap();
    assert_eq!(data.crop.get(), 8);
}

#[test]
fn the_hash_is_of_the_meaning_not_the_spelling() {
    let spec = accepted(GOOD, &[]);
    let other = GOOD.replace("0.25", "2.5e-1").replace("seeds: [0, 1]", "seeds:\n- 0\n- 1 # two");
    let same = accepted(&other, &[]);
    assert_eq!(hash(&spec).unwrap(), hash(&same).unwrap());
    assert_ne!(hash(&spec).unwrap(), hash(&accepted(GOOD, &["seeds=[1]"])).unwrap());
    assert_eq!(hash(&spec).unwrap().len(), 64);
}

#[test]
fn the_resolved_spec_says_everything_and_reads_back() {
    let resolved = accepted(GOOD, &[]);
    let yaml = resolved_yaml(&resolved).unwrap();
    assert_eq!(accepted(&yaml, &[]), resolved);
    // Defaults are written out, shared sections are copied into each stage, keys are in struct order.
    assert_eq!(yaml.matches("        crop: 32\n").count(), 2, "{yaml}");
    assert!(yaml.contains("          adam:\n            lr: 0.00003\n            beta1: 0.9\n"), "{yaml}");
    assert!(
        yaml.starts_with("name: tiny\nseeds:\n- 0\n- 1\nstages:\n  pretrain:\n    pretext:\n      data:\n"),
        "{yaml}"
    );
}
