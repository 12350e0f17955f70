//! What `--weights` takes: files, runs, checkpoints, converted state dicts, and released colorizers by name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

#[path = "../../examples/features.rs"]
mod example;

const SPEC: &str = "
name: tiny
data: { source: { scenes: { train: 64, val: 16 } }, crop: 32 }
stages:
  color:
    pretext:
      backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }
      task: colorization
      train: &train
        { steps: 4, batch: 8, evaluate_every: 2, ema: { decay: 0.5 }, optimizer: { adam: { lr: 1e-3 } } }
  vgg: { pretext: { backbone: { vgg: { width: 0.05 } }, task: colorization, train: *train } }
  dahl: { pretext: { backbone: { dahl: { width: 0.05 } }, task: dahl, train: *train } }
  labels:
    supervised: { backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }, train: *train }
";

/// Runs the program in `dir`, offline: exit code, stdout, stderr.
fn hueristic(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(dir, "1", arguments)
}

fn said(dir: &Path, offline: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    for name in ["RUST_LOG", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HUERISTIC_DATA"] {
        command.env_remove(name);
    }
    command.current_dir(dir).env("HF_HOME", dir.join("home")).env("HF_HUB_OFFLINE", offline);
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Finished runs of the spec, shared by all tests.
fn original() -> &'static Path {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("spec.yaml"), SPEC).unwrap();
        let (code, _, err) = hueristic(home.path(), &["run", "spec.yaml", "--threads", "2"]);
        assert_eq!(code, 0, "{err}");
        home
    });
    home.path()
}

