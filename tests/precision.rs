//! Networks of the CPU in bf16 against f32: training steps, and runs from YAML. Alone in its program, since the precision
//! is the process's.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    data::{
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass},
        scenes::Scenes,
        source::Split,
    },
    device::{Compute, DeviceSpec, Precision, activations, describe, set_cpu},
    nn::{TrainingPass, optim::Optimizer, params::ParamKind},
    pretext::colorization::{Colorization, ColorizationSpec, RebalanceSpec},
    rng::Rng,
    train::task::{StepOutput, Task},
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Tests that set the precision run one at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The dtype of maps and the description for logs after the CPU was opened.
fn opened(precision: Option<Precision>) -> Result<(DType, String)> {
    let device = Compute { device: DeviceSpec::Cpu, precision, ..Compute::default() }.open()?;
    Ok((activations(&device), describe(&device)))
}

#[test]
fn the_processor_computes_in_f32_unless_bf16_is_asked_for() -> Result<()> {
    let _turn = turn();
    for (precision, dtype, words) in [
        (None, DType::F32, "cpu"),
        (Some(Precision::Bf16), DType::BF16, "cpu, bf16"),
        (Some(Precision::F32), DType::F32, "cpu"),
        (Some(Precision::Bf16), DType::BF16, "cpu, bf16"),
        (Some(Precision::Tf32), DType::F32, "cpu"),
        (Some(Precision::Bf16), DType::BF16, "cpu, bf16"),
        (None, DType::F32, "cpu"),
    ] {
        assert_eq!(opened(precision)?, (dtype, words.to_string()), "{precision:?}");
    }
    Ok(())
}

/// Enums are maps of one key, as in the crate's specs.
fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> Result<T> {
    Ok(serde_json::from_value(serde_yaml::from_str(yaml)?)?)
}

/// The loss of a step of colorization, and the gradients of all parameters by name.
struct Step {
    loss: f64,
    gradients: HashMap<String, Tensor>,
    /// Weights in order, from the first layer to the head.
    weights: Vec<String>,
}

/// The step in `precision` after twenty in f32, since at first heads are 0 and let no gradient through.
fn step(backbone: &BackboneSpec, precision: Precision) -> Result<Step> {
    set_cpu(Precision::F32);
    let spec = ColorizationSpec { rebalance: RebalanceSpec::Off, ..ColorizationSpec::default() };
    let mut task = Colorization::new(&spec, backbone, None, &Rng::new(3), &Device::Cpu)?;
    let mut optimizer = Optimizer::new(&parse("adam: { lr: 1e-3 }")?, task.params())?;
    let set = Arc::new(Scenes::new(40, 32, 5, Split::Train));
    let feed = LoaderOptions { batch: 8, pass: Pass::Train, flip: true, max_bad: 0.0, threads: Some(1) };
    let crop = CropPolicy::Crop { resize: None, crop: 32 };
    let batch = Loader::with_policy(set, crop, feed, &Rng::new(1), &Device::Cpu)?.next_batch()?;
    let batch = batch.context("no batch")?;
    for i in 0..20 {
        let training = TrainingPass::new(Rng::new(i));
        let loss = task.step(&batch, &training)?.loss;
        training.tape.backward(loss, &mut optimizer.begin(task.params(), 1e-3)?)?;
    }
    set_cpu(precision);
    let training = TrainingPass::new(Rng::new(20));
    let StepOutput { loss, .. } = task.step(&batch, &training)?;
    ensure!(loss.dtype() == DType::F32, "a loss in {:?}", loss.dtype());
    let (value, mut found) = (f64::from(loss.to_scalar::<f32>()?), HashMap::new());
    training.tape.backward(loss, &mut found)?;
    set_cpu(Precision::F32);
    let mut gradients = HashMap::new();
    for param in task.params().iter() {
        let gradient = found.remove(&param.var.id()).with_context(|| param.name.clone())?;
        ensure!(param.var.dtype() == DType::F32, "{} in {:?}", param.name, param.var.dtype());
        gradients.insert(param.name.clone(), gradient);
    }
    let weights = task.params().iter().filter(|p| p.kind == ParamKind::Weight);
    let weights = weights.map(|p| p.name.clone()).collect();
    Ok(Step { loss: value, gradients, weights })
}

