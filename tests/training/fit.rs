//! The outputs of a complete run: learning, log lines, panels, manifest.

use super::toy::{AVERAGED, Quirks, SPEC, Toy, loader, metrics, spec, train};
use hueristic::{
    data::loader::Pass,
    nn::{TrainingPass, optim::Optimizer},
    rng::Rng,
    train::{
        checkpoint::Checkpoint, fit::FitOutcome, manifest::Manifest, run_dir::RunDir, task::Task,
        trial::trial,
    },
};
use serde_json::Value;
use std::fs;

#[test]
fn the_toy_learns() {
    let temp = tempfile::tempdir().unwrap();
    let mut untrained = Toy::new(Quirks::default()).unwrap();
    let before = untrained.evaluate(&mut loader(5, 2, Pass::Once, &Rng::new(0))).unwrap();
    let long = SPEC.replace("steps: 20", "steps: 400");
    let FitOutcome::Finished(after) = train(temp.path(), &long, Quirks::default()).unwrap() else { panic!() };
    assert!(after[0].value < 0.2 * before[0].value, "{before:?} → {after:?}");
    assert!(RunDir::finished(temp.path()).unwrap().is_some());
}

/// A rehearsal takes no step that the run would not: what breaks in the fourth of three is not seen.
#[test]
fn a_rehearsal_is_no_longer_than_the_run() {
    let spec = spec(&SPEC.replace("steps: 20", "steps: 3"));
    for (step, fails) in [(3, true), (4, false)] {
        let mut toy = Toy::new(Quirks { fail: Some(2 * step), ..Quirks::default() }).unwrap();
        let mut train = loader(11, spec.batch.get(), Pass::Train, &Rng::new(0));
        let mut val = loader(5, 2, Pass::Once, &Rng::new(0));
        let found = trial(&mut toy, &mut train, &mut val, &spec, &Rng::new(0));
        assert_eq!(found.is_err(), fails, "{found:?}");
        assert!(found.is_err() || found.unwrap().first > 0.0, "a time, of warm-up alone");
    }
}

#[test]
fn the_log_has_every_line_once() {
    let temp = tempfile::tempdir().unwrap();
    let FitOutcome::Finished(results) = train(temp.path(), SPEC, Quirks::default()).unwrap() else {
        panic!()
    };
    let lines = metrics(temp.path());
    let at: Vec<_> =
        lines.iter().map(|l| (l["step"].as_u64().unwrap(), l["split"].as_str().unwrap())).collect();
    let train_and_val = [
        (4, "train"),
        (8, "train"),
        (8, "val"),
        (12, "train"),
        (16, "train"),
        (16, "val"),
        (20, "train"),
        (20, "val"),
    ];
    assert_eq!(at, train_and_val);
    for line in lines.iter().filter(|l| l["split"] == "train") {
        let step = line["step"].as_u64().unwrap() as usize;
        // Two batches per step, three per epoch.
        assert_eq!(line["epoch"].as_f64(), Some((2 * step / 3) as f64 + (2 * step % 3) as f64 / 3.0));
        let rate = spec(SPEC).schedule.rate(0.02, step - 1, 20);
        assert_eq!(line["lr"].as_f64(), Some(rate));
        assert!(["loss", "noise", "gradient_norm"].iter().all(|name| line[*name].as_f64().is_some()));
    }
    assert_eq!(lines[7]["error"].as_f64(), Some(results[0].value));
    assert_eq!(lines[7]["images"], Value::from(5.0));
}

/// The loop against explicit updates: micro-batches averaged, clipped, scheduled; noise keyed by step and micro-batch.
#[test]
fn the_loop_is_the_update_repeated() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
    let spec = spec(SPEC);
    let rng = Rng::new(3);
    let mut toy = Toy::new(Quirks::default()).unwrap();
    let mut images = loader(11, 3, Pass::Train, &rng.split("data"));
    let mut optimizer = Optimizer::new(&spec.optimizer, toy.params()).unwrap();
    for step in 0..20 {
        let mut gradients = optimizer.gradients(toy.params());
        for micro in 0..2 {
            let batch = images.next_batch().unwrap().unwrap();
            let key = rng.split("step").split(&step.to_string()).split(&micro.to_string());
            let training = TrainingPass::new(key);
            let loss = toy.step(&batch, &training).unwrap().loss;
            gradients.add(&training.tape, loss).unwrap();
        }
        gradients.finish(Some(5.0)).unwrap();
        let rate = spec.schedule.rate(optimizer.base_lr(), step, 20);
        optimizer.step(toy.params(), &gradients, rate).unwrap();
    }
    let path = hueristic::train::checkpoint::last(temp.path());
    let saved = Checkpoint::read(&path, toy.params().device()).unwrap();
    for ((name, there), (expected, here)) in saved.params.iter().zip(toy.params().state()) {
        assert_eq!(name, &expected);
        let bits = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(there), bits(&here), "{name}");
    }
    assert_eq!(saved.state.position, images.position());
}

