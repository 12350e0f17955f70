//! Updates on a GPU: one launch updates up to [`MOST`] parameters, and the host reads neither the gradient's norm nor
//! the clipping factor. The kernels check the norm: if a gradient is not finite, nothing is updated. What changes from
//! step to step is in device memory as well ([`StepScalars`]).

use super::update::{AdamRule, SgdRule};
use crate::device::cuda::{Arg, Grid, Part, Parts, alloc_uninit, device_ptr, launch, modules};
use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage, Tensor, Var, bail, op::BackpropOp};

/// Parameters per launch: as many as fit into a kernel's arguments.
const MOST: usize = Parts::MOST;
/// Maximum number of blocks per parameter; each thread handles every (blocks · threads)-th element.
const BLOCKS: usize = 256;
const THREADS: usize = 256;
/// Minimum number of elements per thread.
const EACH: usize = 16;

/// A parameter to update, with its gradient, moments, multiplier of the learning rate, decay, and trust
/// coefficient (0: its rate is not adapted).
pub(super) struct Moving<'a> {
    pub var: &'a Var,
    pub grad: &'a Tensor,
    pub moments: &'a [Tensor],
    pub multiplier: f64,
    pub decay: f64,
    pub trust_coefficient: f64,
}

/// Factor on the summed gradients, as far as the host knows it.
#[derive(Clone, Copy)]
pub(super) struct Scale<'a> {
    /// Norm of the sum, f64 `()`; not finite when the loss is not.
    pub norm: &'a Tensor,
    pub passes: usize,
    pub clip: Option<f64>,
}

impl Moving<'_> {
    fn part(&self) -> Result<Part> {
        ensure_alike([self.var.as_tensor(), self.grad].into_iter().chain(self.moments))?;
        let moment = |i: usize| self.moments.get(i).map_or(Ok(0), |m| device_ptr(NAME, m));
        Ok(Part {
            w: device_ptr(NAME, self.var.as_tensor())?,
            g: device_ptr(NAME, self.grad)?,
            first: moment(0)?,
            second: moment(1)?,
            n: self.grad.elem_count() as i64,
            multiplier: self.multiplier,
            decay: self.decay as f32,
            trust_coefficient: self.trust_coefficient as f32,
        })
    }
}

fn ensure_alike<'a>(mut all: impl Iterator<Item = &'a Tensor> + Clone) -> Result<()> {
    let shape = all.clone().next().map(Tensor::shape);
    match all.find(|t| t.dtype() != DType::F32 || Some(t.shape()) != shape) {
        None => Ok(()),
        Some(other) => bail!(
            "optimizer: on a GPU all tensors must be f32 of one shape, not {:?} {:?}",
            other.dtype(),
            other.dims()
        ),
    }
}

const NAME: &str = "optimizer";

/// Learning rate, bias correction, epsilon, number of passes and clipping norm of the step at hand, in device memory at
/// an address that never changes.
pub(super) struct StepScalars {
    storage: CudaStorage,
    address: u64,
}

impl StepScalars {
    /// How many numbers the kernels' `Step` has.
    const COUNT: usize = 5;

    pub fn new(device: &CudaDevice) -> Result<Self> {
        let (storage, address) = alloc_uninit(device, Self::COUNT, DType::F64)?;
        Ok(Self { storage, address })
    }

    /// Sets the numbers of the next update. They travel as a kernel's arguments: nothing is copied, nothing waits.
    pub fn set(&self, lr: f64, correction: f64, delta: f64, scale: Scale) -> Result<()> {
        let (passes, clip) = (scale.passes.max(1) as f64, scale.clip.unwrap_or(0.0));
        let numbers = [lr, correction, delta, passes, clip].map(Arg::Double);
        let args = [&[Arg::Pointer(self.address)], &numbers[..]].concat();
        launch(&self.storage.device, modules::UPDATE, "set_step", Grid::blocks(1, 1), &args)
    }
}

/// Where an update reads its numbers.
#[derive(Clone, Copy)]
pub(super) struct UpdateInputs<'a> {
    pub norm: &'a Tensor,
    pub step: &'a StepScalars,
}

/// Updates all parameters by Adam, with decoupled decay if wanted. The rule's rate, epsilon and decay are those of the
/// step and of each parameter.
pub(super) fn adam(rule: &AdamRule, decoupled: bool, moving: &[Moving], inputs: UpdateInputs) -> Result<()> {
    let rates = [rule.beta1, rule.beta2, 1.0 - rule.beta1, 1.0 - rule.beta2].map(|v| Arg::Float(v as f32));
    let constants = [&rates[..], &[Arg::Int(i32::from(decoupled))]].concat();
    moving.chunks(MOST).try_for_each(|some| Chunk::new(some)?.launch("adam", inputs, &constants))
}

/// Updates all parameters by SGD, or by LARS: with adapted rates.
pub(super) fn sgd(rule: &SgdRule, adapts: bool, moving: &[Moving], inputs: UpdateInputs) -> Result<()> {
    let constants = [Arg::Float(rule.momentum as f32), Arg::Int(i32::from(rule.nesterov))];
    moving.chunks(MOST).try_for_each(|some| {
        let chunk = Chunk::new(some)?;
        let ratios = adapts.then(|| chunk.trust_ratios(inputs)).transpose()?;
        let ratios = Arg::Pointer(ratios.as_ref().map_or(0, |(_, address)| *address));
        chunk.launch("sgd", inputs, &[&constants[..], &[ratios]].concat())
    })
}

