//! Mistakes that show when a stage is planned: each is refused at its line before any data or weights are opened, which are
//! not there.

use hueristic::experiment::Experiment;
use std::fs;

const GOOD: &str = "\
name: tiny
data: { source: { folder: { train: nowhere, val: nowhere } }, crop: 64 }
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  first:
    pretext:
      task: TASK
      train:
        steps: 1
        batch: 4
        optimizer: { adam: { lr: 1e-3 } }
  probe:
    linear_probe:
      backbones:
        mine: { stage: first }
        deep: { init: msra, backbone: { resnet: { depth: 18, width: 0.1 } } }
      probe: { layers: [conv1, layer1] }
      train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01 } } }
";

/// The complete message.
fn load(task: &str, from: &str, to: &str) -> Result<Experiment, String> {
    assert!(GOOD.contains(from), "{from}");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spec.yaml");
    fs::write(&path, GOOD.replace("TASK", task).replace(from, to)).expect("it is written");
    Experiment::load(&path, &[]).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(task: &str, (from, to): (&str, &str), (line, word): (usize, &str), parts: &[&str]) {
    let message = load(task, from, to).err().unwrap_or_else(|| panic!("{task}, {to}: accepted"));
    assert_eq!(marked(&message), word, "{message}");
    for part in parts.iter().chain([&format!("spec.yaml:{line}:").as_str()]) {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
}

/// What the caret below the line points at.
fn marked(message: &str) -> String {
    let lines: Vec<&str> = message.lines().collect();
    let caret = lines.iter().position(|line| line.contains('^')).expect("a caret");
    let at = lines[caret].chars().position(|c| c == '^').expect("a caret");
    let width = lines[caret].chars().filter(|c| *c == '^').count();
    lines[caret - 1].chars().skip(at).take(width).collect()
}

#[test]
fn good_specs_are_accepted() {
    for task in [
        "rotation",
        "jigsaw",
        "context",
        "split_brain",
        "autoencoder",
        "{ simclr: { side: 32 } }",
        "{ inpainting: { adversarial: 0.001, discriminator_width: 0.25 } }",
        "{ bigan: { side: 32, width: 0.25 } }",
    ] {
        let loaded = load(task, "nowhere", "nowhere");
        assert!(loaded.is_ok(), "{task}: {}", loaded.err().unwrap_or_default());
    }
}

#[test]
fn patterns_that_fit_no_parameter() {
    let with = |pattern: &str| {
        format!("adam: {{ lr: 1e-3, multipliers: [{{ pattern: '*' }}, {{ pattern: '{pattern}', lr: 2 }}] }}")
    };
    let at = "adam: { lr: 1e-3 }";
    let adversarial = "{ inpainting: { adversarial: 0.001, discriminator_width: 0.25 } }";
    for (task, pattern) in [
        ("{ bigan: { width: 0.25 } }", "generator.*"),
        ("{ bigan: { width: 0.25 } }", "discriminator.bn2.bias"),
        (adversarial, "discriminator.score.weight"),
        ("split_brain", "ab.conv1.*"),
        ("rotation", "logits.bias"),
    ] {
        assert!(load(task, at, &with(pattern)).is_ok(), "{task}, {pattern}");
    }
    for (task, pattern, nearest) in [
        ("inpainting", "discriminator.*", "the nearest names are"),
        (adversarial, "generator.*", "the nearest names are"),
        ("{ bigan: { width: 0.25 } }", "discriminator.conv9.*", "discriminator.conv"),
        ("split_brain", "lab.conv1.*", "ab.conv1.weight"),
        ("colorization", "conv1.wieght", "conv1.weight"),
    ] {
        let parts = ["matches no parameter", nearest, pattern];
        refused(task, (at, &with(pattern)), (11, "pattern"), &parts);
    }
}

const SAME: (&str, &str) = ("", "");

#[test]
fn layers_that_are_not_there() {
    for (task, word) in [
        ("{ rotation: { head: { tap: conv9 } } }", "conv9"),
        ("{ inpainting: { head: { tap: conv9 } } }", "conv9"),
        ("{ simclr: { head: { tap: conv9 } } }", "conv9"),
        ("{ bigan: { tap: conv9 } }", "conv9"),
    ] {
        refused(task, SAME, (7, word), &["unknown layer `conv9`", "did you mean `conv"]);
    }
    let train = "      train:\n        steps: 1\n        batch";
    let monitor = format!("      monitor: {{ layers: [conv1, conv5] }}\n{train}");
    let jigsaw = "{ jigsaw: { head: { tap: conv4 } } }";
    refused(jigsaw, (train, &monitor), (8, "conv5"), &["unknown layer `conv5`"]);
    let init = format!("      init_from: {{ data_dependent: {{ through: conv9 }} }}\n{train}");
    refused("colorization", (train, &init), (8, "conv9"), &["`through: conv9`", "conv5"]);
    let row = "{ rescaled: { data_dependent: { through: fc9 } } }";
    refused("colorization", ("{ stage: first }", row), (15, "fc9"), &["`through: fc9`"]);
}

#[test]
fn data_sets_without_a_name_or_with_two_kinds_of_validation_pictures() {
    let data = "source: { folder: { train: nowhere, val: nowhere } }";
    let both = "source: { folder: { train: nowhere, val: nowhere, hold_out: 0.1 } }";
    refused(
        "colorization",
        (data, both),
        (2, "hold_out"),
        &["both `val` and `hold_out`", "take one of them out"],
    );
    let shards = "source: { shards: { train: 'a-{0..1}.tar', val: 'b-{0..x}.tar' } }";
    refused(
        "colorization",
        (data, shards),
        (2, "'b-{0..x}.tar'"),
        &["`{0..x}` is neither a range of numbers"],
    );
    for label in ["''", "'  '"] {
        let text = format!("{data}, label: {label}");
        let message = load("colorization", data, &text).expect_err("it has no name");
        assert!(message.contains("spec.yaml:2:") && message.contains("a name of the data set"), "{message}");
        assert!(message.contains('^'), "{message}");
    }
}

/// `1.0` is a whole number, in counts and in seeds.
#[test]
fn whole_numbers_may_have_a_decimal_point() {
    let seeded = |seed: &str| {
        let data = format!("source: {{ folder: {{ train: /nowhere, hold_out: 0.1, seed: {seed} }} }}");
        load("colorization", "source: { folder: { train: nowhere, val: nowhere } }", &data)
    };
    let hash =
        |seed: &str| hueristic::spec::hash(&seeded(seed).unwrap_or_else(|error| panic!("{error}"))).unwrap();
    assert_eq!(hash("1.0"), hash("1"));
    assert_ne!(hash("2.0"), hash("1"));
    for wrong in ["1.5", "-1.0", "1e300"] {
        let message = seeded(wrong).err().unwrap_or_else(|| panic!("{wrong} was accepted"));
        assert!(message.contains("a whole number of at least 0"), "{message}");
    }
}

#[test]
fn sizes_that_do_not_fit() {
    let crop = |to| ("crop: 64", to);
    let vgg16 = ("alexnet: { stem: small, width: 0.1, fc: 16 }", "alexnet: { fc: 16 }");
    refused("jigsaw", vgg16, (2, "crop"), &["its window does not fit", "a larger `crop`", "`stem: small`"]);
    refused("rotation", crop("crop: 3"), (2, "crop"), &["its window does not fit"]);
    refused("inpainting", crop("crop: 15"), (2, "crop"), &["at least 16 pixels"]);
    refused("jigsaw", crop("crop: 2"), (2, "crop"), &["cells of a puzzle of 2 pixels"]);
    refused("colorization", crop("crop: 64, resize: 32"), (2, "crop"), &["crop 64 is larger"]);
    refused("colorization", crop("crop: 60000"), (2, "crop"), &["too large to be read", "smaller crop"]);
    refused("colorization", crop("crop: 13000"), (2, "crop"), &["conv1: its map of", "too large for memory"]);
    refused("bigan", crop("crop: 7"), (2, "crop"), &["7 pixels cannot be generated"]);
    let resized = crop("crop: 30");
    assert!(load("bigan", resized.0, resized.1).is_ok(), "28 pixels can be generated");
    for (task, word, part) in [
        ("{ jigsaw: { tile: 40 } }", "tile", "and its tiles 40"),
        ("{ jigsaw: { tile: 3 } }", "tile", "its window does not fit"),
        ("{ jigsaw: { jitter: 9 } }", "jitter", "use a larger `crop`"),
        ("{ jigsaw: { permutations: 1 } }", "permutations", "nothing to tell"),
        ("{ context: { patch: 60 } }", "context", "use a larger `crop`"),
        ("{ bigan: { side: 30 } }", "side", "30 pixels cannot be generated"),
        ("{ bigan: { width: 1e6 } }", "width", "more than 4294967296"),
        (
            "{ inpainting: { adversarial: 0.5, discriminator_width: 1e9 } }",
            "discriminator_width",
            "more than 4294967296",
        ),
        ("{ simclr: { head: { hidden: 1000000 } } }", "head", "more than 4294967296"),
        ("{ simclr: { head: { layers: 4e9 } } }", "4e9", "from 1 to 64"),
        ("{ inpainting: { head: { channels: [8] } } }", "head", "numbers, not 1"),
    ] {
        refused(task, SAME, (7, word), &[part]);
    }
    refused("simclr", ("batch: 4", "batch: 1"), (10, "batch"), &["no others to be told from"]);
}

#[test]
fn options_without_effect() {
    for (task, word, parts) in [
        (
            "{ inpainting: { discriminator_width: 0.5 } }",
            "discriminator_width",
            ["there is no discriminator", "`adversarial`, such as 0.001"],
        ),
        ("{ simclr: { side: 65 } }", "side", ["cannot be cut from pictures of 64", "smaller `side`"]),
        ("{ bigan: { side: 128 } }", "side", ["128 pixels", "larger `crop` or a smaller `side`"]),
        ("{ simclr: { temperature: 1e-30 } }", "1e-30", ["a number", "from 0.001 to 1000"]),
        ("{ simclr: { augment: { smallest: 0 } } }", "0", ["a number", "above 0"]),
    ] {
        refused(task, SAME, (7, word), &parts);
    }
    let alexnet = "alexnet: { stem: small, width: 0.1, fc: 16 }";
    let train = "      train:\n        steps: 1\n        batch";
    let vgg = format!("      backbone: {{ vgg: {{ width: 0.1, deep_supervision: true }} }}\n{train}");
    for task in ["inpainting", "rotation", "{ cross_channel: { predict: ab } }"] {
        let message = load(task, train, &vgg).err().unwrap_or_default();
        assert!(message.contains("only the task `colorization`"), "{message}");
        assert!(message.contains("^^^^^^^^^^^^^^^^ leave it out"), "{message}");
    }
    let own = load("colorization", train, &vgg).err().unwrap_or_default();
    assert!(!own.contains("deep_supervision"), "{own}");
    let colored = (alexnet, "alexnet: { stem: small, fc: 16, input: rgb_unit }");
    refused("split_brain", colored, (3, "input"), &["L, and a and b, of Lab", "`input: lab`"]);
    refused("colorization", colored, (3, "input"), &["this network sees RGB", "`input: lightness`"]);
    let unhinted =
        load("siggraph17", alexnet, "siggraph17: { width: 0.1, input: lab }").err().unwrap_or_default();
    assert!(unhinted.contains("spec.yaml:3:"), "{unhinted}");
    assert!(
        unhinted.contains("reads lightness and hints") && unhinted.contains("`input: hints`"),
        "{unhinted}"
    );
}

/// Probes read the layers of an AlexNet unless told: a ResNet's are proposed.
#[test]
fn layers_that_nobody_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spec.yaml");
    let deep =
        GOOD.replace("alexnet: { stem: small, width: 0.1, fc: 16 }", "resnet: { stem: small, width: 0.1 }");
    let unnamed = deep.replace("      probe: { layers: [conv1, layer1] }\n", "");
    fs::write(&path, unnamed.replace("TASK", "rotation")).expect("it is written");
    let message = Experiment::load(&path, &[]).expect_err("refused").to_string();
    let advice =
        "conv1 to conv5 are read unless told: give `probe: { layers: [layer1, layer2, layer3, layer4] }`";
    assert!(message.contains("unknown layer `conv2`") && message.contains(advice), "{message}");
}

#[test]
fn networks_that_cannot_be_split() {
    let alexnet = "alexnet: { stem: small, width: 0.1, fc: 16 }";
    refused("split_brain", (alexnet, "alexnet: { fc: 33 }"), (3, "alexnet"), &["`fc6` has 33 channels"]);
    let classifier = ["it predicts nothing per pixel", "`alexnet` and `resnet` can be split"];
    refused("split_brain", (alexnet, "vgg16: {}"), (3, "backbone"), &classifier);
}

/// Two stages with one mistake in a section at the top: it is named once. Another one is named beside it.
#[test]
fn mistakes_are_named_once_and_all_of_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spec.yaml");
    let again = "  again: { pretext: { task: { bigan: { side: 30 } }, train: { steps: 1, batch: 4, optimizer: { adam: { lr: 1e-3 } } } } }\n";
    let yaml = GOOD.replace("TASK", "inpainting").replace("crop: 64", "crop: 12") + again;
    fs::write(&path, yaml).expect("it is written");
    let message = Experiment::load(&path, &[]).expect_err("refused").to_string();
    assert_eq!(message.matches("error: ").count(), 2, "{message}");
    assert!(message.contains("at least 16 pixels") && message.contains("30 pixels cannot"), "{message}");
    // an override is shown as such
    fs::write(&path, GOOD.replace("TASK", "inpainting")).expect("it is written");
    let message = Experiment::load(&path, &["data.crop=12".into()]).expect_err("refused").to_string();
    assert!(message.contains("--> --set data.crop=12"), "{message}");
}

