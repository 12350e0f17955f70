//! Every network in every stage: AlexNets of all presets from files, data-dependent and rescaled; ResNets as
//! colorizers, as classifiers, in every probe and in the three PASCAL VOC tasks, in one table with an AlexNet.

use super::home::Home;
use anyhow::Context;
use candle_core::Device;
use hueristic::{
    backbones::{BackboneSpec, alexnet_conventions::Preset},
    experiment::{self, Outcome},
    nn::{params::Params, weights},
    rng::Rng,
    spec,
};
use std::{collections::BTreeMap, fs};

/// The rows of a table: every preset, from a weight file, data-dependent, and from the file with its layers rescaled.
fn rows(home: &Home) -> anyhow::Result<String> {
    let mut rows = String::new();
    for preset in Preset::ALL {
        let yaml = format!("{{ alexnet: {{ preset: {preset}, stem: small, width: 0.05, fc: 16 }} }}");
        let backbone: BackboneSpec = weights::section(&yaml)?;
        let mut params = Params::new(&Device::Cpu);
        backbone.build(&backbone.plain(), &mut params, &Rng::new(3))?;
        let header = BTreeMap::from([("backbone".to_string(), spec::resolved_yaml(&backbone)?)]);
        let file = format!("{preset}.safetensors");
        weights::save(&params, &header, &home.path().join(&file))?;
        rows += &format!(
            "        {preset}_file: {{ file: {file} }}\n        {preset}_data: {{ data_dependent: {{ batches: 1, patches: 300 }}, \
             backbone: {yaml} }}\n        {preset}_even: {{ rescaled: {{ file: {file} }} }}\n"
        );
    }
    Ok(rows)
}

#[test]
fn every_preset_runs_from_a_file_from_data_and_rescaled() -> anyhow::Result<()> {
    let home = Home::new()?;
    let rows = rows(&home)?;
    let text = format!(
        r#"
name: presets
data: {{ source: {{ scenes: {{ train: 24, val: 6, size: 32 }} }}, crop: 29 }}
annotated: {{ source: {{ composite: {{ train: 16, val: 6, size: 48 }} }} }}
backbone: {{ alexnet: {{ stem: small, width: 0.05, fc: 16 }} }}
stages:
  probe:
    linear_probe:
      backbones: &rows
{rows}      train: &train {{ steps: 1, batch: 4, optimizer: {{ sgd: {{ lr: 1e-3 }} }} }}
  classification:
    classification: {{ backbones: *rows, task: {{ train_from: [reader], crop: 29, draws: 1 }}, train: *train }}
  detection:
    detection:
      backbones: *rows
      task: {{ proposals: {{ selective_search: {{ width: 48, smallest: 8 }} }}, scales: [48], test_scale: 48 }}
      train: *train
  segmentation:
    segmentation: {{ backbones: *rows, train: *train }}
"#
    );
    let experiment = home.load(&text, &[])?;
    let Outcome::Finished { report: Some(report), .. } = experiment::run(&experiment, &home.options())?
    else {
        panic!("not finished")
    };
    home.reports_as_planned()?;
    for preset in Preset::ALL {
        for start in ["file", "data", "even"] {
            let row = format!("{preset}_{start} ");
            let lines = report.text.lines().filter(|line| line.contains(&row)).count();
            assert!(lines >= 2, "{row} is in the tables of probes and of transfer:\n{}", report.text);
        }
    }
    let runs = fs::read_dir(home.path().join("runs/presets"))?.flatten();
    let fits = runs.filter(|entry| entry.path().join("manifest.json").exists()).count();
    // Four presets are one network, and equal rows share a run.
    assert_eq!(fits, 4 * 3 * (Preset::ALL.len() - 3));
    Ok(())
}

