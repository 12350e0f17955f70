//! Several processes under `mpirun`: the same weights as one process, stops, and resumption. `ranks_faults` has what goes wrong.

use crate::skipping::skipped;
use hueristic::nn::weights;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A ResNet with batch normalization and flips, an AlexNet with dropout and clipping, and a probe of both.
const SPEC: &str = "
name: ranks
data: { source: { scenes: { train: 67, val: 16, size: 32 } }, crop: 28 }
backbone: { resnet: { stem: small, width: 0.125 } }
stages:
  color:
    pretext:
      task: { colorization: {} }
      train: { steps: 9, batch: BATCH, iter_size: ITERATIONS, log_every: 3, optimizer: { adam: { lr: 1.0e-3 } } }
  rotation:
    pretext:
      task: { rotation: { head: { embedding: 32, hidden: [] } } }
      backbone: { alexnet: { stem: small, width: 0.125, fc: 32, norm_decay: 0.9, input: rgb_unit } }
      train: { steps: 4, batch: BATCH, iter_size: ITERATIONS, clip: 1.0, ema: { decay: 0.5 }, optimizer: { sgd: { lr: 0.01 } } }
  probe:
    linear_probe:
      backbones: { color: { stage: color } }
      probe: { layers: [conv1, layer2], dimensions: 64, augment: false }
      train: { steps: 5, batch: BATCH, iter_size: ITERATIONS, optimizer: { sgd: { lr: 0.01 } } }
";

/// Stages that train nothing, whose pictures are measured by all ranks: colors and neighbors.
const MEASURED: &str = "
  colors:
    color_evaluation:
      methods: { gray: gray, random: random, trained: { stage: color } }
      evaluation: { pictures: 3, bootstrap: 20 }
  neighbors:
    knn:
      backbones: { color: { stage: color } }
      features: { layers: [conv1, layer2] }
      classifier: { neighbors: [3] }
";

pub(super) fn spec(batch: usize, iterations: usize) -> String {
    SPEC.replace("BATCH", &batch.to_string()).replace("ITERATIONS", &iterations.to_string())
}

/// Whether programs can be started by `mpirun`, and this one takes part; else the test counts as skipped.
pub(super) fn has_mpi() -> bool {
    if !cfg!(feature = "mpi") {
        skipped("built without the feature mpi", "several processes");
        return false;
    }
    if Command::new("mpirun").arg("--version").output().is_err() {
        skipped("no mpirun", "several processes");
        return false;
    }
    true
}

/// `mpirun` of so many ranks, from `home`. Open MPI refuses root and more ranks than cores unless told.
pub(super) fn mpirun(home: &Path, ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.current_dir(home).env_remove("RUST_LOG").stdin(Stdio::null());
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1").env("OMPI_MCA_mpi_yield_when_idle", "1");
    command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_hueristic")]);
    command
}

pub(super) fn home(spec: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("spec.yaml"), spec).unwrap();
    home
}

pub(super) const RUN: [&str; 6] = ["run", "spec.yaml", "--out", "runs", "--threads", "1"];

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn succeeded(output: &Output) -> String {
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

fn alone(home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hueristic")).args(RUN).current_dir(home).output().unwrap()
}

pub(super) fn run_of(home: &Path, stage: &str) -> PathBuf {
    let runs = fs::read_dir(home.join("runs/ranks")).unwrap().map(|entry| entry.unwrap().path());
    let is_stage =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{stage}-s0-"));
    runs.into_iter().find(is_stage).unwrap_or_else(|| panic!("no run of {stage}"))
}

/// The tensors of a stage's weights, as bits.
pub(super) fn tensors(home: &Path, stage: &str) -> Vec<(String, Vec<u32>)> {
    let (tensors, _) = weights::read(&run_of(home, stage).join("weights.safetensors")).unwrap();
    let bits = |tensor: candle_core::Tensor| -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
    };
    let mut all: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect();
    all.sort();
    all
}

/// The training lines of a stage, without times.
fn log(home: &Path, stage: &str) -> Vec<String> {
    let text = fs::read_to_string(run_of(home, stage).join("metrics.jsonl")).unwrap();
    let untimed =
        |line: &str| line.split(",\"images_per_second\"").next().unwrap().trim_end_matches('}').to_string();
    text.lines().map(untimed).collect()
}

