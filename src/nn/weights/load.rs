//! Loads weights from a file into a network and reports the result.

use super::layout::{TO_FILE, permuted_dims};
use crate::{
    nn::params::{LoadedValues, Params, assign},
    text::counted,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Tensor, Var};
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

    /// Lists a tensor that cannot be used for `var`, because of its shape.
    fn refuse(&mut self, name: &str, var: &Var, value: &Tensor) -> Result<()> {
        if value.shape() == var.shape() {
            real(name, value)?;
        }
        let [here, there] = [var.dims(), value.dims()].map(|dims| permuted_dims(dims, TO_FILE));
        self.mismatched.push(format!("{name} ({here:?} here, {there:?} in the file)"));
        Ok(())
    }

    fn ensure_any(&self) -> Result<()> {
        if self.loaded.is_empty() {
            bail!("no tensor fits this network ({self}): the weights are of another architecture")
        }
        Ok(())
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} loaded", counted(self.loaded.len(), "tensor"))?;
        for (what, names) in [
            ("missing in the file", &self.missing),
            ("in the file alone", &self.unexpected),
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
            Some(value) if value.shape() != var.shape() => report.refuse(name, var, value)?,
            Some(value) => {
                real(name, value)?;
                assign(var, value).with_context(|| format!("cannot set `{name}`"))?;
                report.loaded.push(name.to_string());
            }
        }
    }
    let unexpected = tensors.keys().filter(|name| params.named(name).is_none());
    report.unexpected = unexpected.cloned().collect();
    report.ensure_any()?;
    Ok(report)
}

/// Ends a load into parameters that were created by [`Params::with_values`], with the report that [`load_into`] would
/// give for the same tensors.
///
/// # Errors
/// As [`load_into`].
pub fn finish_load(params: &mut Params) -> Result<LoadReport> {
    let LoadedValues { left, taken, .. } = params.end_load();
    let mut report = LoadReport::default();
    for (name, var) in params.all() {
        match left.get(name) {
            _ if taken.contains(name) => report.loaded.push(name.to_string()),
            None => report.missing.push(name.to_string()),
            Some(value) => report.refuse(name, var, value)?,
        }
    }
    let unexpected = left.keys().filter(|name| params.named(name).is_none());
    report.unexpected = unexpected.cloned().collect();
    report.ensure_any()?;
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
