//! Ranks that are threads of one process, as for several GPUs, here on processors: the bits of one rank, another number of them,
//! and what goes wrong.

use super::home::Home;
use anyhow::Result;
use candle_core::Device;
use hueristic::{
    experiment::{Outcome, RunOptions, Seat, SweepPoint, run_seated},
    nn::weights,
    train::collective::of_threads,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A ResNet with batch normalization and flips, an AlexNet with dropout, clipping and averages, and a probe of the first.
const SPEC: &str = "
name: threads
data: { source: { scenes: { train: 67, val: 16, size: 32 } }, crop: 28 }
backbone: { resnet: { stem: small, width: 0.125 } }
stages:
  color:
    pretext:
      task: { colorization: {} }
      train: { steps: 4, batch: BATCH, iter_size: ITERATIONS, log_every: 2, optimizer: { adam: { lr: 1.0e-3 } } }
  rotation:
    pretext:
      task: { rotation: { head: { embedding: 32, hidden: [] } } }
      backbone: { alexnet: { stem: small, width: 0.125, fc: 32, norm_decay: 0.9, input: rgb_unit } }
      train: { steps: 2, batch: BATCH, iter_size: ITERATIONS, clip: 1.0, ema: { decay: 0.5 }, optimizer: { sgd: { lr: 0.01 } } }
  probe:
    linear_probe:
      backbones: { color: { stage: color } }
      probe: { layers: [conv1, layer2], dimensions: 64, augment: false }
      train: { steps: 3, batch: BATCH, iter_size: ITERATIONS, optimizer: { sgd: { lr: 0.01 } } }
";

fn spec(batch: usize, iterations: usize) -> String {
    SPEC.replace("BATCH", &batch.to_string()).replace("ITERATIONS", &iterations.to_string())
}

/// Runs a spec on so many threads.
fn run(home: &Home, spec: &str, threads: usize) -> Result<Outcome> {
    let point = SweepPoint::whole(home.load(spec, &[])?);
    let mut seats = of_threads(threads, Duration::from_secs(60))
        .into_iter()
        .map(|ranks| Seat { device: Device::Cpu, ranks });
    let Some(Seat { device, ranks }) = seats.next() else { panic!("a thread") };
    let options = RunOptions { device, ranks, ..home.options() };
    run_seated(&[point], &options, None, seats.collect())
}

fn run_of(home: &Home, stage: &str) -> PathBuf {
    let runs = fs::read_dir(home.path().join("runs/threads")).unwrap().map(|entry| entry.unwrap().path());
    let is_stage =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{stage}-s0-"));
    runs.into_iter().find(is_stage).unwrap_or_else(|| panic!("no run of {stage}"))
}

fn tensors(run: &Path) -> Vec<(String, Vec<u32>)> {
    let (tensors, _) = weights::read(&run.join("weights.safetensors")).unwrap();
    let bits = |tensor: candle_core::Tensor| -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
    };
    let mut all: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect();
    all.sort();
    all
}

/// The training lines of a run, without times.
fn log(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let untimed =
        |line: &str| line.split(",\"images_per_second\"").next().unwrap().trim_end_matches('}').to_string();
    text.lines().map(untimed).collect()
}

/// N threads that share a batch have the bits of one that takes the N parts one after another.
#[test]
fn threads_have_the_bits_of_one() -> Result<()> {
    for (threads, iterations) in [(2, 2), (4, 1)] {
        let (one, many) = (Home::new()?, Home::new()?);
        run(&one, &spec(4, threads * iterations), 1)?;
        run(&many, &spec(4 * threads, iterations), threads)?;
        for stage in ["color", "rotation"] {
            let (want, got) = (run_of(&one, stage), run_of(&many, stage));
            assert!(tensors(&want) == tensors(&got), "{threads} × {iterations}: {stage}");
            assert_eq!(log(&want), log(&got), "{threads} × {iterations}");
        }
        let table = |home: &Home| fs::read_to_string(home.path().join("runs/threads/report/table.csv"));
        assert_eq!(table(&one)?, table(&many)?);
        let manifest = fs::read_to_string(run_of(&many, "color").join("manifest.json"))?;
        assert!(manifest.contains(&format!("{threads} processes")), "{manifest}");
    }
    Ok(())
}

