//! A run that was stopped, killed or interrupted and resumed is bit-identical to an uninterrupted one: the last
//! checkpoint (parameters, buffers, optimizer, running means, best list), the best ones, and the metrics.

use super::toy::{AVERAGED, Quirks, SPEC, metrics, train};
use hueristic::train::{
    checkpoint::{self, Checkpoint},
    fit::FitOutcome,
    interrupt,
    manifest::{Manifest, Status},
};
use rand::{RngExt, SeedableRng};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Environment variable that makes this test program act as a child process.
const ROLE: &str = "HUERISTIC_TEST_RUN";
const PAUSE: &str = "HUERISTIC_TEST_PAUSE_MS";

/// The complete files in `checkpoints/`.
fn checkpoints(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn assert_same_run(one: &Path, other: &Path) {
    let (a, b) = (checkpoints(one), checkpoints(other));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{name} differs");
    }
    assert_eq!(metrics(one), metrics(other));
    let outcome = |run: &Path| {
        let manifest = Manifest::read(run).unwrap().unwrap();
        (manifest.status, manifest.steps, format!("{:?}", manifest.metrics))
    };
    assert_eq!(outcome(one), outcome(other));
}

#[test]
fn stopped_by_an_error_at_any_step() {
    for spec in [SPEC, AVERAGED] {
        let temp = tempfile::tempdir().unwrap();
        let straight = temp.path().join("straight");
        train(&straight, spec, Quirks::default()).unwrap();
        for step in [1, 5, 6, 9, 11, 13, 20] {
            let broken = temp.path().join(format!("broken {step}"));
            let fail = Quirks { fail: Some(2 * step), ..Quirks::default() };
            let error = format!("{:#}", train(&broken, spec, fail).unwrap_err());
            assert_eq!(error, format!("step {step}: the toy broke"));
            assert_eq!(Manifest::read(&broken).unwrap().unwrap().status, Status::Failed);
            train(&broken, spec, Quirks::default()).unwrap();
            assert_same_run(&straight, &broken);
        }
    }
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let once = temp.path().join("once");
    let ended = train(&once, SPEC, Quirks::default()).unwrap();
    let before = (checkpoints(&once), metrics(&once));
    // The second call takes no step: the injected fault would stop it.
    let again = train(&once, SPEC, Quirks { fail: Some(1), ..Quirks::default() }).unwrap();
    assert_eq!(again, ended);
    assert!((checkpoints(&once), metrics(&once)) == before);
}

#[test]
fn another_seed_gives_another_run() {
    let temp = tempfile::tempdir().unwrap();
    let (one, other) = (temp.path().join("one"), temp.path().join("other"));
    train(&one, SPEC, Quirks::default()).unwrap();
    super::toy::train_seeded(&other, SPEC, Quirks::default(), 4).unwrap();
    assert_ne!(metrics(&one), metrics(&other));
}

/// Not a test: the code of the child processes started by the tests below.
#[test]
fn child_role() {
    let Some(run) = std::env::var_os(ROLE) else { return };
    let pause = std::env::var(PAUSE).unwrap().parse().unwrap();
    let quirks = Quirks { pause: Duration::from_millis(pause), ..Quirks::default() };
    match train(Path::new(&run), SPEC, quirks).unwrap() {
        FitOutcome::Finished(_) => println!("child: finished"),
        FitOutcome::Interrupted { step } => println!("child: interrupted at {step}."),
    }
}

fn child(run: &Path, pause_ms: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["resume::child_role", "--exact", "--nocapture"])
        .env(ROLE, run)
        .env(PAUSE, pause_ms.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the run's last checkpoint is of `step` or later, or the child has exited.
fn wait_for_step(child: &mut Child, run: &Path, step: usize) {
    let began = Instant::now();
    let reached = || Checkpoint::read_state(&checkpoint::last(run)).is_ok_and(|state| state.step >= step);
    while child.try_wait().unwrap().is_none() && !reached() {
        assert!(began.elapsed() < Duration::from_secs(120), "the child does not get on");
        sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn killed_at_random_instants() {
    use std::os::unix::process::ExitStatusExt;
    let temp = tempfile::tempdir().unwrap();
    let (straight, killed) = (temp.path().join("straight"), temp.path().join("killed"));
    train(&straight, SPEC, Quirks::default()).unwrap();
    let seed = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
    println!("instants drawn from {seed}");
    let mut draw = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut kills = 0;
    for after in [0, 5, 5, 8, 10, 15] {
        let mut child = child(&killed, 8);
        wait_for_step(&mut child, &killed, after);
        sleep(Duration::from_micros(draw.random_range(0..80_000)));
        child.kill().unwrap();
        kills += usize::from(child.wait().unwrap().signal() == Some(9));
    }
    assert!(kills >= 3, "the child was too fast to be killed");
    train(&killed, SPEC, Quirks::default()).unwrap();
    assert_same_run(&straight, &killed);
    assert!(Manifest::read(&killed).unwrap().unwrap().resumed >= 1);
}

#[cfg(unix)]
fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn a_signal_writes_a_checkpoint_and_the_run_resumes() {
    let temp = tempfile::tempdir().unwrap();
    let straight = temp.path().join("straight");
    train(&straight, SPEC, Quirks::default()).unwrap();
    // What schedulers announce the end of a job with may come twice, and before SIGTERM.
    for signals in [&["-TERM"][..], &["-USR1"], &["-USR1", "-USR1", "-TERM"]] {
        let stopped = temp.path().join(signals.concat());
        let mut first = child(&stopped, 40);
        wait_for_step(&mut first, &stopped, 5);
        signals.iter().for_each(|signal| send(signal, &first));
        let output = first.wait_with_output().unwrap();
        let step = Checkpoint::read_state(&checkpoint::last(&stopped)).unwrap().step;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains(&format!("child: interrupted at {step}.")),
            "{said}"
        );
        let manifest = Manifest::read(&stopped).unwrap().unwrap();
        assert_eq!((manifest.status, manifest.steps), (Status::Interrupted, step));
        train(&stopped, SPEC, Quirks::default()).unwrap();
        assert_same_run(&straight, &stopped);
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let mut slow = child(temp.path(), 60_000);
    let began = Instant::now();
    let started =
        || fs::read_to_string(temp.path().join("manifest.json")).is_ok_and(|m| m.contains("running"));
    while !started() || fs::read_dir(temp.path()).unwrap().all(|e| !is_events(&e.unwrap())) {
        assert!(began.elapsed() < Duration::from_secs(60) && slow.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(5));
    }
    send("-TERM", &slow);
    sleep(Duration::from_millis(300));
    assert!(slow.try_wait().unwrap().is_none(), "the first signal ended it in the middle of a step");
    send("-TERM", &slow);
    assert_eq!(slow.wait().unwrap().code(), Some(interrupt::EXIT_CODE));
}

#[cfg(unix)]
fn is_events(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().contains("tfevents")
}
