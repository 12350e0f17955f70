//! Messages and outputs when something fails: non-finite values, checkpoints, disk.

use super::toy::{Quirks, SPEC, train, train_seeded};
use hueristic::train::{
    checkpoint::{self, Checkpoint},
    manifest::{Manifest, Status},
    retention,
};
use std::{fs, path::Path};

fn message(result: anyhow::Result<impl std::fmt::Debug>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn step_of(path: &Path) -> usize {
    Checkpoint::read_state(path).unwrap().step
}

#[test]
fn a_gradient_that_is_not_finite_stops_with_step_and_layer() {
    let temp = tempfile::tempdir().unwrap();
    // The second micro-batch of step 8.
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

/// A run that stopped after step 9, with a best checkpoint and a last one of step 8.
fn unfinished(run: &Path) {
    train(run, SPEC, Quirks { fail: Some(20), ..Quirks::default() }).unwrap_err();
}

/// Replaces `path` by `bytes` without changing its other hard links.
fn damage(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn log(run: &Path) -> String {
    fs::read_to_string(run.join("log.txt")).unwrap()
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_newest_whole_one() {
    let temp = tempfile::tempdir().unwrap();
    let (straight, at) = (temp.path().join("straight"), |name: &str| temp.path().join(name));
    train(&straight, SPEC, Quirks::default()).unwrap();
    for (number, broken) in ["", "0123456", "no safetensors file at all"].iter().enumerate() {
        let run = at(&format!("whole file {number}"));
        unfinished(&run);
        damage(&checkpoint::last(&run), broken.as_bytes());
        train(&run, SPEC, Quirks::default()).unwrap();
        let said = log(&run);
        let both = format!("warning: the checkpoint {} is damaged: ", checkpoint::last(&run).display());
        assert_eq!(said.matches("warning: the checkpoint").count(), 1, "{said}");
        assert_eq!(said.contains("is damaged: it is empty"), broken.is_empty(), "{said}");
        assert!(said.contains(&both) && said.contains("best-8.safetensors of step 8"), "{said}");
        assert_same_checkpoints(&straight, &run);
        assert!(
            Manifest::read(&run).unwrap().unwrap().warnings.iter().any(|w| w.contains("best-8.safetensors"))
        );
    }
    // An older one, since the newer is damaged too; and a missing one.
    let run = at("older");
    train(&run, SPEC, Quirks { fail: Some(37), ..Quirks::default() }).unwrap_err(); // kept: 8 and 16; last: 16
    let whole = fs::read(run.join("checkpoints/best-16.safetensors")).unwrap();
    for name in ["best", "best-16"] {
        damage(&run.join(format!("checkpoints/{name}.safetensors")), &whole[..whole.len() - 1]);
    }
    fs::remove_file(checkpoint::last(&run)).unwrap();
    train(&run, SPEC, Quirks::default()).unwrap();
    assert!(
        log(&run).contains("last.safetensors is missing: continuing from the newest intact one"),
        "{}",
        log(&run)
    );
    assert!(log(&run).contains("best-8.safetensors of step 8"), "{}", log(&run));
    assert_same_checkpoints(&straight, &run);
}

fn assert_same_checkpoints(one: &Path, other: &Path) {
    for name in ["last", "best", "best-8", "best-16", "best-20"] {
        let read = |run: &Path| fs::read(run.join(format!("checkpoints/{name}.safetensors"))).ok();
        assert!(read(one) == read(other), "{name} differs");
    }
    assert_eq!(super::toy::metrics(one), super::toy::metrics(other));
}

#[test]
fn without_a_whole_checkpoint_nothing_is_started_over_or_written() {
    let temp = tempfile::tempdir().unwrap();
    unfinished(temp.path());
    let folder = temp.path().join("checkpoints");
    for name in ["last", "best", "best-8"] {
        damage(&folder.join(format!("{name}.safetensors")), b"half of it");
    }
    let error = message(train(temp.path(), SPEC, Quirks::default()));
    let last = checkpoint::last(temp.path());
    assert!(error.starts_with(&format!("the checkpoint {} is damaged: ", last.display())), "{error}");
    assert!(
        error.ends_with("no other checkpoint is intact; delete it to start from the beginning"),
        "{error}"
    );
    for name in ["last", "best", "best-8"] {
        assert_eq!(fs::read(folder.join(format!("{name}.safetensors"))).unwrap(), b"half of it");
    }
    // The text of the message.
    fs::remove_file(&last).unwrap();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
    assert!(log(temp.path()).contains("best-8.safetensors is damaged: the run starts from the beginning"));
}

#[test]
fn a_run_without_its_checkpoints_says_that_it_starts_over() {
    let temp = tempfile::tempdir().unwrap();
    let (straight, says) = (temp.path().join("straight"), "there is no checkpoint in");
    train(&straight, SPEC, Quirks::default()).unwrap();
    assert!(!log(&straight).contains(says), "{}", log(&straight));
    type Loss = fn(&Path);
    let losses: [(&str, Loss); 3] = [
        ("no checkpoints", |_| ()),
        ("no manifest either", |run| fs::remove_file(run.join("manifest.json")).unwrap()),
        ("no metrics either", |run| fs::remove_file(run.join("metrics.jsonl")).unwrap()),
    ];
    for (name, lose) in losses {
        let run = temp.path().join(name);
        unfinished(&run);
        fs::remove_dir_all(run.join("checkpoints")).unwrap();
        lose(&run);
        train(&run, SPEC, Quirks::default()).unwrap();
        let warning = format!("warning: {says} {}", run.join("checkpoints").display());
        assert_eq!(log(&run).matches(&warning).count(), 1, "{name}: {}", log(&run));
        let manifest = Manifest::read(&run).unwrap().unwrap();
        assert!(manifest.warnings.iter().any(|text| text.contains(says)), "{name}");
        assert_same_checkpoints(&straight, &run);
    }
}

#[test]
fn a_damaged_best_checkpoint_leaves_the_list() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), SPEC, Quirks { fail: Some(35), ..Quirks::default() }).unwrap_err();
    let best = temp.path().join("checkpoints/best-8.safetensors");
    let mut bytes = fs::read(&best).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    damage(&best, &bytes);
    train(temp.path(), SPEC, Quirks { worsens: true, ..Quirks::default() }).unwrap();
    assert!(
        log(temp.path()).contains("the file of the best checkpoint of step 8 is missing"),
        "{}",
        log(temp.path())
    );
    assert!(!best.exists());
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_checkpoint_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    unfinished(temp.path());
    let path = checkpoint::last(temp.path());
    let whole = fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        damage(&path, bytes);
        Checkpoint::read(&path, &candle_core::Device::Cpu)
    };
    assert!(read(&whole).is_ok());
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit} of {}", 8 * whole.len());
    }
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
    assert!(read(&[&whole[..], b"x"].concat()).is_err());
    let swapped =
        [&whole[..whole.len() - 8], &whole[whole.len() - 4..], &whole[whole.len() - 8..][..4]].concat();
    assert!(swapped == whole || read(&swapped).is_err(), "two numbers changed places");
}

