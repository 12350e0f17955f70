//! Training on a GPU: the first losses match the CPU's, a step does not synchronize, a non-finite gradient skips the
//! update, and a run resumes on the other device.

use super::gpu;
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    data::{
        Batch,
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass},
        scenes::Scenes,
        source::Split,
    },
    device::{self, Precision},
    nn::{
        TrainingPass,
        optim::{Optimizer, OptimizerSpec, WeightAverage},
        params::{ParamKind, Params},
    },
    ops::{resize::resize_bilinear, tape::Tape},
    pretext::colorization::{Colorization, ColorizationSpec, RebalanceSpec},
    rng::Rng,
    train::{
        collective::Ranks,
        fit::{FitOptions, fit},
        manifest::RunInfo,
        run_dir::RunDir,
        spec::TrainSpec,
        task::{ImagePanel, Metric, StepOutput, Task},
    },
};
use std::{path::Path, sync::Arc};

/// Precision is process-wide, so these tests run one at a time.
pub fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Enums are maps of one key, as in the crate's specs.
fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_json::from_value(serde_yaml::from_str(yaml).unwrap()).unwrap()
}

pub fn small_alexnet() -> BackboneSpec {
    parse("alexnet: { stem: small, width: 0.125, fc: 24, init: msra }")
}

pub fn small_vgg() -> BackboneSpec {
    parse("vgg: { width: 0.125, init: msra }")
}

fn colorization(backbone: &BackboneSpec, device: &Device) -> Colorization {
    let spec = ColorizationSpec { rebalance: RebalanceSpec::Off, ..ColorizationSpec::default() };
    Colorization::new(&spec, backbone, None, &Rng::new(3), device).unwrap()
}

fn loader(batch: usize, device: &Device) -> Loader {
    let set = Arc::new(Scenes::new(40, 16, 5, Split::Train));
    let feed = LoaderOptions { batch, pass: Pass::Train, flip: true, max_bad: 0.0, threads: Some(1) };
    Loader::with_policy(set, CropPolicy::Crop { resize: None, crop: 16 }, feed, &Rng::new(1), device).unwrap()
}

/// One update; returns the loss, unread.
fn step(task: &mut dyn Task, optimizer: &mut Optimizer, batch: &Batch, i: u64) -> Result<Tensor> {
    let training = TrainingPass::new(Rng::new(i));
    let StepOutput { loss, .. } = task.step(batch, &training)?;
    let mut gradients = optimizer.gradients(task.params());
    let value = loss.detach();
    gradients.add(&training.tape, loss)?;
    gradients.measure(Some(100.0), &value)?;
    let lr = optimizer.base_lr();
    optimizer.step(task.params(), &gradients, lr)?;
    Ok(value)
}

/// Training steps on one batch.
pub struct Steps {
    task: Colorization,
    optimizer: Optimizer,
    batch: Batch,
}

impl Steps {
    pub fn new(backbone: &BackboneSpec, device: &Device) -> Self {
        let task = colorization(backbone, device);
        let optimizer = Optimizer::new(&parse::<OptimizerSpec>(ADAM), task.params()).unwrap();
        let batch = loader(4, device).next_batch().unwrap().unwrap();
        Self { task, optimizer, batch }
    }

    pub fn params(&self) -> &Params {
        self.task.params()
    }

    /// Step number `i`, without waiting for the device; the loss is not read.
    pub fn step(&mut self, i: u64) -> Tensor {
        step(&mut self.task, &mut self.optimizer, &self.batch, i).unwrap()
    }
}

/// The losses of the first steps.
fn losses(backbone: &BackboneSpec, optimizer: &str, device: &Device) -> Vec<f64> {
    let mut task = colorization(backbone, device);
    let mut optimizer = Optimizer::new(&parse::<OptimizerSpec>(optimizer), task.params()).unwrap();
    let mut batches = loader(4, device);
    let all = (0..5).map(|i| {
        let batch = batches.next_batch().unwrap().unwrap();
        step(&mut task, &mut optimizer, &batch, i).unwrap().to_dtype(DType::F64).unwrap()
    });
    all.map(|loss| loss.to_scalar().unwrap()).collect()
}

