//! The binary from the user's side: help, exit codes, messages.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const SPEC: &str = "\
name: tiny
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 32
backbone: { alexnet: { stem: small, width: 0.25 } }
stages:
  pretrain:
    pretext:
      task: colorization
      train:
        steps: 20
        batch: 8
        optimizer: { adam: { lr: 3e-5 } }
";

fn hueristic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(arguments)
        .env_remove("HUERISTIC_DATA")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code and stderr of a command that must fail with empty stdout.
fn fails(arguments: &[&str]) -> (i32, String) {
    let output = hueristic(arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?} printed a result");
    (output.status.code().unwrap(), text(&output.stderr))
}

/// Stdout of a command that must succeed.
fn says(arguments: &[&str]) -> String {
    let output = hueristic(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn spec(dir: &Path, yaml: &str) -> String {
    let path = dir.join("spec.yaml");
    fs::write(&path, yaml).unwrap();
    path.display().to_string()
}

#[test]
fn help_carries_an_example_of_the_verb() {
    let verbs: [&[&str]; 29] = [
        &["init"],
        &["colorize"],
        &["features"],
        &["run"],
        &["check"],
        &["show"],
        &["schema"],
        &["data"],
        &["data", "verify"],
        &["data", "prior"],
        &["weights"],
        &["weights", "list"],
        &["weights", "inspect"],
        &["weights", "push"],
        &["weights", "convert"],
        &["model"],
        &["model", "alexnet"],
        &["report"],
        &["runs"],
        &["runs", "list"],
        &["runs", "diff"],
        &["runs", "clean"],
        &["score"],
        &["study"],
        &["study", "new"],
        &["study", "serve"],
        &["study", "score"],
        &["completions"],
        &["man"],
    ];
    for verb in verbs {
        let help = says(&[verb, &["--help"]].concat());
        let example = help.split("Example:").nth(1).unwrap_or_else(|| panic!("{verb:?} has no example"));
        assert!(example.contains(&format!("hueristic {}", verb.join(" "))), "{verb:?}: {example}");
    }
    assert!(says(&["--help"]).contains("Example:\n  hueristic run experiments/tiny/quickstart.yaml"));
    assert!(says(&["run", "--help"]).contains("`0..3` for 0, 1, 2"));
}

/// An error that only the first step reveals: a grid with fewer bins than the soft encoding needs.
#[test]
fn a_check_fails_where_the_run_would_once_all_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let bad = SPEC.replace("task: colorization", "task: { colorization: { grid: 60, neighbors: 30 } }");
    let bad = format!(
        "{bad}  labels: {{ supervised: {{ train: {{ steps: 2, batch: 8, optimizer: {{ adam: {{ lr: 1e-3 }} }} }} }} }}\n"
    );
    let path = spec(dir.path(), &bad);
    let output = hueristic(&["check", &path]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("  fails    in a rehearsal on a few pictures: ") && said.contains("use a finer grid"),
        "{said}"
    );
    assert!(
        said.contains("stage labels")
            && said.ends_with("nothing was trained; 1 would fail, as in the rehearsal\n"),
        "{said}"
    );
    assert!(!says(&["check", &path, "--no-estimate"]).contains("would fail"));
}

/// Shells do not expand the `~` in `--out=~/x`.
#[test]
fn the_home_folder_is_expanded() {
    let dir = tempfile::tempdir().unwrap();
    let (home, here) = (dir.path().join("home"), dir.path().join("here"));
    for folder in [&home, &here] {
        fs::create_dir(folder).unwrap();
    }
    let path = spec(dir.path(), SPEC);
    let status = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(["run", &path, "--set", "pretrain.train.steps=1", "--out=~/x"])
        .env("HOME", &home)
        .current_dir(&here)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", text(&status.stderr));
    assert!(home.join("x/tiny").is_dir());
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0, "a folder `~` was made");
}