/// N ranks that share a batch have the bits of one process that takes the N parts one after another: weights, running
/// statistics, averages, and the numbers of the log.
#[test]
fn ranks_have_the_bits_of_one_process() {
    if !has_mpi() {
        return;
    }
    for (ranks, iterations) in [(2, 1), (2, 2), (4, 1)] {
        let measured = |spec: String| home(&(spec + MEASURED));
        let (one, many) = (measured(spec(4, ranks * iterations)), measured(spec(4 * ranks, iterations)));
        succeeded(&alone(one.path()));
        let said = succeeded(&mpirun(many.path(), ranks).args(RUN).output().unwrap());
        assert_eq!(said.matches("color-s0 9/9").count(), 1, "one process speaks: {said}");
        for stage in ["color", "rotation"] {
            assert!(
                tensors(one.path(), stage) == tensors(many.path(), stage),
                "{ranks} × {iterations}: {stage}"
            );
            assert_eq!(log(one.path(), stage), log(many.path(), stage), "{ranks} × {iterations}");
        }
        for table in ["table.csv", "table2.csv", "colors.csv"] {
            let read = |home: &Path| fs::read_to_string(home.join("runs/ranks/report").join(table)).unwrap();
            assert_eq!(read(one.path()), read(many.path()), "{ranks} × {iterations}: {table}");
        }
        for stage in ["colors-gray", "colors-random", "colors-trained", "neighbors-color"] {
            let read = |home: &Path| fs::read_to_string(run_of(home, stage).join("results.json")).unwrap();
            assert_eq!(read(one.path()), read(many.path()), "{ranks} × {iterations}: {stage}");
        }
        let lines = fs::read_to_string(run_of(many.path(), "color").join("metrics.jsonl")).unwrap();
        assert!(
            lines.contains("\"rank1_waiting_share\":") && lines.contains("\"rank_imbalance\":"),
            "{lines}"
        );
        let manifest = fs::read_to_string(run_of(many.path(), "color").join("manifest.json")).unwrap();
        assert!(manifest.contains(&format!("{ranks} processes")), "{manifest}");
    }
}

/// Gradients that travel in bf16 give other weights, near those of f32.
#[test]
fn gradients_travel_in_bf16() {
    if !has_mpi() {
        return;
    }
    let (exact, rounded) = (home(&spec(8, 1)), home(&spec(8, 1)));
    succeeded(&mpirun(exact.path(), 2).args(RUN).output().unwrap());
    succeeded(&mpirun(rounded.path(), 2).args(RUN).args(["--wire", "bf16"]).output().unwrap());
    let (mut differing, mut moved, mut away) = (0, 0.0f64, 0.0f64);
    for ((name, exact), (_, rounded)) in
        tensors(exact.path(), "rotation").into_iter().zip(tensors(rounded.path(), "rotation"))
    {
        for (a, b) in exact.iter().zip(&rounded) {
            let (a, b) = (f64::from(f32::from_bits(*a)), f64::from(f32::from_bits(*b)));
            differing += usize::from(a != b);
            moved += a * a;
            away += (a - b) * (a - b);
        }
        assert_eq!(exact.len(), rounded.len(), "{name}");
    }
    assert!(differing > 100 && (away / moved).sqrt() < 1e-3, "{differing} differ, {away} of {moved}");
    let manifest = fs::read_to_string(run_of(rounded.path(), "color").join("manifest.json")).unwrap();
    assert!(manifest.contains("2 processes, gradients in bf16 between them"), "{manifest}");
}

/// A run that some ranks began goes on with another number of them, and with one.
#[test]
fn a_run_goes_on_with_other_ranks() {
    if !has_mpi() {
        return;
    }
    let home = home(&spec(8, 1).replace("steps: 9", "steps: 400, checkpoint_every: 5"));
    for ranks in [4, 2, 1] {
        let stop = if ranks == 1 { None } else { Some(Duration::from_secs(3)) };
        let mut command = mpirun(home.path(), ranks);
        let mut child = command.args(RUN).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(after) = stop {
            wait_for_checkpoint(home.path(), &mut child);
            thread::sleep(after);
            terminate(&child, "USR1");
        }
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.success(), stop.is_none(), "{ranks} ranks: {said}");
        assert!(ranks == 4 || said.contains("continuing after step"), "{said}");
    }
    assert!(!tensors(home.path(), "color").is_empty());
}

pub(super) fn wait_for_checkpoint(home: &Path, child: &mut Child) {
    let began = Instant::now();
    let exists = || {
        let runs = fs::read_dir(home.join("runs/ranks")).into_iter().flatten().flatten();
        runs.map(|run| run.path().join("checkpoints/last.safetensors")).any(|path| path.is_file())
    };
    while !exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first checkpoint");
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint");
        thread::sleep(Duration::from_millis(50));
    }
}

fn terminate(child: &Child, signal: &str) {
    let status =
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}