const TUNED: &str = "\
name: tuned
data: { source: { folder: { train: nowhere, val: nowhere } }, crop: 64 }
annotated: { source: { composite: { train: 8, val: 8 } } }
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  tuned:
    KIND:
      backbones: { mine: { init: msra } }
      OPTIONS
      train:
        steps: 1
        batch: 4
        optimizer: { sgd: { lr: 0.01, multipliers: [ { pattern: '*' }, { pattern: 'PATTERN', lr: 2 } ] } }
";

fn tuned((kind, options): (&str, &str), pattern: &str) -> Result<Experiment, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spec.yaml");
    let spec = TUNED.replace("KIND", kind).replace("OPTIONS", options).replace("PATTERN", pattern);
    fs::write(&path, spec).expect("it is written");
    Experiment::load(&path, &[]).map_err(|error| error.to_string())
}

/// Probes train their classifiers, fine-tuning what is not frozen and what the task adds.
#[test]
fn patterns_fit_what_each_kind_of_stage_trains() {
    let detection =
        ("detection", "task: { proposals: { selective_search: {} }, frozen: { through: conv2 } }");
    let color = ("segmentation", "input: color\n      task: { frozen: { through: conv2 } }");
    for (kind, trained, others) in [
        (
            ("linear_probe", "probe: { layers: [conv1, conv3] }"),
            "conv3.weight",
            &["conv2.*", "conv1.bn.*"][..],
        ),
        (("linear_probe", "probe: { layers: [conv1], affine: true }"), "conv1.bn.bias", &["conv2.*"]),
        (("nonlinear_probe", "through: [conv3]"), "conv4.bias", &["conv3.*"]),
        (("classification", "task: { train_from: [fc8] }"), "fc8.bias", &["fc7.*", "conv1.*"]),
        (detection, "offsets.bias", &["conv1.*", "fc8.*"]),
        (color, "conv1_color.weight", &["conv1.*", "score_*"]),
        (("segmentation", "input: gray"), "conv1.*", &["conv1_color.*", "score_*"]),
    ] {
        let loaded = tuned(kind, trained);
        assert!(loaded.is_ok(), "{kind:?}, {trained}: {}", loaded.err().unwrap_or_default());
        for other in others {
            let message = tuned(kind, other).expect_err(other);
            assert!(message.contains("matches no parameter") && marked(&message) == "pattern", "{message}");
        }
    }
    let message = tuned(("nonlinear_probe", "through: [conv3]"), "*', lr: 0 }, { pattern: 'fc8.*").map(drop);
    assert_eq!(message, Ok(()), "the last pattern trains one layer");
    let message = tuned(
        ("nonlinear_probe", "through: [conv3]"),
        "fc8.*', lr: 2 }, { pattern: '*', lr: 0 }, { pattern: 'fc8.weight', lr: 0, decay: 1 } ] } } #",
    );
    let message = message.expect_err("nothing is trained");
    assert!(message.contains("trains nothing") && marked(&message) == "multipliers", "{message}");
}