/// A run goes on with another number of threads, from its last checkpoint.
#[test]
fn a_run_goes_on_with_other_threads() -> Result<()> {
    let home = Home::new()?;
    let steps = |steps: usize| {
        let train = format!(
            "steps: {steps}, batch: 8, iter_size: 1, log_every: 2, optimizer: {{ adam: {{ lr: 1.0e-3 }} }}"
        );
        format!(
            "name: threads\ndata: {{ source: {{ scenes: {{ train: 67, val: 16, size: 32 }} }}, crop: 28 }}\nbackbone: {{ resnet: \
             {{ stem: small, width: 0.125 }} }}\nstages: {{ color: {{ pretext: {{ task: {{ colorization: {{}} }}, train: {{ {train} \
             }} }} }} }}\n"
        )
    };
    for (threads, length) in [(4, 3), (2, 6), (1, 8)] {
        run(&home, &steps(length), threads)?;
    }
    let lines: Vec<String> = fs::read_dir(home.path().join("runs/threads"))?
        .filter_map(|run| fs::read_to_string(run.ok()?.path().join("manifest.json")).ok())
        .collect();
    assert!(lines.iter().any(|manifest| manifest.contains("4 processes, then")), "{lines:?}");
    Ok(())
}

/// A thread that fails ends all with one message that names it.
#[test]
fn a_thread_that_fails_is_named() -> Result<()> {
    let of_spec = |spec: &str, threads: usize| -> Result<String> {
        Ok(format!("{:#}", run(&Home::new()?, spec, threads).expect_err("it cannot end")))
    };
    let diverging = spec(8, 1).replace("adam: { lr: 1.0e-3 }", "sgd: { lr: 1.0e30 }");
    let said = of_spec(&diverging, 2)?;
    assert!(said.contains("the loss of rank 0 is ") || said.contains("the gradient's norm is "), "{said}");
    let said = of_spec(&spec(9, 1), 2)?;
    assert!(said.contains("2 processes cannot share 9 pictures equally"), "{said}");
    Ok(())
}

/// A picture that cannot be read stops the one thread that has it in its share, whichever that is.
#[test]
fn a_thread_with_an_unreadable_picture_is_named() -> Result<()> {
    let mut by_others = 0;
    for seed in 0..6 {
        let home = Home::new()?;
        for split in ["train", "val"] {
            fs::create_dir_all(home.path().join(split).join("class"))?;
            for i in 0..8u8 {
                let picture =
                    image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 7, y as u8 * 7, i * 30]));
                picture.save(home.path().join(split).join(format!("class/{i}.png")))?;
            }
        }
        let broken = home.path().join("train/class/5.png");
        let bytes = fs::read(&broken)?;
        fs::write(&broken, &bytes[..bytes.len() / 2])?;
        let yaml = format!(
            "name: threads\nseeds: [{seed}]\ndata: {{ source: {{ folder: {{ train: {0}/train, val: {0}/val }} }}, crop: 28 }}\nbackbone: {{ resnet: {{ \
             stem: small, width: 0.125 }} }}\nstages: {{ color: {{ pretext: {{ task: {{ colorization: {{}} }}, train: {{ steps: 4, \
             batch: 8, optimizer: {{ adam: {{ lr: 1.0e-3 }} }} }} }} }} }}\n",
            home.path().display()
        );
        let said = format!("{:#}", run(&home, &yaml, 2).expect_err("a picture cannot be read"));
        assert!(said.contains("5.png"), "{said}");
        by_others += usize::from(said.contains("rank 1, on cpu: "));
    }
    assert!(by_others > 0, "the other thread had the picture in no run");
    Ok(())
}