/// The last validation is of the averaged weights; the checkpoint holds both, and the frozen layer once.
#[test]
fn averaged_weights_are_validated_and_saved_beside_the_trained_ones() {
    let temp = tempfile::tempdir().unwrap();
    let FitOutcome::Finished(metrics) = train(temp.path(), AVERAGED, Quirks::default()).unwrap() else {
        panic!()
    };
    let path = hueristic::train::checkpoint::last(temp.path());
    let saved = Checkpoint::read(&path, &candle_core::Device::Cpu).unwrap();
    let names: Vec<_> = saved.average.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fc1.weight"]);
    let error = |state: &[(String, candle_core::Tensor)]| {
        let mut toy = Toy::new(Quirks::default()).unwrap();
        toy.params().restore(state).unwrap();
        toy.evaluate(&mut loader(5, 2, Pass::Once, &Rng::new(3).split("val"))).unwrap()[0].value
    };
    let mut averaged = saved.params.clone();
    averaged[0] = saved.average[0].clone();
    assert_eq!(error(&averaged), metrics[0].value);
    assert_ne!(error(&saved.params), metrics[0].value);
}

#[test]
fn pictures_and_manifest_tell_the_run() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
    let pictures: Vec<_> = ["first-000008.png", "first-000016.png", "first-000020.png", "latest.png"]
        .map(|name| fs::read(temp.path().join("pictures").join(name)).unwrap())
        .into();
    assert!(pictures.iter().all(|p| p == &pictures[0]), "the same image was drawn");
    let manifest = Manifest::read(temp.path()).unwrap().unwrap();
    assert_eq!((manifest.steps, manifest.resumed, manifest.about.seed), (20, 0, 3));
    assert_eq!(manifest.about.data["train"], "tiles 11");
    assert!(manifest.started <= manifest.ended.unwrap() && manifest.wall_seconds > 0.0);
    assert!(manifest.machine.cores >= 1 && manifest.machine.version == env!("CARGO_PKG_VERSION"));
    assert!(manifest.machine.cpu.ends_with(&format!(", {}", hueristic::ops::conv::instructions())));
    for name in ["spec.yaml", "metrics.jsonl", "checkpoints/last.safetensors", "pictures/latest.png"] {
        assert!(manifest.outputs.contains_key(name), "{name} is not listed");
    }
    let log = fs::read_to_string(temp.path().join("log.txt")).unwrap();
    assert!(log.contains("20/20  loss ") && log.contains("20  validation  error "), "{log}");
}

/// A failure in the last validation loses no training: its checkpoint is written first.
#[test]
fn the_last_validation_fails_after_its_checkpoint_and_is_made_up_for() {
    let (temp, straight) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // 8 and 16 are validated too.
    let breaks = Quirks { blind: Some(3), ..Quirks::default() };
    let error = train(temp.path(), SPEC, breaks).unwrap_err();
    assert!(format!("{error:#}").contains("validation after step 20: the toy is blind"), "{error:#}");
    let last = hueristic::train::checkpoint::last(temp.path());
    assert_eq!(Checkpoint::read_state(&last).unwrap().step, 20);

    // Nothing is trained again: the first forward pass would fail.
    let idle = Quirks { fail: Some(1), ..Quirks::default() };
    let FitOutcome::Finished(made_up) = train(temp.path(), SPEC, idle).unwrap() else { panic!() };
    let FitOutcome::Finished(expected) = train(straight.path(), SPEC, Quirks::default()).unwrap() else {
        panic!()
    };
    assert_eq!(made_up, expected);
    assert_eq!(metrics(temp.path()), metrics(straight.path()));
    assert!(RunDir::finished(temp.path()).unwrap().is_some());
}
