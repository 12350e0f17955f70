//! Times the training step of a pretext task (views, forward, backward, update), from the bytes of the pictures on, as
//! `scripts/bench_torch_pretext.py` times PyTorch's. Prints one JSON line a round.
//!
//! ```text
//! cargo bench --bench pretext -- --task simclr --rounds 5 --threads 2
//! ```

#[path = "shared/memory.rs"]
mod memory;

use anyhow::Result;
use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use hueristic::{
    backbones::BackboneSpec,
    data::Batch,
    device,
    nn::{
        TrainingPass,
        optim::{Optimizer, OptimizerSpec},
    },
    pretext::{
        PretextSpec,
        colorizer_task::{ColorizerTask, ColorizerTaskSpec},
        cross_channel::CrossChannel,
        headed::HeadedTaskSpec,
        split_brain::SplitBrain,
    },
    rng::Rng,
    train::{heap, task::Task},
};
use memory::peak_bytes;
use rand::RngExt;
use serde::de::DeserializeOwned;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tasks, each with the network, the pictures and the optimizer that it is timed with.
#[derive(Clone, Copy, ValueEnum)]
enum TaskName {
    Autoencoder,
    CrossChannel,
    SplitBrain,
    Rotation,
    Jigsaw,
    Context,
    Inpainting,
    InpaintingAdversarial,
    Bigan,
    Simclr,
    Dahl,
    Iizuka,
    Larsson,
    Siggraph17,
}

/// One task's setting: YAML of task and network, pictures in a batch and their side.
struct Setting {
    task: &'static str,
    backbone: &'static str,
    batch: usize,
    crop: usize,
}

impl TaskName {
    fn setting(self) -> Setting {
        let of = |task, backbone, batch, crop| Setting { task, backbone, batch, crop };
        let plain = "{ alexnet: { input: rgb_unit } }";
        match self {
            Self::Autoencoder => of("{ autoencoder: {} }", "{ alexnet: { input: lab } }", 16, 180),
            Self::CrossChannel => of("{ cross_channel: { predict: ab } }", "{ alexnet: {} }", 16, 180),
            Self::SplitBrain => of("{ split_brain: {} }", "{ alexnet: { input: lab } }", 16, 180),
            Self::Rotation => of(
                "{ rotation: {} }",
                "{ alexnet: { preset: torchvision, batch_norm: affine, norm_decay: 0.9 } }",
                8,
                224,
            ),
            Self::Jigsaw => of(
                "{ jigsaw: { permutations: 1000, batch_norm: false, head: { dropout: true } } }",
                "{ alexnet: { preset: noroozi, lrn: pool_norm, input: bgr_mean } }",
                8,
                255,
            ),
            Self::Context => of(
                "{ context: {} }",
                "{ alexnet: { conv1_pad: 5, groups: 1, lrn: pool_norm, input: bgr_mean } }",
                2,
                448,
            ),
            Self::Inpainting => of("{ inpainting: {} }", plain, 16, 227),
            Self::InpaintingAdversarial => of("{ inpainting: { adversarial: 0.001 } }", plain, 16, 227),
            Self::Bigan => of(
                "{ bigan: { code: 200, side: 64 } }",
                "{ alexnet: { leak: 0.2, batch_norm: affine, input: bgr_signed } }",
                32,
                112,
            ),
            Self::Simclr => of("{ simclr: {} }", "{ resnet: { stem: small, input: rgb_unit } }", 32, 32),
            Self::Dahl => of("{ dahl: {} }", "{ dahl: {} }", 4, 224),
            Self::Iizuka => of("{ iizuka: { classification: 0 } }", "{ iizuka: {} }", 8, 224),
            Self::Larsson => of("{ larsson: {} }", "{ larsson: {} }", 2, 352),
            Self::Siggraph17 => of("{ siggraph17: {} }", "{ siggraph17: {} }", 4, 176),
        }
    }
}