/// A checkpoint of an earlier version: layout 1, without checksum.
#[test]
fn a_checkpoint_without_a_checksum_is_continued_with_a_note() {
    let temp = tempfile::tempdir().unwrap();
    let (straight, old) = (temp.path().join("straight"), temp.path().join("old"));
    train(&straight, SPEC, Quirks::default()).unwrap();
    unfinished(&old);
    let path = checkpoint::last(&old);
    let mut bytes = fs::read(&path).unwrap();
    let place =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap();
    // The header with only an unknown entry, and the previous layout.
    let at = place(&bytes, "\"crc32c\":");
    bytes[at + 1] = b'x';
    let error = {
        damage(&path, &bytes);
        message(Checkpoint::read(&path, &candle_core::Device::Cpu).map(|_| ()))
    };
    assert!(error.contains("has lost its checksum"), "{error}");
    let at = place(&bytes, "version\\\":2");
    bytes[at + 10] = b'1';
    for name in ["last", "best", "best-8"] {
        damage(&old.join(format!("checkpoints/{name}.safetensors")), &bytes);
    }
    train(&old, SPEC, Quirks::default()).unwrap();
    assert!(
        log(&old).contains("last.safetensors has no checksum because an earlier version wrote it"),
        "{}",
        log(&old)
    );
    assert_eq!(super::toy::metrics(&straight), super::toy::metrics(&old));
    let parameters = |run: &Path| {
        let found = Checkpoint::read(&checkpoint::last(run), &candle_core::Device::Cpu).unwrap();
        format!(
            "{:?}",
            found
                .params
                .iter()
                .map(|(_, t)| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
                .collect::<Vec<_>>()
        )
    };
    assert_eq!(parameters(&straight), parameters(&old));
}

#[test]
fn lines_of_the_metrics_that_are_damaged_or_gone_are_said_and_stop_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let straight = temp.path().join("straight");
    train(&straight, SPEC, Quirks::default()).unwrap();
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("not UTF-8", |bytes| bytes[10] = 0xff),
        ("a digit", |bytes| {
            let at = bytes.windows(7).position(|w| w == b"\"loss\":").unwrap();
            bytes[at + 10] ^= 1;
        }),
        ("no first line", |bytes| drop(bytes.drain(..=bytes.iter().position(|b| *b == b'\n').unwrap()))),
        ("zeros", |bytes| bytes[20..60].fill(0)),
        ("empty", |bytes| bytes.clear()),
        ("twice", |bytes| bytes.extend_from_within(..)),
    ];
    for (name, change) in damages {
        let run = temp.path().join(name);
        unfinished(&run);
        let path = run.join(hueristic::train::log::FILE);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        train(&run, SPEC, Quirks::default()).unwrap();
        assert_eq!(log(&run).matches("metrics.jsonl is damaged: ").count(), 1, "{name}: {}", log(&run));
        let surplus = log(&run).contains(" lines where ");
        assert_eq!(surplus, name == "twice", "{name}: {}", log(&run));
        let last = |run: &Path| fs::read(checkpoint::last(run)).unwrap();
        assert!(last(&run) == last(&straight), "{name}: another run");
        super::toy::metrics(&run); // every line that is left is whole
    }
    // An interrupted write after the last line does not count as damage.
    let run = temp.path().join("cut short");
    unfinished(&run);
    let path = run.join(hueristic::train::log::FILE);
    let bytes = [fs::read(&path).unwrap(), b"{\"step\":1".to_vec()].concat();
    fs::write(&path, bytes).unwrap();
    train(&run, SPEC, Quirks::default()).unwrap();
    assert!(!log(&run).contains("metrics.jsonl is damaged"), "{}", log(&run));
    assert_same_checkpoints(&straight, &run);
}

