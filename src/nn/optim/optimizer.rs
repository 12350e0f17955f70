//! The optimizer: moments of every parameter, and updates of all of them or of one.

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    gradients::Gradients,
    multipliers,
    spec::{AdamSpec, OptimizerSpec},
    trust,
    update::{self, AdamRule, DELTA, SgdRule, UpdateRule},
};
use crate::nn::params::{Param, Params};
#[cfg(feature = "cuda")]
use candle_core::CudaDevice;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use std::ops::Range;

/// Optimizer state of one parameter.
struct ParamState {
    name: String,
    lr: f64,
    decay: f64,
    /// Of a weight whose rate LARS adapts.
    trust_coefficient: Option<f64>,
    /// In the order of `OptimizerSpec::moments`; empty if the parameter is frozen.
    moments: Vec<Tensor>,
}

/// The moments of every parameter and the number of updates so far.
pub struct Optimizer {
    spec: OptimizerSpec,
    steps: usize,
    slots: Vec<ParamState>,
    /// Made with the first update on a GPU.
    #[cfg(feature = "cuda")]
    scalars: Option<cuda::StepScalars>,
}

impl Optimizer {
    /// Zero moments for every parameter that is not frozen.
    ///
    /// # Errors
    /// A multiplier pattern that matches no parameter; the message lists the nearest names.
    pub fn new(spec: &OptimizerSpec, params: &Params) -> Result<Self> {
        let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
        multipliers::check_coverage(spec.multipliers(), &names)?;
        let slots = params.iter().map(|p| ParamState::new(spec, p)).collect::<Result<_>>()?;
        Ok(Self {
            spec: spec.clone(),
            steps: 0,
            slots,
            #[cfg(feature = "cuda")]
            scalars: None,
        })
    }

    /// Empty sums for `params` without the frozen parameters, which are therefore excluded from the norm used for
    /// clipping.
    pub fn gradients(&self, params: &Params) -> Gradients {
        Gradients::of(params, |name| !self.is_frozen(name))
    }

