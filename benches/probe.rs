//! Times the linear probe of five layers on cached features, as `scripts/bench_torch_probe.py` times PyTorch's: features of
//! a batch from the cache, batch normalization, one linear classifier a layer, loss, backward, SGD. Prints one JSON line a
//! round.
//!
//! ```text
//! cargo bench --bench probe -- --rounds 5 --threads 2
//! cargo bench --bench probe -- --classes 20 --batch 64
//! ```

#[path = "shared/memory.rs"]
mod memory;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use clap::Parser;
use hueristic::{
    backbones::{BackboneSpec, alexnet::AlexNetSpec},
    data::Batch,
    nn::{
        TrainingPass,
        optim::{Optimizer, OptimizerSpec},
        params::Params,
    },
    probe::linear::{LinearProbe, LinearProbeSpec},
    rng::Rng,
    train::{heap, task::Task},
};
use memory::peak_bytes;
use rand::RngExt;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Batches that take turns; all of their features are cached before the first round.
const BATCHES: usize = 2;
/// Side of the pictures: the smallest whose five layers have the published numbers of features (9,600 and 9,216).
const SIDE: usize = 115;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 128)]
    batch: usize,
    #[arg(long, default_value_t = 1000)]
    classes: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Steps in a round.
    #[arg(long, default_value_t = 10)]
    steps: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Setup {
    probe: LinearProbe,
    optimizer: Optimizer,
    batches: Vec<Batch>,
}

impl Setup {
    /// A probe of an untrained AlexNet, whose features are as long as those of a trained one.
    fn new(o: &Options) -> Result<Self> {
        let cpu = &Device::Cpu;
        let backbone = BackboneSpec::Alexnet(AlexNetSpec::default());
        let mut params = Params::new(cpu);
        let net = backbone.build(&backbone.plain(), &mut params, &Rng::new(0))?;
        let spec = LinearProbeSpec { augment: false, ..LinearProbeSpec::default() };
        let probe = LinearProbe::new(&spec, net, o.classes, SIDE, BATCHES * o.batch, cpu)?;
        let sgd = serde_json::json!({"sgd": {"lr": 0.01, "momentum": 0.9, "decay": 5e-4}});
        let optimizer = Optimizer::new(&serde_json::from_value::<OptimizerSpec>(sgd)?, probe.params())?;
        let batches = (0..BATCHES).map(|number| noise(o, number)).collect::<Result<_>>()?;
        Ok(Self { probe, optimizer, batches })
    }

    /// One update; returns the loss.
    fn step(&mut self, index: usize) -> Result<f32> {
        let batch = &self.batches[index % BATCHES];
        let training = TrainingPass::new(Rng::new(index as u64));
        let loss = self.probe.step(batch, &training)?.loss;
        let (lr, value) = (self.optimizer.base_lr(), loss.detach());
        training.tape.backward(loss, &mut self.optimizer.begin(self.probe.params(), lr)?)?;
        Ok(value.to_scalar()?)
    }

    /// Features of each layer.
    fn widths(&self) -> Result<Vec<usize>> {
        let weights = self.probe.params().iter().filter(|param| param.name.ends_with(".weight"));
        weights.map(|param| param.var.dims().last().copied().context("a weight has no axes")).collect()
    }
}

fn noise(o: &Options, number: usize) -> Result<Batch> {
    let mut rng = Rng::new(0).split("bench").at(0, number as u64);
    let mut bytes = vec![0u8; o.batch * SIDE * SIDE * 3];
    rng.fill(&mut bytes[..]);
    let pixels = Tensor::from_vec(bytes, (o.batch, SIDE, SIDE, 3), &Device::Cpu)?;
    let labels: Vec<u32> = (0..o.batch).map(|_| rng.random_range(0..o.classes as u32)).collect();
    let labels = Some(Tensor::from_vec(labels, o.batch, &Device::Cpu)?);
    Ok(Batch {
        pixels,
        labels,
        indices: (number * o.batch..(number + 1) * o.batch).collect(),
        frames: vec![],
    })
}

fn main() -> Result<()> {
    heap::retain();
    let o = Options::parse();
    rayon::ThreadPoolBuilder::new().num_threads(o.threads).build_global()?;
    let mut setup = Setup::new(&o)?;
    let widths = setup.widths()?;
    for i in 0..BATCHES {
        setup.step(i)?;
    }
    for round in 0..o.rounds {
        let start = Instant::now();
        let losses = (0..o.steps).map(|i| setup.step(round * o.steps + i)).collect::<Result<Vec<_>>>()?;
        let seconds = start.elapsed().as_secs_f64() / o.steps as f64;
        let line = serde_json::json!({"who": "hueristic", "samples_per_s": o.batch as f64 / seconds, "seconds": seconds,
            "batch": o.batch, "classes": o.classes, "widths": widths, "loss": losses.last(), "peak_bytes": peak_bytes()});
        println!("{line}");
    }
    Ok(())
}