/// What to time.
#[derive(Parser)]
struct Options {
    #[arg(long, value_enum)]
    task: TaskName,
    /// Pictures in a batch [default: the task's]
    #[arg(long)]
    batch: Option<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Steps in a round.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T> {
    Ok(serde_yaml::with::singleton_map_recursive::deserialize(serde_yaml::Deserializer::from_str(text))?)
}

fn task(setting: &Setting) -> Result<Box<dyn Task>> {
    let (backbone, rng, device): (BackboneSpec, _, _) = (yaml(setting.backbone)?, Rng::new(0), Device::Cpu);
    let headed = |spec: &dyn HeadedTaskSpec| -> Result<Box<dyn Task>> {
        Ok(spec.task(&backbone, setting.crop, &rng, &device)?)
    };
    let other = |target| -> Result<Box<dyn Task>> {
        Ok(Box::new(CrossChannel::new(target, &backbone, &rng, &device)?))
    };
    let colorizer = |spec: &dyn ColorizerTaskSpec| -> Result<Box<dyn Task>> {
        Ok(Box::new(ColorizerTask::new(spec, (&spec.adapted(&backbone), 0), &rng, &device)?))
    };
    match yaml(setting.task)? {
        PretextSpec::Autoencoder(spec) => other(spec.into()),
        PretextSpec::CrossChannel(spec) => other(spec.into()),
        PretextSpec::SplitBrain(spec) => Ok(Box::new(SplitBrain::new(spec, &backbone, &rng, &device)?)),
        PretextSpec::Rotation(spec) => headed(&spec),
        PretextSpec::Jigsaw(spec) => headed(&spec),
        PretextSpec::Context(spec) => headed(&spec),
        PretextSpec::Inpainting(spec) => headed(&spec),
        PretextSpec::Bigan(spec) => headed(&spec),
        PretextSpec::Simclr(spec) => headed(&spec),
        PretextSpec::Dahl(spec) => colorizer(&spec),
        PretextSpec::Iizuka(spec) => colorizer(&spec),
        PretextSpec::Larsson(spec) => colorizer(&spec),
        PretextSpec::Siggraph17(spec) => colorizer(&spec),
        _ => anyhow::bail!("the bench `colorizer` times this task"),
    }
}

fn pictures(batch: usize, side: usize) -> Result<Batch> {
    let mut rng = Rng::new(0).split("bench").at(0, 0);
    let values: Vec<u8> = (0..batch * side * side * 3).map(|_| rng.random()).collect();
    let pixels = Tensor::from_vec(values, (batch, side, side, 3), &Device::Cpu)?;
    Ok(Batch { pixels, labels: None, indices: (0..batch).collect(), frames: vec![] })
}

fn main() -> Result<()> {
    heap::retain();
    let o = Options::parse();
    rayon::ThreadPoolBuilder::new().num_threads(o.threads).build_global()?;
    let setting = o.task.setting();
    let (mut task, batch) = (task(&setting)?, o.batch.unwrap_or(setting.batch));
    let spec: OptimizerSpec = yaml("{ sgd: { lr: 1e-4, momentum: 0.9, decay: 5e-4 } }")?;
    let mut optimizer = Optimizer::new(&spec, task.params())?;
    let pictures = pictures(batch, setting.crop)?;
    let mut step = |index: u64| -> Result<()> {
        let training = TrainingPass::new(Rng::new(index));
        let loss = task.step(&pictures, &training)?.loss;
        Ok(training.tape.backward(loss, &mut optimizer.begin(task.params(), 1e-4)?)?)
    };
    step(0)?;
    for round in 0..o.rounds as u64 {
        let start = Instant::now();
        for i in 1..=o.steps as u64 {
            step(round * o.steps as u64 + i)?;
        }
        let seconds = start.elapsed().as_secs_f64() / o.steps as f64;
        let line = serde_json::json!({"who": "hueristic", "task": o.task.to_possible_value().map(|v| v.get_name().to_string()),
            "batch": batch, "images_per_s": batch as f64 / seconds, "seconds": seconds,
            "precision": device::precision(&Device::Cpu), "peak_bytes": peak_bytes()});
        println!("{line}");
    }
    Ok(())
}
