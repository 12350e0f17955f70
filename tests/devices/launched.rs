//! Several GPUs as a user starts them: `--device cuda:0-1`, and a process for each by `mpirun`; what is refused, and sums that
//! never end.

use super::{
    several::{difference, gpus, run_of, spec, tensors},
    skipping::skipped,
    stand_in,
};
use anyhow::Result;
use hueristic::device;
use std::{fs, path::Path, process::Command, time::Instant};

/// The program itself, which is not there where only this test program was copied.
fn program(arguments: &[&str], ranks: Option<usize>, home: &Path) -> Option<(Option<i32>, String)> {
    program_with(&[], arguments, ranks, home)
}

/// As [`program`], with more in its environment.
fn program_with(
    environment: &[(&str, &str)],
    arguments: &[&str],
    ranks: Option<usize>,
    home: &Path,
) -> Option<(Option<i32>, String)> {
    let program = env!("CARGO_BIN_EXE_hueristic");
    if !Path::new(program).exists() {
        skipped("no program beside the tests", program);
        return None;
    }
    let mut command = match ranks {
        None => Command::new(program),
        Some(ranks) => {
            let mut mpirun = Command::new("mpirun");
            mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
            mpirun.env("OMPI_MCA_rmaps_base_oversubscribe", "1").env("OMPI_MCA_mpi_yield_when_idle", "1");
            mpirun.args(["-n", &ranks.to_string(), program]);
            mpirun
        }
    };
    command
        .current_dir(home)
        .env_remove("RUST_LOG")
        .args(["run", "spec.yaml", "--out", "runs"])
        .args(arguments)
        .envs(environment.iter().copied());
    let output = command.output().unwrap();
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Whether processes can be started by `mpirun`; else the test counts as skipped.
fn has_mpi() -> bool {
    let there = cfg!(feature = "mpi") && Command::new("mpirun").arg("--version").output().is_ok();
    if !there {
        skipped("no mpirun, or built without the feature mpi", "a process for each GPU");
    }
    there
}

/// One process for each GPU has the weights of one GPU, and of one process with a thread for each.
#[test]
fn processes_have_the_weights_of_threads() -> Result<()> {
    let Some(_) = gpus(2) else { return Ok(()) };
    if !has_mpi() {
        return Ok(());
    }
    let (threads, processes) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for home in [&threads, &processes] {
        fs::write(home.path().join("spec.yaml"), spec(8, 1))?;
    }
    let exact = ["--precision", "f32", "--threads", "1"];
    let together = [&["--device", "cuda:0-1"][..], &exact].concat();
    let Some((code, said)) = program(&together, None, threads.path()) else { return Ok(()) };
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("color-s0 2/2").count(), 1, "one thread speaks: {said}");
    let each = [&["--device", "cuda", "--ranks", "2"][..], &exact].concat();
    let Some((code, said)) = program(&each, Some(2), processes.path()) else { return Ok(()) };
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("color-s0 2/2").count(), 1, "one process speaks: {said}");
    for stage in ["color", "rotation"] {
        let off = difference(&tensors(threads.path(), stage), &tensors(processes.path(), stage));
        assert!(off < 1e-5, "{stage} is off by {off:e}");
    }
    Ok(())
}

/// What cannot work is refused once, before a run directory is made.
#[test]
fn what_cannot_work_is_refused_before_training() -> Result<()> {
    let Some(_) = gpus(2) else { return Ok(()) };
    let there = device::gpu_count();
    let refused = |arguments: &[&str], ranks: Option<usize>, why: &str| -> Result<()> {
        let home = tempfile::tempdir()?;
        fs::write(home.path().join("spec.yaml"), spec(8, 1))?;
        let Some((code, said)) = program(arguments, ranks, home.path()) else { return Ok(()) };
        assert!(code.is_some_and(|code| code > 0), "{said}");
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(!home.path().join("runs/gpus").exists(), "nothing is written");
        Ok(())
    };
    refused(
        &["--device", &format!("cuda:0-{there}")],
        None,
        &format!("there is no GPU {there}: this process sees {there} GPUs"),
    )?;
    refused(
        &["--device", &format!("cuda:{there}")],
        None,
        &format!("cuda:{there}: no such GPU can be used here"),
    )?;
    refused(
        &["--device", "cuda:0-1", "--ranks", "3"],
        None,
        "--ranks 3, but cuda:0-1 names 2 GPUs of this process",
    )?;
    refused(
        &["--device", "cuda:0-1", "--set", "color.train.batch=9"],
        None,
        "cannot share 9 pictures equally",
    )?;
    if has_mpi() {
        refused(
            &["--device", "cuda:0-1"],
            Some(2),
            "cuda:0-1 names the GPUs of one process, and the launcher started 2",
        )?;
        refused(&["--device", "cuda:0"], Some(2), "Duplicate GPU detected")?;
        if there < 8 {
            // Their batch can be shared.
            let batch = format!("color.train.batch={}", 4 * (there + 1));
            let fits = ["--device", "cuda", "--set", &batch, "--set", &batch.replace("color", "rotation")];
            refused(&fits, Some(there + 1), "start one process for each GPU")?;
        }
    }
    Ok(())
}

/// A sum over GPUs that never ends ends all with one message, with threads and with processes; nothing that it left is written.
#[test]
fn a_sum_that_never_ends_is_told() -> Result<()> {
    let Some(_) = gpus(2) else { return Ok(()) };
    if stand_in::count(c"host_syncs", None).is_none() {
        skipped("no stand-in for the GPU", "only it can hang at will");
        return Ok(());
    }
    let ways = [(Some("cuda:0-1"), None), (has_mpi().then_some("cuda"), Some(2))];
    for (device, ranks) in ways {
        let Some(device) = device else { continue };
        let home = tempfile::tempdir()?;
        fs::write(
            home.path().join("spec.yaml"),
            spec(8, 1).replace("steps: 2", "steps: 6, checkpoint_every: 2"),
        )?;
        let began = Instant::now();
        // In the third step, of more than fifty tensors each.
        let hang = [("STAND_IN_HANG", "150")];
        let arguments = ["--device", device, "--rank-timeout", "2"];
        let Some((code, said)) = program_with(&hang, &arguments, ranks, home.path()) else { return Ok(()) };
        assert!(code.is_some_and(|code| code > 0), "{said}");
        assert!(began.elapsed().as_secs() < 60, "{said}");
        assert_eq!(
            said.matches("a sum over GPUs that all ranks began has not ended for 25 s").count(),
            1,
            "{said}"
        );
        let log = fs::read_to_string(run_of(home.path(), "color").join("metrics.jsonl")).unwrap_or_default();
        assert!(!log.contains("\"step\":6"), "{log}");
    }
    Ok(())
}
