//! cuDNN convolutions on NHWC tensors: forward, backward-data, backward-filter. The algorithm for each shape is
//! selected once and cached: by cuDNN's heuristics among the deterministic ones, or by timing if determinism is off.

mod algorithms;
mod descriptors;

use super::buffers::{alloc_uninit, narrowed};
use crate::device::{Precision, deterministic, gpu_precision, lru::LruMap};
use algorithms::{Algorithm, AlgorithmCandidate};
use candle_core::{
    CudaDevice, CudaStorage, DType, Result,
    cuda_backend::{
        DeviceId, WrapErr,
        cudarc::cudnn::{CudnnError, result as cudnn, sys},
    },
};
use descriptors::{Descriptors, FusedDescriptors};
use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    ffi::c_void,
    mem::ManuallyDrop,
};

/// Geometry of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CudnnAxis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub dilation: usize,
}

/// x `(batch, input, input, inputs)`, w `(outputs, kernel, kernel, inputs / groups)`, y `(batch, output, output, outputs)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CudnnShape {
    pub batch: usize,
    pub rows: CudnnAxis,
    pub cols: CudnnAxis,
    pub inputs: usize,
    pub outputs: usize,
    pub groups: usize,
}

/// The pass that is computed: forward, backward-data, backward-filter, each named after its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ConvPass {
    Y,
    X,
    W,
}

/// Device addresses of x, w and y.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvOperands {
    pub x: u64,
    pub w: u64,
    pub y: u64,
}

/// What follows a forward pass: a bias per output channel, in f32, and perhaps a ReLU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvEpilogue {
    pub bias: u64,
    pub relu: bool,
}

/// What cuDNN computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConvStatus {
    /// Nothing: it has no algorithm.
    Unsupported,
    /// The pass without its epilogue.
    Unfinished,
    Finished,
}

/// Runs one pass with all operands in `dtype`, and the epilogue of a forward pass with it where cuDNN can. The bias is
/// then rounded to `dtype`, the only one that cuDNN adds to results in it.
///
/// # Errors
/// cuDNN errors, out of memory for the workspace.
pub(crate) fn convolve(
    device: &CudaDevice,
    pass: ConvPass,
    shape: &CudnnShape,
    dtype: DType,
    at: ConvOperands,
    epilogue: Option<ConvEpilogue>,
) -> Result<ConvStatus> {
    HANDLES.with_borrow_mut(|handles| {
        let library = match handles.entry(device.id()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(ManuallyDrop::new(CudnnContext::new(device)?)),
        };
        library.convolve(
            device,
            Key { pass, shape: *shape, dtype, precision: gpu_precision(), deterministic: deterministic() },
            at,
            epilogue,
        )
    })
}

thread_local! {
    /// Handles are not thread-safe, so each thread has its own. They are never destroyed, since the library may be
    /// unloaded before thread-local destructors run.
    static HANDLES: RefCell<HashMap<DeviceId, ManuallyDrop<CudnnContext>>> = RefCell::default();
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    pass: ConvPass,
    shape: CudnnShape,
    dtype: DType,
    precision: Precision,
    deterministic: bool,
}

struct CudnnContext {
    handle: sys::cudnnHandle_t,
    /// None where cuDNN has no algorithm.
    plans: LruMap<Key, Option<ConvPlan>>,
}

/// Most plans of a thread. A large network has below 100 shapes at one picture size, each with three passes; detection
/// and segmentation bring new sizes with every picture.
const MOST_PLANS: usize = 512;

/// Cached descriptors and the selected algorithm.
struct ConvPlan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    workspace: usize,
    fusion: Option<FusedDescriptors>,
}

impl CudnnContext {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let handle = cudnn::create_handle().map_err(failure)?;
        // SAFETY: the handle was just created, and the stream lives as long as the device.
        unsafe { cudnn::set_stream(handle, stream.cu_stream().cast()).map_err(failure)? };
        Ok(Self { handle, plans: LruMap::new(MOST_PLANS) })
    }

    fn convolve(
        &mut self,
        device: &CudaDevice,
        key: Key,
        at: ConvOperands,
        epilogue: Option<ConvEpilogue>,
    ) -> Result<ConvStatus> {
        device.cuda_stream().context().bind_to_thread().w()?;
        if self.plans.get(&key).is_none() {
            let plan = self.plan(device, &key, at)?;
            if plan.is_none() {
                let Key { pass, shape, dtype, .. } = key;
                tracing::debug!("cuDNN has no algorithm for {pass:?} of {shape:?}, {dtype:?}");
            }
            self.plans.insert(key, plan);
        }
        let Some(Some(plan)) = self.plans.get(&key) else { return Ok(ConvStatus::Unsupported) };
        if let Some(epilogue) = epilogue
            && plan.run_fused(self.handle, device, &key, at, epilogue)?
        {
            return Ok(ConvStatus::Finished);
        }
        plan.run(self.handle, device, at)?;
        Ok(ConvStatus::Unfinished)
    }

    /// None if cuDNN has no suitable algorithm.
    fn plan(&self, device: &CudaDevice, key: &Key, at: ConvOperands) -> Result<Option<ConvPlan>> {
        if key.dtype == DType::F64 {
            return Ok(None); // no f64 on NHWC
        }
        let Ok(descriptors) = Descriptors::new(key) else { return Ok(None) };
        let found = if key.deterministic {
            algorithms::rank_by_heuristics(self.handle, key.pass, &descriptors)
        } else {
            algorithms::rank_by_time(self.handle, device, key.pass, &descriptors, at)?
        };
        let fits = |c: &&AlgorithmCandidate| c.usable && (c.repeats || !key.deterministic);
        let Some(AlgorithmCandidate { algorithm, math, .. }) = found.iter().find(fits) else {
            return Ok(None);
        };
        // f32 must not be truncated to TF32, even if the candidate would.
        let exact = key.dtype == DType::F32 && key.precision != Precision::Tf32;
        descriptors.set_math(if exact { sys::cudnnMathType_t::CUDNN_FMA_MATH } else { *math })?;
        let fusion = FusedDescriptors::new(key, *algorithm);
        let workspace = algorithms::workspace(self.handle, *algorithm, &descriptors);
        Ok(workspace.ok().map(|workspace| ConvPlan { descriptors, algorithm: *algorithm, workspace, fusion }))
    }
}

