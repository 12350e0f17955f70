//! Times a colorizer: forward pass and training step (forward, backward, Adam), as `scripts/bench_torch.py` times
//! PyTorch's. Prints one JSON line a round. On a GPU, and with `--whole`, the step is training's from the bytes of the
//! pictures on.
//!
//! ```text
//! cargo bench --bench colorizer -- --backbone vgg --rounds 5 --threads 2
//! cargo bench --bench colorizer -- --backbone alexnet --batch 1 --size 227 --forward
//! cargo bench --bench colorizer -- --backbone resnet18
//! cargo bench --bench colorizer --features cuda -- --device cuda --batch 80 --steps 20 --ceiling 790
//! cargo bench --bench colorizer --features cuda -- --device cuda --batch fill --steps 5
//! cargo bench --bench colorizer --features cuda -- --device cuda --batch 80 --steps 10 --layers
//! ```

#[path = "shared/memory.rs"]
mod memory;
#[path = "colorizer/whole.rs"]
mod whole;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant, alexnet::AlexNetSpec, network::Network, resnet::ResNetSpec,
        vgg::VggSpec,
    },
    color::{bins::Bins, encode::SoftCode},
    device::{self, Compute, DeviceSpec, Precision},
    nn::{
        Mode, TrainingPass,
        optim::{Optimizer, OptimizerSpec},
        params::Params,
    },
    ops::{losses::soft_encoded_cross_entropy, resize::resize_bilinear},
    rng::Rng,
    train::heap,
};
use memory::peak_bytes;
use rand::RngExt;
use std::{str::FromStr, sync::Arc, time::Instant};
use whole::Whole;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The colorizers, each with the batch, the pictures and Adam's β₂ that it is timed at.
#[derive(Clone, Copy, ValueEnum)]
enum Backbone {
    Alexnet,
    Vgg,
    Resnet18,
}

impl Backbone {
    fn spec(self) -> BackboneSpec {
        match self {
            Self::Alexnet => BackboneSpec::Alexnet(AlexNetSpec::default()),
            Self::Vgg => BackboneSpec::Vgg(VggSpec::default()),
            Self::Resnet18 => BackboneSpec::Resnet(ResNetSpec::default()),
        }
    }

    fn batch(self) -> usize {
        match self {
            Self::Alexnet | Self::Resnet18 => 16,
            Self::Vgg => 4,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Alexnet => 180,
            Self::Vgg => 176,
            Self::Resnet18 => 128,
        }
    }

    fn beta2(self) -> f64 {
        match self {
            Self::Alexnet | Self::Resnet18 => 0.999,
            Self::Vgg => 0.99,
        }
    }
}

/// Images in a batch: a number, or as many as the device's memory holds.
#[derive(Clone, Copy, Debug)]
enum InputSize {
    Of(usize),
    Fill,
}

impl FromStr for InputSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(n) if n > 0 => Ok(Self::Of(n)),
            _ if text == "fill" => Ok(Self::Fill),
            _ => Err(format!("`{text}` is neither a number from 1 on nor `fill`")),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Arithmetic {
    Bf16,
    Tf32,
    F32,
}

/// What to time.
#[derive(Parser)]
struct Options {
    #[arg(long, value_enum, default_value = "alexnet")]
    backbone: Backbone,
    /// Images in a batch [default: 16; 4 for vgg]; `fill` doubles them until the device's memory is out, and
    /// reports the most that ran
    #[arg(long)]
    batch: Option<InputSize>,
    /// `fill`: no more images than this
    #[arg(long)]
    most: Option<usize>,
    /// Pixels of a picture's side [default: 180 for alexnet, 176 for vgg, 128 for resnet18]
    #[arg(long)]
    size: Option<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Steps in a round.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Time the forward pass alone, without a graph.
    #[arg(long)]
    forward: bool,
    /// Time each layer alone, forward and backward, in training
    #[arg(long, conflicts_with_all = ["forward", "whole", "fastest"])]
    layers: bool,
    /// Time training's own step, from the bytes of the pictures on; always so on a GPU
    #[arg(long, conflicts_with = "forward")]
    whole: bool,
    /// cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// In what layers multiply [default: bf16 on a GPU, f32 on the processor]
    #[arg(long, value_enum)]
    precision: Option<Arithmetic>,
    /// On a GPU, the fastest algorithms, also those whose last bits differ from run to run
    #[arg(long)]
    fastest: bool,
    /// TFLOP/s that the share is of
    #[arg(long)]
    ceiling: Option<f64>,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn batch(&self) -> usize {
        match self.batch {
            Some(InputSize::Of(n)) => n,
            _ => self.backbone.batch(),
        }
    }