#[cfg(unix)]
#[test]
fn an_interrupted_check_leaves_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = spec(dir.path(), SPEC);
    let temporary = dir.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let left = || fs::read_dir(&temporary).unwrap().count();
    // on a busy machine a check may end before the signal reaches it
    let interrupted = (0..20).any(|_| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_hueristic"))
            .args(["check", &path])
            .env("TMPDIR", &temporary)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while left() == 0 && check.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Command::new("kill").args(["-INT", &check.id().to_string()]).status().unwrap();
        let code = check.wait().unwrap().code();
        assert!([Some(0), Some(130)].contains(&code), "{code:?}");
        assert_eq!(left(), 0);
        code == Some(130)
    });
    assert!(interrupted, "every check ended before it was interrupted");
}

#[test]
fn one_is_counted_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let said = says(&["check", &spec(dir.path(), SPEC), "--no-estimate", "--set", "pretrain.train.steps=1"]);
    assert!(
        said.contains("tiny: 1 stage, 1 seed, 1 fit; nothing") && said.contains("1 fit of 1 step × 8"),
        "{said}"
    );
}

#[test]
fn the_version_names_a_commit() {
    let version = says(&["--version"]);
    let commit =
        version.trim().strip_suffix(')').and_then(|v| v.split_once(" (")).map(|(_, c)| c.to_string());
    let commit = commit.unwrap_or_else(|| panic!("no commit in {version}"));
    let hash = commit.strip_suffix("-dirty").unwrap_or(&commit);
    assert!(
        hash == "unknown" || (hash.len() == 12 && hash.chars().all(|c| c.is_ascii_hexdigit())),
        "{version}"
    );
}

#[test]
fn a_manifest_names_the_commit_and_features_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("runs");
    says(&[
        "run",
        &spec(dir.path(), SPEC),
        "--set",
        "pretrain.train.steps=1",
        "--out",
        &out.display().to_string(),
    ]);
    let run = fs::read_dir(out.join("tiny")).unwrap().map(|e| e.unwrap().path());
    let run = { run }.find(|path| path.join("manifest.json").exists()).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
    let commit = manifest["commit"].as_str().unwrap();
    assert!(says(&["--version"]).contains(&format!("({commit})")), "{commit}");
    let features = manifest["features"].as_array().unwrap();
    assert_eq!(features.iter().any(|name| name == "hub"), cfg!(feature = "hub"));
}

#[test]
fn bad_usage_exits_with_2() {
    for arguments in [
        &["rnu", "a.yaml"][..],
        &[],
        &["run"],
        &["run", "a.yaml", "--seeds", "3..3"],
        &["run", "a.yaml", "--threads", "0"],
        &["model", "alexnet", "--width", "-1"],
        &["model", "alexnet", "--outputs", "18446744073709551615"],
        &["model", "vgg", "--outputs", "9223372036854775807"],
        &["score", "--truth", "a", "--gray", "--bootstrap", "18446744073709551615"],
        &["score", "--truth", "a", "--gray", "--bootstrap", "100000000"],
        &["show", "a.yaml", "-v", "-q"],
        &["report", "no/such/folder"],
    ] {
        assert_eq!(fails(arguments).0, 2, "{arguments:?}");
    }
    assert!(fails(&["chekc", "a.yaml"]).1.contains("'check'"), "the nearest verb is not named");
}

#[test]
fn an_instruction_set_that_is_none_exits_with_2() {
    let run = |simd: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_hueristic"));
        program.args(["model", "alexnet"]).env("HUERISTIC_SIMD", simd).output().unwrap()
    };
    let refused = run("AVX2");
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    assert!(message.contains("HUERISTIC_SIMD is AVX2") && message.contains("plain"), "{message}");
    assert!(run("plain").status.success());
}

#[test]
fn a_bad_spec_exits_with_2_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let bad = spec(dir.path(), &SPEC.replace("batch: 8", "bacth: 8"));
    for verb in ["run", "check", "show"] {
        let (code, message) = fails(&[verb, &bad]);
        assert_eq!(code, 2, "{verb}");
        assert!(message.starts_with("error: unknown field `bacth`"), "{message}");
        assert!(
            message.contains(&format!("{bad}:12:9")) && message.contains("did you mean `batch`?"),
            "{message}"
        );
    }
}

#[test]
fn a_missing_spec_exits_with_2_and_is_named() {
    for arguments in [&["run", "no/such.yaml"][..], &["data", "verify", "no/such.yaml"]] {
        let (code, message) = fails(arguments);
        assert_eq!(code, 2);
        assert!(message.contains("cannot read the spec `no/such.yaml`"), "{message}");
    }
}

