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
        ("{ rotation: { head: { tap: conv9 } } }", "tap"),
        ("{ inpainting: { head: { tap: conv9 } } }", "tap"),
        ("{ simclr: { head: { tap: conv9 } } }", "tap"),
        ("{ bigan: { tap: conv9 } }", "tap"),
    ] {
        refused(task, SAME, (7, word), &["unknown layer `conv9`", "did you mean `conv"]);
    }
    let train = "      train:\n        steps: 1\n        batch";
    let monitor = format!("      monitor: {{ layers: [conv1, conv5] }}\n{train}");
    let jigsaw = "{ jigsaw: { head: { tap: conv4 } } }";
    refused(jigsaw, (train, &monitor), (8, "conv5"), &["unknown layer `conv5`"]);
    let init = format!("      init_from: {{ data_dependent: {{ through: conv9 }} }}\n{train}");
    refused("colorization", (train, &init), (8, "through"), &["`through: conv9`", "conv5"]);
    let row = "{ rescaled: { data_dependent: { through: fc9 } } }";
    refused("colorization", ("{ stage: first }", row), (15, "through"), &["`through: fc9`"]);
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
    refused("bigan", crop("crop: 30"), (2, "crop"), &["30 pixels cannot be generated"]);
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
    ] {
        refused(task, SAME, (7, word), &parts);
    }
    let alexnet = "alexnet: { stem: small, width: 0.1, fc: 16 }";
    let train = "      train:\n        steps: 1\n        batch";
    let vgg = format!("      backbone: {{ vgg: {{ width: 0.1, deep_supervision: true }} }}\n{train}");
    for task in ["inpainting", "rotation", "{ cross_channel: { predict: ab } }"] {
        let parts = ["only the task `colorization`", "leave it out"];
        refused(task, (train, &vgg), (8, "deep_supervision"), &parts);
    }
    assert!(load("colorization", train, &vgg).is_ok());
    let colored = (alexnet, "alexnet: { stem: small, fc: 16, input: rgb_unit }");
    refused("split_brain", colored, (3, "input"), &["L, and a and b, of Lab", "`input: lab`"]);
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
