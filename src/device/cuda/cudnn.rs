//! cuDNN convolutions on NHWC tensors: forward, backward-data, backward-filter. The algorithm for each shape is
//! selected once and cached: by cuDNN's heuristics among the deterministic ones, or by timing if determinism is off.

use super::alloc_uninit;
use crate::device::{Precision, deterministic, precision};
use candle_core::{
    CudaDevice, DType, Result,
    cuda_backend::{
        DeviceId, WrapErr,
        cudarc::cudnn::{CudnnError, result as cudnn, sys},
    },
};
use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    ffi::{c_int, c_void},
    mem::MaybeUninit,
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

/// Runs one pass with all operands in `dtype`; returns false if cuDNN has no algorithm for it.
///
/// # Errors
/// cuDNN errors, out of memory for the workspace.
pub(crate) fn convolve(
    device: &CudaDevice,
    pass: ConvPass,
    shape: &CudnnShape,
    dtype: DType,
    at: ConvOperands,
) -> Result<bool> {
    HANDLES.with_borrow_mut(|handles| {
        let library = match handles.entry(device.id()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(CudnnContext::new(device)?),
        };
        library.convolve(
            device,
            Key { pass, shape: *shape, dtype, precision: precision(), deterministic: deterministic() },
            at,
        )
    })
}

thread_local! {
    /// Handles are not thread-safe, so each thread has its own. They are never destroyed, since the library may be
    /// unloaded before thread-local destructors run.
    static HANDLES: RefCell<HashMap<DeviceId, CudnnContext>> = RefCell::default();
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
    plans: HashMap<Key, Option<ConvPlan>>,
}

/// Cached descriptors and the selected algorithm.
#[derive(Clone, Copy)]
struct ConvPlan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    workspace: usize,
}