#[test]
fn a_bad_override_exits_with_2_and_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let good = spec(dir.path(), SPEC);
    let (code, message) = fails(&["show", &good, "--set", "pretrain.train.steps=many"]);
    assert_eq!(code, 2);
    assert!(message.contains("--set pretrain.train.steps=many"), "{message}");
    let (code, message) = fails(&["run", &good, "--out", ""]);
    assert!(code == 2 && message.contains("expected a path, got empty text"), "{message}");
}

#[test]
fn show_prints_a_spec_and_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let shown =
        says(&["show", &spec(dir.path(), SPEC), "--seeds", "0..2", "--set", "pretrain.train.steps=5"]);
    let (first, yaml) = shown.split_once('\n').unwrap();
    let hash = first.strip_prefix("# sha256 ").unwrap();
    assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{first}");
    let value: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(value["stages"]["pretrain"]["pretext"]["train"]["steps"], 5);
    assert_eq!(value["seeds"].as_sequence().map(Vec::len), Some(2));
    // The output is itself an equivalent spec.
    assert_eq!(says(&["show", &spec(dir.path(), &shown)]), shown);
}

#[test]
fn an_unknown_data_set_exits_with_2_and_names_the_nearest() {
    let (code, message) = fails(&["data", "verify", "cifra10"]);
    assert_eq!(code, 2);
    assert!(message.contains("cifra10") && message.contains("`cifar10`"), "{message}");
    let dir = tempfile::tempdir().unwrap();
    let bad = spec(dir.path(), &SPEC.replace("scenes: { train: 64, val: 16 }", "catalog: cifra10"));
    let (code, message) = fails(&["check", &bad]);
    assert_eq!(code, 2);
    assert!(message.contains(":3:22") && message.contains("did you mean `cifar10`?"), "{message}");
}

#[test]
fn a_folder_or_a_list_is_verified_as_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (folder, value) in [("train/cat", 10), ("train/dog", 200), ("val/dog", 90)] {
        fs::create_dir_all(at(folder)).unwrap();
        image::RgbImage::from_pixel(4, 4, image::Rgb([value, 2, 3]))
            .save(at(&format!("{folder}/0.png")))
            .unwrap();
    }
    let split = says(&["data", "verify", &at("")]);
    assert!(split.contains("train: 2 images, 0 unreadable") && split.contains("val: 1 image,"), "{split}");
    let one = says(&["data", "verify", &at("train")]);
    assert!(one.contains("train: 2 images") && one.contains("2 classes") && !one.contains("val:"), "{one}");
    fs::write(at("list.csv"), "\u{feff}train/cat/0.png,cat\r\ntrain/dog/0.png,dog\r\n").unwrap();
    let list = says(&["data", "verify", &at("list.csv")]);
    assert!(list.contains("train: 2 images, 0 unreadable") && list.contains("2 classes"), "{list}");
    let yaml =
        SPEC.replace("scenes: { train: 64, val: 16 }", &format!("list: {{ train: {} }}", at("list.csv")));
    let verified = says(&["data", "verify", &spec(dir.path(), &yaml)]);
    assert!(verified.contains("train: 2 images, 0 unreadable"), "{verified}");
    fs::create_dir(at("Annotations")).unwrap();
    let (code, message) = fails(&["data", "verify", &at("")]);
    assert!(code == 1 && message.contains("a PASCAL VOC devkit"), "{message}");
    let (code, message) = fails(&["data", "verify", &at("gone")]);
    assert!(code == 2 && message.contains("gone: not found"), "{message}");
}

#[test]
fn a_file_that_is_neither_data_nor_a_spec_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    image::RgbImage::new(4, 4).save(at("a.PNG")).unwrap();
    fs::write(at("w.safetensors"), [0xff; 16]).unwrap();
    for (name, parts) in [
        ("a.PNG", ["is a picture; give its folder", "a list of pictures"]),
        ("w.safetensors", ["is a weight file", "hueristic weights inspect"]),
    ] {
        let (code, message) = fails(&["data", "verify", &at(name)]);
        assert_eq!(code, 2, "{message}");
        assert!(message.contains(&at(name)) && parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(!message.contains("cannot read the spec"), "{message}");
    }
}

