//! Other people's weight files: what PyTorch and Caffe wrote arrives under our names, computes the same, and goes back;
//! files that are broken or meant to harm are refused. The files are those of `scripts/oracles/weights_formats.py`.

mod checkpoints;
mod command;
mod hostile;
mod layouts;
mod pickles;

use candle_core::{DType, Tensor};
use serde_json::Value;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// Every weight file of the oracle.
const FILES: [&str; 8] = [
    "eccv16.pth",
    "vgg_colorizer.caffemodel",
    "alexnet_colorizer.caffemodel",
    "caffenet.caffemodel",
    "vgg16.caffemodel",
    "vgg16_legacy.pth",
    "alexnet.pth",
    "mixed.pth",
];

fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture("expected.json")).expect("the oracle");
    let all: Value = serde_json::from_str(&text).expect("the oracle is JSON");
    all[name].clone()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("a tensor of numbers")
}

/// Σ value · (index mod 97 + 1), in memory order.
fn checksum(tensor: &Tensor) -> f64 {
    flat(tensor).iter().enumerate().map(|(i, value)| value * (i % 97 + 1) as f64).sum()
}

/// Whether a tensor has the shape and checksum that the oracle gives it, up to the rounding of one f32 operation.
fn agrees(tensor: &Tensor, wanted: &Value) -> bool {
    let shape: Vec<usize> = serde_json::from_value(wanted["shape"].clone()).expect("a shape");
    let size: f64 = flat(tensor).iter().map(|v| v.abs() * 97.0).sum();
    let off = checksum(tensor) - wanted["sum"].as_f64().expect("a sum");
    // The oracle counts a single number as a list of one.
    let dims = if tensor.rank() == 0 { vec![1] } else { tensor.dims().to_vec() };
    dims == shape && off.abs() <= 2e-7 * size
}
