//! Several processes under `mpirun`: the same weights as one process, stops, resumption, and what goes wrong.

use crate::skipping::skipped;
use hueristic::nn::weights;
use rand::{RngExt, SeedableRng, rngs::StdRng};
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

fn spec(batch: usize, iterations: usize) -> String {
    SPEC.replace("BATCH", &batch.to_string()).replace("ITERATIONS", &iterations.to_string())
}

/// Whether programs can be started by `mpirun`, and this one takes part; else the test counts as skipped.
fn has_mpi() -> bool {
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
fn mpirun(home: &Path, ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.current_dir(home).env_remove("RUST_LOG").stdin(Stdio::null());
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1").env("OMPI_MCA_mpi_yield_when_idle", "1");
    command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_hueristic")]);
    command
}

fn home(spec: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("spec.yaml"), spec).unwrap();
    home
}

const RUN: [&str; 6] = ["run", "spec.yaml", "--out", "runs", "--threads", "1"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: &Output) -> String {
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

fn alone(home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hueristic")).args(RUN).current_dir(home).output().unwrap()
}

fn run_of(home: &Path, stage: &str) -> PathBuf {
    let runs = fs::read_dir(home.join("runs/ranks")).unwrap().map(|entry| entry.unwrap().path());
    let is_stage =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{stage}-s0-"));
    runs.into_iter().find(is_stage).unwrap_or_else(|| panic!("no run of {stage}"))
}

/// The tensors of a stage's weights, as bits.
fn tensors(home: &Path, stage: &str) -> Vec<(String, Vec<u32>)> {
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

fn wait_for_checkpoint(home: &Path, child: &mut Child) {
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

/// Process ids of the ranks that `mpirun` started.
fn ranks_of(child: &Child) -> Vec<String> {
    let listed = Command::new("pgrep").args(["-P", &child.id().to_string(), "hueristic"]).output().unwrap();
    text(&listed.stdout).lines().map(String::from).collect()
}

/// A rank that is killed at any moment ends all, and the last checkpoint resumes to the bits of a run without an end.
/// `HUERISTIC_KILLS` says how often; a run that finishes is compared, and another begun.
#[test]
fn a_killed_rank_ends_all_and_the_run_resumes() {
    if !has_mpi() {
        return;
    }
    let text_of = spec(4, 1).replace("steps: 9", "steps: 60, checkpoint_every: 4");
    let whole = home(&text_of);
    succeeded(&mpirun(whole.path(), 2).args(RUN).output().unwrap());
    let wanted: usize = std::env::var("HUERISTIC_KILLS").map_or(6, |wanted| wanted.parse().unwrap());
    let (mut rng, mut killed, mut compared, mut rounds) = (StdRng::seed_from_u64(7), 0, 0, 0);
    while killed < wanted || compared == 0 {
        let home = home(&text_of);
        // Until the run finishes, each round goes on with what the one before has left.
        while !ends_when_killed(home.path(), &mut rng, killed < wanted, &mut killed) {
            rounds += 1;
            assert!(rounds < 20 * wanted, "{killed} kills in {rounds} rounds");
        }
        for stage in ["color", "rotation"] {
            assert!(tensors(whole.path(), stage) == tensors(home.path(), stage), "{stage}, {killed} kills");
        }
        compared += 1;
    }
    println!(
        "{killed} ranks were killed; {compared} runs that they interrupted have the bits of a whole one"
    );
}

/// Starts two ranks, and kills one of them at some moment if `kill`; counts it if it was there and all ended without
/// success. Returns whether the run finished.
fn ends_when_killed(home: &Path, rng: &mut StdRng, kill: bool, killed: &mut usize) -> bool {
    let mut command = mpirun(home, 2);
    let mut child = command.args(RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut hit = false;
    if kill {
        thread::sleep(Duration::from_millis(rng.random_range(200..2500)));
        let ranks = ranks_of(&child);
        if let Some(victim) = ranks.get(rng.random_range(0..2)) {
            hit = Command::new("kill").args(["-9", victim]).status().unwrap().success();
        }
    }
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "the others go on");
        thread::sleep(Duration::from_millis(50));
    }
    let finished = child.wait().unwrap().success();
    *killed += usize::from(hit && !finished);
    finished
}

/// What one rank cannot read is told once, by the one that speaks.
#[test]
fn pictures_that_any_rank_cannot_read_are_told() {
    if !has_mpi() {
        return;
    }
    let sources = "source: { folder: { train: pictures, hold_out: 0.5 } }, max_bad: 0.5";
    let home = home(&spec(8, 1).replace("source: { scenes: { train: 67, val: 16, size: 32 } }", sources));
    for n in 0..48u8 {
        let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([n, 5 * x as u8, 7 * y as u8]));
        let path = home.path().join(format!("pictures/{}/{n}.png", n % 2));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(&path).unwrap();
        if n % 6 == 5 {
            fs::write(&path, b"no picture").unwrap();
        }
    }
    let said = succeeded(&mpirun(home.path(), 2).args(RUN).output().unwrap());
    for n in (0..48).filter(|n| n % 6 == 5) {
        assert!(said.contains(&format!("/{n}.png")), "{n}: {said}");
    }
    let log = fs::read_to_string(run_of(home.path(), "color").join("log.txt")).unwrap();
    let named = (0..48).filter(|n| log.contains(&format!("/{n}.png"))).count();
    assert_eq!(named, 8, "{log}");
}

/// A rank that does not answer is named within the stated time.
#[test]
fn a_rank_that_hangs_is_named() {
    if !has_mpi() {
        return;
    }
    let home = home(&spec(8, 1).replace("steps: 9", "steps: 100000, checkpoint_every: 5"));
    let mut command = mpirun(home.path(), 2);
    command.args(RUN).args(["--rank-timeout", "4"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_for_checkpoint(home.path(), &mut child);
    let ranks = ranks_of(&child);
    assert_eq!(ranks.len(), 2);
    let began = Instant::now();
    let victim = &ranks[1];
    Command::new("kill").args(["-STOP", victim]).status().unwrap();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(40) {
            ranks.iter().for_each(|rank| drop(Command::new("kill").args(["-9", rank]).status()));
            panic!("the others go on");
        }
        thread::sleep(Duration::from_millis(50));
    }
    let said = text(&child.wait_with_output().unwrap().stderr);
    assert_eq!(said.matches("has not been heard of for").count(), 1, "{said}");
    assert!(said.contains("error: color, seed 0 failed") && said.contains("rank 1"), "{said}");
}

/// A loss that is not finite on one rank ends all with one message that names it.
#[test]
fn a_loss_that_is_not_finite_is_named_by_rank() {
    if !has_mpi() {
        return;
    }
    let home = home(&spec(8, 1).replace("adam: { lr: 1.0e-3 }", "sgd: { lr: 1.0e30 }"));
    let output = mpirun(home.path(), 2).args(RUN).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("the loss of rank 0 is ") || said.contains("the gradient's norm is "), "{said}");
}

#[test]
fn what_cannot_work_is_refused_once() {
    if !has_mpi() {
        return;
    }
    let refused = |spec: &str, ranks: usize, arguments: &[&str], parts: &[&str]| {
        let home = home(spec);
        let output = mpirun(home.path(), ranks).args(RUN).args(arguments).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{said}");
        for part in parts {
            assert_eq!(said.matches(part).count(), 1, "{part}: {said}");
        }
    };
    let whole = spec(8, 1);
    refused(
        &spec(9, 1),
        2,
        &[],
        &["`color` cannot start: `train.batch`: 2 processes cannot share 9 pictures equally", "error: "],
    );
    refused(&whole, 2, &["--ranks", "3"], &["--ranks 3, but the launcher started 2 processes"]);
    refused(
        &whole.replace("batch: 8", "batch: 80"),
        2,
        &[],
        &["`color` cannot start: a batch of 80 is larger than the data set of 67 images"],
    );
    refused(&whole, 2, &["--wire", "f16"], &["invalid value 'f16' for '--wire <FORMAT>'"]);
    refused(&whole, 2, &["--set", "color.train.batsch=8"], &["unknown field `batsch`"]);
    let one = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(["run", "spec.yaml", "--ranks", "2"])
        .current_dir(home(&whole).path())
        .output()
        .unwrap();
    assert_eq!(one.status.code(), Some(2));
    assert!(text(&one.stderr).contains("this process was started alone: start it by `mpirun -n 2"));
}

/// Ranks that were given different specs or pictures find out before the first step.
#[test]
fn ranks_that_disagree_are_named() {
    if !has_mpi() {
        return;
    }
    let home = home(&spec(8, 1));
    fs::write(home.path().join("other.yaml"), spec(8, 1).replace("steps: 9", "steps: 8")).unwrap();
    let program = env!("CARGO_BIN_EXE_hueristic");
    let output = mpirun(home.path(), 1)
        .args(RUN)
        .args([":", "-n", "1", program, "run", "other.yaml", "--out", "runs", "--threads", "1"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(said.matches("rank 1, on ").count(), 1, "{said}");
    assert!(said.contains("has another spec") && !output.status.success(), "{said}");
    assert!(!home.path().join("runs/ranks").exists(), "nothing is written");
}