fn cosine(a: &Tensor, b: &Tensor) -> Result<f64> {
    let dot = |a: &Tensor, b: &Tensor| -> Result<f64> {
        Ok((a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?.sum_all()?.to_scalar()?)
    };
    Ok(dot(a, b)? / (dot(a, a)? * dot(b, b)?).sqrt())
}

/// Least cosines of the first layer's gradient. Depth costs most: with the filters alone rounded, in f32, they are 0.993,
/// 0.982 and 0.985 here, and 0.985, 0.933 and 0.971 in bf16.
#[test]
fn a_step_in_bf16_is_that_in_f32_within_its_rounding() -> Result<()> {
    let _turn = turn();
    for (yaml, first) in [
        ("alexnet: { stem: small, width: 0.25, fc: 48, init: msra }", 0.95),
        ("vgg: { width: 0.125, init: msra }", 0.9),
        ("resnet: { stem: small, width: 0.25 }", 0.95),
    ] {
        let backbone = parse(yaml)?;
        let (want, got) = (step(&backbone, Precision::F32)?, step(&backbone, Precision::Bf16)?);
        let off = (got.loss / want.loss - 1.0).abs();
        assert!(off > 0.0 && off < 1e-3, "{yaml}: a loss of {} for {}", got.loss, want.loss);
        for (name, gradient) in &got.gradients {
            assert_eq!(gradient.dtype(), DType::F32, "{yaml}: {name}");
            let sum = gradient.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert!(sum.is_finite(), "{yaml}: {name}");
        }
        let ends = [(want.weights.first(), first), (want.weights.last(), 0.99)];
        for (name, least) in ends {
            let name = name.context("no weights")?;
            let cosine = cosine(&got.gradients[name], &want.gradients[name])?;
            assert!(cosine > least, "{yaml}: the gradient of {name} has a cosine of {cosine}");
        }
    }
    Ok(())
}

/// Runs the program on `spec` with run directories in `out`.
fn run(spec: &str, out: &Path, arguments: &[&str]) -> Result<()> {
    run_by("", spec, out, arguments)
}

/// As [`run`] with some instructions of the processor; all without a name.
fn run_by(simd: &str, spec: &str, out: &Path, arguments: &[&str]) -> Result<()> {
    fs::create_dir_all(out)?;
    let path = out.join("spec.yaml");
    fs::write(&path, spec)?;
    let output = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .env("HUERISTIC_SIMD", simd)
        .args(["run", &path.display().to_string(), "--out", &out.join("runs").display().to_string()])
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The newest run directories below `out`, by what comes before the last `-` of their names: the stage and its variant.
fn fits(out: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut all = HashMap::new();
    for experiment in fs::read_dir(out.join("runs"))? {
        for fit in fs::read_dir(experiment?.path())? {
            let path = fit?.path();
            if path.join("manifest.json").exists() {
                let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
                all.insert(name.rsplit_once('-').map_or(name.clone(), |(stage, _)| stage.into()), path);
            }
        }
    }
    ensure!(!all.is_empty(), "no runs in {}", out.display());
    Ok(all)
}

/// The only file below `out` in a run whose name begins with `stage`, of those that are as `wanted`.
fn file(out: &Path, stage: &str, name: &str, wanted: impl Fn(&Path) -> bool) -> Result<Vec<u8>> {
    let mut found = vec![];
    for experiment in fs::read_dir(out.join("runs"))? {
        for fit in fs::read_dir(experiment?.path())? {
            let path = fit?.path();
            let is_it = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(stage));
            if is_it && path.join(name).exists() && wanted(&path) {
                found.push(path.join(name));
            }
        }
    }
    ensure!(found.len() == 1, "{stage}/{name}: {found:?}");
    Ok(fs::read(&found[0])?)
}

const SPEC: &str = "
name: narrow
compute: { device: cpu, precision: bf16 }
data: { source: { scenes: { train: 24, val: 8, size: 32 } }, crop: 32 }
backbone: { resnet: { stem: small, width: 0.125 } }
stages:
  pretrain:
    pretext:
      task: { colorization: { rebalance: off } }
      train: { steps: 6, batch: 4, optimizer: { adam: { lr: 1e-3 } } }
  probe:
    linear_probe:
      backbones: { colorization: { stage: pretrain } }
      probe: { layers: [layer2] }
      train: { steps: 2, batch: 4, optimizer: { sgd: { lr: 0.01 } } }
  evaluation:
    color_evaluation:
      methods: { full: { stage: pretrain } }
      evaluation: { bootstrap: 20, pictures: 1 }
";

/// The tensors of a weight file, by name.
fn tensors(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    Ok(candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?)
}

#[test]
fn a_run_in_bf16_has_the_same_bits_on_any_number_of_threads_and_in_two_parts() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let at = |name: &str| temp.path().join(name);
    run(SPEC, &at("one"), &["--threads", "1"])?;
    run(SPEC, &at("two"), &["--threads", "2"])?;
    run(SPEC, &at("parts"), &["--set", "pretrain.train.steps=2"])?;
    run(SPEC, &at("parts"), &[])?;
    // without a precision
    run(&SPEC.replace("compute: { device: cpu, precision: bf16 }", ""), &at("wide"), &["--device", "cpu"])?;
    let any = |_: &Path| true;
    let long =
        |run: &Path| fs::read_to_string(run.join("spec.yaml")).is_ok_and(|spec| spec.contains("steps: 6"));
    let weights = |out: &str| file(&at(out), "pretrain", "weights.safetensors", long);
    let narrow = weights("one")?;
    assert!(narrow == weights("two")?, "two threads");
    assert!(tensors(&narrow)?.values().all(|t| t.dtype() == DType::F32));
    assert!(narrow != weights("wide")?, "the same bits in f32");
    let resumed = weights("parts")?;
    for (name, tensor) in tensors(&narrow)? {
        let bits = |t: &Tensor| -> Result<Vec<u32>> {
            Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
        };
        assert_eq!(bits(&tensor)?, bits(&tensors(&resumed)?[&name])?, "{name} after resuming");
    }
    let manifest = |out: &str| {
        Ok::<_, anyhow::Error>(String::from_utf8(file(&at(out), "pretrain", "manifest.json", long)?)?)
    };
    assert!(manifest("parts")?.contains("\"resumed\": 1"), "it was trained anew");
    assert!(manifest("one")?.contains("\"cpu, bf16\"") && !manifest("wide")?.contains("bf16"));
    for stage in ["probe", "evaluation-full"] {
        let results = |out: &str| file(&at(out), stage, "results.json", any);
        assert!(results("one")? == results("two")?, "{stage}: two threads");
        assert!(results("one")? != results("wide")?, "{stage}: the same in f32");
    }
    Ok(())
}

