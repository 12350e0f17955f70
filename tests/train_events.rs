//! Event files as TensorBoard itself reads them (`scripts/oracles/read_events.py`, with the Python of
//! `HUERISTIC_PYTHON` or `python3`); skipped where it is not installed.

mod train_toy;

use hueristic::train::{events::Events, picture, task::Panel};
use serde_json::{Value, json};
use std::{path::Path, process::Command};
use train_toy::{Quirks, SPEC, metrics, train};

fn read_back(folder: &Path) -> Option<Value> {
    let python = std::env::var("HUERISTIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/read_events.py");
    let output = match Command::new(&python).arg(script).arg(folder).output() {
        Err(error) => {
            println!("skipped: cannot run {python}: {error}");
            return None;
        }
        Ok(output) if output.status.code() == Some(3) => {
            println!("skipped: {python} has no tensorboard package (HUERISTIC_PYTHON names another)");
            return None;
        }
        Ok(output) => output,
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn scalars_and_images_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let mut events = Events::create(temp.path(), None).unwrap();
    events.scalar("train/loss", 1, 5.75).unwrap();
    events.scalar("train/loss", 300, -0.125).unwrap();
    let rgb = vec![255, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let panel = Panel { name: "p".into(), width: 4, height: 1, rgb: rgb.clone() };
    events.image("panel", 300, (4, 1), &picture::encode(&panel).unwrap()).unwrap();
    events.flush().unwrap();
    let Some(read) = read_back(temp.path()) else { return };
    assert_eq!(read["scalars"]["train/loss"], json!([[1, 5.75], [300, -0.125]]));
    assert_eq!(read["images"]["panel"][0].as_array().unwrap()[..3], [json!(300), json!(4), json!(1)]);
    let pixels = &read["images"]["panel"][0][3];
    assert!(pixels == &json!(rgb) || pixels == &json!([]), "{pixels}");
}

/// What the first process logged after its last checkpoint must not show up twice.
#[test]
fn a_resumed_run_reads_as_one() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), SPEC, Quirks { fail: Some(27), ..Quirks::default() }).unwrap_err();
    train(temp.path(), SPEC, Quirks::default()).unwrap();
    let Some(read) = read_back(temp.path()) else { return };
    for (split, name) in [("train", "loss"), ("train", "lr"), ("val", "error")] {
        let lines = metrics(temp.path());
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