    fn compute(&self) -> Compute {
        let precision = self.precision.map(|precision| match precision {
            Arithmetic::Bf16 => Precision::Bf16,
            Arithmetic::Tf32 => Precision::Tf32,
            Arithmetic::F32 => Precision::F32,
        });
        Compute { device: self.device, precision, deterministic: !self.fastest, ..Compute::default() }
    }

    fn adam(&self) -> Result<OptimizerSpec> {
        let adam = serde_json::json!({"adam": {"lr": 3e-5, "beta2": self.backbone.beta2(), "decay": 1e-3}});
        Ok(serde_json::from_value(adam)?)
    }

    fn size(&self) -> usize {
        self.size.unwrap_or(self.backbone.size())
    }
}

/// The network with everything a step needs.
struct Setup {
    net: Network,
    params: Params,
    optimizer: Optimizer,
    code: SoftCode,
    weights: Vec<f32>,
    x: Tensor,
    ab: Tensor,
}

fn uniform(shape: (usize, usize, usize, usize), low: f32, high: f32) -> Result<Tensor> {
    let mut rng = Rng::new(0).split("bench").at(0, shape.3 as u64);
    let n = shape.0 * shape.1 * shape.2 * shape.3;
    let values: Vec<f32> = (0..n).map(|_| rng.random_range(low..high)).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

impl Setup {
    fn new(o: &Options) -> Result<Self> {
        let (spec, batch, size) = (o.backbone.spec(), o.batch(), o.size());
        let build =
            Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(313) };
        let mut params = Params::new(&Device::Cpu);
        let net = spec.build(&build, &mut params, &Rng::new(0))?;
        let optimizer = Optimizer::new(&o.adam()?, &params)?;
        let code = SoftCode::new(Arc::new(Bins::new(10.0)), 10, 5.0);
        let side = net.grid().labels(size);
        let x = uniform((batch, size, size, 1), -50.0, 50.0)?;
        let ab = uniform((batch, side, side, 2), -50.0, 50.0)?;
        Ok(Self { net, params, optimizer, code, weights: vec![1.0; 313], x, ab })
    }

    fn logits(&self, mode: &Mode) -> Result<Tensor> {
        let (_, h, w, _) = self.ab.dims4()?;
        let logits = self.net.forward(&self.x, &[&self.net.head().name], mode)?.remove(0);
        if logits.dims()[1..3] == [h, w] {
            return Ok(logits);
        }
        Ok(resize_bilinear(&logits, (h, w), self.net.grid().align_corners)?)
    }

    fn step(&mut self, index: u64) -> Result<()> {
        let training = TrainingPass::new(Rng::new(index));
        let loss = {
            let logits = self.logits(&Mode::Train(training.clone()))?;
            soft_encoded_cross_entropy(&logits, &self.ab, &self.code, Some(&self.weights), Some(5.0))?.loss
        };
        let lr = self.optimizer.base_lr();
        Ok(training.tape.backward(loss, &mut self.optimizer.begin(&self.params, lr)?)?)
    }
}

/// Rounds of the forward pass, or of the step from Lab on.
fn parts(o: &Options) -> Result<()> {
    let mut setup = Setup::new(o)?;
    let (batch, size) = (o.batch(), o.size());
    // Multiply-adds on padding included: forward 1×, a training step 3×.
    let gmac = setup.net.summary((size, size))?.macs() as f64 * batch as f64 / 1e9;
    let passes = if o.forward { 1.0 } else { 3.0 };
    let mut once = |i: u64| if o.forward { setup.logits(&Mode::Frozen).map(drop) } else { setup.step(i) };
    once(0)?;
    for round in 0..o.rounds as u64 {
        let start = Instant::now();
        for i in 0..o.steps as u64 {
            once(round * o.steps as u64 + i)?;
        }
        let seconds = start.elapsed().as_secs_f64() / o.steps as f64;
        let line = serde_json::json!({"who": "hueristic", "images_per_s": batch as f64 / seconds, "seconds": seconds,
            "nominal_gflops": 2.0 * gmac * passes / seconds, "precision": device::precision(&Device::Cpu), "peak_bytes": peak_bytes()});
        println!("{line}");
    }
    Ok(())
}

