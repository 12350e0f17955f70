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
        batch_norm::{
            BatchNormRecord, Momentum, Running, batch_norm_eval_recorded, batch_norm_train_recorded,
        },
        conv::{ConvGeometry, ConvRecord, Wants, conv2d_recorded},
        conv_transpose::conv_transpose2d_recorded,
        tape::{Backward, Evaluated, Gradient, LayerGradients, ParamGradient, RecordedPass},
    },
    rng::Rng,
};
use candle_core::{DType, Device, Result, Tensor, TensorId, Var};

/// How a network calls a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerCall<'a> {
    pub mode: &'a Mode,
    /// Whether a ReLU follows, to be computed with the layer.
    pub relu: bool,
    /// Which inputs need a gradient.
    pub wants: &'a [bool],
}

impl LayerCall<'_> {
    fn wants_input(&self) -> bool {
        self.wants.first().is_some_and(|wanted| *wanted)
    }

    fn learns(&self) -> bool {
        self.mode.learns()
    }
}

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
        alone(x, mode, self.learned(mode), |x, call| self.evaluate(x, call))
    }

    /// As [`Conv::forward`] within a network's pass.
    pub fn evaluate(&self, x: &Tensor, call: LayerCall) -> Result<Evaluated> {
        let learns = call.learns();
        let wants = Wants { x: call.wants_input(), w: learns, bias: learns && self.color.is_none() };
        let bias = self.bias.as_ref().map(|bias| bias.as_detached_tensor());
        let (y, record) =
            conv2d_recorded(x, (&self.whole_weight()?, bias.as_ref()), self.geometry, call.relu, wants)?;
        let backward: Backward = match &self.color {
            None => learned(record, &self.weight, self.bias.as_ref()),
            Some(color) => {
                let (id, channels) = (color.id(), color.dim(3)?);
                let chroma =
                    move |w: ParamGradient| Ok(w.whole()?.narrow(3, 1, channels)?.contiguous()?.into());
                Box::new(move |dy| weight_and_bias_gradients(record, dy, (id, chroma), None))
            }
        };
        Ok(Evaluated { y, backward })
    }

    /// The parameters that a recorded pass reads.
    pub fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        match &self.color {
            Some(color) => trained(mode, [Some(color)]),
            None => trained(mode, [Some(&self.weight), self.bias.as_ref()]),
        }
    }

    /// The weight, of which the chroma part may be a parameter of its own.
    fn whole_weight(&self) -> Result<Tensor> {
        let weight = self.weight.as_detached_tensor();
        let Some(color) = &self.color else { return Ok(weight) };
        Tensor::cat(&[&weight.narrow(3, 0, 1)?, &color.as_detached_tensor()], 3)
    }

    /// The same convolution with all input channels except the first unfrozen and everything else constant. The
    /// unfrozen part is added to `params` under its [`chroma_name`].
    ///
    /// # Errors
    /// A convolution with one input channel, or with groups.
    pub fn with_chroma(&self, name: &str, params: &mut Params) -> Result<Self> {
        let channels = self.weight.dim(3)?;
        if channels < 2 || self.geometry.groups != 1 {
            candle_core::bail!("{name}: {channels} input channels include no a and b channels to unfreeze")
        }
        let color = self.weight.as_detached_tensor().narrow(3, 1, channels - 1)?;
        let color = params.add(&chroma_name(name), &color.contiguous()?, ParamKind::Weight)?;
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

/// Name of the parameter that holds the weights of all input channels of the convolution `name` but the first.
pub fn chroma_name(name: &str) -> String {
    format!("{name}_color.weight")
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

    /// x `(B, H, W, inputs)` → `(B, H', W', outputs)`, within a network's pass.
    pub fn evaluate(&self, x: &Tensor, call: LayerCall) -> Result<Evaluated> {
        let wants = Wants { x: call.wants_input(), w: call.learns(), bias: call.learns() };
        let bias = self.bias.as_ref().map(|bias| bias.as_detached_tensor());
        let weight = self.weight.as_detached_tensor();
        let (y, record) =
            conv_transpose2d_recorded(x, (&weight, bias.as_ref()), self.geometry, call.relu, wants)?;
        Ok(Evaluated { y, backward: learned(record, &self.weight, self.bias.as_ref()) })
    }

    /// The parameters that a recorded pass reads.
    pub fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        trained(mode, [Some(&self.weight), self.bias.as_ref()])
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
        let map = x.reshape((batch, 1, 1, inputs))?;
        alone(&map, mode, self.learned(mode), |x, call| self.evaluate(x, call))?.flatten_from(1)
    }

    /// x `(B, 1, 1, inputs)` → `(B, 1, 1, outputs)`, within a network's pass.
    pub fn evaluate(&self, x: &Tensor, call: LayerCall) -> Result<Evaluated> {
        let (outputs, inputs) = self.weight.dims2()?;
        let weight = self.weight.as_detached_tensor().reshape((outputs, 1, 1, inputs))?;
        let bias = self.bias.as_ref().map(|bias| bias.as_detached_tensor());
        let wants = Wants { x: call.wants_input(), w: call.learns(), bias: call.learns() };
        let (y, record) =
            conv2d_recorded(x, (&weight, bias.as_ref()), ConvGeometry::default(), call.relu, wants)?;
        let (id, bias) = (self.weight.id(), self.bias.as_ref().map(|bias| bias.id()));
        let matrix = move |w: ParamGradient| w.reshape(inputs);
        Ok(Evaluated {
            y,
            backward: Box::new(move |dy| weight_and_bias_gradients(record, dy, (id, matrix), bias)),
        })
    }

    /// The parameters that a recorded pass reads.
    pub fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        trained(mode, [Some(&self.weight), self.bias.as_ref()])
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
        let Running { mean, var, weight, .. } = statistics(channels, &device)?;
        let mut buffer = |which: &str, value: Var| params.add_buffer(&format!("{name}.{which}"), &value);
        let running = Running {
            mean: buffer("running_mean", mean)?,
            var: buffer("running_var", var)?,
            weight: buffer("weight_sum", weight)?,
            deferred: None,
        };
        Ok(Self { affine, running, options })
    }

    /// x `(B, H, W, C)` or `(B, C)`; the shape is unchanged. Training updates the running statistics.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        alone(x, mode, self.learned(mode), |x, call| self.evaluate(x, call))
    }

    /// As [`BatchNorm::forward`] within a network's pass.
    pub fn evaluate(&self, x: &Tensor, call: LayerCall) -> Result<Evaluated> {
        let see = |var: &Var| var.as_detached_tensor();
        let affine = self.affine.as_ref().map(|(scale, shift)| (see(scale), see(shift)));
        let affine = affine.as_ref().map(|(scale, shift)| (scale, shift));
        let BatchNormOptions { momentum, eps, .. } = self.options;
        let (y, record) = match self.statistics(x, call.mode)? {
            Some(running) => batch_norm_train_recorded(x, affine, &running, momentum, eps, call.relu)?,
            None => batch_norm_eval_recorded(x, affine, &self.running, eps, call.relu)?,
        };
        let ids = self.affine.as_ref().filter(|_| call.learns());
        let ids = ids.map(|(scale, shift)| (scale.id(), shift.id()));
        Ok(Evaluated { y, backward: Box::new(move |dy| normalization_gradients(record, &dy, ids)) })
    }

    /// The parameters that a recorded pass reads.
    pub fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        let affine = self.affine.as_ref();
        trained(mode, [affine.map(|(scale, _)| scale), affine.map(|(_, shift)| shift)])
    }

    /// The statistics that a batch in `mode` updates; None where the running ones normalize.
    fn statistics(&self, x: &Tensor, mode: &Mode) -> Result<Option<Running>> {
        Ok(match mode {
            Mode::Train(training) if mode.learns() => {
                Some(Running { deferred: training.statistics.clone(), ..self.running.clone() })
            }
            Mode::Train(_) | Mode::Initialization => {
                Some(statistics(self.running.mean.elem_count(), x.device())?)
            }
            Mode::Eval(_) | Mode::Frozen => None,
        })
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
    pub fn evaluate(&self, x: &Tensor, call: LayerCall) -> Result<Evaluated> {
        let wide = x.to_dtype(if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
        let last = wide.rank() - 1;
        let centered = wide.broadcast_sub(&wide.mean_keepdim(last)?)?;
        let deviation = (centered.sqr()?.mean_keepdim(last)? + self.eps)?.sqrt()?;
        let standard = centered.broadcast_div(&deviation)?;
        let see = |var: &Var| var.as_detached_tensor().to_dtype(wide.dtype());
        let (scale, shift) = (see(&self.scale)?, see(&self.shift)?);
        let y = standard.broadcast_mul(&scale)?.broadcast_add(&shift)?.to_dtype(x.dtype())?;
        let ids = call.learns().then(|| [self.scale.id(), self.shift.id()]);
        let backward = move |dy: Gradient| layer_norm_gradients(&standard, &deviation, &scale, &dy, ids);
        Ok(Evaluated { y, backward: Box::new(backward) })
    }

    /// The parameters that a recorded pass reads.
    pub fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        trained(mode, [Some(&self.scale), Some(&self.shift)])
    }
}