#[test]
fn networks_that_a_stage_cannot_use() {
    let message =
        tuned(("classification", "task: { train_from: [fc8], crop: 96 }"), "*").expect_err("96 pixels");
    assert!(message.contains("answers for a crop, not one") && marked(&message) == "crop", "{message}");
    let message =
        tuned(("segmentation", "backbone: { vgg: { width: 0.1 } }\n      task: { stride: fine }"), "*")
            .expect_err("no maps");
    assert!(message.contains("from no map at stride") && marked(&message) == "stride", "{message}");
    let layers = ("probe: { layers: [conv1, layer1] }", "probe: { layers: [conv2, conv3] }");
    refused(
        "colorization",
        layers,
        (17, "layers"),
        &["resnet has none of the layers conv2, conv3", "layer1"],
    );
}

#[test]
fn colorizers_and_their_pictures() {
    let own = |task: &str| format!("backbone: {{ {task}: {{}} }}\n      task: {task}");
    for (task, options, line, word, part) in [
        ("siggraph17", "{}", 2, "crop", "multiples of 8, not 60"),
        ("dahl", "{}", 2, "crop", "multiples of 8, not 60"),
        ("larsson", "{ window: 4 }", 8, "window", "has no middle pixel"),
        ("larsson", "{ border: 40 }", 8, "border", "leaves nothing of pictures of 60"),
    ] {
        let given = own(task).replace(&format!("task: {task}"), &format!("task: {{ {task}: {options} }}"));
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spec.yaml");
        let spec = GOOD.replace("task: TASK", &given).replace("crop: 64", "crop: 60");
        let spec = spec.split("  probe:").next().expect("a first stage").to_string();
        fs::write(&path, spec).expect("it is written");
        let message = Experiment::load(&path, &[]).expect_err(task).to_string();
        assert!(message.contains(part) && message.contains(&format!("spec.yaml:{line}:")), "{message}");
        assert_eq!(marked(&message), word, "{message}");
    }
}