/// A folder with a picture and copies of the runs.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/turned.jpg");
    fs::copy(fixture, home.path().join("a.jpg")).unwrap();
    for entry in walkdir::WalkDir::new(original().join("results")).into_iter().flatten() {
        let to = home.path().join(entry.path().strip_prefix(original()).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir(to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    home
}

/// The run directory of a stage, relative to the folder.
fn run_of(home: &Path, stage: &str) -> String {
    let runs = fs::read_dir(home.join("results/runs/tiny")).unwrap().flatten().map(|entry| entry.path());
    let run = runs.into_iter().find(|run| run.to_string_lossy().contains(&format!("/{stage}-s0-"))).unwrap();
    run.strip_prefix(home).unwrap().display().to_string()
}

/// The picture as colored by these weights, and what was said.
fn colored(home: &Path, weights: &str) -> (Vec<u8>, String) {
    let arguments = ["colorize", "a.jpg", "--format", "png", "--overwrite", "--weights", weights];
    let (code, _, err) = hueristic(home, &arguments);
    assert_eq!(code, 0, "{weights}: {err}");
    (fs::read(home.join("colorized/a.png")).unwrap(), err)
}

#[test]
fn a_run_its_checkpoint_and_a_state_dict_give_the_same_colors() {
    let home = home();
    let home = home.path();
    for stage in ["color", "dahl"] {
        let run = run_of(home, stage);
        let file = format!("{run}/weights.safetensors");
        let (expected, _) = colored(home, &file);
        let (by_run, said) = colored(home, &run);
        assert!(by_run == expected && said.contains("final weights"), "{stage}: {said}");
        // The last checkpoint has the weights that were averaged and their averages, which are those of the file.
        assert!(colored(home, &format!("{run}/checkpoints/last.safetensors")).0 == expected, "{stage}");
        let (code, out, err) = hueristic(home, &["weights", "convert", &run, &format!("{stage}.pth")]);
        assert!(code == 0 && !out.contains("left out"), "{out}{err}");
        assert!(colored(home, &format!("{stage}.pth")).0 == expected, "{stage}.pth has other colors");
    }
}

#[test]
fn the_authors_layout_keeps_what_our_training_was() {
    let home = home();
    let run = run_of(home.path(), "vgg");
    let (code, out, err) = hueristic(home.path(), &["weights", "convert", &run, "vgg.pth"]);
    assert!(code == 0 && out.contains("layout eccv16"), "{out}{err}");
    let [ours, theirs] = [&run[..], "vgg.pth"].map(|weights| {
        colored(home.path(), weights);
        image::open(home.path().join("colorized/a.png")).unwrap().to_rgb8()
    });
    let apart = ours.iter().zip(theirs.iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(apart <= Some(2), "{apart:?}");
}

#[test]
fn an_unfinished_run_gives_its_best_checkpoint() {
    let home = home();
    let run = run_of(home.path(), "color");
    fs::remove_file(home.path().join(&run).join("weights.safetensors")).unwrap();
    let (_, said) = colored(home.path(), &run);
    assert!(said.contains("the run is not finished: using its best checkpoint, of step"), "{said}");
    let best = home.path().join(&run).join("checkpoints/best.safetensors");
    let mut bytes = fs::read(&best).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&best, bytes).unwrap();
    let (code, _, err) = hueristic(home.path(), &["colorize", "a.jpg", "--weights", &run]);
    assert!(code == 1 && err.contains("best.safetensors") && err.contains("checksum"), "{err}");
    fs::remove_dir_all(home.path().join(&run).join("checkpoints")).unwrap();
    let (code, _, err) = hueristic(home.path(), &["colorize", "a.jpg", "--weights", &run]);
    assert!(code == 2 && err.contains("has not come to its first checkpoint"), "{err}");
    let (code, _, err) = hueristic(home.path(), &["colorize", "a.jpg", "--weights", "results/runs/tiny"]);
    assert!(code == 2 && err.contains("give one of the runs in it: results/runs/tiny/dahl-s0-"), "{err}");
    assert!(!err.contains("color-s0-"), "it has no weights: {err}");
}

#[test]
fn a_finished_run_without_weights_is_not_called_unfinished() {
    let home = home();
    let run = home.path().join("results/runs/tiny/probe-s0-0123456789ab");
    let dir = hueristic::train::run_dir::RunDir::open(&run, "work: {}\n").unwrap();
    dir.finish(&[]).unwrap();
    let run = run.strip_prefix(home.path()).unwrap().display().to_string();
    let (code, _, err) = hueristic(home.path(), &["colorize", "a.jpg", "--weights", &run]);
    assert!(code == 2 && err.contains("its stage trains no network"), "{err}");
    assert!(!err.contains("not finished"), "{err}");
}

#[test]
fn without_weights_it_says_what_there_is() {
    let home = home();
    let [color, dahl] = ["color", "dahl"].map(|stage| run_of(home.path(), stage));
    fs::remove_file(home.path().join(&color).join("weights.safetensors")).unwrap();
    let (code, out, err) = hueristic(home.path(), &["colorize", "my photo.jpg"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    for part in [
        "eccv16 ",
        "siggraph17 ",
        "BSD-2-Clause",
        "not downloaded",
        "hueristic colorize 'my photo.jpg' --weights",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let line =
        |run: &str| err.lines().find(|line| line.contains(run)).unwrap_or_else(|| panic!("{run}: {err}"));
    assert!(line(&dahl).contains("dahl, step 4, ") && line(&dahl).ends_with("finished"), "{err}");
    assert!(
        line(&color).contains("colorization, step ") && line(&color).contains("best checkpoint"),
        "{err}"
    );
    assert!(!err.contains("labels-s0") && err.lines().count() <= 20, "{err}");
    // From a folder of the project, too.
    fs::create_dir_all(home.path().join("experiments/old")).unwrap();
    let (_, _, err) = hueristic(&home.path().join("experiments/old"), &["colorize", "a.jpg"]);
    assert!(err.contains(&format!("../../{dahl}")), "{err}");
    let empty = tempfile::tempdir().unwrap();
    let (_, _, err) = hueristic(empty.path(), &["colorize", "a.jpg"]);
    assert!(err.contains("no runs of colorizers in "), "{err}");
}

#[test]
fn a_checkpoint_of_another_task_is_no_colorizer() {
    let home = home();
    let best = format!("{}/checkpoints/best.safetensors", run_of(home.path(), "labels"));
    let (code, _, err) = hueristic(home.path(), &["colorize", "a.jpg", "--weights", &best]);
    assert!(code == 1 && err.contains("it was trained by `supervised`, which colors no pictures"), "{err}");
    let (code, out, _) = hueristic(home.path(), &["weights", "inspect", &best]);
    assert!(code == 0 && out.contains("note: a checkpoint: the averaged weights after step"), "{out}");
    assert!(out.contains("  conv1.weight ") && !out.contains("\n  optimizer"), "{out}");
}

#[test]
fn names_stand_for_released_weights() {
    let home = home();
    let cache = home.path().join("home/hueristic");
    let inspect = |name: &str| hueristic(home.path(), &["weights", "inspect", name]);
    let (code, _, err) = inspect("sigraph17");
    assert!(code == 2 && err.contains("similar name are siggraph17"), "{err}");
    let (code, _, err) = inspect("siggraph17");
    let path = cache.join("siggraph17-df00044c.pth");
    let why = if cfg!(feature = "hub") { "HF_HUB_OFFLINE forbids" } else { "--features hub" };
    assert!(code == 1 && err.contains(why) && err.contains(&path.display().to_string()), "{err}");
    fs::create_dir_all(&cache).unwrap();
    fs::write(&path, "abc").unwrap();
    let (code, _, err) = inspect("siggraph17");
    assert!(
        code == 1 && err.contains("its SHA-256 is ba7816bf8f01cfea") && err.contains("expected df00044c"),
        "{err}"
    );
    // A release without a published checksum can be any file.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/caffenet.caffemodel");
    fs::copy(fixture, cache.join("siggraph17.caffemodel")).unwrap();
    let (code, out, err) = inspect("siggraph17-caffe");
    assert!(
        code == 0 && out.contains("conv1.weight") && cache.join("siggraph17.caffemodel.sha256").exists(),
        "{err}"
    );
}

/// A spec in the folder `experiments` whose stages take these weights in every way that there is.
fn spec_with(home: &Path, weights: &str) -> &'static str {
    let spec = format!(
        "
name: named
data: {{ source: {{ scenes: {{ train: 64, val: 16 }} }}, crop: 32 }}
backbone: {{ alexnet: {{ stem: small, width: 0.25, fc: 32 }} }}
stages:
  longer:
    pretext:
      task: colorization
      init_from: {{ file: {weights} }}
      train: &train {{ steps: 2, batch: 8, optimizer: {{ sgd: {{ lr: 1e-3 }} }} }}
  probe: {{ linear_probe: {{ backbones: {{ theirs: {{ file: {weights} }} }}, train: *train }} }}
  colors: {{ color_evaluation: {{ methods: {{ theirs: {{ file: {weights} }}, gray: gray }} }} }}
"
    );
    fs::create_dir_all(home.join("experiments")).unwrap();
    fs::write(home.join("experiments/named.yaml"), spec).unwrap();
    "experiments/named.yaml"
}

#[test]
fn specs_take_released_weights_and_runs_as_commands_do() {
    let home = home();
    let home = home.path();
    let (run, cache) = (run_of(home, "color"), home.join("home/hueristic"));
    fs::create_dir_all(&cache).unwrap();
    // A release without a published checksum can be any file.
    fs::copy(home.join(&run).join("weights.safetensors"), cache.join("siggraph17.caffemodel")).unwrap();
    let (code, _, err) = hueristic(home, &["run", spec_with(home, "siggraph17-caffe"), "--threads", "2"]);
    assert_eq!(code, 0, "{err}");
    let runs = || fs::read_dir(home.join("results/runs/named")).unwrap().count();
    let before = runs();
    // The weights enter the identity of a run by their content.
    for same in [format!("../{run}"), format!("../{run}/weights.safetensors")] {
        let (code, _, err) = hueristic(home, &["run", spec_with(home, &same)]);
        assert!(code == 0 && err.matches("finished before, kept").count() == 4, "{same}: {err}");
        assert_eq!(runs(), before);
    }
}

#[test]
fn a_spec_says_what_it_would_download() {
    let home = home();
    let home = home.path();
    let check = |offline: &str, weights: &str| {
        said(home, offline, &["check", spec_with(home, weights), "--no-estimate"])
    };
    let (code, _, err) = check("1", "sigraph17");
    assert!(code == 2 && err.contains("similar name are siggraph17") && err.contains("^^^"), "{err}");
    let (code, _, err) = check("1", "eccv16");
    let path = home.join("home/hueristic/colorization_release_v2-9b330a0b.pth").display().to_string();
    let why = if cfg!(feature = "hub") { "HF_HUB_OFFLINE forbids" } else { "--features hub" };
    assert!(code == 1 && err.contains(why) && err.contains(&path), "{err}");
    if cfg!(feature = "hub") {
        let (code, out, err) = check("0", "eccv16");
        assert_eq!(code, 0, "{err}");
        let download = "has downloaded its weights, eccv16 (129 MB), from https://";
        assert_eq!(out.matches(download).count(), 3, "{out}");
        assert!(out.contains("`theirs`: not checked") && out.contains("colors-gray"), "{out}");
        assert!(!home.join("home/hueristic").exists(), "check has downloaded something");
    }
}

#[test]
fn a_file_of_that_name_comes_first() {
    let home = home();
    let file: PathBuf = [&run_of(home.path(), "color"), "weights.safetensors"].iter().collect();
    fs::copy(home.path().join(file), home.path().join("eccv16")).unwrap();
    let (_, said) = colored(home.path(), "eccv16");
    assert!(said.contains("using the file eccv16 here, not the released weights of that name"), "{said}");
    let (_, said) = colored(home.path(), "./eccv16");
    assert!(!said.contains("released"), "{said}");
}

/// The example of the library builds the network that the file names.
#[test]
fn the_example_reads_features_of_any_trained_network() {
    let home = home();
    let photo = home.path().join("a.jpg").display().to_string();
    let features = |stage: &str, layer: &str| {
        let weights = home.path().join(run_of(home.path(), stage)).join("weights.safetensors");
        let arguments = [weights.display().to_string(), layer.into(), photo.clone()];
        let mut out = vec![];
        example::features(arguments.into_iter(), &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    // a quarter of 256 channels at an eighth of 224 pixels, and a twentieth of 512, rounded to eights
    for (stage, layer, map) in
        [("color", "conv5", ", 64]"), ("labels", "conv1", ", 24]"), ("vgg", "conv5_3", "28, 28, 24]")]
    {
        let line = features(stage, layer).unwrap();
        assert!(line.starts_with(&format!("{photo}: [1, ")) && line.contains(map), "{stage}: {line}");
        let (_, mean) = line.split_once("mean over the map [").unwrap();
        let values: Vec<f32> =
            mean.split(']').next().unwrap().split(", ").map(|v| v.parse().unwrap()).collect();
        assert!(values.len() == 4 && values.iter().all(|v| v.is_finite()), "{line}");
        assert!(values.iter().any(|v| *v != 0.0), "{stage}: {line}");
    }
    let error = features("color", "layer1").unwrap_err().to_string();
    assert!(error.contains("there is no layer `layer1`; the layers are conv1"), "{error}");
}

/// An ONNX model is what `export` writes; `--onnx` says so again.
#[test]
fn the_format_of_an_export_may_be_named() {
    let home = home();
    let run = run_of(home.path(), "color");
    for arguments in [&["a.onnx"][..], &["b.onnx", "--onnx"], &["--onnx", "c.onnx"]] {
        let arguments = [&["weights", "export", run.as_str(), "--layers", "conv3"], arguments].concat();
        let (code, out, err) = hueristic(home.path(), &arguments);
        assert!(code == 0 && out.contains("alexnet"), "{arguments:?}: {out}{err}");
    }
    let read = |name: &str| fs::read(home.path().join(name)).unwrap();
    assert!(read("a.onnx") == read("b.onnx") && read("a.onnx") == read("c.onnx"));
    let (_, help, _) = hueristic(home.path(), &["weights", "export", "--help"]);
    assert!(help.contains("--layers") && !help.contains("--onnx"), "{help}");
}
