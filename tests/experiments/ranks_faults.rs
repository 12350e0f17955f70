//! Several processes under `mpirun`: what goes wrong, and how it is told.

use super::ranks::{RUN, has_mpi, home, mpirun, run_of, spec, succeeded, tensors, text, wait_for_checkpoint};
use crate::skipping::skipped;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

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

/// So many pictures in two classes.
fn pictures(folder: &Path, count: u8) {
    for n in 0..count {
        let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([n, 5 * x as u8, 7 * y as u8]));
        let path = folder.join(format!("{}/{n}.png", n % 2));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(&path).unwrap();
    }
}

/// What one rank cannot read is told once, by the one that speaks.
#[test]
fn pictures_that_any_rank_cannot_read_are_told() {
    if !has_mpi() {
        return;
    }
    let sources = "source: { folder: { train: pictures, hold_out: 0.5 } }, max_bad: 0.5";
    let home = home(&spec(8, 1).replace("source: { scenes: { train: 67, val: 16, size: 32 } }", sources));
    let folder = home.path().join("pictures");
    pictures(&folder, 48);
    for n in (0..48).filter(|n| n % 6 == 5) {
        fs::write(folder.join(format!("{}/{n}.png", n % 2)), b"no picture").unwrap();
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

/// A rank that lives and waits for ever, here for pictures that were replaced by pipes into which nobody writes, is named within ten
/// times the stated time.
#[test]
fn a_rank_that_waits_for_a_file_is_named() {
    if !has_mpi() {
        return;
    }
    // Kept in memory, they would not be read again.
    let sources = "source: { folder: { train: pictures, val: others } }, cache: false";
    let steps = spec(8, 1).replace("steps: 9", "steps: 100000, checkpoint_every: 5");
    let home = home(&steps.replace("source: { scenes: { train: 67, val: 16, size: 32 } }", sources));
    pictures(&home.path().join("pictures"), 32);
    pictures(&home.path().join("others"), 8);
    let mut command = mpirun(home.path(), 2);
    command.args(RUN).args(["--rank-timeout", "2"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_for_checkpoint(home.path(), &mut child);
    // In one step: a picture that is missing for a moment would be an error.
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, home.path().join("pictures/1/5.png")).unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            ranks_of(&child).iter().for_each(|rank| drop(Command::new("kill").args(["-9", rank]).status()));
            panic!("the others go on");
        }
        thread::sleep(Duration::from_millis(50));
    }
    let said = text(&child.wait_with_output().unwrap().stderr);
    assert_eq!(said.matches("lives, but the others have waited 20 s for its part").count(), 1, "{said}");
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

/// Ranks that were given different specs, arithmetic or folders of runs find out before the first step.
#[test]
fn ranks_that_disagree_are_named() {
    if !has_mpi() {
        return;
    }
    let run = |second: &[&str]| {
        let home = home(&spec(8, 1));
        fs::write(home.path().join("other.yaml"), spec(8, 1).replace("steps: 9", "steps: 8")).unwrap();
        let program = env!("CARGO_BIN_EXE_hueristic");
        let mut command = mpirun(home.path(), 1);
        let output = command.args(RUN).args([":", "-n", "1", program]).args(second).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert_eq!(said.matches("rank 1, on ").count(), 1, "{said}");
        let runs = home.path().join("runs");
        let left = fs::read_dir(runs).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing is written");
        said
    };
    let said = run(&["run", "other.yaml", "--out", "runs", "--threads", "1"]);
    assert!(said.contains("has another spec"), "{said}");
    let said = run(&[&RUN[..], &["--exact"]].concat());
    assert!(said.contains("computes otherwise (cpu, f32, exact, "), "{said}");
    let said = run(&["run", "spec.yaml", "--out", "others", "--threads", "1"]);
    assert!(said.contains("does not see what rank 0, on ") && said.contains("writes to runs"), "{said}");
}

/// Two nodes whose folders of one name hold other pictures.
#[test]
fn ranks_with_different_pictures_are_named() {
    if !has_mpi() {
        return;
    }
    let sources = "source: { folder: { train: pictures, val: others } }";
    let text_of = spec(8, 1).replace("source: { scenes: { train: 67, val: 16, size: 32 } }", sources);
    let homes = [home(&text_of), home(&text_of)];
    for (home, count) in homes.iter().zip([32, 33]) {
        pictures(&home.path().join("pictures"), count);
        pictures(&home.path().join("others"), 8);
    }
    let program = env!("CARGO_BIN_EXE_hueristic");
    let output = mpirun(homes[0].path(), 1)
        .args(RUN)
        .args([":", "-n", "1", "-wdir"])
        .arg(homes[1].path())
        .arg(program)
        .args(RUN)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(said.matches("rank 1, on ").count(), 1, "{said}");
    assert!(said.contains("has other train pictures of `color, seed 0`"), "{said}");
    assert!(!output.status.success());
    assert!(homes.iter().all(|home| !home.path().join("runs/ranks").exists()), "nothing is written");
}

/// Two nodes whose programs were built from different commits. The other build is a copy of this one in which the commit is
/// written over.
#[test]
fn ranks_of_different_builds_are_named() {
    if !has_mpi() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_hueristic");
    let home = home(&spec(8, 1));
    let version = text(&Command::new(program).arg("--version").output().unwrap().stdout);
    let Some(commit) = version.split(['(', ')']).nth(1).filter(|commit| *commit != "unknown") else {
        return skipped("built outside of a repository", "programs of two commits");
    };
    let mut bytes = fs::read(program).unwrap();
    let windows = bytes.windows(commit.len()).enumerate();
    let places: Vec<usize> =
        windows.filter(|(_, bytes)| *bytes == commit.as_bytes()).map(|(at, _)| at).collect();
    let other = "0".repeat(commit.len());
    places.iter().for_each(|at| bytes[*at..][..other.len()].copy_from_slice(other.as_bytes()));
    let copy = home.path().join("hueristic");
    fs::copy(program, &copy).unwrap();
    fs::write(&copy, bytes).unwrap();
    let output = mpirun(home.path(), 1)
        .args(RUN)
        .args([":", "-n", "1", copy.to_str().unwrap()])
        .args(RUN)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(said.matches("rank 1, on ").count(), 1, "{said}");
    assert!(said.contains("runs another build") && said.contains(&other), "{said}");
    assert!(!home.path().join("runs/ranks").exists(), "nothing is written");
}