/// Missing local data would otherwise be downloaded.
#[test]
fn a_data_folder_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone").display().to_string();
    let spec = spec(dir.path(), SPEC);
    for data in [&gone, &spec] {
        for verb in [&["data", "verify", "cifar10"][..], &["check", &spec]] {
            let (code, message) = fails(&[verb, &["--data", data]].concat());
            assert_eq!(code, 2, "{message}");
            assert!(message.contains(&format!("--data {data} is not a folder")), "{message}");
        }
    }
}

#[test]
fn labels_are_a_fault_only_where_a_stage_asks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for folder in ["train/2021", "train/2022", "val/holiday"] {
        fs::create_dir_all(at(folder)).unwrap();
        image::RgbImage::from_pixel(4, 4, image::Rgb([9, 2, 3]))
            .save(at(&format!("{folder}/0.png")))
            .unwrap();
    }
    let source = format!("folder: {{ train: {}, val: {} }}", at("train"), at("val"));
    let pretext = SPEC.replace("scenes: { train: 64, val: 16 }", &source);
    let verified = says(&["data", "verify", &spec(dir.path(), &pretext)]);
    assert!(verified.contains("unlabeled: class `holiday`"), "{verified}");
    let supervised = pretext.replace("pretext:\n      task: colorization", "supervised:");
    let output = hueristic(&["data", "verify", &spec(dir.path(), &supervised)]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), verified));
}

#[test]
fn the_layer_table_counts_what_the_paper_counts() {
    let pretext = says(&["model", "alexnet"]);
    assert!(pretext.contains("58,127,353"), "{pretext}");
    let transfer = says(&["model", "alexnet", "--graph", "transfer"]);
    assert!(transfer.contains("56,844,992"), "{transfer}");
}

#[test]
fn networks_beyond_all_memory_are_refused() {
    for arguments in [["alexnet", "1e6"], ["alexnet", "1e300"], ["vgg", "1e9"], ["vgg16", "1e30"]] {
        let (code, text) = fails(&["model", arguments[0], "--width", arguments[1]]);
        assert!(code == 1 && text.contains("take a smaller `width`"), "{arguments:?}: {code} {text}");
    }
}

#[test]
fn weights_are_listed() {
    use candle_core::{Device, Tensor};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.safetensors");
    let weight = Tensor::full(0.5f32, (2, 3, 1, 1), &Device::Cpu).unwrap();
    let broken = Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap();
    let tensors = std::collections::HashMap::from([("conv1.weight", weight), ("conv1.bias", broken)]);
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let listed = says(&["weights", "inspect", &file.display().to_string()]);
    assert!(listed.contains("2×3×1×1") && listed.contains("mean   5.000e-1"), "{listed}");
    assert!(listed.contains("1 not finite") && listed.contains("2 tensors, 8 numbers"), "{listed}");
    let (code, message) = fails(&["weights", "inspect", &dir.path().join("none").display().to_string()]);
    assert!(code == 1 && message.contains("none"), "{code}: {message}");
}

#[test]
fn released_weights_are_listed() {
    let listed = says(&["weights", "list"]);
    assert!(listed.contains("\nsiggraph17 ") && listed.contains("BSD-2-Clause  129 MB"), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&says(&["weights", "list", "--json"])).unwrap();
    let named = json.as_array().unwrap().iter().find(|entry| entry["name"] == "eccv16").unwrap();
    assert_eq!(
        (named["architecture"].as_str(), named["sha256"].as_str().map(str::len)),
        (Some("vgg"), Some(64))
    );
    assert!(named["path"].as_str().unwrap().ends_with("colorization_release_v2-9b330a0b.pth"), "{named}");
}

