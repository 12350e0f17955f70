//! An ordered store of named parameters. Names are module paths with Caffe's layer names: `conv1.weight`,
//! `conv1.bias`; batch normalization keeps buffers beside them: `bn1.running_mean`.
//!
//! Order of creation is the order of everything that walks over parameters (gradients, updates, files), so it is
//! the same in every run. Nothing here knows files: see [`super::weights`].

use candle_core::{Device, Result, Tensor, Var, bail};
use std::collections::BTreeSet;

/// What a parameter is, for fillers, decay and learning-rate patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    Weight,
    Bias,
    Scale,
    Shift,
}

/// One trainable tensor. Convolution weights lie `(O, KH, KW, I)` in memory.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub var: Var,
    pub kind: ParamKind,
}

/// Parameters (trained) and buffers (running statistics: saved, not trained), in order of creation.
#[derive(Clone, Debug)]
pub struct Params {
    device: Device,
    params: Vec<Param>,
    buffers: Vec<(String, Var)>,
}

impl Params {
    /// An empty store whose tensors will live on `device`.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), params: vec![], buffers: vec![] }
    }

    /// Where the parameters live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a parameter with a copy of `value`, of any shape and on any device. Errors when the name is taken.
    pub fn add(&mut self, name: &str, value: &Tensor, kind: ParamKind) -> Result<Var> {
        let var = self.own(name, value)?;
        self.params.push(Param { name: name.to_string(), var: var.clone(), kind });
        Ok(var)
    }

    /// Adds a buffer with a copy of `value`. Errors when the name is taken.
    pub fn add_buffer(&mut self, name: &str, value: &Tensor) -> Result<Var> {
        let var = self.own(name, value)?;
        self.buffers.push((name.to_string(), var.clone()));
        Ok(var)
    }

    /// Makes the parameters for which `frozen` holds buffers: saved and loaded like the others, trained no more. No
    /// optimizer keeps state for them.
    pub fn freeze(&mut self, frozen: impl Fn(&str) -> bool) {
        let (still, moving): (Vec<_>, Vec<_>) = self.params.drain(..).partition(|p| frozen(&p.name));
        self.params = moving;
        self.buffers.extend(still.into_iter().map(|p| (p.name, p.var)));
    }

    /// A contiguous variable of its own memory: `detach` first, since candle hands a variable back as it is.
    fn own(&self, name: &str, value: &Tensor) -> Result<Var> {
        if self.named(name).is_some() {
            bail!("params: the name `{name}` is taken already")
        }
        Var::from_tensor(&value.detach().to_device(&self.device)?.contiguous()?)
    }

    /// The parameters, without the buffers.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.iter()
    }

    /// The buffers by name.
    pub fn buffers(&self) -> &[(String, Var)] {
        &self.buffers
    }

    /// The parameter of that name (buffers are not looked at).
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.params.iter().find(|p| p.name == name).map(|p| &p.var)
    }

    /// The parameter or buffer of that name.
    pub fn named(&self, name: &str) -> Option<&Var> {
        self.all().find(|(n, _)| *n == name).map(|(_, var)| var)
    }

    /// Parameters, then buffers.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Var)> {
        let params = self.params.iter().map(|p| (p.name.as_str(), &p.var));
        params.chain(self.buffers.iter().map(|(name, var)| (name.as_str(), var)))
    }

    /// Number of trained scalars (buffers not counted).
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Parameters then buffers, memory layout, for checkpoints. The tensors share the variables' memory, so that
    /// a checkpoint of a large net costs none: the next update changes them too. Write or copy them before it.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.all().map(|(name, var)| (name.to_string(), var.as_detached_tensor())).collect()
    }

    /// Sets all of `state` back; strict: a missing, unexpected or differently shaped name is an error, and then
    /// nothing has changed.
    pub fn restore(&self, state: &[(String, Tensor)]) -> Result<()> {
        let given: BTreeSet<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        if let Some((missing, _)) = self.all().find(|(name, _)| !given.contains(name)) {
            bail!("params: `{missing}` is missing from the state to restore")
        }
        let mut pairs = Vec::with_capacity(state.len());
        for (name, value) in state {
            let Some(var) = self.named(name) else {
                bail!("params: the state to restore has `{name}`, which this network does not")
            };
            if var.shape() != value.shape() {
                bail!("params: `{name}` is {:?} here and {:?} in the state", var.dims(), value.dims())
            }
            pairs.push((var, value));
        }
        pairs.into_iter().try_for_each(|(var, value)| assign(var, value))
    }
}

/// Overwrites a variable, whatever the device and element type of `value`; the shapes must agree.
pub(super) fn assign(var: &Var, value: &Tensor) -> Result<()> {
    var.set(&value.detach().to_device(var.device())?.to_dtype(var.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Result<Params> {
        let mut params = Params::new(&Device::Cpu);
        params.add("b.weight", &Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?, ParamKind::Weight)?;
        params.add("a.bias", &Tensor::new(&[5f32], &Device::Cpu)?, ParamKind::Bias)?;
        params.add_buffer("a.running_mean", &Tensor::new(&[6f32], &Device::Cpu)?)?;
        Ok(params)
    }

    #[test]
    fn order_is_that_of_creation() -> Result<()> {
        let names: Vec<_> = two()?.state().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b.weight", "a.bias", "a.running_mean"]);
        assert_eq!(two()?.count(), 5);
        Ok(())
    }

    #[test]
    fn a_taken_name_is_refused() -> Result<()> {
        let mut params = two()?;
        let value = Tensor::new(&[0f32], &Device::Cpu)?;
        assert!(params.add("a.running_mean", &value, ParamKind::Weight).is_err());
        assert!(params.add_buffer("a.bias", &value).is_err());
        assert_eq!(params.count(), 5);
        Ok(())
    }

    #[test]
    fn a_frozen_parameter_is_saved_and_not_trained() -> Result<()> {
        let mut params = two()?;
        params.freeze(|name| name.starts_with("b."));
        assert_eq!(params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a.bias"]);
        assert!(params.named("b.weight").is_some() && params.state().len() == 3);
        Ok(())
    }

    #[test]
    fn a_parameter_owns_its_memory() -> Result<()> {
        let mut params = two()?;
        let first = params.get("a.bias").expect("added above").clone();
        let second = params.add("twin", &first, ParamKind::Bias)?;
        second.set(&Tensor::new(&[9f32], &Device::Cpu)?)?;
        assert_eq!(first.to_vec1::<f32>()?, [5.0]);
        Ok(())
    }

    #[test]
    fn restore_is_strict_and_all_or_nothing() -> Result<()> {
        let (params, other) = (two()?, two()?);
        other.get("a.bias").expect("added above").set(&Tensor::new(&[-1f32], &Device::Cpu)?)?;
        let mut state = other.state();
        state[2].1 = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
        let error = params.restore(&state).expect_err("a wrong shape").to_string();
        assert!(error.contains("a.running_mean") && error.contains("[2]"), "{error}");
        assert_eq!(params.get("a.bias").expect("added above").to_vec1::<f32>()?, [5.0]);
        assert!(
            params.restore(&other.state()[..2]).expect_err("one missing").to_string().contains("missing")
        );
        params.restore(&other.state())?;
        assert_eq!(params.get("a.bias").expect("added above").to_vec1::<f32>()?, [-1.0]);
        Ok(())
    }
}