/// Output of a layer outside of a network: a pass of its own.
fn alone(
    x: &Tensor,
    mode: &Mode,
    learned: Vec<TensorId>,
    evaluate: impl FnOnce(&Tensor, LayerCall) -> Result<Evaluated>,
) -> Result<Tensor> {
    let mut pass = RecordedPass::new(2, 0, x, mode.tape());
    let wants = pass.wants(&[0]);
    let Evaluated { y, backward } = evaluate(&x.detach(), LayerCall { mode, relu: false, wants: &wants })?;
    pass.layer(&[0], 1, learned, backward);
    let y = pass.output(1, &y, x.dtype())?;
    pass.finish();
    Ok(y)
}

/// With x̂ the standardized input, σ its deviation and g = dy · scale: dx = (g − mean g − x̂ · mean(g·x̂)) / σ.
fn layer_norm_gradients(
    standard: &Tensor,
    deviation: &Tensor,
    scale: &Tensor,
    dy: &Gradient,
    ids: Option<[TensorId; 2]>,
) -> Result<LayerGradients> {
    let (narrow, dy) = (dy.tensor().dtype(), dy.tensor().to_dtype(standard.dtype())?);
    let last = dy.rank() - 1;
    let g = dy.broadcast_mul(scale)?;
    let slope = (&g * standard)?.mean_keepdim(last)?;
    let centered = g.broadcast_sub(&g.mean_keepdim(last)?)?;
    let dx = (centered - standard.broadcast_mul(&slope)?)?.broadcast_div(deviation)?.to_dtype(narrow)?;
    let mut params = vec![];
    if let Some([scale, shift]) = ids {
        let over_rows = |t: Tensor| t.flatten_to(last - 1)?.sum(0)?.to_dtype(DType::F32);
        params = vec![(scale, over_rows((&dy * standard)?)?.into()), (shift, over_rows(dy)?.into())];
    }
    Ok(LayerGradients { inputs: vec![Some(dx.into())], params })
}

