//! An ordered store of named parameters. Names are module paths with Caffe's layer names: `conv1.weight`.
use candle_core::{Device, Result, Tensor, Var};

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
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), params: vec![], buffers: vec![] }
    }
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// Errors when the name is taken.
    pub fn add(&mut self, name: &str, value: &Tensor, kind: ParamKind) -> Result<Var> {
        let _ = (name, value, kind);
        todo!()
    }
    pub fn add_buffer(&mut self, name: &str, value: &Tensor) -> Result<Var> {
        let _ = (name, value);
        todo!()
    }
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.iter()
    }
    pub fn buffers(&self) -> &[(String, Var)] {
        &self.buffers
    }
    pub fn get(&self, name: &str) -> Option<&Var> {
        let _ = name;
        todo!()
    }
    /// Number of trained scalars (buffers not counted).
    pub fn count(&self) -> usize {
        todo!()
    }
    /// Parameters then buffers, memory layout, for checkpoints.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        todo!()
    }
    /// Sets all of `state` back; strict: a missing, unexpected or differently shaped name is an error.
    pub fn restore(&self, state: &[(String, Tensor)]) -> Result<()> {
        let _ = state;
        todo!()
    }
}
