//! MATLAB files against SciPy, proposal files, and Selective Search against OpenCV's and the objects of real photographs.

use hueristic::data::mat::{self, Value};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mat").join(name)
}

/// Where the real data lies; None, with a line that says so, when it does not.
fn data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("HUERISTIC_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The form in which `scripts/oracles/mat.py` writes what SciPy reads.
fn described(value: &Value) -> Json {
    match value {
        Value::Numeric { dims, values } => json!({ "numeric": [dims, values] }),
        Value::Cell { dims, items } => {
            json!({ "cell": [dims, items.iter().map(described).collect::<Vec<_>>()] })
        }
        Value::Text(text) => json!({ "text": text }),
        Value::Struct { fields } => {
            let fields =
                fields.iter().map(|(name, values)| (name.clone(), values.iter().map(described).collect()));
            json!({ "struct": fields.collect::<serde_json::Map<_, _>>() })
        }
    }
}

fn read(name: &str) -> Json {
    let variables = mat::read(&fixture(name)).unwrap();
    variables
        .iter()
        .map(|(name, value)| (name.clone(), described(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn matlab_files_read_as_scipy_reads_them() {
    let oracle: Json = serde_json::from_str(include_str!("../scripts/oracles/mat.json")).unwrap();
    assert!(oracle["variables"].as_object().unwrap().len() > 15);
    for name in ["plain.mat", "compressed.mat", "big_endian.mat"] {
        assert_eq!(read(name), oracle["variables"], "{name}");
    }
    assert_eq!(read("proposals.mat"), oracle["proposals"]);
}

#[test]
fn published_matlab_files_are_read() {
    let Some(folder) = data("eval_fixtures/fast_rcnn_demo") else { return };
    for (name, rows) in [("000004", 2888), ("001551", 2057)] {
        let variables = mat::read(&folder.join(format!("{name}_boxes.mat"))).unwrap();
        let Value::Numeric { dims, values } = &variables["boxes"] else { panic!("{variables:?}") };
        assert_eq!((dims.as_slice(), values.len()), ([rows, 4].as_slice(), 4 * rows), "{name}");
    }
}