#[test]
fn monitors_and_expectations() {
    let train = "      train:\n        steps: 1\n        batch";
    let monitor = format!("      monitor: {{ knn: {{ neighbors: 30 }}, pictures: {{ bank: 20 }} }}\n{train}");
    let parts = ["30 neighbors of a bank of 20 pictures", "a larger `pictures.bank`"];
    refused("rotation", (train, &monitor), (8, "30"), &parts);
    let alone = format!("      monitor: {{ pictures: {{ test: 1 }} }}\n{train}");
    refused("rotation", (train, &alone), (8, "1"), &["no others to compare it with", "at least 2"]);
    let expected = (
        "      train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01 } } }",
        "      train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01 } } }\nexpected: { first: { acuracy: 0.5 } }",
    );
    refused("rotation", expected, (19, "acuracy"), &["stage `first`: unknown metric `acuracy`", "accuracy"]);
}

/// At an anchor, the line tells one stage at most.
#[test]
fn mistakes_of_shared_sections_name_their_stages() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spec.yaml");
    let load = |yaml: &str| {
        fs::write(&path, yaml).expect("it is written");
        Experiment::load(&path, &[]).expect_err("refused").to_string()
    };
    let train = "{ steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01 } } }";
    let shared = "&shared { steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01, multipliers: [{ pattern: conv1.weight }] } } }";
    let again = "  again: { nonlinear_probe: { backbones: { mine: { stage: first } }, through: [conv3], train: *shared } }\n";
    let message = load(&(GOOD.replace("TASK", "rotation").replace(train, shared) + again));
    assert!(message.contains("stage `again`: the pattern `conv1.weight`"), "{message}");
    let message = load(
        &(GOOD.replace("TASK", "rotation").replace(train, &shared.replace("conv1.weight", "conv9.*"))
            + again),
    );
    assert!(message.contains("error: the pattern `conv9.*`"), "{message}");
    assert!(message.contains("error: stage `again`: the pattern `conv9.*`"), "{message}");
}

/// References to stages that are not there: each stage says its own.
#[test]
fn every_stage_is_checked_for_what_it_refers_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spec.yaml");
    let again = "  again: { linear_probe: { backbones: { mine: { stage: fist } }, train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 0.01 } } } } }\n";
    let yaml = GOOD.replace("TASK", "rotation").replace("{ stage: first }", "{ stage: frst }") + again;
    fs::write(&path, yaml).expect("it is written");
    let message = Experiment::load(&path, &[]).expect_err("refused").to_string();
    assert_eq!(message.matches("error: ").count(), 2, "{message}");
    assert!(message.contains("`frst`") && message.contains("`fist`"), "{message}");
}
