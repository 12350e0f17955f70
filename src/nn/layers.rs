//! Layers with parameters: convolution, linear, batch and layer normalization. Each adds its tensors to [`Params`]
//! under its own name and keeps handles to them. Operations without parameters (ReLU, pooling, dropout) are in
//! [`crate::ops`].

use super::{
    Mode,
    init::Filler,
    params::{ParamKind, Params},
};
use crate::{
    ops::{
        batch_norm::{Momentum, Running, batch_norm_eval, batch_norm_train},
        conv::{ConvGeometry, conv2d, conv2d_relu},
        conv_transpose::{conv_transpose2d, conv_transpose2d_relu},
    },
    rng::Rng,
};
use candle_core::{DType, Device, Result, Tensor, Var};

/// Initialization of a layer's weight and bias; None for no bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fillers {
    pub weight: Filler,
    pub bias: Option<Filler>,
}

/// Convolution of `(B, H, W, inputs)`: `NAME.weight` is `(outputs, K, K, inputs / groups)`.
#[derive(Clone, Debug)]
pub struct Conv {
    weight: Var,
    bias: Option<Var>,
    geometry: ConvGeometry,
    /// All input channels of the weight except the first, if only these are trained.
    color: Option<Var>,
}

/// Channels and window of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
}

impl Conv {
    /// Adds `name.weight` and, with a bias filler, `name.bias`. Random fillers draw from `rng.split(parameter)`.
    pub fn new(
        params: &mut Params,
        name: &str,
        shape: ConvShape,
        geometry: ConvGeometry,
        fillers: Fillers,
        rng: &Rng,
    ) -> Result<Self> {
        let ConvShape { inputs, outputs, kernel } = shape;
        if geometry.groups == 0 || inputs % geometry.groups != 0 || outputs % geometry.groups != 0 {
            candle_core::bail!(
                "{name}: {inputs} → {outputs} channels do not split into {} groups",
                geometry.groups
            )
        }
        let weight = (outputs, kernel, kernel, inputs / geometry.groups);
        let (weight, bias) = weight_and_bias(params, name, (weight, outputs), fillers, rng)?;
        Ok(Self { weight, bias, geometry, color: None })
    }

    /// x `(B, H, W, inputs)` → `(B, H', W', outputs)`.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let (weight, bias) = self.seen(mode)?;
        conv2d(x, &weight, bias.as_ref(), self.geometry)
    }

    /// As [`Conv::forward`], fused with the following ReLU.
    pub fn forward_relu(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let (weight, bias) = self.seen(mode)?;
        conv2d_relu(x, &weight, bias.as_ref(), self.geometry)
    }

    /// Weight and bias for the forward pass in `mode`.
    fn seen(&self, mode: &Mode) -> Result<(Tensor, Option<Tensor>)> {
        let Some(color) = &self.color else {
            return Ok((mode.see(&self.weight), self.bias.as_ref().map(|bias| mode.see(bias))));
        };
        let first = self.weight.as_detached_tensor().narrow(3, 0, 1)?;
        let bias = self.bias.as_ref().map(|bias| bias.as_detached_tensor());
        Ok((Tensor::cat(&[&first, &mode.see(color)], 3)?, bias))
    }

    /// The same convolution with all input channels except the first unfrozen and everything else constant. The
    /// unfrozen part is added to `params` as `NAME_color.weight`.
    ///
    /// # Errors
    /// A convolution with one input channel, or with groups.
    pub fn with_chroma(&self, name: &str, params: &mut Params) -> Result<Self> {
        let channels = self.weight.dim(3)?;
        if channels < 2 || self.geometry.groups != 1 {
            candle_core::bail!("{name}: {channels} input channels include no a and b channels to unfreeze")
        }
        let color = self.weight.as_detached_tensor().narrow(3, 1, channels - 1)?;
        let color = params.add(&format!("{name}_color.weight"), &color.contiguous()?, ParamKind::Weight)?;
        Ok(Self { color: Some(color), ..self.clone() })
    }

    /// Whether it was made by [`Conv::with_chroma`].
    pub fn learns_chroma(&self) -> bool {
        self.color.is_some()
    }

    /// `(outputs, K, K, inputs / groups)`
    pub fn weight(&self) -> &Var {
        &self.weight
    }

    /// `(outputs)`
    pub fn bias(&self) -> Option<&Var> {
        self.bias.as_ref()
    }
}

/// Transposed convolution of `(B, H, W, inputs)`: `NAME.weight` is `(inputs, K, K, outputs)`, one group.
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    weight: Var,
    bias: Option<Var>,
    geometry: ConvGeometry,
}