/// The paper's learning rate. For gradients that are pure rounding noise Adam still takes full steps, so at a higher
/// rate such parameters alone would make the losses diverge.
const ADAM: &str = "adam: { lr: 3e-5, decay: 1e-3 }";
const SGD: &str = "sgd: { lr: 1e-6, momentum: 0.9, decay: 1e-3 }";
const NESTEROV: &str = "sgd: { lr: 1e-6, momentum: 0.9, nesterov: true, decay: 1e-3 }";

#[test]
fn the_first_losses_are_those_of_the_processor() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    for backbone in [small_alexnet(), small_vgg()] {
        for optimizer in [ADAM, SGD, NESTEROV] {
            let want = losses(&backbone, optimizer, &Device::Cpu);
            for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 1e-2)] {
                device::set(precision, true);
                let got = losses(&backbone, optimizer, &gpu);
                device::set(Precision::F32, true);
                for (got, want) in got.iter().zip(&want) {
                    let off = (got - want).abs() / want;
                    assert!(
                        off < tolerance,
                        "{optimizer} in {precision:?}: {got} is not {want} (off by {off:e})"
                    );
                }
            }
        }
    }
}

/// However the weights change between two steps, the next one computes with them: bit for bit as a network that has had
/// no others.
#[test]
fn changed_weights_are_those_of_the_next_step() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    device::set(Precision::Bf16, true);
    let mut changed = Steps::new(&small_alexnet(), &gpu);
    let loss = |steps: &mut Steps| steps.step(7).to_scalar::<f32>().unwrap();
    for (way, factor) in [("restored", 0.5), ("set", 0.25)] {
        loss(&mut changed);
        let scaled = |(name, t): (String, Tensor)| (name, (t * factor).unwrap());
        let state: Vec<_> = changed.params().state().into_iter().map(scaled).collect();
        let mut fresh = Steps::new(&small_alexnet(), &gpu);
        fresh.params().restore(&state).unwrap();
        match way {
            "restored" => changed.params().restore(&state).unwrap(),
            _ => state.iter().for_each(|(name, t)| changed.params().named(name).unwrap().set(t).unwrap()),
        }
        assert_eq!(loss(&mut changed), loss(&mut fresh), "{way}");
    }
    device::set(Precision::F32, true);
}

/// The same twice gives the same bits.
#[test]
fn steps_repeat_bit_for_bit() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    let twice = [0, 1].map(|_| losses(&small_alexnet(), ADAM, &gpu));
    assert_eq!(twice[0], twice[1]);
}

/// Number of host synchronizations, if the stand-in libraries count them.
fn host_syncs() -> Option<u64> {
    super::stand_in::count(c"host_syncs", None)
}

#[test]
#[ignore = "counts for the whole process: run it alone"]
fn nothing_waits_inside_a_step() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    let mut task = colorization(&small_alexnet(), &gpu);
    let mut optimizer = Optimizer::new(&parse::<OptimizerSpec>(ADAM), task.params()).unwrap();
    let batch = loader(4, &gpu).next_batch().unwrap().unwrap();
    // algorithms are chosen and tables uploaded in the first step
    step(&mut task, &mut optimizer, &batch, 0).unwrap();
    let Some(before) = host_syncs() else {
        return super::skipping::skipped("no stand-in for the GPU", "only it counts");
    };
    let kept: Vec<Tensor> = (1..5).map(|i| step(&mut task, &mut optimizer, &batch, i).unwrap()).collect();
    assert_eq!(host_syncs(), Some(before), "a step waited for the device");
    assert!(kept.iter().all(|loss| loss.to_scalar::<f32>().unwrap().is_finite()));
    assert!(host_syncs() > Some(before), "reading does wait, and is counted");
}