    /// Whether the parameter's learning-rate multiplier is 0: it then stays bit-identical.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| slot.name == name && slot.lr == 0.0)
    }

    /// One update with learning rate `lr` (already scheduled). Parameters without a gradient are unchanged, and so are
    /// their moments. `params` must be those passed to [`Optimizer::new`].
    pub fn step(&mut self, params: &Params, grads: &Gradients, lr: f64) -> Result<()> {
        self.begin_update(params)?;
        match params.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => self.step_on_gpu(device, params, grads, lr),
            _ => self.step_on_cpu(params, grads, lr),
        }
    }

    /// Counts an update of `params`.
    pub(super) fn begin_update(&mut self, params: &Params) -> Result<()> {
        if params.iter().count() != self.slots.len() {
            bail!(
                "optimizer: parameters were added after its creation: create it when the network is complete"
            )
        }
        if let Some((slot, param)) = self.slots.iter().zip(params.iter()).find(|(s, p)| s.name != p.name) {
            bail!(
                "optimizer: it was created for `{}`, but given `{}`: these are different parameters",
                slot.name,
                param.name
            )
        }
        self.steps += 1;
        Ok(())
    }

    fn step_on_cpu(&mut self, params: &Params, grads: &Gradients, lr: f64) -> Result<()> {
        let scale = grads.scale()?;
        for (place, (param, grad)) in params.iter().zip(grads.sums()).enumerate() {
            if let Some(grad) = grad {
                self.change(place, &param.var, grad, lr, scale)?;
            }
        }
        Ok(())
    }

    /// Changes the parameter at `place` by `scale` times the gradient, unless it is frozen; returns the gradient's
    /// squared norm, 0 if it is.
    pub(super) fn change(
        &mut self,
        place: usize,
        var: &Var,
        gradient: &Tensor,
        lr: f64,
        scale: f64,
    ) -> Result<f64> {
        let slot = &mut self.slots[place];
        if slot.lr == 0.0 {
            return Ok(0.0);
        }
        let trust = slot.trust_coefficient;
        let trust = trust.map_or(Ok(1.0), |eta| trust::ratio(eta, var, gradient, scale, slot.decay))?;
        let rule = rule(&self.spec, self.steps, lr * slot.lr * trust, slot.decay, scale);
        update::apply(&rule, var, gradient, &mut slot.moments)
    }

    /// Whether the update of the parameter at `place` depends on its whole gradient.
    pub(super) fn needs_whole_gradient(&self, place: usize) -> bool {
        self.slots[place].trust_coefficient.is_some()
    }

    /// As [`Optimizer::change`] for some rows of the first axis, f32 in host memory, of a parameter that does not need
    /// its whole gradient.
    pub(super) fn change_rows(
        &mut self,
        place: usize,
        (var, rows): (&Var, Range<usize>),
        gradient: &Tensor,
        lr: f64,
    ) -> Result<f64> {
        let slot = &self.slots[place];
        if slot.lr == 0.0 {
            return Ok(0.0);
        }
        let rule = rule(&self.spec, self.steps, lr * slot.lr, slot.decay, 1.0);
        let of_rows = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len());
        let moments = slot.moments.iter().map(of_rows).collect::<Result<Vec<_>>>()?;
        update::apply_in_place(&rule, &of_rows(var)?, gradient, &moments)
    }

    #[cfg(feature = "cuda")]
    fn step_on_gpu(
        &mut self,
        device: &CudaDevice,
        params: &Params,
        grads: &Gradients,
        lr: f64,
    ) -> Result<()> {
        let mut moving = vec![];
        for (slot, (param, grad)) in self.slots.iter().zip(params.iter().zip(grads.sums())) {
            let Some(grad) = grad.filter(|_| slot.lr > 0.0) else { continue };
            let (var, moments) = (&param.var, slot.moments.as_slice());
            let (multiplier, decay) = (slot.lr, slot.decay);
            let trust_coefficient = slot.trust_coefficient.unwrap_or(0.0);
            moving.push(cuda::Moving { var, grad, moments, multiplier, decay, trust_coefficient });
        }
        let scale = grads.scale_on_gpu()?;
        let step = match &mut self.scalars {
            Some(step) => step,
            none => none.insert(cuda::StepScalars::new(device)?),
        };
        let rule = rule(&self.spec, self.steps, 1.0, 0.0, 1.0);
        let (correction, delta) = match &rule {
            UpdateRule::Adam(adam) => (adam.rate, adam.delta),
            UpdateRule::Sgd(_) => (1.0, 0.0),
        };
        step.set(lr, correction, delta, scale)?;
        let inputs = cuda::UpdateInputs { norm: scale.norm, step };
        match rule {
            UpdateRule::Adam(adam) => {
                cuda::adam(&adam, matches!(self.spec, OptimizerSpec::AdamW(_)), &moving, inputs)
            }
            UpdateRule::Sgd(sgd) => {
                cuda::sgd(&sgd, matches!(self.spec, OptimizerSpec::Lars(_)), &moving, inputs)
            }
        }
    }

    /// The rate of the spec, which is the base rate of schedules.
    pub fn base_lr(&self) -> f64 {
        self.spec.lr()
    }

    /// All state that a bit-exact resume needs (moments, step count). The tensors share the moments' memory, so the
    /// next update changes them: write or copy them first.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let count = Tensor::from_vec(vec![self.steps as i64], 1, &Device::Cpu);
        let count = count.into_iter().map(|t| (STEPS.to_string(), t));
        count.chain(self.moments().map(|(name, t)| (name, t.clone()))).collect()
    }

    fn moments(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let kinds = self.spec.moments();
        self.slots.iter().flat_map(move |slot| {
            kinds.iter().zip(&slot.moments).map(|(kind, t)| (format!("{kind}.{}", slot.name), t))
        })
    }

    /// Restores `state` by copying. Strict: a missing, unexpected or differently shaped entry is an error, and nothing
    /// is changed.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let count = Tensor::zeros(1, DType::I64, &Device::Cpu)?;
        let own = [(STEPS.to_string(), &count)].into_iter().chain(self.moments()).collect();
        let mut copies = copies("optimizer", own, state)?.into_iter();
        let steps = copies.next().map_or(Ok(0), |steps| steps.get(0)?.to_scalar::<i64>())?;
        self.steps = steps.try_into().map_err(candle_core::Error::wrap)?;
        let slots = self.slots.iter_mut().flat_map(|slot| slot.moments.iter_mut());
        slots.zip(copies).for_each(|(own, copy)| *own = copy);
        Ok(())
    }
}

