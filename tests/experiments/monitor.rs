//! `monitor:` from spec to report: every kind of task is measured, training is the same with and without, and what cannot
//! be measured is refused.

use super::home::Home;
use candle_core::{DType, Device, Tensor};
use hueristic::{
    data::{
        Batch,
        crop_policy::CropPolicy,
        loader::{Loader, Pass},
        scenes::Scenes,
        source::{Dataset, Split},
    },
    evaluation::monitor::{MEASURES, MonitorSets, MonitorSpec, RepresentationMonitor},
    experiment::{Outcome, check, run},
    nn::{TrainingPass, params::Params},
    pretext::{rotation::RotationSpec, view_classifier::ViewClassifier},
    rng::Rng,
    train::{
        collective::Ranks,
        fit::{FitOptions, fit},
        manifest::{Manifest, RunInfo},
        monitor::{Measurement, Monitor, Monitoring},
        run_dir::RunDir,
        spec::TrainSpec,
        task::{ImagePanel, Metric, StepOutput, Task},
    },
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

type Result<T> = anyhow::Result<T>;

const SPEC: &str = r#"
name: monitored
data: { source: { scenes: { train: 60, val: 30, size: 32 } }, crop: 32 }
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  rotation: { pretext: { task: { rotation: { head: { embedding: 16, hidden: [] } } }, train: &train { steps: 4, batch: 4, optimizer: { adam: { lr: 1e-3 } } } MONITOR } }
  jigsaw: { pretext: { task: { jigsaw: { permutations: 5, tile: 8, head: { tap: conv4, embedding: 16, hidden: [] } } }, train: *train MONITOR } }
  color: { pretext: { task: colorization, train: *train MONITOR } }
  lightness: { pretext: { task: { cross_channel: { predict: lightness } }, train: *train MONITOR } }
  autoencoder: { pretext: { task: { autoencoder: {} }, train: { <<: *train, ema: { decay: 0.5 } } MONITOR } }
  halves: { pretext: { task: split_brain, train: *train MONITOR } }
  contrast: { pretext: { task: { simclr: { head: { outputs: 8 } } }, train: *train MONITOR } }
  inpainting: { pretext: { task: { inpainting: { adversarial: 0.1, discriminator_width: 0.05 } }, train: *train MONITOR } }
  dahl: { pretext: { backbone: { dahl: { width: 0.125 } }, task: dahl, train: *train, monitor: { every: 2, pictures: { bank: 40, test: 20 }, layers: [conv1_2, conv4_3], knn: { neighbors: 3 }, budget: 100 % } } }
  codes: { pretext: { task: { bigan: { code: 8, width: 0.05 } }, train: *train MONITOR } }
  probe:
    linear_probe:
      backbones: { rotation: { stage: rotation }, color: { stage: color } }
      probe: { layers: [conv2, conv5], dimensions: 96, augment: false }
      train: { steps: 2, batch: 4, optimizer: { sgd: { lr: 0.01 } } }
"#;

const MONITOR: &str = ", monitor: { every: 2, pictures: { bank: 40, test: 20 }, layers: [conv2, conv4], knn: { neighbors: 3 }, budget: 100 % }";

fn spec(monitor: &str) -> String {
    SPEC.replace(" MONITOR", monitor)
}

fn runs(home: &Home) -> Result<BTreeMap<String, PathBuf>> {
    let entries = fs::read_dir(home.path().join("runs/monitored"))?;
    let entries = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let named = entries.into_iter().filter(|path| path.join("manifest.json").exists());
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(named.filter_map(|path| Some((name(&path)?, path))).collect())
}

#[test]
fn every_task_is_measured_and_trained_as_without() -> Result<()> {
    let (plain, watched) = (Home::new()?, Home::new()?);
    run(&plain.load(&spec(""), &[])?, &plain.options())?;
    let experiment = watched.load(&spec(MONITOR), &[])?;
    let plan = check(&experiment, &watched.options())?.to_string();
    for part in [
        "monitor  conv2, conv4, every 2 steps, in at most 100 % of the time",
        "at most 40 pictures of scenes as a bank and 20 as a test, 0.3 MB",
    ] {
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    let Outcome::Finished { report: Some(report), .. } = run(&experiment, &watched.options())? else {
        panic!("no report")
    };
    let (before, after) = (runs(&plain)?, runs(&watched)?);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>(),
        "the hashes are the same"
    );
    for (name, run) in &before {
        let weights = |run: &PathBuf| fs::read(run.join("weights.safetensors"));
        if !name.starts_with("probe") {
            let header = |bytes: &[u8]| 8 + u64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as usize;
            let (a, b) = (weights(run)?, weights(&after[name])?);
            // the header holds the spec, the rest the tensors
            assert!(a[header(&a)..] == b[header(&b)..], "{name}");
        }
    }
    let stages = [
        "rotation",
        "jigsaw",
        "color",
        "lightness",
        "autoencoder",
        "halves",
        "contrast",
        "inpainting",
        "codes",
    ];
    for stage in stages {
        let run = after.iter().find(|(name, _)| name.starts_with(&format!("{stage}-s0"))).expect(stage).1;
        let results: Value = serde_json::from_slice(&fs::read(run.join("results.json"))?)?;
        assert_eq!((&results["kind"], &results["stage"]), (&"monitor".into(), &stage.into()));
        let steps = results["steps"].as_array().expect("steps");
        // The last is always made, others where 100 pictures fit into four updates, or the machine has the time.
        let measured: Vec<u64> = steps.iter().filter_map(|step| step["step"].as_u64()).collect();
        assert!([&[0, 2, 4][..], &[0, 4], &[4]].contains(&&measured[..]), "{stage}: {measured:?}");
        // Four views of four pictures, three times through the network, four times: less than 100 pictures twice and again.
        assert!(stage != "rotation" || measured == [4], "{measured:?}");
        for step in steps {
            let layers = step["layers"].as_array().expect("layers");
            assert_eq!((layers.len(), &layers[1]["layer"]), (2, &"conv4".into()));
            for (measure, layer) in MEASURES.iter().flat_map(|m| layers.iter().map(move |layer| (m, layer))) {
                let value = layer["values"][*measure].as_f64().expect(measure);
                let range = match *measure {
                    "rankme" => 1.0..=40.0,
                    "uniformity" => -4.5..=1e-6,
                    "alignment" => 0.0..=4.0,
                    _ => 0.0..=1.0,
                };
                assert!(range.contains(&value), "{stage} {measure}: {value}");
            }
        }
        assert!(report.text.contains(&format!("Monitor of {stage} after step 4: scenes")), "{}", report.text);
    }
    let written: Vec<_> =
        report.tables.iter().chain(&report.plots).filter_map(|path| path.file_name()).collect();
    for file in
        ["monitor.csv", "monitor.md", "monitor.svg", "monitor.png", "monitor_probe.svg", "monitor_probe.png"]
    {
        assert!(written.iter().any(|name| *name == file), "{file} is not in {written:?}");
    }
    let agreement = fs::read_to_string(watched.path().join("runs/monitored/report/monitor_probe.svg"))?;
    assert!(agreement.contains("rank correlation") && agreement.contains("n = 2"), "conv2 of two runs");
    Ok(())
}

/// Without labels only what needs none; the layers are the usual ones.
#[test]
fn pictures_without_labels_are_measured_without() -> Result<()> {
    let home = Home::new()?;
    for (split, count) in [("train", 12), ("val", 6)] {
        let folder = home.path().join(split);
        fs::create_dir_all(&folder)?;
        let scenes = Scenes::new(count, 32, 7, if split == "train" { Split::Train } else { Split::Val });
        for i in 0..count {
            let picture = image::RgbImage::from_raw(32, 32, scenes.image(i)?.pixels).expect("32 × 32");
            picture.save(folder.join(format!("{i}.png")))?;
        }
    }
    let yaml =
        spec("").replace("scenes: { train: 60, val: 30, size: 32 }", "folder: { train: train, val: val }");
    let yaml = yaml.split("  jigsaw:").next().unwrap_or_default().to_string();
    let own =
        |monitor: &str| yaml.replace("lr: 1e-3 } } }", &format!("lr: 1e-3 }} }} }}, monitor: {monitor}"));
    run(&home.load(&own("{}"), &[])?, &home.options())?;
    let run_dir = runs(&home)?.into_values().next().expect("a run");
    let results: Value = serde_json::from_slice(&fs::read(run_dir.join("results.json"))?)?;
    let layers = results["steps"][0]["layers"].as_array().expect("layers");
    assert_eq!(
        layers.iter().map(|l| l["layer"].as_str()).collect::<Vec<_>>(),
        ["conv1", "conv2", "conv3", "conv4", "conv5"].map(Some)
    );
    let names: Vec<&String> = layers[0]["values"].as_object().expect("values").keys().collect();
    assert_eq!(names, ["alignment", "rankme", "std", "uniformity"]);

    let again = Home::new()?;
    let asked = own("{ knn: { neighbors: 3 } }").replace("train: train, val: val", &{
        let at = home.path().display();
        format!("train: {at}/train, val: {at}/val")
    });
    let refused = again.load(&asked, &[]).and_then(|e| check(&e, &again.options()).map(drop));
    let refused = format!("{:#}", refused.expect_err("no labels"));
    assert!(refused.contains("monitor") && refused.contains("label"), "{refused}");
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_refused() -> Result<()> {
    let home = Home::new()?;
    let refused = |monitor: &str| -> String {
        let yaml = spec(&format!(", monitor: {monitor}"));
        let outcome = home.load(&yaml, &[]).and_then(|e| check(&e, &home.options()).map(drop));
        format!("{:#}", outcome.expect_err(monitor))
    };
    for (monitor, part) in [
        ("{ layers: [conv9] }", "unknown layer `conv9`"),
        ("{ layers: [] }", "at least one layer"),
        ("{ layers: [conv1, conv1] }", "given twice"),
        // the jigsaw network ends with conv4
        ("{ layers: [conv5], knn: { neighbors: 3 } }", "spec.yaml:7:"),
        ("{ pictures: { bank: 10 }, knn: { neighbors: 20 } }", "20 neighbors of a bank of 10 pictures"),
        ("{ budget: 5 }", "share from 0 to 1"),
        ("{ budget: a lot }", "5 %"),
        ("{ evry: 5 }", "did you mean `every`?"),
        ("{ data: { source: { catalog: cifar11 } } }", "did you mean `cifar10`"),
        (
            "{ data: { source: { scenes: { train: 60, val: 30 } }, resize: 8, crop: 32 } }",
            "crop 32 is larger",
        ),
        ("{ data: { source: { folder: { train: nowhere, val: nowhere } } } }", "nowhere"),
    ] {
        let message = refused(monitor);
        assert!(message.contains(part), "{monitor}: {message}");
    }
    // The default fits the bank.
    let small = spec(", monitor: { pictures: { bank: 10 } }");
    home.load(&small, &[]).and_then(|e| check(&e, &home.options()).map(drop))
}

/// Test pictures must be held out; the bank may be what is trained on.
#[test]
fn test_pictures_of_the_training_are_refused() -> Result<()> {
    let home = Home::new()?;
    for class in ["cat", "dog"] {
        for split in ["train", "val"] {
            let folder = home.path().join(split).join(class);
            fs::create_dir_all(&folder)?;
            let scenes = Scenes::new(30, 32, class.len() as u64, Split::Train);
            for i in 0..12 {
                let picture = image::RgbImage::from_raw(32, 32, scenes.image(i)?.pixels).expect("32 × 32");
                picture.save(folder.join(format!("{i}.png")))?;
            }
        }
    }
    let yaml = |val: &str| {
        let data = "folder: { train: train, val: val }";
        let own = format!(
            "{{ data: {{ source: {{ folder: {{ train: train, val: {val} }} }} }}, pictures: {{ bank: 20 }} }}"
        );
        let yaml = spec("").replace("scenes: { train: 60, val: 30, size: 32 }", data);
        let yaml = yaml.split("  jigsaw:").next().unwrap_or_default().to_string();
        yaml.replace("lr: 1e-3 } } }", &format!("lr: 1e-3 }} }} }}, monitor: {own}"))
    };
    check(&home.load(&yaml("val"), &[])?, &home.options())?;
    let refused = check(&home.load(&yaml("train"), &[])?, &home.options()).map(drop);
    let refused = format!("{:#}", refused.expect_err("trained on"));
    assert!(refused.contains("is one of the training pictures"), "{refused}");
    Ok(())
}

/// A task whose features are given.
struct Given {
    params: Params,
    map: fn(&Tensor) -> candle_core::Result<Tensor>,
}

impl Task for Given {
    fn params(&self) -> &Params {
        &self.params
    }
    fn step(&mut self, _: &Batch, _: &TrainingPass) -> Result<StepOutput> {
        anyhow::bail!("it is not trained")
    }
    fn evaluate(&mut self, _: &mut Loader) -> Result<Vec<Metric>> {
        Ok(vec![])
    }
    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        Ok(None)
    }
    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        layers.iter().map(|_| Ok((self.map)(&pixels.to_dtype(DType::F32)?)?)).collect()
    }
}