/// Each step frees what it allocates, and none needs more memory than the second.
#[test]
#[ignore = "counts for the whole process: run it alone"]
fn memory_is_used_again_step_by_step() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    let Some(_) = device::memory(&gpu) else {
        return super::skipping::skipped("no memory figures", "the driver does not tell");
    };
    let mut task = colorization(&small_alexnet(), &gpu);
    let mut optimizer = Optimizer::new(&parse::<OptimizerSpec>(ADAM), task.params()).unwrap();
    let mut batches = loader(4, &gpu);
    let mut marks = |i| {
        device::restart_peak(&gpu).unwrap();
        let batch = batches.next_batch().unwrap().unwrap();
        step(&mut task, &mut optimizer, &batch, i).unwrap();
        gpu.synchronize().unwrap();
        let memory = device::memory(&gpu).unwrap();
        (memory.used, memory.peak)
    };
    // moments in the first step; each of the first three batches makes its slot of the upload
    let all: Vec<(u64, u64)> = (0..8).map(&mut marks).collect();
    let (used, peak) = all[3];
    assert!(peak > used, "a step needs memory: {all:?}");
    assert!(all[4..].iter().all(|&(u, p)| u == used && p <= peak), "{all:?}");
}

/// What the command line's advice is recognized by, from an op of ours and from one of candle's.
#[test]
fn a_full_gpu_is_named_so() {
    let Some(gpu) = gpu() else { return };
    let Some(memory) = device::memory(&gpu) else {
        return super::skipping::skipped("no memory figures", "the driver does not tell");
    };
    let side = (memory.total as f64 / 32.0).sqrt() as usize;
    let x = Tensor::ones((1, 2, 2, 16), DType::F32, &gpu).unwrap();
    let ours = resize_bilinear(&x, (side, side), false).map(|_| ()).unwrap_err();
    let theirs = Tensor::zeros((side, side, 16), DType::F32, &gpu).map(|_| ()).unwrap_err();
    for error in [ours, theirs] {
        assert!(error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"), "{error}");
    }
    assert!((x + 1.0).is_ok(), "what fits still fits");
}

#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    let mut task = colorization(&small_alexnet(), &gpu);
    for (optimizer, poison) in [(ADAM, f32::NAN), (SGD, f32::INFINITY)] {
        let mut optimizer = Optimizer::new(&parse::<OptimizerSpec>(optimizer), task.params()).unwrap();
        let batch = loader(4, &gpu).next_batch().unwrap().unwrap();
        let training = TrainingPass::new(Rng::new(0));
        let StepOutput { loss, .. } = task.step(&batch, &training).unwrap();
        let mut gradients = optimizer.gradients(task.params());
        let value = loss.detach();
        gradients.add(&training.tape, loss).unwrap();
        let bits = |params: &Params| -> Vec<Vec<u32>> {
            let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            params.iter().map(|p| bits(&p.var).into_iter().map(f32::to_bits).collect()).collect()
        };
        let before = bits(task.params());
        let broken = (value * f64::from(poison)).unwrap();
        let norm = gradients.measure(None, &broken).unwrap();
        optimizer.step(task.params(), &gradients, 1e-3).unwrap();
        assert!(!norm.to_scalar::<f64>().unwrap().is_finite());
        assert!(bits(task.params()) == before);
        gradients.finish(None).unwrap();
        optimizer.step(task.params(), &gradients, 1e-3).unwrap();
        assert!(bits(task.params()) != before, "the gradient itself was sound");
    }
}

/// Two parameters and their averages after three updates of two clipped passes each, at falling rates.
fn updated(spec: &str, device: &Device) -> Result<Vec<Vec<f32>>> {
    let mut params = Params::new(device);
    let values = |n: u32, seed: f32| (0..n).map(|i| (seed + i as f32).sin()).collect::<Vec<_>>();
    let on = |values: Vec<f32>| Tensor::from_slice(&values, values.len(), device);
    for (name, n) in [("a.weight", 5000), ("b.weight", 7)] {
        params.add(name, &on(values(n, 0.5))?, ParamKind::Weight)?;
    }
    let mut optimizer = Optimizer::new(&parse::<OptimizerSpec>(spec), &params)?;
    let mut average = WeightAverage::new(Some(&parse("decay: 0.7")), &params, &optimizer)?;
    for step in 1..=3 {
        let mut gradients = optimizer.gradients(&params);
        let mut total = Tensor::zeros((), DType::F32, device)?;
        for pass in 0..2 {
            let slopes = params.iter().map(|p| {
                let slopes = on(values(p.var.elem_count() as u32, (step * 10 + pass) as f32))?;
                (p.var.as_tensor() * slopes)?.sum_all()
            });
            let [a, b] = slopes.collect::<candle_core::Result<Vec<_>>>()?.try_into().expect("two");
            let loss = (a + b)?;
            total = (total + loss.detach())?;
            gradients.add(&Tape::default(), loss)?;
        }
        gradients.measure(Some(10.0), &total)?;
        optimizer.step(&params, &gradients, 0.01 / step as f64)?;
        average.update()?;
    }
    let all = params.state().into_iter().chain(average.state());
    Ok(all.map(|(_, values)| values.to_vec1()).collect::<candle_core::Result<_>>()?)
}

