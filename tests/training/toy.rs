//! A minimal trainable task: a linear map from the pixels of tiny images to twice their mean, with noise from the
//! step's random family, so that a resumed run reveals whether that family was correct.
#![allow(dead_code)] // each test file uses its part

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    data::{
        Batch,
        loader::{Loader, Pass},
        source::{DataError, DataSpec, Dataset, RgbImage},
    },
    nn::{
        TrainingPass,
        params::{ParamKind, Params},
    },
    rng::Rng,
    train::{
        collective::Ranks,
        fit::{FitOptions, FitOutcome, fit},
        manifest::RunInfo,
        monitor::Monitoring,
        run_dir::RunDir,
        spec::{TrainOptions, TrainSpec},
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use rand::RngExt;
use std::{path::Path, sync::Arc, time::Duration};

/// Side of the stored images and of the crops.
const SIDE: usize = 5;
const CROP: usize = 4;

/// Images whose pixels are a function of position and image number.
struct Tiles(usize);

impl Dataset for Tiles {
    fn len(&self) -> usize {
        self.0
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn label(&self, index: usize) -> Option<u32> {
        Some((index % 3) as u32)
    }
    fn name(&self, index: usize) -> String {
        format!("tile {index}")
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let level = |i: usize| (index * 83 + i * i * 29 + i * index * 7) as u8;
        Ok(RgbImage { width: SIDE, height: SIDE, pixels: (0..3 * SIDE * SIDE).map(level).collect() })
    }
    fn fingerprint(&self) -> String {
        format!("tiles {}", self.0)
    }
}

/// Faults that the toy task injects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quirks {
    /// Fails in this forward pass of the process (from 1).
    pub fail: Option<usize>,
    /// Fails in this validation of the process (from 1).
    pub blind: Option<usize>,
    /// The second layer's gradient becomes infinite in this forward pass.
    pub explode: Option<usize>,
    /// The gradient is zero in every pass.
    pub idle: bool,
    /// Sleeps this long in every pass.
    pub pause: Duration,
    /// Has this many additional parameters.
    pub extra: usize,
    /// Multiplies the validation metric, so that late steps look worse.
    pub worsens: bool,
    /// Multiplies the logged loss by 1e13 from this forward pass on, to simulate divergence.
    pub diverges: Option<usize>,
}

/// Two linear layers: pixels → 4 → 1.
pub struct Toy {
    params: Params,
    quirks: Quirks,
    passes: usize,
    validations: usize,
}

impl Toy {
    pub fn new(quirks: Quirks) -> Result<Self> {
        let mut params = Params::new(&Device::Cpu);
        let mut filled = |name: &str, rows: usize, columns: usize| {
            let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 37 % 19) as f32 - 9.0) / 90.0).collect();
            params.add(name, &Tensor::from_vec(values, (rows, columns), &Device::Cpu)?, ParamKind::Weight)
        };
        filled("fc1.weight", 3 * CROP * CROP, 4 + quirks.extra)?;
        filled("fc2.weight", 4 + quirks.extra, 1)?;
        params.add_buffer("seen", &Tensor::zeros(1, DType::F32, &Device::Cpu)?)?;
        Ok(Self { params, quirks, passes: 0, validations: 0 })
    }

    fn var(&self, name: &str) -> &Tensor {
        self.params.get(name).unwrap()
    }

    /// Mean squared error over the batch, each hidden unit scaled by `noise`.
    fn error(&self, batch: &Batch, noise: &[f32]) -> Result<Tensor> {
        let n = batch.indices.len();
        let x = (batch.pixels.to_dtype(DType::F32)?.reshape((n, ()))? / 255.0)?;
        let noise = Tensor::from_slice(noise, (1, noise.len()), &Device::Cpu)?;
        let hidden = x.matmul(self.var("fc1.weight"))?.broadcast_mul(&noise)?;
        let out = hidden.matmul(self.var("fc2.weight"))?.squeeze(1)?;
        let wanted = (x.mean(1)? * 2.0)?;
        Ok((out - wanted)?.sqr()?.mean_all()?)
    }
}

