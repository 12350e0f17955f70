//! `runs list`, `runs diff` and `runs clean` from the user's side, and reports on variants of a stage, on real runs.

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
    let list = home.says(&["runs", "list"]);
    for (lr, all) in [("lr=1e-3", 2), ("lr=2e-3", 2)] {
        assert_eq!(list.lines().filter(|line| line.contains(lr)).count(), all, "{list}");
    }
    assert!(list.contains("colorization lr=2e-3"), "{list}");
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

#[test]
fn what_is_superseded_goes_only_on_request() {
    let home = Home::new();
    home.run(&[]);
    let run = home.runs("pretrain").remove(0);
    // The same run, killed, in another folder of experiments.
    let copy = home.path().join("results/runs/other").join(run.file_name().unwrap());
    copy_all(&run, &copy);
    unfinish(&copy);
    fs::write(run.join("checkpoints/last.safetensors.ab12.partial"), "x").unwrap();
    let told = home.says(&["runs", "clean"]);
    assert!(told.contains("has finished the same") && told.contains("nothing was deleted"), "{told}");
    assert!(told.contains("temporary files of a killed process") && told.contains("kept: "), "{told}");
    assert!(copy.exists() && run.join("checkpoints/last.safetensors.ab12.partial").exists());
    let told = home.says(&["runs", "clean", "--yes"]);
    assert!(told.ends_with(": deleted\n"), "{told}");
    assert!(!copy.exists() && run.join("weights.safetensors").exists());
    assert!(!run.join("checkpoints/last.safetensors.ab12.partial").exists());
    assert!(home.says(&["runs", "clean"]).contains("nothing to delete"));
    // A finished experiment stays finished.
    assert!(home.run(&[]).contains("Linear probe on scenes"));
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_all(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn runs_that_the_spec_no_longer_asks_for_go_with_it() {
    let home = Home::new();
    home.run(&["seeds=[0,1]"]);
    home.run(&["pretrain.train.optimizer.adam.lr=2e-3"]);
    assert_eq!((home.runs("pretrain").len(), home.runs("probe").len()), (3, 5));
    // The random row is the same in both; other seeds of the spec are not outdated.
    let told = home.says(&["runs", "clean", "--spec", "tiny.yaml"]);
    assert_eq!(told.matches("the spec no longer asks for it").count(), 2, "{told}");
    home.says(&["runs", "clean", "results/runs/tiny", "--spec", "tiny.yaml", "--yes"]);
    assert_eq!((home.runs("pretrain").len(), home.runs("probe").len()), (2, 4));
    // A shorter run is kept, since a longer one continues from it.
    let longer = ["runs", "clean", "--spec", "tiny.yaml", "--set", "pretrain.train.steps=8"];
    let told = home.says(&longer);
    assert!(!told.contains("pretrain-s0"), "{told}");
}

#[test]
fn a_copy_under_a_name_of_the_users_own_is_kept() {
    let home = Home::new();
    home.run(&[]);
    home.run(&["pretrain.train.optimizer.adam.lr=2e-3"]);
    let listed = home.says(&["runs", "clean", "--spec", "tiny.yaml"]);
    let outdated =
        |run: &&PathBuf| listed.contains(&format!("{} (", run.file_name().unwrap().to_string_lossy()));
    let runs = home.runs("pretrain");
    let run = runs.iter().find(outdated).unwrap_or_else(|| panic!("{listed}"));
    let name = run.file_name().unwrap().to_string_lossy().into_owned();
    for own in ["best-so-far".to_string(), format!("before-{name}"), format!("{name}-before")] {
        copy_all(run, &run.with_file_name(&own));
    }
    let told = home.says(&["runs", "clean", "--spec", "tiny.yaml", "--yes"]);
    assert_eq!(told.matches("kept, since no run has this name: results/runs/tiny/").count(), 3, "{told}");
    assert!(!run.exists() && run.with_file_name("best-so-far/weights.safetensors").exists());
}

#[test]
fn a_run_with_a_file_of_the_users_own_is_kept() {
    let home = Home::new();
    home.run(&[]);
    home.run(&["pretrain.train.optimizer.adam.lr=2e-3"]);
    let told = home.says(&["runs", "clean", "--spec", "tiny.yaml"]);
    let outdated =
        |run: &&PathBuf| told.contains(&format!("{} (", run.file_name().unwrap().to_string_lossy()));
    let runs = home.runs("pretrain");
    let run = runs.iter().find(outdated).unwrap_or_else(|| panic!("{told}"));
    for (name, finished) in [("notes.txt", true), ("pictures/mine/thesis.tex", true), ("notes.txt", false)] {
        let mine = run.join(name);
        fs::create_dir_all(mine.parent().unwrap()).unwrap();
        fs::write(&mine, "mine").unwrap();
        if !finished {
            unfinish(run);
        }
        let told = home.says(&["runs", "clean", "--spec", "tiny.yaml", "--yes"]);
        assert!(told.contains("kept, since no run wrote") && told.contains(name), "{told}");
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
        fs::remove_file(&mine).unwrap();
    }
    home.says(&["runs", "clean", "--spec", "tiny.yaml", "--yes"]);
    assert!(!run.exists(), "nothing of the user's is left in it");
}

#[test]
fn checkpoints_of_finished_runs_go_and_the_runs_stay_finished() {
    let home = Home::new();
    home.run(&[]);
    let told = home.says(&["runs", "clean", "--checkpoints"]);
    assert!(told.contains("more than 4 steps then start from scratch"), "{told}");
    home.says(&["runs", "clean", "--checkpoints", "--yes"]);
    let run = home.runs("pretrain").remove(0);
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 0);
    let output = home.call(&["run", "tiny.yaml"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("finished before"), "{log}");
    assert!(!log.contains("modified or missing"), "{log}");
}

#[test]
#[cfg(unix)]
fn links_out_of_the_folder_are_not_followed() {
    let home = Home::new();
    home.run(&[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let run = home.runs("pretrain").remove(0);
    let copy = elsewhere.path().join("other").join(run.file_name().unwrap());
    copy_all(&run, &copy);
    unfinish(&copy);
    std::os::unix::fs::symlink(elsewhere.path().join("other"), home.path().join("results/runs/linked"))
        .unwrap();
    assert!(home.says(&["runs", "clean"]).contains("nothing to delete"));
    assert!(home.says(&["runs", "clean", "--yes"]).contains("nothing to delete"));
    assert!(copy.join("spec.yaml").exists());
}

#[test]
fn two_variants_of_a_stage_are_two_rows() {
    let home = Home::new();
    home.run(&["seeds=[0,1]"]);
    home.run(&["seeds=[0,1]", "pretrain.train.optimizer.adam.lr=2e-3"]);
    let table = home.says(&["report", "results/runs/tiny", "--out", "report"]);
    let row =
        |name: &str| table.lines().find(|line| line.starts_with(name)).is_some_and(|row| row.contains('±'));
    assert!(row("colorization lr=1e-3 ") && row("colorization lr=2e-3 "), "{table}");
    assert!(row("random  ") && table.contains("mean ± std over 2 seeds"), "{table}");
    let svg = fs::read_to_string(home.path().join("report/accuracy.svg")).unwrap();
    assert!(svg.contains("colorization lr=2e-3"));
    // A key has one name in all rows, though only one of two rows needs the longer one.
    home.run(&["probe.train.optimizer.sgd.lr=0.02"]);
    let table = home.says(&["report", "results/runs/tiny", "--out", "report"]);
    for row in ["random sgd.lr=0.01 ", "random sgd.lr=0.02 ", "colorization sgd.lr=0.02 adam.lr=1e-3 "] {
        assert!(table.contains(&format!("\n{row}")), "{row}: {table}");
    }

    // Many keys: a letter, and a legend below the table.
    let many = ["batch=9", "steps=5", "optimizer.adam.lr=3e-3", "optimizer.adam.beta1=0.8"];
    let many: Vec<String> = many.iter().map(|key| format!("pretrain.train.{key}")).collect();
    home.run(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let table = home.says(&["report", "results/runs/tiny", "--out", "report"]);
    // Runs that begin in the same second may change places.
    let legend = table.lines().find(|line| line.contains(", batch 9, ")).unwrap_or_else(|| panic!("{table}"));
    assert!(table.contains(&format!("\ncolorization {} ", &legend[..1])), "{table}");
    let markdown = fs::read_to_string(home.path().join("report/table.md")).unwrap();
    assert!(markdown.contains("\nA: ") && markdown.contains("| colorization A |"), "{markdown}");

    // The same spec twice is no variant.
    let run = home.runs("probe-random").remove(0);
    copy_all(&run, &home.path().join("results/runs/tiny/copy"));
    let twice = home.call(&["report", "results/runs/tiny", "--out", "report"]);
    let error = String::from_utf8(twice.stderr).unwrap();
    assert!(error.contains("two results for random") && error.contains("tiny/copy"), "{error}");
}