/// Rate, bias correction, number of passes and clipping norm reach the kernels anew in each step.
#[test]
fn the_numbers_of_a_step_are_those_of_the_processor() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let multipliers = "multipliers: [{ pattern: b.weight, lr: 3.0, decay: 0.0 }]";
    for rule in [
        "adam: { lr: 0.01, decay: 1e-3,",
        "adamw: { lr: 0.01, decay: 0.1,",
        "sgd: { lr: 0.01, momentum: 0.9, decay: 1e-3,",
        "lars: { lr: 0.01, decay: 1e-3, trust_coefficient: 0.1,",
    ] {
        let spec = format!("{rule} {multipliers} }}");
        let (got, want) = (updated(&spec, &gpu)?, updated(&spec, &Device::Cpu)?);
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < 1e-6, "{spec}: {got} is not {want}");
        }
    }
    Ok(())
}

/// A task that breaks before a step, and counts those it takes.
struct Breaking {
    task: Colorization,
    steps: usize,
    breaks_at: Option<usize>,
}

impl Task for Breaking {
    fn params(&self) -> &Params {
        self.task.params()
    }
    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        if self.breaks_at == Some(self.steps) {
            bail!("stopped here");
        }
        self.steps += 1;
        self.task.step(batch, training)
    }
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        self.task.evaluate(val)
    }
    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        Ok(None)
    }
}

const SPEC: &str = "
steps: 10
batch: 4
optimizer: { adam: { lr: 1e-3, decay: 1e-3 } }
checkpoint_every: 4
log_every: 2
";

/// Trains in `path` on `device`; returns the steps taken.
fn train(path: &Path, device: &Device, breaks_at: Option<usize>) -> Result<usize> {
    let mut run = RunDir::open(path, SPEC)?;
    run.begin(RunInfo { device: format!("{:?}", device.location()), seed: 3, ..RunInfo::default() })?;
    let mut task = Breaking { task: colorization(&small_alexnet(), device), steps: 0, breaks_at };
    let spec = parse::<TrainSpec>(SPEC).in_steps(12).unwrap();
    let ended = fit(
        &mut task,
        &mut loader(4, device),
        None,
        FitOptions { spec: &spec, rng: &Rng::new(3), ranks: &Ranks::default() },
        &mut run,
        None,
    );
    match ended {
        Ok(_) => run.finish(&[])?,
        Err(error) => run.fail(&error)?,
    }
    Ok(task.steps)
}

/// The losses of the log.
fn logged(run: &Path) -> Vec<f64> {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"].as_f64().unwrap();
    lines.lines().map(line).collect()
}

#[test]
fn a_run_goes_on_on_the_other_device() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    assert_eq!(train(&at("straight"), &Device::Cpu, None).unwrap(), 10);
    for (name, first, second) in [("to", Device::Cpu, gpu.clone()), ("from", gpu, Device::Cpu)] {
        assert_eq!(train(&at(name), &first, Some(6)).unwrap(), 6);
        assert_eq!(train(&at(name), &second, None).unwrap(), 6, "from the checkpoint of step 4 on");
        let (got, want) = (logged(&at(name)), logged(&at("straight")));
        assert_eq!((got.len(), want.len()), (5, 5));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-3 * want, "{name}: {got} is not {want}");
        }
    }
}