impl ConvTranspose {
    /// Adds `name.weight` and, with a bias filler, `name.bias`, as [`Conv::new`].
    pub fn new(
        params: &mut Params,
        name: &str,
        shape: ConvShape,
        geometry: ConvGeometry,
        fillers: Fillers,
        rng: &Rng,
    ) -> Result<Self> {
        let ConvShape { inputs, outputs, kernel } = shape;
        let weight = (inputs, kernel, kernel, outputs);
        let (weight, bias) = weight_and_bias(params, name, (weight, outputs), fillers, rng)?;
        Ok(Self { weight, bias, geometry })
    }

    /// x `(B, H, W, inputs)` → `(B, H', W', outputs)`.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| mode.see(bias));
        conv_transpose2d(x, &mode.see(&self.weight), bias.as_ref(), self.geometry)
    }

    /// As [`ConvTranspose::forward`], fused with the following ReLU.
    pub fn forward_relu(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| mode.see(bias));
        conv_transpose2d_relu(x, &mode.see(&self.weight), bias.as_ref(), self.geometry)
    }

    /// `(inputs, K, K, outputs)`
    pub fn weight(&self) -> &Var {
        &self.weight
    }

    /// `(outputs)`
    pub fn bias(&self) -> Option<&Var> {
        self.bias.as_ref()
    }
}

/// Linear map of `(B, inputs)` to `(B, outputs)`: `NAME.weight` is `(outputs, inputs)`. Computed as a 1×1 convolution
/// of one-pixel maps, so that it uses the same kernels.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Var,
    bias: Option<Var>,
}

impl Linear {
    /// Adds `name.weight` and, with a bias filler, `name.bias`.
    pub fn new(
        params: &mut Params,
        name: &str,
        (inputs, outputs): (usize, usize),
        fillers: Fillers,
        rng: &Rng,
    ) -> Result<Self> {
        let (weight, bias) = weight_and_bias(params, name, ((outputs, inputs), outputs), fillers, rng)?;
        Ok(Self { weight, bias })
    }

    /// x `(B, inputs)` → `(B, outputs)`.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let (batch, inputs) = x.dims2()?;
        let outputs = self.weight.dim(0)?;
        let weight = mode.see(&self.weight).reshape((outputs, 1, 1, inputs))?;
        let bias = self.bias.as_ref().map(|bias| mode.see(bias));
        let geometry = ConvGeometry { stride: 1, pad: 0, dilation: 1, groups: 1 };
        conv2d(&x.reshape((batch, 1, 1, inputs))?, &weight, bias.as_ref(), geometry)?
            .reshape((batch, outputs))
    }

    /// `(outputs, inputs)`
    pub fn weight(&self) -> &Var {
        &self.weight
    }

    /// `(outputs)`
    pub fn bias(&self) -> Option<&Var> {
        self.bias.as_ref()
    }
}

/// Options of a batch normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormOptions {
    /// Update rule of the running statistics.
    pub momentum: Momentum,
    pub eps: f64,
    /// Learn a scale and a shift for each channel (`NAME.weight`, `NAME.bias`), as PyTorch does by default.
    pub affine: bool,
}

impl BatchNormOptions {
    /// Caffe's layer: no scale or shift, ε 1e-5, accumulators multiplied by 0.999 at each batch.
    pub const CAFFE: Self = Self::caffe(0.999);
    /// PyTorch's defaults: scale and shift, ε 1e-5, momentum 0.1.
    pub const PYTORCH: Self = Self { momentum: Momentum::PyTorch(0.1), eps: 1e-5, affine: true };

    /// Caffe's layer with accumulators multiplied by `keep` at each batch.
    pub const fn caffe(keep: f64) -> Self {
        Self { momentum: Momentum::Caffe(keep), eps: 1e-5, affine: false }
    }
}

/// Batch normalization over all axes but the last. Buffers `NAME.running_mean`, `NAME.running_var` `(C)` and
/// `NAME.weight_sum` `(1)`, Caffe's third blob: the accumulated weight of the statistics.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    affine: Option<(Var, Var)>,
    running: Running,
    options: BatchNormOptions,
}

impl BatchNorm {
    /// Adds the buffers and, if affine, scale 1 and shift 0.
    pub fn new(params: &mut Params, name: &str, channels: usize, options: BatchNormOptions) -> Result<Self> {
        let device = params.device().clone();
        let mut affine = None;
        if options.affine {
            affine = Some(scale_and_shift(params, name, channels)?);
        }
        let Running { mean, var, weight } = statistics(channels, &device)?;
        let mut buffer = |which: &str, value: Var| params.add_buffer(&format!("{name}.{which}"), &value);
        let running = Running {
            mean: buffer("running_mean", mean)?,
            var: buffer("running_var", var)?,
            weight: buffer("weight_sum", weight)?,
        };
        Ok(Self { affine, running, options })
    }

