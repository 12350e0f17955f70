//! `runs list` and `runs diff` from the user's side, on real runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SPEC: &str = "\
name: tiny
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 29
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
stages:
  pretrain:
    pretext:
      task: { colorization: {} }
      train: { steps: 4, batch: 8, optimizer: { adam: { lr: 1e-3 } } }
  probe:
    linear_probe:
      backbones: { random: { init: msra }, colorization: { stage: pretrain } }
      probe: { dimensions: 100, augment: false }
      train: { steps: 4, batch: 8, optimizer: { sgd: { lr: 0.01 } } }
";

/// An empty folder with the spec.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::write(home.path().join("tiny.yaml"), SPEC).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
        let command = command.args(arguments).current_dir(self.path());
        command.env_remove("HUERISTIC_DATA").env_remove("RUST_LOG").output().unwrap()
    }

    /// Stdout of a command that must succeed.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, sets: &[&str]) -> String {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        self.says(&[&["run", "tiny.yaml"], &sets[..]].concat())
    }

    /// Run directories whose name begins with `stage`.
    fn runs(&self, stage: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("results/runs/tiny")).unwrap();
        let begins = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(stage);
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(begins).collect();
        found.sort();
        found
    }
}

/// Rewrites the status in a manifest, as a process that was killed has left it.
fn unfinish(run: &Path) {
    use hueristic::train::manifest::{Manifest, Status};
    let manifest = Manifest::read(run).unwrap().unwrap();
    Manifest { status: Status::Running, ..manifest }.write(run).unwrap();
}

#[test]
fn runs_are_listed_and_unreadable_ones_with_the_reason() {
    let home = Home::new();
    home.run(&[]);
    let list = home.says(&["runs", "list"]);
    let line = |name: &str| list.lines().find(|line| line.contains(name)).unwrap().to_string();
    let probe = line("probe-colorization-s0-");
    let columns: Vec<&str> = probe.split_whitespace().collect();
    assert_eq!(
        columns[..9],
        ["tiny", "probe", "linear_probe", "colorization", "0", "finished", "4", "of", "4"]
    );
    assert!(columns[9] == "conv1_top1" && probe.contains(" kB") && probe.contains("results/runs/tiny/probe"));
    assert!(line("pretrain-s0-").contains("pretext"));
    assert!(list.contains("3 runs (3 finished), "), "{list}");
    let json: serde_json::Value = serde_json::from_str(&home.says(&["runs", "list", "--json"])).unwrap();
    assert_eq!(
        (json["runs"][0]["stage"].as_str(), json["runs"][0]["steps"].as_u64()),
        (Some("pretrain"), Some(4))
    );

    unfinish(&home.runs("pretrain")[0]);
    fs::write(home.runs("probe-random")[0].join("manifest.json"), "{").unwrap();
    let list = home.says(&["runs", "list", "results/runs/tiny"]);
    assert!(list.contains("killed") && list.contains("2 runs (1 finished, 1 killed)"), "{list}");
    assert!(list.contains("1 unreadable") && list.contains("manifest.json is damaged"), "{list}");

    let nowhere = home.call(&["runs", "list", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2));
    fs::create_dir(home.path().join("empty")).unwrap();
    assert_eq!(home.says(&["runs", "list", "empty"]), "0 runs\n");
}

#[test]
fn differences_are_named_by_key() {
    let home = Home::new();
    home.run(&[]);
    home.run(&["pretrain.train.optimizer.adam.lr=2e-3"]);
    let pretrained = home.runs("pretrain");
    let [a, b] = [0, 1].map(|at| pretrained[at].to_str().unwrap());
    let diff = home.says(&["runs", "diff", a, b]);
    let mut lr =
        diff.lines().find(|line| line.starts_with("train.optimizer.adam.lr")).unwrap().split_whitespace();
    let values = [lr.nth(1).unwrap(), lr.next().unwrap()];
    assert!(values.contains(&"1e-3") && values.contains(&"2e-3"), "{diff}");
    assert!(diff.contains("\nresults ") && !diff.contains("\ndata ") && !diff.contains("seed"), "{diff}");
    assert!(home.says(&["runs", "diff", a, a]).contains("the specs are the same"));

    // Two folders: pairs by stage, row and seed.
    let other = Home::new();
    other.run(&[]);
    let folder = other.path().join("results/runs/tiny");
    fs::remove_dir_all(&other.runs("probe-random")[0]).unwrap();
    let diff = home.says(&["runs", "diff", "results/runs/tiny", folder.to_str().unwrap()]);
    assert!(diff.contains("probe random, seed 0: only in A"), "{diff}");
    assert!(diff.contains("pretrain, seed 0: A has 2 of them; the newest is compared"), "{diff}");
    assert!(diff.contains("\nprobe colorization, seed 0"), "{diff}");
    assert_eq!(home.call(&["runs", "diff", a, "results"]).status.code(), Some(1));
}
