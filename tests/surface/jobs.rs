//! `run --shard-jobs`: processes that share the fits of an experiment through their folder of runs.

use hueristic::train::manifest::{Manifest, Status};
use rand::{RngExt, SeedableRng};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

/// Ten fits: pretraining at two rates for two seeds, and probes, of which those of `random` are the same at both rates.
const SPEC: &str = "\
name: tiny
seeds: [0, 1]
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 29
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
sweep: { grid: { pretrain.train.optimizer.adam.lr: [1e-3, 1e-4] } }
stages:
  pretrain:
    pretext:
      task: { colorization: {} }
      train: { steps: 30, batch: 8, checkpoint_every: 5, optimizer: { adam: { lr: 1e-3 } } }
  probe:
    linear_probe:
      backbones: { random: { init: msra }, colorization: { stage: pretrain } }
      probe: { dimensions: 100, augment: false }
      train: { steps: 10, batch: 8, optimizer: { sgd: { lr: 0.01 } } }
";
const FITS: usize = 10;

/// A folder with the spec.
struct Home(tempfile::TempDir);

impl Home {
    fn new(spec: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::write(home.0.path().join("tiny.yaml"), spec).unwrap();
        home
    }

    fn run(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
        command
            .args(["run", "tiny.yaml", "--out", out, "--threads", "1"])
            .args(more)
            .current_dir(self.0.path());
        command.env_remove("HUERISTIC_DATA").env_remove("RUST_LOG");
        command
    }

    /// Starts job `shard`, whose messages go to a file.
    fn start(&self, out: &str, shard: &str) -> Job {
        let log = self.0.path().join(format!("{out}-{}.log", shard.replace('/', "of")));
        let mut command = self.run(out, &["--shard-jobs", shard]);
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        Job { child: command.spawn().unwrap(), log }
    }

    fn table(&self, out: &str) -> String {
        fs::read_to_string(self.0.path().join(out).join("tiny/report/table.csv")).unwrap()
    }

    /// Run directories, by name.
    fn runs(&self, out: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path().join(out).join("tiny")).into_iter().flatten();
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        runs.retain(|path| path.join("spec.yaml").exists());
        runs.sort();
        runs
    }
}

struct Job {
    child: Child,
    log: PathBuf,
}

impl Job {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the messages contain `part`.
    fn wait_for(&mut self, part: &str) {
        let began = Instant::now();
        while !self.said().contains(part) {
            let ended = self.child.try_wait().unwrap();
            let late = began.elapsed() > Duration::from_secs(120);
            assert!(ended.is_none() && !late, "no `{part}` ({ended:?}) in\n{}", self.said());
            sleep(Duration::from_millis(5));
        }
    }

    /// Exit code, stdout and messages.
    fn end(self) -> (Option<i32>, String, String) {
        let Output { status, stdout, .. } = self.child.wait_with_output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), fs::read_to_string(&self.log).unwrap())
    }
}