impl Task for Toy {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        self.passes += 1;
        std::thread::sleep(self.quirks.pause);
        if self.quirks.fail == Some(self.passes) {
            bail!("the toy broke");
        }
        let mut draw = training.rng.split("noise").at(0, 0);
        let noise: Vec<f32> = (0..4 + self.quirks.extra).map(|_| draw.random_range(0.9..1.1)).collect();
        let mut loss = self.error(batch, &noise)?;
        if self.quirks.explode == Some(self.passes) {
            // sqrt'(0) is infinite and affects only the second layer.
            let weight = self.var("fc2.weight");
            loss = (loss + weight.sub(weight)?.sqrt()?.sum_all()?)?;
        }
        if self.quirks.idle {
            loss = (loss * 0.0)?;
        }
        let seen = &self.params.buffers()[0].1;
        seen.set(&(seen.as_tensor() + batch.indices.len() as f64)?)?;
        let grown = if self.quirks.diverges.is_some_and(|from| self.passes >= from) { 1e13 } else { 1.0 };
        let scalars =
            vec![("loss", (loss.detach() * grown)?), ("noise", Tensor::new(noise[0], loss.device())?)];
        Ok(StepOutput { loss, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        self.validations += 1;
        if self.quirks.blind == Some(self.validations) {
            bail!("the toy is blind");
        }
        let (mut sum, mut count) = (0.0, 0);
        while let Some(batch) = val.next_batch()? {
            let n = batch.indices.len();
            sum += f64::from(self.error(&batch, &vec![1.0; 4 + self.quirks.extra])?.to_scalar::<f32>()?)
                * n as f64;
            count += n;
        }
        let shown = if self.quirks.worsens { self.validations as f64 } else { sum / f64::from(count as u32) };
        Ok(vec![
            Metric { name: "error".into(), value: shown, better: Better::Lower },
            Metric { name: "images".into(), value: count as f64, better: Better::Neither },
        ])
    }

    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let batch = val.next_batch()?.unwrap();
        let rgb: Vec<u8> = batch.pixels.get(0)?.flatten_all()?.to_vec1()?;
        Ok(Some(ImagePanel { name: "first".into(), width: CROP, height: CROP, rgb }))
    }

    fn warnings(&self) -> Vec<(String, String)> {
        vec![("the toy is only a toy".into(), "train something real".into())]
    }
}

/// 20 steps of two micro-batches of three images: an epoch of eleven images has three batches.
pub const SPEC: &str = "{steps: 20, batch: 3, iter_size: 2, log_every: 4, evaluate_every: 8, checkpoint_every: 5, \
    optimizer: {adam: {lr: 0.02, decay: 0.001}}, schedule: {decay: {cosine: {}}, warmup: 3}, clip: 5, keep: 2}";

/// The same with LARS and averaged weights.
pub const AVERAGED: &str = "{steps: 20, batch: 3, iter_size: 2, log_every: 4, evaluate_every: 8, checkpoint_every: 5, \
    optimizer: {lars: {lr: 0.5, decay: 0.001, trust_coefficient: 0.1, multipliers: [{pattern: fc2.weight, lr: 0}]}}, \
    schedule: {decay: {cosine: {}}, warmup: 3}, ema: {decay: 0.8}, keep: 2}";

pub fn spec(yaml: &str) -> TrainOptions {
    // Lengths are in updates, so that the number of pictures decides nothing.
    parse::<TrainSpec>(yaml).in_steps(1).unwrap()
}

/// Enums are maps with one key, as in the crate's specs; serde_yaml alone would require tags.
fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_json::from_value(serde_yaml::from_str(yaml).unwrap()).unwrap()
}

pub fn loader(count: usize, batch: usize, pass: Pass, rng: &Rng) -> Loader {
    let source = "{source: {scenes: {train: 1, val: 1}}, crop: 4, threads: 2}"; // the set is handed in
    let data: DataSpec = parse(source);
    Loader::new(Arc::new(Tiles(count)), &data, pass, batch, rng, &Device::Cpu).unwrap()
}

/// Opens or reopens the run directory `path`, trains with `yaml` and `seed`, and records the outcome of `fit` as a
/// caller would.
pub fn train_seeded(path: &Path, yaml: &str, quirks: Quirks, seed: u64) -> Result<FitOutcome> {
    train_with(path, yaml, quirks, seed, None)
}

/// As [`train`], with measurements.
pub fn train_monitored(path: &Path, yaml: &str, quirks: Quirks, monitor: Monitoring) -> Result<FitOutcome> {
    train_with(path, yaml, quirks, 3, Some(monitor))
}

fn train_with(
    path: &Path,
    yaml: &str,
    quirks: Quirks,
    seed: u64,
    monitor: Option<Monitoring>,
) -> Result<FitOutcome> {
    let mut run = RunDir::open(path, yaml)?;
    let rng = Rng::new(seed);
    run.begin(RunInfo {
        device: "cpu".into(),
        seed,
        data: [("train".into(), Tiles(11).fingerprint())].into(),
        fit: None,
    })?;
    let spec = spec(yaml);
    let mut train = loader(11, spec.batch.get(), Pass::Train, &rng.split("data"));
    let mut val = loader(5, 2, Pass::Once, &rng.split("val"));
    let options = FitOptions { spec: &spec, rng: &rng, ranks: &Ranks::default() };
    let ended = fit(&mut Toy::new(quirks)?, &mut train, Some(&mut val), options, &mut run, monitor);
    match &ended {
        Ok(FitOutcome::Finished(metrics)) => run.finish(metrics)?,
        Ok(FitOutcome::Interrupted { .. }) => run.interrupt()?,
        Err(error) => run.fail(error)?,
    }
    ended
}

pub fn train(path: &Path, yaml: &str, quirks: Quirks) -> Result<FitOutcome> {
    train_seeded(path, yaml, quirks, 3)
}

/// `metrics.jsonl` without the timing fields.
pub fn metrics(run: &Path) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let text = std::fs::read_to_string(run.join(hueristic::train::log::FILE)).unwrap();
    let parse = |line: &str| {
        let mut line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        hueristic::train::log::TIMING.iter().for_each(|name| drop(line.remove(*name)));
        line
    };
    text.lines().map(parse).collect()
}
