//! Loads weights from a file into a network and reports the result.

use super::layout::{TO_FILE, permuted_dims};
use crate::nn::params::{Params, assign};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use std::{collections::BTreeMap, fmt};

/// Result of a load, printed for the user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    pub loaded: Vec<String>,
    /// In the network but not in the file: these keep their values.
    pub missing: Vec<String>,
    /// In the file but not in the network.
    pub unexpected: Vec<String>,
    /// In both with different shapes (both are listed): these keep their values.
    pub mismatched: Vec<String>,
}

impl LoadReport {
    /// Whether every parameter and buffer of the network was set and no tensor of the file was unused.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        for (what, names) in [
            ("missing in the file", &self.missing),
            ("unexpected in the file", &self.unexpected),
            ("of another shape", &self.mismatched),
        ] {
            if !names.is_empty() {
                write!(f, "; {} {what}: {}", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Copies every tensor whose name and shape match, converting the dtype. It is an error if none match. Other
/// differences are in the report, for the caller to print and judge.
pub fn load_into(params: &Params, tensors: &BTreeMap<String, Tensor>) -> Result<LoadReport> {
    let mut report = LoadReport::default();
    for (name, var) in params.all() {
        match tensors.get(name) {
            None => report.missing.push(name.to_string()),
            Some(value) if value.shape() != var.shape() => {
                let shapes = [var.dims(), value.dims()].map(|dims| permuted_dims(dims, TO_FILE));
                report.mismatched.push(format!("{name} ({:?} here, {:?} in the file)", shapes[0], shapes[1]));
            }
            Some(value) => {
                real(name, value)?;
                assign(var, value).with_context(|| format!("cannot set `{name}`"))?;
                report.loaded.push(name.to_string());
            }
        }
    }
    let unexpected = tensors.keys().filter(|name| params.named(name).is_none());
    report.unexpected = unexpected.cloned().collect();
    if report.loaded.is_empty() {
        bail!("no tensor fits this network ({report}): the weights are of another architecture")
    }
    Ok(report)
}

/// Rejects integer weights: the values of quantized networks are not their real weights.
///
/// # Errors
/// Names the tensor and its dtype.
pub fn real(name: &str, tensor: &Tensor) -> Result<()> {
    ensure!(
        !tensor.dtype().is_int(),
        "`{name}` holds whole numbers ({}), as quantized weights do, which are not supported: store float32",
        tensor.dtype().as_str()
    );
    Ok(())
}