impl ConvPlan {
    fn run(&self, h: sys::cudnnHandle_t, device: &CudaDevice, at: ConvOperands) -> Result<()> {
        let (_memory, space) = alloc_uninit(device, self.workspace.max(1), DType::U8)?;
        let (x, w, y, c) = self.descriptors.raw();
        let (space, size) = (space as *mut c_void, self.workspace);
        let [ax, aw, ay] = [at.x, at.w, at.y].map(|a| a as *mut c_void);
        let (one, zero) = (1f32, 0f32);
        let [one, zero] = [&raw const one, &raw const zero].map(|f| f.cast::<c_void>());
        // SAFETY: the descriptors match the algorithm and the operands, and the workspace is freed in stream order.
        unsafe {
            match self.algorithm {
                Algorithm::Y(a) => {
                    sys::cudnnConvolutionForward(h, one, x, ax, w, aw, c, a, space, size, zero, y, ay)
                }
                Algorithm::X(a) => {
                    sys::cudnnConvolutionBackwardData(h, one, w, aw, y, ay, c, a, space, size, zero, x, ax)
                }
                Algorithm::W(a) => {
                    sys::cudnnConvolutionBackwardFilter(h, one, x, ax, y, ay, c, a, space, size, zero, w, aw)
                }
            }
        }
        .result()
        .map_err(failure)
    }

    /// The forward pass with its epilogue. Returns false if cuDNN refuses it, which only a call can tell; it is then not
    /// tried again.
    fn run_fused(
        &mut self,
        h: sys::cudnnHandle_t,
        device: &CudaDevice,
        key: &Key,
        at: ConvOperands,
        ConvEpilogue { bias, relu }: ConvEpilogue,
    ) -> Result<bool> {
        let (Some(fusion), Algorithm::Y(a)) = (&mut self.fusion, self.algorithm) else { return Ok(false) };
        let Some(activation) = fusion.activation(relu) else { return Ok(false) };
        let (_held, bias) = in_dtype(device, bias, key.shape.outputs, key.dtype)?;
        let (_memory, space) = alloc_uninit(device, self.workspace.max(1), DType::U8)?;
        let (x, w, y, c) = self.descriptors.raw();
        let (space, size) = (space as *mut c_void, self.workspace);
        let [ax, aw, ay, bias] = [at.x, at.w, at.y, bias].map(|a| a as *mut c_void);
        let (one, zero) = (1f32, 0f32);
        let [one, zero] = [&raw const one, &raw const zero].map(|f| f.cast::<c_void>());
        let b = fusion.bias.0;
        // SAFETY: as in `run`. The operand z has the factor 0 and must be described as y is, so it is y.
        let status = unsafe {
            sys::cudnnConvolutionBiasActivationForward(
                h, one, x, ax, w, aw, c, a, space, size, zero, y, ay, b, bias, activation, y, ay,
            )
        };
        match status.result() {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => {
                tracing::debug!("cuDNN fuses no bias (ReLU: {relu}) into {:?}: {error:?}", key.shape);
                fusion.give_up(relu);
                Ok(false)
            }
            Err(error) => Err(failure(error)),
        }
    }
}

/// `n` elements of a bias in f32, in `dtype`.
fn in_dtype(device: &CudaDevice, bias: u64, n: usize, dtype: DType) -> Result<(Option<CudaStorage>, u64)> {
    if dtype != DType::BF16 {
        return Ok((None, bias));
    }
    narrowed(device, bias, n).map(|(held, at)| (Some(held), at))
}

/// Whether cuDNN refused a call rather than failed in it: its codes for arguments begin with 2, for what it does not
/// support with 3.
fn is_refusal(error: &CudnnError) -> bool {
    matches!(error.0 as u32 / 1000, 2 | 3)
}

fn failure(error: CudnnError) -> candle_core::Error {
    candle_core::Error::Cuda(format!("cuDNN: {error:?}").into())
}