/// Parameters that are updated by one launch.
struct Chunk {
    table: Parts,
    parts: usize,
    /// Per part.
    blocks: usize,
}

impl Chunk {
    fn new(some: &[Moving]) -> Result<Self> {
        let parts = some.iter().map(Moving::part).collect::<Result<Vec<_>>>()?;
        let most = some.iter().map(|m| m.grad.elem_count()).max().unwrap_or(0);
        Ok(Self { table: Parts::new(&parts), parts: parts.len(), blocks: blocks(most) })
    }

    /// Runs `kernel` on the table, the norm, the step, and `rest`.
    fn launch(&self, kernel: &str, inputs: UpdateInputs, rest: &[Arg]) -> Result<()> {
        let UpdateInputs { norm, step } = inputs;
        let numbers = [device_ptr(NAME, norm)?, step.address].map(Arg::Pointer);
        let args = [&[Arg::Parts(&self.table)], &numbers[..], rest].concat();
        launch(&step.storage.device, modules::UPDATE, kernel, grid(self.parts, self.blocks), &args)
    }

    /// The factor on the rate of each part, and its address.
    fn trust_ratios(&self, inputs: UpdateInputs) -> Result<(CudaStorage, u64)> {
        let device = &inputs.step.storage.device;
        let (_sums, sums) = alloc_uninit(device, 2 * self.parts * self.blocks, DType::F64)?;
        self.launch("trust_squares", inputs, &[Arg::Pointer(sums)])?;
        let (ratios, at) = alloc_uninit(device, self.parts, DType::F64)?;
        let numbers = [device_ptr(NAME, inputs.norm)?, sums].map(Arg::Pointer);
        let rest = [Arg::length(self.blocks), Arg::Pointer(at)];
        let args = [&[Arg::Parts(&self.table)], &numbers[..], &rest[..]].concat();
        launch(device, modules::UPDATE, "trust_ratios", grid(1, self.parts), &args)?;
        Ok((ratios, at))
    }
}

/// Moves each average, the second of a pair, toward its parameter by `part` of the difference.
pub(super) fn average(device: &CudaDevice, pairs: &[(&Var, &Tensor)], part: f64) -> Result<()> {
    for some in pairs.chunks(MOST) {
        let of_pair = |(var, average): &(&Var, &Tensor)| -> Result<Part> {
            ensure_alike([var.as_tensor(), average].into_iter())?;
            let [w, first] = [device_ptr(NAME, var.as_tensor())?, device_ptr(NAME, average)?];
            Ok(Part { w, first, n: average.elem_count() as i64, ..Part::default() })
        };
        let parts = some.iter().map(of_pair).collect::<Result<Vec<_>>>()?;
        let table = Parts::new(&parts);
        let most = some.iter().map(|(_, average)| average.elem_count()).max().unwrap_or(0);
        let args = [Arg::Parts(&table), Arg::Float(part as f32)];
        launch(device, modules::UPDATE, "move_average", grid(some.len(), blocks(most)), &args)?;
    }
    Ok(())
}

/// Number of blocks for parameters of at most `most` elements.
fn blocks(most: usize) -> usize {
    most.div_ceil(THREADS * EACH).clamp(1, BLOCKS)
}

fn grid(parts: usize, blocks: usize) -> Grid {
    Grid { blocks: (blocks as u32, parts as u32, 1), threads: (THREADS as u32, 1, 1) }
}

/// The global norm of all gradients, f64 `()`, plus 0 · `loss`.
pub(super) fn norm(device: &CudaDevice, gradients: &[&Tensor], loss: &Tensor) -> Result<Tensor> {
    let blocks = blocks(gradients.iter().map(|g| g.elem_count()).max().unwrap_or(0));
    let count = gradients.len() * blocks;
    let (_sums, sums) = alloc_uninit(device, count.max(1), DType::F64)?;
    for (i, some) in gradients.chunks(MOST).enumerate() {
        let part = |g: &&Tensor| -> Result<Part> {
            if g.dtype() != DType::F32 {
                bail!("optimizer: on a GPU gradients must be f32, not {:?}", g.dtype())
            }
            Ok(Part { g: device_ptr(NAME, g)?, n: g.elem_count() as i64, ..Part::default() })
        };
        let parts = some.iter().map(part).collect::<Result<Vec<_>>>()?;
        let at = sums + (i * MOST * blocks * size_of::<f64>()) as u64;
        let table = Parts::new(&parts);
        let args = [Arg::Parts(&table), Arg::Pointer(at)];
        launch(device, modules::UPDATE, "squares", grid(some.len(), blocks), &args)?;
    }
    let (norm, at) = alloc_uninit(device, (), DType::F64)?;
    let loss = loss.to_dtype(DType::F64)?;
    let args =
        [Arg::Pointer(sums), Arg::length(count), Arg::Pointer(device_ptr(NAME, &loss)?), Arg::Pointer(at)];
    launch(device, modules::UPDATE, "join_squares", Grid::blocks(1, THREADS as u32), &args)?;
    Ok(Tensor::from_storage(Storage::Cuda(norm), (), BackpropOp::none(), false))
}

/// sum += gradient, in place.
pub(super) fn add(device: &CudaDevice, sum: &Tensor, gradient: &Tensor) -> Result<()> {
    let n = sum.elem_count();
    let args =
        [Arg::Pointer(device_ptr(NAME, sum)?), Arg::Pointer(device_ptr(NAME, gradient)?), Arg::count(n)];
    launch(device, modules::UPDATE, "add_gradient", Grid::over(n), &args)
}