/// With a GPU the first command plans; without a GPU or the feature it gives an error with advice.
#[test]
fn a_gpu_that_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = spec(dir.path(), SPEC);
    if hueristic::device::available_devices().len() == 1 {
        let (code, error) = fails(&["check", &path, "--device", "cuda"]);
        assert_eq!(code, 1);
        assert!(error.contains("cuda:0") && error.contains("--device cpu"), "{error}");
        let (_, error) =
            fails(&["check", &spec(dir.path(), &format!("compute: {{ device: cuda }}\n{SPEC}"))]);
        assert!(error.contains("cuda:0"), "{error}");
    }
    // The command line takes precedence over the spec; the default device is auto.
    let path = spec(dir.path(), &format!("compute: {{ device: cuda }}\n{SPEC}"));
    says(&["check", &path, "--device", "cpu"]);
    says(&["check", &spec(dir.path(), SPEC)]);
}

#[test]
fn a_device_that_does_not_exist_is_named_with_those_that_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = spec(dir.path(), SPEC);
    let (code, error) = fails(&["check", &path, "--device", "gpu"]);
    assert_eq!(code, 2);
    assert!(error.contains("`gpu` is no device: auto, cpu, cuda"), "{error}");
    let (_, error) = fails(&["check", &spec(dir.path(), &format!("compute: {{ device: gpu }}\n{SPEC}"))]);
    assert!(error.contains("spec.yaml:1:") && error.contains("`gpu` is no device"), "{error}");
}

/// GPUs that cannot train together are refused at once, on the command line and in the spec.
#[test]
fn gpus_that_cannot_be_meant_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = spec(dir.path(), SPEC);
    for (device, why) in [
        ("cuda:0,0", "GPU 0 is listed twice"),
        ("cuda:0-2,1", "GPU 1 is listed twice"),
        ("cuda:3-1", "3-1 counts down: write 1-3"),
        ("cuda:0-99", "GPU 99 is none of one machine"),
        ("cuda:a-b", "`a` is no index of a GPU"),
    ] {
        let (code, error) = fails(&["run", &path, "--device", device]);
        assert!(code == 2 && error.contains(why), "{error}");
        let in_spec = spec(dir.path(), &format!("compute: {{ device: '{device}' }}\n{SPEC}"));
        let (code, error) = fails(&["run", &in_spec]);
        assert!(code == 2 && error.contains("spec.yaml:1:") && error.contains(why), "{error}");
    }
    if cfg!(feature = "nccl") {
        return;
    }
    let path = spec(dir.path(), SPEC);
    for verb in ["run", "check"] {
        let (code, error) = fails(&[verb, &path, "--device", "cuda:0-1"]);
        assert_eq!(code, 1);
        assert!(error.contains("cuda:0-1: this program was built without NCCL"), "{error}");
        assert!(error.contains("--features nccl") && error.matches("error: ").count() == 1, "{error}");
    }
    assert!(!dir.path().join("results").exists());
}

#[test]
fn shells_and_man_know_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("hueristic.bash");
    fs::write(&script, says(&["completions", "bash"])).unwrap();
    let offered = |words: &str| {
        let last = words.split(' ').count() - 1;
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; _hueristic hueristic \"${{COMP_WORDS[{last}]}}\" x; echo ${{COMPREPLY[@]}}",
            script.display()
        );
        text(&Command::new("bash").args(["-c", &ask]).output().unwrap().stdout)
    };
    assert_eq!(offered("hueristic colo").trim(), "colorize");
    assert!(offered("hueristic run --se").contains("--seeds"));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(says(&["completions", shell]).contains("colorize"), "{shell}");
    }
    let pages = dir.path().join("man");
    let said = says(&["man", "--out", &pages.display().to_string()]);
    assert!(said.contains("hueristic.1"), "{said}");
    for page in ["hueristic.1", "hueristic-colorize.1", "hueristic-weights-convert.1"] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().starts_with(".ie"), "{page}");
    }
}

/// A run whose stages have more log lines than there are tenths.
const LONG: &str = "\
name: long
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 29
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  pretrain-of-a-network-with-a-rather-long-name:
    pretext:
      task: { colorization: {} }
      train: { steps: 60, batch: 8, log_every: 2, evaluate_every: 5, optimizer: { adam: { lr: 1e-3 } } }
";