/// The first stage of [`SPEC`] alone.
fn pretrain_alone() -> &'static str {
    SPEC.split("  probe:").next().unwrap_or(SPEC)
}

#[test]
fn weights_have_the_same_bits_by_any_instructions() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let weights = |simd: &str| -> Result<Vec<u8>> {
        let out = temp.path().join(format!("by_{simd}"));
        run_by(simd, pretrain_alone(), &out, &[])?;
        file(&out, "pretrain", "weights.safetensors", |_| true)
    };
    assert!(
        weights("")? == weights("plain")?,
        "portable code has other bits than the processor's instructions"
    );
    Ok(())
}

#[test]
fn precisions_in_turn_stay_on_record() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let parts = |precision: &str, steps: &str| {
        let set = format!("pretrain.train.steps={steps}");
        run(pretrain_alone(), temp.path(), &["--precision", precision, "--set", &set])
    };
    parts("bf16", "2")?;
    parts("f32", "4")?;
    let long =
        |run: &Path| fs::read_to_string(run.join("spec.yaml")).is_ok_and(|spec| spec.contains("steps: 4"));
    let manifest = String::from_utf8(file(temp.path(), "pretrain", "manifest.json", long)?)?;
    assert!(manifest.contains("\"cpu, bf16, then cpu\""), "{manifest}");
    Ok(())
}

const TRANSFER: &str = "
name: transfer
annotated: { source: { composite: { train: 12, val: 4, size: 48 } } }
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  classification:
    classification:
      backbones: &rows { gaussian: { init: msra } }
      task: { train_from: [conv1], crop: 29, draws: 1 }
      train: &train { steps: 2, batch: 4, optimizer: { sgd: { lr: 1e-3 } } }
  detection:
    detection:
      backbones: *rows
      task:
        proposals: { selective_search: { width: 48, smallest: 8 } }
        frozen: { through: conv1 }
        scales: [48]
        test_scale: 48
      train: *train
  segmentation:
    segmentation: { backbones: *rows, train: *train }
  knn:
    knn:
      backbones: { kmeans: { data_dependent: { filters: kmeans, batches: 1 } }, rescaled: { rescaled: { init: msra } } }
      features: { layers: [conv5] }
      classifier: { neighbors: [1] }
";

#[test]
fn transfer_runs_in_bf16() -> Result<()> {
    let temp = tempfile::tempdir()?;
    run(TRANSFER, temp.path(), &["--precision", "bf16", "--device", "cpu"])?;
    let fits = fits(temp.path())?;
    for (name, path) in &fits {
        let manifest = fs::read_to_string(path.join("manifest.json"))?;
        assert!(manifest.contains("\"cpu, bf16\"") && manifest.contains("finished"), "{name}: {manifest}");
        if let Ok(weights) = fs::read(path.join("weights.safetensors")) {
            for (tensor, values) in tensors(&weights)? {
                assert_eq!(values.dtype(), DType::F32, "{name}: {tensor}");
                assert!(values.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite(), "{name}: {tensor}");
            }
        }
    }
    for stage in ["classification", "detection", "segmentation", "knn"] {
        assert!(fits.keys().any(|name| name.starts_with(stage)), "{stage} is not in {fits:?}");
    }
    Ok(())
}
