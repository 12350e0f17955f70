//! The output of `show` is an equivalent spec for all values; no text makes the parser panic.

use hueristic::{
    experiment::Experiment,
    spec::{hash, resolved_yaml},
};
use proptest::prelude::*;
use std::fs;

fn load(text: &str) -> Result<Experiment, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec.yaml");
    fs::write(&path, text).unwrap();
    Experiment::load(&path, &[]).map_err(|e| e.to_string())
}

/// The values varied by the property test.
#[derive(Debug)]
struct Parts {
    names: (String, String),
    description: String,
    seeds: std::collections::BTreeSet<u64>,
    lr: f64,
    std: f64,
    steps: usize,
    optimizer: &'static str,
    schedule: &'static str,
    task: &'static str,
}

/// Positive numbers from the smallest to the largest.
fn positive() -> impl Strategy<Value = f64> {
    any::<f64>().prop_map(f64::abs).prop_filter("finite and above 0", |v| v.is_finite() && *v > 0.0)
}

fn parts() -> impl Strategy<Value = Parts> {
    // Names that YAML would misread without quotes.
    let name = prop_oneof![
        "[A-Za-z0-9][A-Za-z0-9_.-]{0,8}",
        Just("null".to_string()),
        Just("true".to_string()),
        Just("1.5".to_string()),
        Just("1e3".to_string()),
        Just("0x1f".to_string()),
        Just("off".to_string()),
    ];
    let optimizer = prop_oneof![Just("adam"), Just("adamw"), Just("sgd"), Just("lars")];
    let schedule = prop_oneof![
        Just("{}"),
        Just("{ decay: cosine, warmup: 3 }"),
        Just("{ decay: { multi_step: { at: [3, 5], rates: [0.5, 0.25] } } }"),
        Just("{ decay: { poly: { power: 0.9 } } }"),
    ];
    let task = prop_oneof![
        Just("colorization"),
        Just("{ colorization: { rebalance: off, gray_gate: null } }"),
        Just("{ colorization: { rebalance: { lambda: 1 }, prior: { file: a b.npy } } }"),
        Just("{ colorization: { prior: { measured: { images: 100 } }, neighbors: 5 } }"),
        Just("rotation"),
        Just("{ jigsaw: { permutations: 7, jitter: 2, normalize: channel, head: { hidden: [] } } }"),
        Just("{ context: { grid: 2, patch: 96, color: project, head: { tap: conv5, dropout: true } } }"),
    ];
    let names = (name.clone(), name).prop_filter("two stages", |(a, b)| a != b);
    let seeds = prop::collection::btree_set(any::<u64>(), 1..4);
    let text = "[ -~\n\täß→]{0,30}";
    (names, text, seeds, positive(), positive(), 1usize..1 << 32, optimizer, schedule, task).prop_map(
        |(names, description, seeds, lr, std, steps, optimizer, schedule, task)| Parts {
            names,
            description,
            seeds,
            lr,
            std,
            steps,
            optimizer,
            schedule,
            task,
        },
    )
}

fn yaml(parts: &Parts) -> String {
    let Parts { names: (first, second), lr, std, steps, optimizer, schedule, task, .. } = parts;
    let description = serde_json::to_string(&parts.description).unwrap();
    let seeds: Vec<u64> = parts.seeds.iter().copied().collect();
    format!(
        "name: \"{first}\"
description: {description}
seeds: {seeds:?}
data: {{ source: {{ scenes: {{ train: 9, val: 8 }} }}, crop: 300 }}
backbone: alexnet
stages:
  \"{first}\":
    pretext:
      task: {task}
      train: &train
        {{ steps: {steps}, batch: 4, optimizer: {{ {optimizer}: {{ lr: {lr:?} }} }}, schedule: {schedule} }}
  \"{second}\":
    linear_probe:
      backbones: {{ a: {{ stage: \"{first}\" }}, b: {{ init: {{ gaussian: {{ std: {std:?} }} }} }}, c: {{ init: msra }} }}
      train: *train
"
    )
}

proptest! {
    #[test]
    fn the_resolved_spec_reads_back_the_same(parts in parts()) {
        let text = yaml(&parts);
        let spec = load(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(spec.description.as_deref(), Some(parts.description.as_str()));
        let written = resolved_yaml(&spec).unwrap();
        let read = load(&written).map_err(|e| TestCaseError::fail(format!("{e}\n{written}")))?;
        prop_assert_eq!(&read, &spec, "{}", written);
        prop_assert_eq!(hash(&read).unwrap(), hash(&spec).unwrap());
    }

    #[test]
    fn damaged_text_is_refused_or_read_but_never_panics(
        parts in parts(), cut in 0usize..700, length in 0usize..20, put in "[-:,{}\\[\\]&*!|>'\"%@`#?\n\t a\u{feff}é]{0,6}",
    ) {
        let text: Vec<char> = yaml(&parts).chars().collect();
        let (cut, end) = (cut.min(text.len()), (cut + length).min(text.len()));
        let damaged: String = text[..cut].iter().copied().chain(put.chars()).chain(text[end..].iter().copied()).collect();
        if let Err(message) = load(&damaged) {
            prop_assert!(message.starts_with("error: "), "{}", message);
            prop_assert!(message.contains("spec.yaml:"), "no place in {}\n{}", message, damaged);
        }
    }
}

/// Python's parsers read `on` as a boolean, `1:30` as a number, `2026-01-01` as a date, and `1e-6` as text.
#[test]
fn what_is_written_reads_the_same_in_python() {
    let parts = "
name: on
description: 2026-01-01
data: { source: { parquet: { train: [/photos], image: '~', label: '0x1f' } }, crop: 32 }
backbone: { alexnet: { stem: small } }
stages:
  1_000:
    pretext: { task: colorization, train: { steps: 1, batch: 2, optimizer: { adam: { lr: 1e-6, decay: 2.5e-7 } } } }
  no:
    linear_probe:
      backbones: { '0o7': { stage: 1_000 }, y: { file: '/~' } }
      train: { steps: 1, batch: 2, optimizer: { sgd: { lr: 0.5 } } }
";
    let spec = load(parts).unwrap_or_else(|e| panic!("{e}"));
    let written = resolved_yaml(&spec).unwrap();
    for line in [
        "name: 'on'\n",
        "description: '2026-01-01'\n",
        "- /photos\n",
        "image: '~'\n",
        "label: '0x1f'\n",
        "  '1_000':\n",
        "  'no':\n",
        "'0o7':\n",
        "stage: '1_000'\n",
        "'y':\n",
        "file: /~\n",
        "lr: 1.0e-6\n",
        "decay: 2.5e-7\n",
        "lr: 0.5\n",
    ] {
        assert!(written.contains(line), "no {line:?} in\n{written}");
    }
    assert_eq!(load(&written), Ok(spec));
}