/// How often each run directory was begun: `12:00:00  INFO lr=1e-3: out/tiny/pretrain-s0-0123456789ab`.
fn begun(logs: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in logs.iter().flat_map(|log| log.lines()) {
        if let Some((_, dir)) = line.split_once(" INFO lr=").and_then(|(_, rest)| rest.split_once(": ")) {
            *counts.entry(dir.to_string()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn jobs_share_the_fits_and_one_writes_the_report() {
    let home = Home::new(SPEC);
    assert!(home.run("alone", &[]).output().unwrap().status.success());
    let jobs = ["0/3", "1/3", "2/3"].map(|shard| home.start("shared", shard));
    let ended = jobs.map(Job::end);
    for (code, _, log) in &ended {
        assert_eq!(*code, Some(0), "{log}");
    }
    assert_eq!(home.table("shared"), home.table("alone"));
    let begun = begun(&ended.clone().map(|(_, _, log)| log));
    assert!(begun.len() == FITS && begun.values().all(|count| *count == 1), "{begun:?}");
    let reports = ended.iter().filter(|(_, out, _)| out.contains("table.csv")).count();
    let others =
        ended.iter().filter(|(_, out, _)| out.contains("another job has written the report: ")).count();
    assert_eq!((reports, others), (1, 2), "{ended:?}");
    for run in home.runs("shared") {
        let manifest = Manifest::read(&run).unwrap().unwrap();
        assert_eq!((manifest.status, manifest.resumed), (Status::Finished, 0), "{}", run.display());
    }
}

/// What a killed job was running is taken over from its checkpoint, and the results are those of one process.
#[cfg(unix)]
#[test]
fn jobs_take_over_from_a_killed_one() {
    let home = Home::new(SPEC);
    assert!(home.run("alone", &[]).output().unwrap().status.success());
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut kills = 0;
    for round in 0..3 {
        let out = format!("killed{round}");
        let mut jobs =
            vec!["0/3", "1/3", "2/3"].into_iter().map(|shard| home.start(&out, shard)).collect::<Vec<_>>();
        let mut victim = jobs.remove(rng.random_range(0..3));
        victim.wait_for(" INFO ");
        sleep(Duration::from_millis(rng.random_range(0..1500)));
        kills += usize::from(victim.child.try_wait().unwrap().is_none());
        victim.child.kill().unwrap();
        victim.child.wait().unwrap();
        for (code, _, log) in jobs.into_iter().map(Job::end) {
            assert_eq!(code, Some(0), "{log}");
        }
        assert_eq!(home.table(&out), home.table("alone"), "round {round}");
        assert_eq!(home.runs(&out).len(), FITS);
    }
    assert!(kills > 0, "every job had ended before it was killed");
}

/// The rate rises beyond all bounds after a while, so that the other job is waiting then.
#[test]
fn a_failed_stage_ends_the_waiting_for_it() {
    let failing = SPEC
        .replace("seeds: [0, 1]\n", "")
        .replace("sweep: { grid: { pretrain.train.optimizer.adam.lr: [1e-3, 1e-4] } }\n", "")
        .replace("steps: 30", "steps: 6000")
        .replace(
            "adam: { lr: 1e-3 }",
            "adam: { lr: 1e-3 } }, schedule: { decay: { multi_step: { at: [600], rates: [3e38] } }",
        );
    let home = Home::new(&failing);
    let mut first = home.start("out", "0/2");
    first.wait_for("pretrain-s0-");
    let mut second = home.start("out", "1/2");
    second.wait_for("waits for pretrain, seed 0, which process ");
    let (code, _, log) = first.end();
    assert!(code == Some(1) && log.contains("pretrain, seed 0 failed"), "{code:?} {log}");
    let (code, _, log) = second.end();
    assert_eq!(code, Some(1), "{log}");
    for part in [
        "pretrain, seed 0 failed in another job (out/tiny/pretrain-s0-",
        "remove the cause and start the jobs again",
    ] {
        assert!(log.contains(part), "no `{part}` in\n{log}");
    }
    assert_eq!(log.matches(" waits for ").count(), 1, "{log}");
    // The next attempt tries it again.
    let again = home.run("out", &["--shard-jobs", "0/1"]).output().unwrap();
    let log = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(1) && log.contains("pretrain, seed 0 failed ("), "{log}");
}

/// Rewrites a finished run as one that a process on another machine is running.
fn leave(run: &Path) {
    let manifest = Manifest::read(run).unwrap().unwrap();
    Manifest { status: Status::Running, ..manifest }.write(run).unwrap();
    fs::write(run.join("lock"), "4 elsewhere 1\n").unwrap();
}

#[test]
fn a_lock_of_another_machine_is_respected_until_it_lapses() {
    let home = Home::new(SPEC);
    assert!(home.run("out", &["--seeds", "0"]).output().unwrap().status.success());
    let table = home.table("out");
    let probe =
        home.runs("out").into_iter().find(|run| run.to_string_lossy().contains("probe-random")).unwrap();
    leave(&probe);
    let alone = home.run("out", &["--seeds", "0"]).output().unwrap();
    let said = String::from_utf8(alone.stderr).unwrap();
    assert_eq!(alone.status.code(), Some(1), "{said}");
    assert!(said.contains("process 4 on elsewhere is writing to out/tiny/probe-random-s0-"), "{said}");
    assert!(said.contains("its lock lapses 120 s after its last sign of life"), "{said}");

    fs::write(home.0.path().join("tiny.yaml"), SPEC.replace("seeds: [0, 1]", "seeds: [0]")).unwrap();
    let mut job = home.start("out", "0/1");
    job.wait_for("job 0/1 waits for probe-random");
    assert!(
        job.said().contains("which process 4 on elsewhere runs: out/tiny/probe-random-s0-"),
        "{}",
        job.said()
    );
    let lock = File::options().write(true).open(probe.join("lock")).unwrap();
    lock.set_modified(SystemTime::now() - Duration::from_secs(130)).unwrap();
    let (code, _, log) = job.end();
    assert!(
        code == Some(0) && log.contains("process 4 on elsewhere has ended without finishing"),
        "{code:?} {log}"
    );
    assert_eq!(home.table("out"), table);
}

#[test]
fn jobs_that_are_none() {
    let home = Home::new(SPEC);
    for (shard, why) in [
        ("8/8", "there is no job 8 of 8"),
        ("0/0", "there are no jobs to share with"),
        ("3/", "`3/` is no job of an array"),
    ] {
        let output = home.run("out", &["--shard-jobs", shard]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{said}");
        assert!(said.contains("$SLURM_ARRAY_TASK_ID/8"), "{said}");
    }
    assert!(home.runs("out").is_empty());
}