const RESNETS: &str = r#"
name: resnets
data: { source: { scenes: { train: 48, val: 12, size: 32 } }, crop: 32 }
annotated: { source: { composite: { train: 16, val: 6, size: 48 } } }
backbone: { resnet: { stem: small, width: 0.03 } }
stages:
  colorization:
    pretext: { task: { colorization: {} }, train: &train { steps: 2, batch: 4, optimizer: { adam: { lr: 1e-3 } } } }
  regression:
    pretext: { task: { colorization: { loss: l2 } }, train: *train }
  channels:
    pretext: { task: { cross_channel: { predict: ab, loss: regression } }, train: *train }
  autoencoder:
    pretext: { task: autoencoder, train: *train }
  supervised:
    supervised: { train: *train }
  probe:
    linear_probe:
      backbones: &rows
        gaussian: { init: msra }
        deep: { init: msra, backbone: { resnet: { depth: 50, stem: small, width: 0.03 } } }
        alexnet: { init: msra, backbone: { alexnet: { stem: small, width: 0.05, fc: 16 } } }
        kmeans: { data_dependent: { batches: 1, patches: 300 } }
        colorization: { stage: colorization }
        supervised: { stage: supervised }
      probe: { layers: [conv1, conv5, layer1, layer2.0, layer4] }
      train: *train
  nonlinear:
    nonlinear_probe: { backbones: *rows, through: [conv1, layer3, conv4], train: *train }
  svm:
    svm:
      backbones: *rows
      features: { layers: [conv5, layer4], squash: 40 }
      classifier: { costs: { list: [0.1, 1] }, folds: 2 }
  knn:
    knn: { backbones: *rows, features: { layers: [conv5, avgpool] }, classifier: { neighbors: [1] } }
  low_shot:
    low_shot:
      backbones: { colorization: { stage: colorization } }
      features: { layers: [layer4] }
      classifier: { shots: [1], samples: 2, svm: { costs: { list: [0.1, 1] } } }
  classification:
    classification: { backbones: *rows, task: { draws: 1 }, train: *train }
  detection:
    detection:
      backbones: *rows
      task: { proposals: { selective_search: { width: 48, smallest: 8 } }, scales: [48], test_scale: 48 }
      train: *train
  segmentation:
    segmentation: { backbones: *rows, input: color, task: { stride: fine }, train: *train }
  evaluation:
    color_evaluation: { methods: { gray: gray, colorization: { stage: colorization }, regression: { stage: regression } } }
"#;

#[test]
fn residual_networks_run_in_every_stage_beside_an_alexnet() -> anyhow::Result<()> {
    let home = Home::new()?;
    let experiment = home.load(RESNETS, &[])?;
    let Outcome::Finished { report: Some(report), .. } = experiment::run(&experiment, &home.options())?
    else {
        panic!("not finished")
    };
    home.reports_as_planned()?;
    let row = |name: &str, columns: usize| {
        let found = report.text.lines().any(|l| l.contains(name) && l.split_whitespace().count() > columns);
        assert!(found, "`{name}` has no row of {columns} columns in\n{}", report.text);
    };
    ["gaussian", "deep", "alexnet", "kmeans", "colorization", "supervised"]
        .iter()
        .for_each(|name| row(name, 4));
    // Each backbone with the layers that it has: columns of an AlexNet and of ResNets in one table.
    for column in ["conv5", "layer2.0", "layer4", "fc8", "fc6-8", "layer4-fc", "Det.", "Seg."] {
        assert!(report.text.contains(column), "{column} is not in\n{}", report.text);
    }
    let runs = home.path().join("runs/resnets");
    let of = |prefix: &str| {
        let names = fs::read_dir(&runs).into_iter().flatten().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count()
    };
    assert_eq!(
        ["channels-s0-", "autoencoder-s0-"].map(of),
        [1, 1],
        "the colorizers of half and of all of Lab"
    );
    let kept = ["alexnet-conv1", "alexnet-conv4", "alexnet-layer3", "gaussian-layer3", "gaussian-conv4"];
    assert_eq!(kept.map(|row| of(&format!("nonlinear-{row}-"))), [1, 1, 0, 1, 0]);
    Ok(())
}

/// Impossible rows are reported before the first step.
#[test]
fn rows_on_networks_of_their_own_are_looked_over() -> anyhow::Result<()> {
    let home = Home::new()?;
    let refused = |from: &str, to: &str| {
        let text = RESNETS.replacen(from, to, 1);
        assert_ne!(text, RESNETS);
        let experiment = home.load(&text, &[]);
        let checked = experiment.and_then(|experiment| experiment::run(&experiment, &home.options()));
        match checked {
            Ok(_) => panic!("{to} was accepted"),
            Err(error) => format!("{error:#}"),
        }
    };
    let rescaled = refused(
        "kmeans: { data_dependent: { batches: 1, patches: 300 } }",
        "kmeans: { rescaled: { init: msra } }",
    );
    assert!(rescaled.contains("layer1.0.add") && rescaled.contains("chains"), "{rescaled}");
    let twice = refused(
        "{ stage: colorization }\n        supervised",
        "{ stage: colorization, backbone: { alexnet: {} } }\n        supervised",
    );
    assert!(twice.contains("stage `colorization`") && twice.contains("backbone"), "{twice}");
    let nowhere = refused("layers: [conv1, conv5, layer1,", "layers: [conv1, conv7, layer1,");
    assert!(nowhere.contains("conv7"), "{nowhere}");
    let choice = refused("gaussian: { init: msra }", "gaussian: { backbone: { resnet: {} } }");
    assert!(choice.contains("expected one of") && choice.contains("init"), "{choice}");
    let same = refused("task: { draws: 1 }", "task: { draws: 1, train_from: [head, fc] }");
    assert!(same.contains("`head` and `fc` are the same layer"), "{same}");
    let depth = refused("depth: 50", "depth: 20");
    assert!(depth.contains("20 layers") && depth.contains("101"), "{depth}");
    let colorizer = refused(
        "kmeans: { data_dependent: { batches: 1, patches: 300 } }",
        "kmeans: { init: msra, backbone: { vgg: { width: 0.1 } } }",
    );
    assert!(colorizer.contains("vgg"), "{colorizer}");
    Ok(())
}

