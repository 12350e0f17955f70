//! Reads event files with TensorBoard itself (`scripts/oracles/read_events.py`, run with `HUERISTIC_PYTHON` or
//! `python3`); skipped if it is not installed.

use super::toy::{Quirks, SPEC, metrics, train, train_monitored};
use hueristic::train::{
    events::Events,
    monitor::{Measurement, Measures, Monitor, Monitoring},
    picture,
    task::{ImagePanel, Task},
};
use serde_json::{Value, json};
use std::path::Path;

fn read_back(folder: &Path) -> Option<Value> {
    let read = super::skipping::answer_of_python("read_events.py", folder, "tensorboard")?;
    Some(serde_json::from_slice(&read).unwrap())
}

#[test]
fn scalars_and_images_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let mut events = Events::create(temp.path(), None).unwrap();
    events.scalar("train/loss", 1, 5.75).unwrap();
    events.scalar("train/loss", 300, -0.125).unwrap();
    let rgb = vec![255, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let panel = ImagePanel { name: "p".into(), width: 4, height: 1, rgb: rgb.clone() };
    events.image("panel", 300, (4, 1), &picture::encode(&panel).unwrap()).unwrap();
    events.flush().unwrap();
    let Some(read) = read_back(temp.path()) else { return };
    assert_eq!(read["scalars"]["train/loss"], json!([[1, 5.75], [300, -0.125]]));
    assert_eq!(read["images"]["panel"][0].as_array().unwrap()[..3], [json!(300), json!(4), json!(1)]);
    let pixels = &read["images"]["panel"][0][3];
    assert!(pixels == &json!(rgb) || pixels == &json!([]), "{pixels}");
}

/// Whether TensorBoard shows the values of the metrics, each step once.
fn assert_reads_as_one(run: &Path) {
    let Some(read) = read_back(run) else { return };
    for (split, name) in [("train", "loss"), ("train", "lr"), ("val", "error")] {
        let lines = metrics(run);
        let of_split = lines.iter().filter(|l| l["split"] == split);
        let expected: Vec<_> =
            of_split.map(|l| (l["step"].as_u64(), l[name].as_f64().unwrap() as f32)).collect();
        let tag = read["scalars"][format!("{split}/{name}")].as_array().unwrap();
        let got: Vec<_> = tag.iter().map(|e| (e[0].as_u64(), e[1].as_f64().unwrap() as f32)).collect();
        assert_eq!(got, expected, "{split}/{name}");
    }
    let pictures: Vec<_> =
        read["images"]["first"].as_array().unwrap().iter().map(|e| e[0].as_u64()).collect();
    assert_eq!(pictures, [Some(8), Some(16), Some(20)]);
}

/// Values logged by the first process after its last checkpoint must not appear twice; in the second case there is no
/// checkpoint, and in the third it fails twice.
#[test]
fn a_resumed_run_reads_as_one() {
    for fails in [&[27][..], &[9], &[10, 20]] {
        let temp = tempfile::tempdir().unwrap();
        for fail in fails {
            train(temp.path(), SPEC, Quirks { fail: Some(*fail), ..Quirks::default() }).unwrap_err();
        }
        train(temp.path(), SPEC, Quirks::default()).unwrap();
        assert_reads_as_one(temp.path());
    }
}

/// Simulates a clock that was a day ahead while the first process ran.
#[test]
fn a_clock_set_back_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), SPEC, Quirks { fail: Some(27), ..Quirks::default() }).unwrap_err();
    let events = || -> Vec<_> {
        let all = std::fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().path());
        all.filter(|path| path.to_string_lossy().contains("tfevents")).collect()
    };
    let first = events().remove(0);
    let name = first.file_name().unwrap().to_str().unwrap();
    let (stamp, rest) = name.rsplit_once('.').unwrap();
    let seconds: u64 = stamp.rsplit_once('.').unwrap().1.parse().unwrap();
    let ahead = first.with_file_name(format!("events.out.tfevents.{:010}.{rest}", seconds + 86_400));
    std::fs::rename(&first, &ahead).unwrap();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
    assert!(events().iter().filter(|path| **path > ahead).count() == 1, "{:?}", events());
    assert_reads_as_one(temp.path());
}

/// Measures the same number each time.
struct Constant;

impl Monitor for Constant {
    fn prepare(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn read(&mut self, _: &dyn Task) -> anyhow::Result<Measures> {
        let values = vec![("fc1/knn".into(), 0.25)];
        Ok(Box::new(|| Ok(Measurement { values, ..Measurement::default() })))
    }
}

/// Also of a run that was stopped between two measurements, each step once.
#[test]
fn measurements_have_tags_of_their_own() {
    let temp = tempfile::tempdir().unwrap();
    let monitoring = || Monitoring::new(Box::new(Constant), 6, f64::MAX);
    let fail = Quirks { fail: Some(27), ..Quirks::default() };
    train_monitored(temp.path(), SPEC, fail, monitoring()).unwrap_err();
    train_monitored(temp.path(), SPEC, Quirks::default(), monitoring()).unwrap();
    let Some(read) = read_back(temp.path()) else { return };
    let all = [0, 6, 12, 18, 20];
    assert_eq!(read["scalars"]["monitor/fc1/knn"], json!(all.map(|step| (step, 0.25))));
    let steps = |tag: &str| -> Vec<u64> {
        let values = read["scalars"][tag].as_array().into_iter().flatten();
        values.map(|value| value[0].as_u64().unwrap()).collect()
    };
    assert_eq!(steps("monitor/monitor_seconds"), all);
    assert_eq!(steps("monitor/monitor_share"), all[1..], "no share of no updates");
}