fn normalization_gradients(
    record: BatchNormRecord,
    dy: &Gradient,
    ids: Option<(TensorId, TensorId)>,
) -> Result<LayerGradients> {
    let (dx, affine) = record.gradients(dy.tensor())?;
    let learned = ids.zip(affine);
    let params = learned
        .map(|((scale, shift), (dscale, dshift))| vec![(scale, dscale.into()), (shift, dshift.into())]);
    Ok(LayerGradients { inputs: vec![Some(dx.into())], params: params.unwrap_or_default() })
}

/// The backward pass of a convolution with these parameters.
fn learned(record: ConvRecord, weight: &Var, bias: Option<&Var>) -> Backward {
    let (weight, bias) = (weight.id(), bias.map(|bias| bias.id()));
    Box::new(move |dy| weight_and_bias_gradients(record, dy, (weight, Ok), bias))
}

/// The gradients of a convolution; that of its weight passes through `of_weight` to the parameter's shape.
fn weight_and_bias_gradients(
    record: ConvRecord,
    dy: Gradient,
    (weight, of_weight): (TensorId, impl FnOnce(ParamGradient) -> Result<ParamGradient>),
    bias: Option<TensorId>,
) -> Result<LayerGradients> {
    let found = record.gradients(dy)?;
    let weight = found.w.map(|w| Ok::<_, candle_core::Error>((weight, of_weight(w)?))).transpose()?;
    let bias = bias.zip(found.bias.map(ParamGradient::from));
    let params = [weight, bias].into_iter().flatten().collect();
    Ok(LayerGradients { inputs: vec![found.x.map(Gradient::from)], params })
}

/// The ids of the parameters, if `mode` records what reads them.
fn trained<const N: usize>(mode: &Mode, params: [Option<&Var>; N]) -> Vec<TensorId> {
    let ids = params.into_iter().flatten().filter(|_| mode.tape().is_some());
    ids.map(|var| var.id()).collect()
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
        deferred: None,
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
    let (shape, device) = (shape.into(), params.device().clone());
    params.add_filled(&name, &shape, kind, || filler.fill(shape.clone(), &rng.split(&name), &device))
}