fn monitor(layers: &[&str], side: usize) -> Result<RepresentationMonitor> {
    let set = |split| -> Arc<dyn Dataset> { Arc::new(Scenes::new(60, 32, 1, split)) };
    let spec: MonitorSpec = serde_json::from_str(r#"{"pictures": {"bank": 40, "test": 20}}"#)?;
    let framing = CropPolicy::Crop { resize: None, crop: side };
    let sets = (set(Split::Train), set(Split::Val));
    let sets = MonitorSets::draw(sets, "scenes", (&spec, framing), None, &Rng::new(0))?;
    Ok(RepresentationMonitor::new(spec, layers.iter().map(ToString::to_string).collect(), sets))
}

/// Biases that grow by a hundred in each step drown what the pictures differ in.
#[test]
fn a_network_that_collapses_in_training_is_warned_of() -> Result<()> {
    let of = |json: &str| serde_json::from_str::<Value>(json);
    for (rate, collapses) in [("1e5", true), ("1", false)] {
        let task: RotationSpec =
            serde_json::from_value(of(r#"{"batch_norm": false, "head": {"embedding": 8, "hidden": []}}"#)?)?;
        let backbone = serde_json::from_str(r#"{"alexnet": {"stem": "small", "width": 0.1}}"#)?;
        let multipliers = format!(r#"[{{"pattern": "conv*.bias", "lr": {rate}}}]"#);
        let train = format!(
            r#"{{"steps": 3, "batch": 4, "optimizer": {{"adam": {{"lr": 1e-3, "multipliers": {multipliers}}}}}}}"#
        );
        let data = serde_json::from_str(r#"{"source": {"scenes": {"train": 1, "val": 1}}, "crop": 32}"#)?;
        let set = Arc::new(Scenes::new(40, 32, 1, Split::Train));
        let mut loader = Loader::new(set, &data, Pass::Train, 4, &Rng::new(0), &Device::Cpu)?;
        let mut task = ViewClassifier::new(&task, &backbone, 32, &Rng::new(0), &Device::Cpu)?;
        let temp = tempfile::tempdir()?;
        let mut run = RunDir::open(temp.path(), "a: 1\n")?;
        run.begin(RunInfo::default())?;
        let monitoring = Monitoring::new(Box::new(monitor(&["conv4"], 32)?), 1, f64::MAX);
        let train = serde_json::from_str::<TrainSpec>(&train)?.in_steps(40)?;
        let options = FitOptions { spec: &train, rng: &Rng::new(0), ranks: &Ranks::default() };
        fit(&mut task, &mut loader, None, options, &mut run, Some(monitoring))?;
        run.finish(&[])?;
        let warnings = Manifest::read(temp.path())?.expect("a manifest").warnings;
        let warned = warnings.iter().any(|warning| warning.contains("the features of conv4 have collapsed"));
        assert_eq!(warned, collapses, "{warnings:?}");
    }
    Ok(())
}

fn measured(map: fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Measurement> {
    let mut monitor = monitor(&["conv1"], 24)?;
    monitor.prepare()?;
    monitor.read(&Given { params: Params::new(&Device::Cpu), map })?()
}

#[test]
fn collapsed_features_are_recognized_and_others_are_not() -> Result<()> {
    let value = |measurement: &Measurement, name: &str| {
        let named = |(found, _): &&(String, f64)| *found == format!("conv1/{name}");
        measurement.values.iter().find(named).map(|(_, value)| *value).expect("measured")
    };
    let pixels = measured(|x| Ok(x.clone()))?;
    assert_eq!(pixels.collapsed, [], "{pixels:?}");
    assert!(value(&pixels, "knn") > 0.0 && value(&pixels, "rankme") > 1.05, "{pixels:?}");

    let constant = measured(|x| (x * 0.0)? + 3.0)?;
    assert!(constant.collapsed[0].1.contains("their spread is 0.0"), "{constant:?}");
    assert!((value(&constant, "rankme") - 1.0).abs() < 1e-6 && value(&constant, "uniformity").abs() < 1e-5);
    assert_eq!(value(&constant, "alignment"), 0.0);
    let nothing = measured(|x| x * 0.0)?;
    assert_eq!(nothing.collapsed.len(), 1, "{nothing:?}");

    let broken = measured(|x| x * f64::NAN)?;
    assert!(
        broken.collapsed.is_empty() && broken.values.iter().all(|(_, value)| value.is_nan()),
        "{broken:?}"
    );
    assert_eq!(broken.values.len(), MEASURES.len());
    Ok(())
}