/// Tasks whose checkpoints hold something else than a whole backbone: a head in place of its last layers, other networks
/// beside it, another input, halves.
const TASKS: [(&str, &str, &str); 8] = [
    ("rotation", "{ head: { embedding: 16, hidden: [] } }", ", input: rgb_unit"),
    ("jigsaw", "{ permutations: 4, head: { embedding: 8, hidden: [16] } }", ", input: rgb_unit"),
    ("context", "{ grid: 2, head: { embedding: 8, hidden: [16] } }", ""),
    ("simclr", "{ head: { outputs: 8 } }", ", input: rgb_unit"),
    ("inpainting", "{ adversarial: 0.01, discriminator_width: 0.1 }", ", input: rgb_unit"),
    ("bigan", "{ code: 8, width: 0.1, side: 32 }", ", leak: 0.2, input: bgr_signed"),
    ("cross_channel", "{ predict: lightness }", ""),
    ("split_brain", "{}", ""),
];

#[test]
fn checkpoints_of_every_task_are_the_backbones_of_their_runs() -> anyhow::Result<()> {
    let home = Home::new()?;
    let stages = TASKS.map(|(task, options, input)| {
        format!(
            "  {task}:\n    pretext:\n      backbone: {{ alexnet: {{ stem: small, width: 0.125, fc: 16{input} }} }}\n      \
             task: {{ {task}: {options} }}\n      train: {{ steps: 1, batch: 4, optimizer: {{ sgd: {{ lr: 1e-3 }} }} }}\n"
        )
    });
    let data = "data: { source: { scenes: { train: 8, val: 4, size: 64 } }, crop: 60 }";
    let yaml = format!("name: tasks\n{data}\nstages:\n{}", stages.concat());
    experiment::run(&home.load(&yaml, &[])?, &home.options())?;
    for (task, _, input) in TASKS {
        let run = fs::read_dir(home.path().join("runs/tasks"))?.flatten().map(|entry| entry.path());
        let run = run.into_iter().find(|run| run.to_string_lossy().contains(&format!("/{task}-s0-")));
        let run = run.expect("a run of the task");
        let [file, checkpoint] = ["weights.safetensors", "checkpoints/last.safetensors"]
            .map(|file| experiment::read_trained(&run.join(file), None));
        let (file, checkpoint) = (file?, checkpoint.with_context(|| task.to_string())?);
        assert_eq!(file.spec, checkpoint.spec, "{task}");
        assert_eq!(file.through, checkpoint.through, "{task}");
        assert_eq!(file.through.is_some(), !["cross_channel", "split_brain"].contains(&task), "{task}");
        assert!(file.tensors.keys().eq(checkpoint.tensors.keys()), "{task}");
        for (name, tensor) in &file.tensors {
            let apart = (tensor - &checkpoint.tensors[name])?.abs()?.flatten_all()?.max(0)?;
            assert_eq!(apart.to_scalar::<f32>()?, 0.0, "{task}: {name}");
        }
        // As a row of a table, up to the last layer that was trained.
        let last = file.through.as_deref().unwrap_or("conv5");
        let probe = format!(
            "name: probe\n{data}\nbackbone: {{ alexnet: {{ stem: small, width: 0.125, fc: 16{input} }} }}\nstages:\n  knn:\n    knn:\n      backbones: {{ {task}: {{ file: {} }} }}\n      \
             features: {{ layers: [{last}] }}\n      classifier: {{ neighbors: [2] }}\n",
            run.join("checkpoints/last.safetensors").display()
        );
        experiment::check(&home.load(&probe, &[])?, &home.options()).with_context(|| task.to_string())?;
    }
    Ok(())
}