    /// x `(B, H, W, C)` or `(B, C)`; the shape is unchanged. Training updates the running statistics.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.normalized(x, mode, false)
    }

    /// As [`BatchNorm::forward`], fused with the following ReLU.
    pub fn forward_relu(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.normalized(x, mode, true)
    }

    fn normalized(&self, x: &Tensor, mode: &Mode, relu: bool) -> Result<Tensor> {
        let affine = self.affine.as_ref().map(|(scale, shift)| (mode.see(scale), mode.see(shift)));
        let affine = affine.as_ref().map(|(scale, shift)| (scale, shift));
        let BatchNormOptions { momentum, eps, .. } = self.options;
        match mode {
            Mode::Train(_) => batch_norm_train(x, affine, &self.running, momentum, eps, relu),
            Mode::Initialization => {
                let passing = statistics(self.running.mean.elem_count(), x.device())?;
                batch_norm_train(x, affine, &passing, momentum, eps, relu)
            }
            Mode::Eval | Mode::Frozen => batch_norm_eval(x, affine, &self.running, eps, relu),
        }
    }
}

/// Layer normalization over the last axis, with a scale and a shift for each of its elements.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    scale: Var,
    shift: Var,
    eps: f64,
}

impl LayerNorm {
    /// Adds `name.weight`, ones, and `name.bias`, zeros, of length `channels`.
    pub fn new(params: &mut Params, name: &str, channels: usize, eps: f64) -> Result<Self> {
        let (scale, shift) = scale_and_shift(params, name, channels)?;
        Ok(Self { scale, shift, eps })
    }

    /// x `(…, C)`; the shape is unchanged. Statistics are f32 if x has a narrower dtype.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let wide = x.to_dtype(wide)?;
        let last = wide.rank() - 1;
        let centered = wide.broadcast_sub(&wide.mean_keepdim(last)?)?;
        let deviation = (centered.sqr()?.mean_keepdim(last)? + self.eps)?.sqrt()?;
        let [scale, shift] = [&self.scale, &self.shift].map(|var| mode.see(var).to_dtype(wide.dtype()));
        let y = centered.broadcast_div(&deviation)?.broadcast_mul(&scale?)?.broadcast_add(&shift?)?;
        y.to_dtype(x.dtype())
    }
}

/// `NAME.weight`, ones, and `NAME.bias`, zeros, per channel.
fn scale_and_shift(params: &mut Params, name: &str, channels: usize) -> Result<(Var, Var)> {
    let device = params.device().clone();
    let scale = Tensor::ones(channels, DType::F32, &device)?;
    let shift = Tensor::zeros(channels, DType::F32, &device)?;
    Ok((
        params.add(&format!("{name}.weight"), &scale, ParamKind::Scale)?,
        params.add(&format!("{name}.bias"), &shift, ParamKind::Shift)?,
    ))
}

/// Initial running statistics: mean 0, variance 1, weight 0.
fn statistics(channels: usize, device: &Device) -> Result<Running> {
    Ok(Running {
        mean: Var::zeros(channels, DType::F32, device)?,
        var: Var::ones(channels, DType::F32, device)?,
        weight: Var::zeros(1, DType::F32, device)?,
    })
}

/// A weight of the given shape and, with a bias filler, a bias of the given length.
fn weight_and_bias(
    params: &mut Params,
    name: &str,
    (weight, outputs): (impl Into<candle_core::Shape>, usize),
    fillers: Fillers,
    rng: &Rng,
) -> Result<(Var, Option<Var>)> {
    let weight = filled(params, name, "weight", weight, fillers.weight, rng)?;
    let bias = fillers.bias.map(|filler| filled(params, name, "bias", outputs, filler, rng));
    Ok((weight, bias.transpose()?))
}

fn filled(
    params: &mut Params,
    layer: &str,
    which: &str,
    shape: impl Into<candle_core::Shape>,
    filler: Filler,
    rng: &Rng,
) -> Result<Var> {
    let name = format!("{layer}.{which}");
    let kind = if which == "bias" { ParamKind::Bias } else { ParamKind::Weight };
    let value = filler.fill(shape, &rng.split(&name), params.device())?;
    params.add(&name, &value, kind)
}
