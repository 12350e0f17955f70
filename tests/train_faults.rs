//! What a run says and leaves behind when something is wrong: numbers, checkpoints, disk.

mod train_toy;

use hueristic::train::{
    checkpoint::{self, Checkpoint},
    keep,
    manifest::{Manifest, Status},
};
use std::{fs, path::Path};
use train_toy::{Quirks, SPEC, train, train_seeded};

fn message(result: anyhow::Result<impl std::fmt::Debug>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn step_of(path: &Path) -> usize {
    Checkpoint::read_state(path).unwrap().step
}

#[test]
fn a_gradient_that_is_not_finite_stops_with_step_and_layer() {
    let temp = tempfile::tempdir().unwrap();
    // the second micro-batch of step 8
    let error = message(train(temp.path(), SPEC, Quirks { explode: Some(16), ..Quirks::default() }));
    assert!(error.starts_with("step 8: the gradient's norm is NaN; the first parameter"), "{error}");
    assert!(error.contains("non-finite gradient is fc2.weight. Lower the learning rate"), "{error}");
    assert_eq!(step_of(&checkpoint::last(temp.path())), 5);
    let manifest = Manifest::read(temp.path()).unwrap().unwrap();
    assert_eq!((manifest.status, manifest.error.as_deref()), (Status::Failed, Some(error.as_str())));
}

#[test]
fn a_loss_that_is_not_finite_stops_too() {
    let temp = tempfile::tempdir().unwrap();
    let wild = SPEC.replace("lr: 0.02", "lr: 1.0e30").replace(", warmup: 3", "").replace("clip: 5, ", "");
    let error = message(train(temp.path(), &wild, Quirks::default()));
    assert!(
        error.starts_with("step 2: the loss is ") && error.contains("non-finite gradient is fc"),
        "{error}"
    );
    assert!(!checkpoint::last(temp.path()).exists());
}

#[test]
fn a_gradient_of_zero_is_warned_of_once() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), SPEC, Quirks { idle: true, ..Quirks::default() }).unwrap();
    let log = fs::read_to_string(temp.path().join("log.txt")).unwrap();
    assert_eq!(log.matches("warning: the gradient of step 1 is exactly zero").count(), 1);
    assert_eq!(log.matches("exactly zero").count(), 1);
    assert_eq!(log.matches("warning: the toy is only a toy: train something real").count(), 1);
    assert_eq!(Manifest::read(temp.path()).unwrap().unwrap().warnings.len(), 2);
}

/// A run that was left after step 9, with a best checkpoint of step 8 and a last one of step 8.
fn unfinished(run: &Path) {
    train(run, SPEC, Quirks { fail: Some(20), ..Quirks::default() }).unwrap_err();
}

#[test]
fn a_truncated_checkpoint_says_how_to_go_on() {
    let temp = tempfile::tempdir().unwrap();
    unfinished(temp.path());
    let last = checkpoint::last(temp.path());
    let whole = fs::read(&last).unwrap();
    for length in [0, 7, 100, whole.len() - 1] {
        fs::remove_file(&last).unwrap(); // its other name keeps the whole file
        fs::write(&last, &whole[..length]).unwrap();
        let error = message(train(temp.path(), SPEC, Quirks::default()));
        assert!(error.starts_with(&format!("the checkpoint {} is damaged: ", last.display())), "{error}");
        assert!(
            error.contains("copy best-8.safetensors over it to continue from there, or delete it"),
            "{error}"
        );
    }
    // the first way out that the message names
    fs::copy(temp.path().join("checkpoints/best-8.safetensors"), &last).unwrap();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
    // what lies under both names can be damaged under both: then it is not recommended
    fs::write(temp.path().join("checkpoints/best-16.safetensors"), &whole[..50]).unwrap();
    fs::write(temp.path().join("checkpoints/best-20.safetensors"), &whole[..50]).unwrap();
    fs::write(&last, &whole[..50]).unwrap();
    let error = message(train(temp.path(), SPEC, Quirks::default()));
    assert!(error.ends_with("; delete it to start from the beginning"), "{error}");
    fs::remove_file(&last).unwrap();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
}

#[test]
fn what_is_no_checkpoint_is_not_taken_for_one() {
    let temp = tempfile::tempdir().unwrap();
    unfinished(temp.path());
    let last = checkpoint::last(temp.path());
    fs::write(&last, "not a safetensors file at all").unwrap();
    let error = message(train(temp.path(), SPEC, Quirks::default()));
    assert!(error.contains("damaged: it does not begin like a safetensors file"), "{error}");
    let weights = candle_core::Tensor::zeros(3, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    weights.save_safetensors("conv1.weight", &last).unwrap();
    let error = message(train(temp.path(), SPEC, Quirks::default()));
    assert!(error.contains("is not a checkpoint: not written by this program"), "{error}");
}

#[test]
fn a_checkpoint_of_another_seed_spec_or_network_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    unfinished(temp.path());
    let error = message(train_seeded(temp.path(), SPEC, Quirks::default(), 4));
    assert!(error.contains("was trained under another seed: choose another --out"), "{error}");
    let error = message(train(temp.path(), SPEC, Quirks { extra: 1, ..Quirks::default() }));
    assert!(
        error.contains("does not fit this run") && error.contains("`fc1.weight` is [48, 5] here"),
        "{error}"
    );
    // the directory's own spec guards first; here only the checkpoint knows
    fs::remove_file(temp.path().join("spec.yaml")).unwrap();
    let error = message(train(temp.path(), &SPEC.replace("lr: 0.02", "lr: 0.03"), Quirks::default()));
    assert!(
        error.contains("is of another spec:\n  optimizer.adam.lr: 0.02 there, 0.03 asked for"),
        "{error}"
    );
}

#[test]
fn the_best_are_kept_by_the_first_metric() {
    let temp = tempfile::tempdir().unwrap();
    let spec = SPEC.replace("evaluate_every: 8", "evaluate_every: 4");
    train(temp.path(), &spec, Quirks { worsens: true, ..Quirks::default() }).unwrap();
    let folder = temp.path().join("checkpoints");
    let kept: Vec<_> = keep::on_disk(&folder).unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(kept, [4, 8]);
    assert_eq!((step_of(&checkpoint::best(temp.path())), step_of(&checkpoint::last(temp.path()))), (4, 20));
}

/// Not a test of its own: trains where files may not grow past a limit.
#[test]
fn child_role() {
    let Some(run) = std::env::var_os("HUERISTIC_TEST_FULL") else { return };
    println!("child: {}", message(train(Path::new(&run), SPEC, Quirks { extra: 4000, ..Quirks::default() })));
}

/// A full disk, as far as one can be had without mounting anything: the shell limits the size of files (in blocks of
/// 512 bytes or of 1024) and has the signal for it ignored, so that writing beyond it is an error.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let temp = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 400; exec \"$0\" child_role --exact --nocapture";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .env("HUERISTIC_TEST_FULL", temp.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("child: cannot write the checkpoint of step 5 to "), "{said}");
    assert!(
        said.contains("there is none yet): free some space or choose another --out: File too large"),
        "{said}"
    );
    assert_eq!(fs::read_dir(temp.path().join("checkpoints")).unwrap().count(), 0);
    assert_eq!(Manifest::read(temp.path()).unwrap().unwrap().status, Status::Failed);
}