/// Rounds of training's own step; their lines.
fn rounds(o: &Options, batch: usize, device: &Device) -> Result<Vec<serde_json::Value>> {
    let (size, compute) = (o.size(), o.compute());
    device::restart_peak(device)?;
    let mut whole = Whole::new(&o.backbone.spec(), &o.adam()?, (batch, size), device)?;
    let gflop = 6.0 * whole.macs(size)? as f64 * batch as f64 / 1e9; // two a multiply-add, forward 1×, backward 2×
    for i in 0..2 {
        whole.step(i)?;
    }
    whole.loss()?;
    let mut lines = vec![];
    for round in 0..o.rounds as u64 {
        let start = Instant::now();
        for i in 0..o.steps as u64 {
            whole.step(round * o.steps as u64 + i)?;
        }
        let loss = whole.loss()?;
        let seconds = start.elapsed().as_secs_f64() / o.steps as f64;
        let memory = device::memory(device);
        let tflops = gflop / seconds / 1e3;
        lines.push(serde_json::json!({"who": "hueristic", "device": device::name(device),
            "backbone": o.backbone.to_possible_value().map(|v| v.get_name().to_string()), "batch": batch, "size": size,
            "precision": device::precision(device),
            "deterministic": compute.deterministic, "images_per_s": batch as f64 / seconds, "seconds": seconds,
            "nominal_gflops": gflop / seconds, "tflops": tflops, "share": o.ceiling.map(|c| tflops / c),
            "peak_bytes": memory.map_or_else(peak_bytes, |m| m.peak), "reserved_bytes": memory.map(|m| m.reserved),
            "total_bytes": memory.map(|m| m.total), "loss_per_image": loss}));
    }
    Ok(lines)
}

/// The largest batch that runs, of doubled ones and the half step after the last: lines of its rounds, and what ended
/// the search.
fn fill(o: &Options, device: &Device) -> Result<Vec<serde_json::Value>> {
    ensure!(
        !device.is_cpu() || o.most.is_some(),
        "`--batch fill` on the processor would take all of the machine's memory: say `--most N`"
    );
    let most = o.most.unwrap_or(usize::MAX);
    let mut batch = o.backbone.batch().min(most);
    let mut best = rounds(o, batch, device).context("not even the smallest batch runs")?;
    let mut reason = format!("--most {most}");
    let (mut step, mut doubling) = (batch, true);
    while batch + step <= most {
        match rounds(o, batch + step, device) {
            Ok(lines) => {
                (best, batch) = (lines, batch + step);
                if !doubling {
                    break;
                }
                step = batch;
            }
            Err(e) if doubling => {
                reason = format!("{e:#}");
                (step, doubling) = (batch / 2, false);
            }
            Err(_) => break,
        }
    }
    for line in &mut best {
        line["ended_by"] = reason.clone().into();
    }
    Ok(best)
}

/// A line for each layer of the network, in its order.
fn layers(o: &Options, device: &Device) -> Result<()> {
    let (batch, size) = (o.batch(), o.size());
    let build = Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(313) };
    let net = o.backbone.spec().build(&build, &mut Params::new(device), &Rng::new(0))?;
    let x = uniform((batch, size, size, 1), -50.0, 50.0)?.to_device(device)?;
    for row in net.profile(&x, o.steps)? {
        let line = serde_json::json!({"who": "hueristic", "device": device::name(device), "batch": batch, "size": size,
            "layer": row.name, "shape": row.shape, "forward": row.forward, "backward": row.backward});
        println!("{line}");
    }
    Ok(())
}

fn main() -> Result<()> {
    heap::retain();
    let o = Options::parse();
    rayon::ThreadPoolBuilder::new().num_threads(o.threads).build_global()?;
    let device = o.compute().open()?;
    if o.layers {
        return layers(&o, &device);
    }
    if device.is_cpu() && !o.whole {
        return parts(&o);
    }
    ensure!(!o.forward, "the forward pass alone is timed on the processor: leave `--device` out");
    let lines = match o.batch {
        Some(InputSize::Fill) => fill(&o, &device)?,
        _ => rounds(&o, o.batch(), &device)?,
    };
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