#[test]
fn a_loss_far_above_its_first_is_warned_of_and_marked() {
    let temp = tempfile::tempdir().unwrap();
    let run = |name: &str, quirks| {
        let path = temp.path().join(name);
        train(&path, SPEC, quirks).unwrap();
        (Manifest::read(&path).unwrap().unwrap(), log(&path))
    };
    let (healthy, said) = run("healthy", Quirks::default());
    assert!(healthy.diverged.is_none() && !said.contains("diverged"), "{said}");
    let (manifest, said) = run("diverged", Quirks { diverges: Some(12), ..Quirks::default() });
    assert_eq!(
        (manifest.status, said.matches("warning: the training has diverged: ").count()),
        (Status::Finished, 1)
    );
    let what = manifest.diverged.unwrap();
    assert!(
        what.starts_with("the training loss is ") && what.contains("e11; its first value was "),
        "{what}"
    );
    // Recognized again after a restart that takes no step.
    let path = temp.path().join("diverged");
    train(&path, SPEC, Quirks::default()).unwrap();
    assert_eq!(Manifest::read(&path).unwrap().unwrap().diverged, Some(what));
}

#[test]
fn what_is_no_checkpoint_is_not_taken_for_one() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("last.safetensors");
    let read = || message(Checkpoint::read(&path, &candle_core::Device::Cpu).map(|_| ()));
    fs::write(&path, "not a safetensors file at all").unwrap();
    assert!(read().contains("damaged: it does not begin like a safetensors file"), "{}", read());
    let weights = candle_core::Tensor::zeros(3, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    weights.save_safetensors("conv1.weight", &path).unwrap();
    assert!(read().contains("is not a checkpoint: not written by this program"), "{}", read());
}

#[test]
fn a_checkpoint_of_another_seed_spec_or_network_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    unfinished(temp.path());
    let error = message(train_seeded(temp.path(), SPEC, Quirks::default(), 4));
    assert!(error.contains("was trained with a different seed: choose another --out"), "{error}");
    let error = message(train(temp.path(), SPEC, Quirks { extra: 1, ..Quirks::default() }));
    assert!(
        error.contains("does not fit this run") && error.contains("`fc1.weight` is [48, 5] here"),
        "{error}"
    );
    // The directory's own spec is checked first; here only the checkpoint has the old one.
    fs::remove_file(temp.path().join("spec.yaml")).unwrap();
    let error = message(train(temp.path(), &SPEC.replace("lr: 0.02", "lr: 0.03"), Quirks::default()));
    assert!(error.contains("belongs to a different spec:\n  optimizer.adam.lr: 0.02 → 0.03"), "{error}");
}

#[test]
fn the_best_are_kept_by_the_first_metric() {
    let temp = tempfile::tempdir().unwrap();
    let spec = SPEC.replace("evaluate_every: 8", "evaluate_every: 4");
    train(temp.path(), &spec, Quirks { worsens: true, ..Quirks::default() }).unwrap();
    let folder = temp.path().join("checkpoints");
    let kept: Vec<_> = retention::on_disk(&folder).unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(kept, [4, 8]);
    assert_eq!((step_of(&checkpoint::best(temp.path())), step_of(&checkpoint::last(temp.path()))), (4, 20));
}

/// Not a test: trains with a limit on file sizes.
#[test]
fn child_role() {
    let Some(run) = std::env::var_os("HUERISTIC_TEST_FULL") else { return };
    println!("child: {}", message(train(Path::new(&run), SPEC, Quirks { extra: 4000, ..Quirks::default() })));
}

/// Simulates a full disk without mounting anything: the shell limits the size of files (in blocks of 512 or 1024
/// bytes) and ignores the signal, so that writing beyond the limit is an error.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let temp = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 400; exec \"$0\" faults::child_role --exact --nocapture";
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
