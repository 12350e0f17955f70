//! Lengths in epochs, images and percent: what they amount to, and when they are refused.

use super::home::Home;
use hueristic::experiment::{Outcome, check, run};
use serde_yaml::Value;
use std::fs;

type Result<T> = anyhow::Result<T>;

/// 64 pictures in updates of 2 × 4: 8 updates see all of them.
const SPEC: &str = "\
name: tiny
data: { source: { scenes: { train: 64, val: 16 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.1, fc: 8 } }
stages:
  color:
    pretext:
      task: autoencoder
      train:
        LENGTH
        batch: 4
        iter_size: 2
        optimizer: { adam: { lr: 1e-3 } }
        schedule: { decay: { multi_step: { at: [HALF, LATE], rates: [1e-4, 1e-5] } }, warmup: WARM }
        evaluate_every: HALF
";

fn spec(length: &str, [half, late, warm]: [&str; 3]) -> String {
    SPEC.replace("LENGTH", length).replace("HALF", half).replace("LATE", late).replace("WARM", warm)
}

fn in_steps() -> String {
    spec("steps: 16", ["8", "12", "2"])
}

/// The run's own spec, in which all lengths are in updates.
fn trained(home: &Home) -> Result<Value> {
    let runs: Vec<_> = fs::read_dir(home.path().join("runs/tiny"))?.collect::<std::io::Result<_>>()?;
    let folders: Vec<_> = runs.iter().filter(|run| run.path().join("spec.yaml").is_file()).collect();
    anyhow::ensure!(folders.len() == 1, "{} runs", folders.len());
    let spec: Value = serde_yaml::from_str(&fs::read_to_string(folders[0].path().join("spec.yaml"))?)?;
    Ok(spec["work"]["pretext"]["train"].clone())
}

#[test]
fn every_unit_amounts_to_updates_and_shares_their_run() -> Result<()> {
    let home = Home::new()?;
    run(&home.load(&in_steps(), &[])?, &home.options())?;
    let train = trained(&home)?;
    assert_eq!((train["steps"].as_u64(), train["evaluate_every"].as_u64()), (Some(16), Some(8)));
    assert_eq!(train["schedule"]["warmup"].as_u64(), Some(2));
    for (length, lengths) in [
        ("epochs: 2", ["1 epoch", "75 %", "12.5 %"]),
        ("images: 128", ["64 images", "1.5 epochs", "16 images"]),
        ("images: 121", ["50 %", "12 steps", "0.25 epochs"]),
    ] {
        let other = home.load(&spec(length, lengths), &[])?;
        let Outcome::Finished { .. } = run(&other, &home.options())? else {
            panic!("{length}: not finished")
        };
        assert_eq!(trained(&home)?, train, "{length}: another run began");
    }
    Ok(())
}

#[test]
fn a_check_says_what_they_amount_to() -> Result<()> {
    let home = Home::new()?;
    let report = check(&home.load(&spec("epochs: 3", ["1 epoch", "90 %", "0"]), &[])?, &home.options())?;
    let text = report.to_string();
    assert!(text.contains("24 steps × 4 × 2 images = 3.0 epochs"), "{text}");
    // Half of the pictures are half of the updates.
    let half = home.load(&spec("epochs: 3", ["1 epoch", "90 %", "0"]), &["data.limit.train=32"])?;
    let text = check(&half, &home.options())?.to_string();
    assert!(text.contains("12 steps × 4 × 2 images = 3.0 epochs"), "{text}");
    Ok(())
}

#[test]
fn the_latest_length_replaces_others() -> Result<()> {
    let home = Home::new()?;
    let yaml = spec("epochs: 2", ["1 epoch", "75 %", "1"]);
    let length = |sets: &[&str]| -> Result<_> {
        let experiment = home.load(&yaml, sets)?;
        let stage = experiment.stages.get("color").map(|stage| stage.train().map(|train| train.length()));
        Ok(stage.flatten().transpose()?.map(|length| length.to_string()))
    };
    assert_eq!(length(&[])?.as_deref(), Some("2 epochs"));
    assert_eq!(length(&["color.train.steps=5"])?.as_deref(), Some("5 steps"));
    assert_eq!(length(&["color.train.steps=5", "color.train.images=100"])?.as_deref(), Some("100 images"));
    assert_eq!(length(&["color.train.epochs=7"])?.as_deref(), Some("7 epochs"));
    Ok(())
}

#[test]
fn wrong_lengths_are_refused_at_their_line() -> Result<()> {
    let home = Home::new()?;
    let good = ["8", "12", "2"];
    let refused = |length: &str, lengths| match home.load(&spec(length, lengths), &[]) {
        Ok(_) => panic!("{length}, {lengths:?}: accepted"),
        Err(error) => error.to_string(),
    };
    for (length, lengths, line, part) in [
        ("# no length", good, 8, "give `steps`, `epochs` or `images`"),
        ("steps: 3\n        epochs: 2", good, 10, "`steps` and `epochs` both say how long"),
        ("images: 3\n        epochs: 2", good, 9, "`epochs` and `images` both say how long"),
        ("epochs: 0", good, 9, "above 0"),
        ("epochs: 2 epochs", good, 9, "expected a number, got the text"),
        ("steps: 16", ["8 hours", "12", "2"], 13, "such as `2 epochs`"),
        ("steps: 16", ["8", "6", "2"], 13, "6 steps follows 8 steps"),
        ("steps: 16", ["90 %", "10 %", "2"], 13, "10 % follows 90 %"),
        ("steps: 16", ["8", "12", "-1"], 13, "a whole number of at least 1"),
        ("steps: 16", ["8", "12", "200 %"], 13, "up to 100"),
        ("steps: 16", ["0", "12", "2"], 13, "a whole number of at least 1"),
    ] {
        let message = refused(length, lengths);
        assert!(
            message.contains(part) && message.contains(&format!(":{line}:")),
            "{length} {lengths:?}\n{message}"
        );
    }
    Ok(())
}

/// Only the number of pictures shows that the second milestone is not after the first.
#[test]
fn milestones_in_two_units_are_refused_before_the_first_step() -> Result<()> {
    let home = Home::new()?;
    let error = run(&home.load(&spec("steps: 16", ["12", "1 epoch", "0"]), &[])?, &home.options());
    let message = error.map(drop).unwrap_err().to_string();
    assert!(message.contains("multi_step.at") && message.contains("8 follows 12"), "{message}");
    assert!(!home.path().join("runs/tiny").exists());
    Ok(())
}

#[test]
fn more_updates_than_can_be_counted_are_refused() -> Result<()> {
    let home = Home::new()?;
    let error = check(&home.load(&spec("epochs: 1e30", ["8", "12", "0"]), &[])?, &home.options());
    let message = error.map(drop).unwrap_err().to_string();
    assert!(message.contains("more than 4294967295 updates"), "{message}");
    Ok(())
}
