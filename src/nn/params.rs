//! An ordered store of named parameters. Names are module paths with Caffe's layer names: `conv1.weight`,
//! `conv1.bias`; batch normalization adds buffers: `bn1.running_mean`.
//!
//! Gradients, updates and files all use the order of creation, so it is the same in every run. Weight files are
//! handled by [`super::weights`].

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Tensor, Var, bail};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Type of a parameter, for fillers, decay and learning-rate patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    Weight,
    Bias,
    Scale,
    Shift,
}

/// One trainable tensor. Convolution weights are `(O, KH, KW, I)` in memory.
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
    values: LoadedValues,
}

/// Values of a weight file for parameters that are not yet created.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadedValues {
    /// Not taken by any parameter so far.
    pub left: BTreeMap<String, Tensor>,
    /// Names of those that were.
    pub taken: BTreeSet<String>,
    /// Whether nothing else holds them, so that they need not be copied.
    owned: bool,
}

impl LoadedValues {
    /// The value for a parameter of this name and shape, if there is one. Whole numbers are not taken: they are those
    /// of a quantized network.
    fn take(&mut self, name: &str, (shape, dtype): (&Shape, DType)) -> Result<Option<Tensor>> {
        let fits = |value: &Tensor| value.shape() == shape && !value.dtype().is_int();
        if !self.left.get(name).is_some_and(fits) {
            return Ok(None);
        }
        let Some(value) = self.left.remove(name) else { return Ok(None) };
        self.taken.insert(name.into());
        value.detach().to_dtype(dtype).map(Some)
    }
}

/// Moves the elements out of a tensor that nothing else holds, if it is one of f32 with memory of its own.
#[derive(Default)]
struct MoveElements(RefCell<Option<Vec<f32>>>);

impl InplaceOp1 for MoveElements {
    fn name(&self) -> &'static str {
        "move_elements"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(values) = storage else { return Ok(()) };
        match layout.contiguous_offsets() {
            Some((0, end)) if end == values.len() => drop(self.0.replace(Some(std::mem::take(values)))),
            Some((_, end)) if end > values.len() => bail!("params: two values share their memory"),
            _ => {}
        }
        Ok(())
    }
}

/// A variable with the elements of `value`, which nothing else may hold: without a copy where that is possible.
fn moved(value: Tensor) -> Result<Var> {
    let elements = MoveElements::default();
    if value.device().is_cpu() {
        value.inplace_op1(&elements)?;
    }
    match elements.0.into_inner() {
        Some(elements) => Var::from_vec(elements, value.shape(), &Device::Cpu),
        None => Var::from_tensor(&value.contiguous()?),
    }
}

