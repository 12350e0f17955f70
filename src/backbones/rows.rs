//! One row of a network at a time, put together from its table and its parameters: what a method needs that looks
//! between convolution and ReLU, or changes a layer before the next one sees its output. Training and evaluation go
//! through [`super::network`].

use super::table::{Kind, Layer};
use crate::{
    nn::params::Params,
    ops::{
        activation::{leaky_relu, relu},
        batch_norm::{Momentum, Running, batch_norm_train},
        conv::conv2d,
        conv_transpose::conv_transpose2d,
        lrn::{Lrn, lrn},
        pool::max_pool2d,
    },
};
use candle_core::{DType, Result, Tensor, Var, bail};

/// A row with the parameters that are called after it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub layer: &'a Layer,
    params: &'a Params,
}

impl<'a> Row<'a> {
    pub fn new(layer: &'a Layer, params: &'a Params) -> Self {
        Self { layer, params }
    }

    /// The shape in which one number per output channel goes with the weight: a convolution's outputs come first, a
    /// transposed one's last.
    pub fn per_output(&self) -> [usize; 4] {
        let outputs = self.layer.outputs;
        if self.layer.kind == Kind::ConvTranspose { [1, 1, 1, outputs] } else { [outputs, 1, 1, 1] }
    }

    pub fn weight(&self) -> Result<&'a Var> {
        self.parameter("weight")
    }

    pub fn bias(&self) -> Result<&'a Var> {
        self.parameter("bias")
    }

    fn parameter(&self, which: &str) -> Result<&'a Var> {
        let name = format!("{}.{which}", self.layer.name);
        match self.params.get(&name) {
            Some(var) => Ok(var),
            None => bail!("`{name}` is missing: these are not the parameters of this network"),
        }
    }

    /// What the window makes of x `(B, H, W, C)`, before normalisation and ReLU: `(B, H', W', C')`, without a graph.
    pub fn window(&self, x: &Tensor, with_bias: bool) -> Result<Tensor> {
        let x = x.detach();
        match self.layer.kind {
            Kind::MaxPool => return max_pool2d(&x, self.layer.pool_geometry()),
            Kind::Lrn => return lrn(&x, Lrn::ALEXNET),
            Kind::Conv | Kind::ConvTranspose => {}
        }
        let weight = self.weight()?.as_detached_tensor();
        let bias = if with_bias { Some(self.bias()?.as_detached_tensor()) } else { None };
        let geometry = self.layer.conv_geometry();
        match self.layer.kind {
            Kind::ConvTranspose => conv_transpose2d(&x, &weight, bias.as_ref(), geometry),
            Kind::Conv | Kind::MaxPool | Kind::Lrn => conv2d(&x, &weight, bias.as_ref(), geometry),
        }
    }

    /// The whole row, window and what follows it.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.rest(&self.window(x, true)?)
    }

    /// What follows the window: ReLU, and normalisation by the statistics of this batch, as training has it; running
    /// statistics stay as they are, and nothing is dropped.
    pub fn rest(&self, sums: &Tensor) -> Result<Tensor> {
        let rectified = |x: &Tensor| match self.layer.relu {
            true if self.layer.leak > 0.0 => leaky_relu(x, self.layer.leak),
            true => relu(x),
            false => Ok(x.clone()),
        };
        match &self.layer.norm {
            None => rectified(sums),
            Some(norm) if norm.after_relu => self.normalised(&rectified(sums)?),
            Some(_) => rectified(&self.normalised(sums)?),
        }
    }

    fn normalised(&self, x: &Tensor) -> Result<Tensor> {
        let Some(norm) = &self.layer.norm else { return Ok(x.clone()) };
        let affine = ["weight", "bias"].map(|which| self.params.get(&format!("{}.{which}", norm.name)));
        let affine = affine.map(|var| var.map(Var::as_detached_tensor));
        let affine = affine[0].as_ref().zip(affine[1].as_ref());
        let fresh = |n: usize| Var::zeros(n, DType::F32, x.device());
        let channels = self.layer.outputs;
        let running = Running { mean: fresh(channels)?, var: fresh(channels)?, weight: fresh(1)? };
        batch_norm_train(x, affine, &running, Momentum::PyTorch(1.0), norm.options.eps, false)
    }
}