/// Copies of the entries of `state` with the names of `own`, in its order, dtype and device. A missing, unexpected or
/// differently shaped entry is an error.
pub(super) fn copies(
    owner: &str,
    own: Vec<(String, &Tensor)>,
    state: &[(String, Tensor)],
) -> Result<Vec<Tensor>> {
    if state.len() != own.len() {
        let (given, wanted) = (state.len(), own.len());
        bail!("{owner}: the state has {given} entries, {wanted} expected: it belongs to another spec")
    }
    let copy = |(name, own): (String, &Tensor)| {
        let Some((_, given)) = state.iter().find(|(n, _)| *n == name) else {
            bail!("{owner}: `{name}` is missing from the state to restore")
        };
        if given.shape() != own.shape() {
            bail!("{owner}: `{name}` is {:?} here and {:?} in the state", own.dims(), given.dims())
        }
        given.to_device(own.device())?.to_dtype(own.dtype())?.copy()?.contiguous()
    };
    own.into_iter().map(copy).collect()
}

/// Name of the update count in a checkpoint.
const STEPS: &str = "optimizer.steps";

impl ParamState {
    fn new(spec: &OptimizerSpec, param: &Param) -> Result<Self> {
        let (lr, decay) = multipliers::factors(spec.multipliers(), &param.name);
        let count = if lr > 0.0 { spec.moments().len() } else { 0 };
        let moments = (0..count).map(|_| param.var.zeros_like()).collect::<Result<_>>()?;
        let (name, decay) = (param.name.clone(), decay * spec.decay(param.kind));
        Ok(Self { name, lr, decay, trust_coefficient: spec.trust_coefficient(param.kind), moments })
    }
}

/// The constants of update number `t` (from 1) of one parameter.
fn rule(spec: &OptimizerSpec, t: usize, lr: f64, decay: f64, scale: f64) -> UpdateRule {
    match spec {
        OptimizerSpec::Adam(adam) => UpdateRule::Adam(AdamRule { decay, scale, ..adam_rule(adam, t, lr) }),
        OptimizerSpec::AdamW(adam) => {
            let (rule, keep) = (adam_rule(adam, t, lr), 1.0 - lr * decay);
            // PyTorch adds ε before the bias correction.
            let delta = rule.delta * (1.0 - rule.beta2.powf(t as f64)).sqrt();
            UpdateRule::Adam(AdamRule { keep, delta, scale, ..rule })
        }
        OptimizerSpec::Sgd(sgd) => {
            let (momentum, nesterov) = (sgd.momentum.get(), sgd.nesterov);
            UpdateRule::Sgd(SgdRule { lr, momentum, nesterov, decay, scale })
        }
        OptimizerSpec::Lars(lars) => {
            let momentum = lars.momentum.get();
            UpdateRule::Sgd(SgdRule { lr, momentum, nesterov: false, decay, scale })
        }
    }
}

/// Adam without decay.
fn adam_rule(adam: &AdamSpec, t: usize, lr: f64) -> AdamRule {
    let (beta1, beta2) = (adam.beta1.get(), adam.beta2.get());
    let correction = (1.0 - beta2.powf(t as f64)).sqrt() / (1.0 - beta1.powf(t as f64));
    AdamRule { rate: lr * correction, keep: 1.0, delta: DELTA, beta1, beta2, decay: 0.0, scale: 1.0 }
}