impl Params {
    /// An empty store for tensors on `device`.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), params: vec![], buffers: vec![], values: LoadedValues::default() }
    }

    /// An empty store whose parameters and buffers start with the value of their name in `values`, where it has their
    /// shape: nothing is drawn for those, and each value is freed once it is copied. Others are initialized as in
    /// [`Params::new`], with the same random numbers, since every parameter has its own stream. Call
    /// [`super::weights::finish_load`] when the network is built: it tells what was missing.
    pub fn with_values(device: &Device, values: BTreeMap<String, Tensor>) -> Self {
        let values = LoadedValues { left: values, ..LoadedValues::default() };
        Self { values, ..Self::new(device) }
    }

    /// As [`Params::with_values`], for values that nothing else holds, such as those just read from a file: they are
    /// moved instead of copied. A tensor that shares memory with one of them must not be used any more.
    pub fn with_own_values(device: &Device, values: BTreeMap<String, Tensor>) -> Self {
        let mut params = Self::with_values(device, values);
        params.values.owned = true;
        params
    }

    /// Ends a load: removes and returns the values, taken and left.
    pub(super) fn end_load(&mut self) -> LoadedValues {
        std::mem::take(&mut self.values)
    }

    /// The parameters' device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a parameter with a copy of `value`, of any shape and on any device. Errors on a duplicate name.
    pub fn add(&mut self, name: &str, value: &Tensor, kind: ParamKind) -> Result<Var> {
        let var = self.own(name, (value.shape(), value.dtype()), || Ok(value.clone()))?;
        self.params.push(Param { name: name.to_string(), var: var.clone(), kind });
        Ok(var)
    }

    /// Adds an f32 parameter of this shape with the value that `fill` draws. If a value of that name was loaded, it is
    /// used and nothing is drawn. Errors on a duplicate name.
    pub fn add_filled(
        &mut self,
        name: &str,
        shape: &Shape,
        kind: ParamKind,
        fill: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Var> {
        let var = self.own(name, (shape, DType::F32), fill)?;
        self.params.push(Param { name: name.to_string(), var: var.clone(), kind });
        Ok(var)
    }

    /// Adds a buffer with a copy of `value`. Errors on a duplicate name.
    pub fn add_buffer(&mut self, name: &str, value: &Tensor) -> Result<Var> {
        let var = self.own(name, (value.shape(), value.dtype()), || Ok(value.clone()))?;
        self.buffers.push((name.to_string(), var.clone()));
        Ok(var)
    }

    /// Turns the parameters that `frozen` selects into buffers: still saved and loaded, but no longer trained.
    /// Optimizers keep no state for them.
    pub fn freeze(&mut self, frozen: impl Fn(&str) -> bool) {
        let (still, moving): (Vec<_>, Vec<_>) = self.params.drain(..).partition(|p| frozen(&p.name));
        self.params = moving;
        self.buffers.extend(still.into_iter().map(|p| (p.name, p.var)));
    }

    /// A contiguous variable with its own memory: the loaded value, else that of `fill`.
    fn own(
        &mut self,
        name: &str,
        kind: (&Shape, DType),
        fill: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Var> {
        if self.named(name).is_some() {
            bail!("params: duplicate name `{name}`")
        }
        let value = match self.values.take(name, kind)? {
            Some(value) if self.values.owned => return moved(value.to_device(&self.device)?),
            Some(value) => value,
            None => fill()?,
        };
        // It is detached first, since candle returns a variable unchanged.
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

    /// The parameter with this name (buffers are excluded).
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.params.iter().find(|p| p.name == name).map(|p| &p.var)
    }

    /// The parameter or buffer with this name.
    pub fn named(&self, name: &str) -> Option<&Var> {
        self.all().find(|(n, _)| *n == name).map(|(_, var)| var)
    }

    /// Parameters, then buffers.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Var)> {
        let params = self.params.iter().map(|p| (p.name.as_str(), &p.var));
        params.chain(self.buffers.iter().map(|(name, var)| (name.as_str(), var)))
    }

    /// Number of trained scalars (without buffers).
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Parameters, then buffers, in memory layout, for checkpoints. The tensors share the variables' memory, so a
    /// checkpoint of a large network needs no copy, but the next update changes them: write or copy them first.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.all().map(|(name, var)| (name.to_string(), var.as_detached_tensor())).collect()
    }

    /// Restores all of `state`. Strict: a missing, unexpected or differently shaped name is an error, and nothing is
    /// changed.
    pub fn restore(&self, state: &[(String, Tensor)]) -> Result<()> {
        let given: BTreeSet<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        if let Some((missing, _)) = self.all().find(|(name, _)| !given.contains(name)) {
            bail!("params: `{missing}` is missing from the state to restore")
        }
        let mut pairs = Vec::with_capacity(state.len());
        for (name, value) in state {
            let Some(var) = self.named(name) else {
                bail!("params: the state to restore has `{name}`, which this network lacks")
            };
            if var.shape() != value.shape() {
                bail!("params: `{name}` is {:?} here and {:?} in the state", var.dims(), value.dims())
            }
            pairs.push((var, value));
        }
        pairs.into_iter().try_for_each(|(var, value)| assign(var, value))
    }
}

/// Overwrites a variable with `value` of any device and dtype; the shapes must match.
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
    fn loaded_values_replace_fillers_where_name_and_shape_agree() -> Result<()> {
        let value = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let given =
            [("a", value(&[1., 2.])?), ("b", value(&[3.])?), ("c", value(&[4.])?.to_dtype(DType::F64)?)];
        let given = given.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        let mut params = Params::with_values(&Device::Cpu, given);
        let one = &Shape::from(1);
        let drawn = || value(&[9.]);
        let a = params.add_filled("a", one, ParamKind::Weight, drawn)?;
        let b = params.add_filled("b", one, ParamKind::Weight, || bail!("drawn for nothing"))?;
        let c = params.add_buffer("c", &drawn()?)?;
        assert_eq!([a, b, c].map(|var| var.to_vec1::<f32>().expect("f32")), [[9.], [3.], [4.]]);
        let LoadedValues { left, taken, .. } = params.end_load();
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["a"]);
        Ok(())
    }

    #[test]
    fn own_values_are_moved_whole_and_views_are_copied() -> Result<()> {
        let row = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
        let given =
            [("whole", row.copy()?), ("part", row.narrow(0, 1, 2)?), ("half", row.to_dtype(DType::F16)?)];
        let given = given.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        let mut params = Params::with_own_values(&Device::Cpu, given);
        for (name, values) in
            [("whole", vec![1f32, 2., 3.]), ("part", vec![2., 3.]), ("half", vec![1., 2., 3.])]
        {
            let shape = Shape::from(values.len());
            let var = params.add_filled(name, &shape, ParamKind::Weight, || bail!("drawn for nothing"))?;
            assert_eq!(var.to_vec1::<f32>()?, values, "{name}");
            var.set(&Tensor::zeros(shape, DType::F32, &Device::Cpu)?)?;
        }
        assert_eq!(row.to_vec1::<f32>()?, [1., 2., 3.]);
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