#[test]
fn a_run_without_a_terminal_prints_at_most_a_dozen_lines_a_stage() {
    let dir = tempfile::tempdir().unwrap();
    let path = spec(dir.path(), LONG);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.current_dir(dir.path()).args(["run", &path, "--out", "runs"]).env_remove("RUST_LOG");
    let output = command.output().unwrap();
    assert!(output.status.success());
    let said = text(&output.stderr);
    // The time of day, and the run's path, which is never cut.
    let info: Vec<&str> = said.lines().filter(|line| line.contains(" INFO ")).collect();
    let begins =
        |line: &&str| line.get(8..).is_some_and(|rest| rest.starts_with("  INFO runs/long/pretrain-"));
    assert!(info.len() == 1 && info.iter().all(begins), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert!((11..=12).contains(&lines.len()), "{said}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{said}");
    assert!(lines[0].contains(" 1/60  ") && lines[1].contains(" 6/60  "), "{said}");
    assert!(lines.last().unwrap().contains(" 60/60  took "), "{said}");
    // The files have every line.
    let mut stages = fs::read_dir(dir.path().join("runs/long")).unwrap().map(|entry| entry.unwrap().path());
    let stage = stages.find(|path| path.join("log.txt").exists()).unwrap();
    let log = fs::read_to_string(stage.join("log.txt")).unwrap();
    assert_eq!(log.matches("  validation  ").count(), 12, "{log}");
    let metrics = fs::read_to_string(stage.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().filter(|line| line.contains("\"train\"")).count(), 30);
}

#[test]
fn a_quiet_run_prints_its_results_only() {
    let help = says(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("Results still go to stdout"), "{help}");
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (spec(dir.path(), LONG), dir.path().join("runs").display().to_string());
    let output = hueristic(&["run", &path, "--out", &out, "-q"]);
    assert_eq!((output.status.success(), text(&output.stderr).as_str()), (true, ""));
    assert!(text(&output.stdout).contains("picture  "));
}

/// What a run of `SPEC` with these keys says, with runs below `dir`.
fn run_with(dir: &Path, sets: &[&str]) -> String {
    let (path, out) = (spec(dir, SPEC), dir.join("runs").display().to_string());
    let sets = ["pretrain.train.steps=2"].iter().chain(sets).flat_map(|set| ["--set", *set]);
    let arguments: Vec<&str> =
        ["run", path.as_str(), "--out", out.as_str()].into_iter().chain(sets).collect();
    let output = hueristic(&arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn a_changed_key_is_named_with_both_values() {
    let dir = tempfile::tempdir().unwrap();
    let first = run_with(dir.path(), &[]);
    assert!(!first.contains("starting from scratch"), "{first}");
    let again = run_with(dir.path(), &[]);
    assert!(again.contains("finished before, kept") && !again.contains("starting from scratch"), "{again}");
    let changed = run_with(dir.path(), &["pretrain.train.batch=4"]);
    let (_, differing) =
        changed.split_once("its spec differs from that of ").unwrap_or_else(|| panic!("{changed}"));
    assert!(differing.contains("; starting from scratch:\n  train.batch: 8 → 4\n"), "{changed}");
    // Of the two runs there, the one with fewer differences is named.
    let cropped = run_with(dir.path(), &["data.crop=29"]);
    assert!(cropped.contains("  data.crop: 32 → 29\n") && !cropped.contains("train.batch"), "{cropped}");
}

#[test]
fn a_run_that_cannot_be_extended_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let cosine = "pretrain.train.schedule={ decay: { cosine: {} } }";
    run_with(dir.path(), &[cosine]);
    let longer = run_with(dir.path(), &[cosine, "pretrain.train.steps=3"]);
    for part in ["has 2 steps of the same training", "depends on the total of 3 steps: starting from scratch"]
    {
        assert!(longer.contains(part), "{part} is not in\n{longer}");
    }
    run_with(dir.path(), &["pretrain.train.steps=4"]);
    let shorter = run_with(dir.path(), &["pretrain.train.steps=1"]);
    assert!(
        shorter
            .contains("has 4 steps of the same training, more than the 1 requested: starting from scratch"),
        "{shorter}"
    );
    let extended = run_with(dir.path(), &["pretrain.train.steps=5"]);
    assert!(extended.contains("continues from step 4 of "), "{extended}");
    assert!(!extended.contains("starting from scratch"), "{extended}");
}