#[derive(Clone, Copy)]
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Y(sys::cudnnConvolutionFwdAlgo_t),
    X(sys::cudnnConvolutionBwdDataAlgo_t),
    W(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// cuDNN's description of an algorithm.
struct AlgorithmCandidate {
    algorithm: Algorithm,
    usable: bool,
    repeats: bool,
    math: sys::cudnnMathType_t,
}

/// The performance struct of a pass.
macro_rules! Perf {
    (Y) => {
        sys::cudnnConvolutionFwdAlgoPerf_t
    };
    (X) => {
        sys::cudnnConvolutionBwdDataAlgoPerf_t
    };
    (W) => {
        sys::cudnnConvolutionBwdFilterAlgoPerf_t
    };
}

/// Queries algorithms: `$ask(most, count, results)` calls cuDNN with the leading arguments bound.
macro_rules! candidates {
    ($which:ident, $ask:expr) => {{
        const MOST: usize = 16;
        let mut results = [const { MaybeUninit::zeroed() }; MOST];
        let mut count: c_int = 0;
        // SAFETY: the buffer has room for `MOST` results; all zeros are a valid result.
        let results = unsafe {
            let status = $ask(MOST as c_int, &raw mut count, results.as_mut_ptr().cast());
            let count = if status.result().is_ok() { count as usize } else { 0 };
            results.map(|r| MaybeUninit::assume_init(r)).into_iter().take(count)
        };
        let candidate = |r: Perf![$which]| AlgorithmCandidate {
            algorithm: Algorithm::$which(r.algo),
            usable: r.status.result().is_ok(),
            repeats: r.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC,
            math: r.mathType,
        };
        results.map(candidate).collect::<Vec<_>>()
    }};
}

/// Workspace limit for timing, in bytes.
const TIMING_WORKSPACE: usize = 1 << 30;

impl CudnnContext {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let handle = cudnn::create_handle().map_err(failure)?;
        // SAFETY: the handle was just created, and the stream lives as long as the device.
        unsafe { cudnn::set_stream(handle, stream.cu_stream().cast()).map_err(failure)? };
        Ok(Self { handle, plans: HashMap::new() })
    }

    fn convolve(&mut self, device: &CudaDevice, key: Key, at: ConvOperands) -> Result<bool> {
        device.cuda_stream().context().bind_to_thread().w()?;
        if !self.plans.contains_key(&key) {
            let plan = self.plan(device, &key, at)?;
            if plan.is_none() {
                tracing::debug!(
                    "cuDNN has no algorithm for {:?} of {:?}, {:?}",
                    key.pass,
                    key.shape,
                    key.dtype
                );
            }
            self.plans.insert(key, plan);
        }
        match self.plans.get(&key).copied().flatten() {
            Some(plan) => self.run(device, plan, at).map(|()| true),
            None => Ok(false),
        }
    }

    /// None if cuDNN has no suitable algorithm.
    fn plan(&self, device: &CudaDevice, key: &Key, at: ConvOperands) -> Result<Option<ConvPlan>> {
        if key.dtype == DType::F64 {
            return Ok(None); // no f64 on NHWC
        }
        let Ok(descriptors) = Descriptors::new(key) else { return Ok(None) };
        let found = if key.deterministic {
            self.rank_by_heuristics(key.pass, descriptors)
        } else {
            self.rank_by_time(device, key.pass, descriptors, at)?
        };
        let fits = |c: &&AlgorithmCandidate| c.usable && (c.repeats || !key.deterministic);
        let Some(AlgorithmCandidate { algorithm, math, .. }) = found.iter().find(fits) else {
            return Ok(None);
        };
        // f32 must not be truncated to TF32, even if the candidate would.
        let exact = key.dtype == DType::F32 && key.precision != Precision::Tf32;
        let math = if exact { sys::cudnnMathType_t::CUDNN_FMA_MATH } else { *math };
        // SAFETY: the descriptor was just created.
        unsafe { cudnn::set_convolution_math_type(descriptors.convolution, math).map_err(failure)? };
        let workspace = self.workspace(*algorithm, descriptors);
        Ok(workspace.ok().map(|workspace| ConvPlan { descriptors, algorithm: *algorithm, workspace }))
    }

    /// Candidates ranked by cuDNN's heuristics, which depend only on the shape.
    fn rank_by_heuristics(&self, pass: ConvPass, of: Descriptors) -> Vec<AlgorithmCandidate> {
        let Descriptors { x, w, y, convolution: c } = of;
        let h = self.handle;
        match pass {
            ConvPass::Y => candidates!(Y, |most, count, results| {
                sys::cudnnGetConvolutionForwardAlgorithm_v7(h, x, w, c, y, most, count, results)
            }),
            ConvPass::X => candidates!(X, |most, count, results| {
                sys::cudnnGetConvolutionBackwardDataAlgorithm_v7(h, w, y, c, x, most, count, results)
            }),
            ConvPass::W => candidates!(W, |most, count, results| {
                sys::cudnnGetConvolutionBackwardFilterAlgorithm_v7(h, x, y, c, w, most, count, results)
            }),
        }
    }

    /// Candidates ranked by measured time on these operands; overwrites the output operand.
    fn rank_by_time(
        &self,
        device: &CudaDevice,
        pass: ConvPass,
        of: Descriptors,
        at: ConvOperands,
    ) -> Result<Vec<AlgorithmCandidate>> {
        let Descriptors { x, w, y, convolution: c } = of;
        let (_memory, space) = alloc_uninit(device, TIMING_WORKSPACE, DType::U8)?;
        let (h, space, size) = (self.handle, space as *mut c_void, TIMING_WORKSPACE);
        let [ax, aw, ay] = [at.x, at.w, at.y].map(|a| a as *mut c_void);
        Ok(match pass {
            ConvPass::Y => candidates!(Y, |most, count, results| {
                sys::cudnnFindConvolutionForwardAlgorithmEx(
                    h, x, ax, w, aw, c, y, ay, most, count, results, space, size,
                )
            }),
            ConvPass::X => candidates!(X, |most, count, results| {
                sys::cudnnFindConvolutionBackwardDataAlgorithmEx(
                    h, w, aw, y, ay, c, x, ax, most, count, results, space, size,
                )
            }),
            ConvPass::W => candidates!(W, |most, count, results| {
                sys::cudnnFindConvolutionBackwardFilterAlgorithmEx(
                    h, x, ax, y, ay, c, w, aw, most, count, results, space, size,
                )
            }),
        })
    }

    /// Workspace size in bytes.
    fn workspace(&self, algorithm: Algorithm, of: Descriptors) -> Result<usize> {
        let Descriptors { x, w, y, convolution: c } = of;
        let (h, mut size) = (self.handle, 0);
        // SAFETY: the descriptors are alive.
        unsafe {
            match algorithm {
                Algorithm::Y(a) => {
                    sys::cudnnGetConvolutionForwardWorkspaceSize(h, x, w, c, y, a, &raw mut size)
                }
                Algorithm::X(a) => {
                    sys::cudnnGetConvolutionBackwardDataWorkspaceSize(h, w, y, c, x, a, &raw mut size)
                }
                Algorithm::W(a) => {
                    sys::cudnnGetConvolutionBackwardFilterWorkspaceSize(h, x, y, c, w, a, &raw mut size)
                }
            }
        }
        .result()
        .map_err(failure)?;
        Ok(size)
    }

    fn run(&self, device: &CudaDevice, plan: ConvPlan, at: ConvOperands) -> Result<()> {
        let (_memory, space) = alloc_uninit(device, plan.workspace.max(1), DType::U8)?;
        let Descriptors { x, w, y, convolution: c } = plan.descriptors;
        let (h, space, size) = (self.handle, space as *mut c_void, plan.workspace);
        let [ax, aw, ay] = [at.x, at.w, at.y].map(|a| a as *mut c_void);
        let (one, zero) = (1f32, 0f32);
        let [one, zero] = [&raw const one, &raw const zero].map(|f| f.cast::<c_void>());
        // SAFETY: the descriptors match the algorithm and the operands, and the workspace is freed in stream order.
        unsafe {
            match plan.algorithm {
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
}

impl Descriptors {
    /// Errors: cuDNN rejects the shape.
    fn new(key: &Key) -> std::result::Result<Self, CudnnError> {
        let CudnnShape { batch, rows, cols, inputs, outputs, groups } = key.shape;
        let n = |v: usize| c_int::try_from(v).unwrap_or(c_int::MAX); // rejected by cuDNN
        let (format, dtype) = (sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, data_type(key.dtype));
        let tensor = |h, w, channels| {
            let made = cudnn::create_tensor_descriptor()?;
            // SAFETY: just made.
            unsafe {
                cudnn::set_tensor4d_descriptor(made, format, dtype, [n(batch), n(channels), n(h), n(w)])?
            };
            Ok(made)
        };
        let (x, y) = (tensor(rows.input, cols.input, inputs)?, tensor(rows.output, cols.output, outputs)?);
        let (w, convolution) = (cudnn::create_filter_descriptor()?, cudnn::create_convolution_descriptor()?);
        let filter = [n(outputs), n(inputs / groups), n(rows.kernel), n(cols.kernel)];
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let [p, s, d] = [(rows.pad, cols.pad), (rows.stride, cols.stride), (rows.dilation, cols.dilation)]
            .map(|(r, c)| (n(r), n(c)));
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        // SAFETY: just made.
        unsafe {
            cudnn::set_filter4d_descriptor(w, dtype, format, filter)?;
            cudnn::set_convolution2d_descriptor(convolution, p.0, p.1, s.0, s.1, d.0, d.1, mode, sums)?;
            cudnn::set_convolution_group_count(convolution, n(groups))?;
            cudnn::set_convolution_math_type(convolution, math(key))?;
        }
        Ok(Self { x, w, y, convolution })
    }
}

/// The math types that cuDNN may use.
fn math(key: &Key) -> sys::cudnnMathType_t {
    match (key.dtype, key.precision) {
        (DType::BF16, _) => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        (_, Precision::Tf32) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        _ => sys::cudnnMathType_t::CUDNN_FMA_MATH,
    }
}

fn data_type(dtype: DType) -> sys::cudnnDataType_t {
    match dtype {
        DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

fn failure(error: CudnnError) -> candle_core::Error {
    candle_core::Error::Cuda(format!("cuDNN: {error:?}").into())
}
