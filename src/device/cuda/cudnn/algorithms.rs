//! Selection of a convolution's algorithm.

use super::{ConvOperands, ConvPass, descriptors::Descriptors, failure};
use crate::device::cuda::alloc_uninit;
use candle_core::{CudaDevice, DType, Result, cuda_backend::cudarc::cudnn::sys};
use std::{
    ffi::{c_int, c_void},
    mem::MaybeUninit,
};

#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    Y(sys::cudnnConvolutionFwdAlgo_t),
    X(sys::cudnnConvolutionBwdDataAlgo_t),
    W(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// cuDNN's description of an algorithm.
pub(super) struct AlgorithmCandidate {
    pub algorithm: Algorithm,
    pub usable: bool,
    pub repeats: bool,
    pub math: sys::cudnnMathType_t,
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

/// Candidates ranked by cuDNN's heuristics, which depend only on the shape.
pub(super) fn rank_by_heuristics(
    h: sys::cudnnHandle_t,
    pass: ConvPass,
    of: &Descriptors,
) -> Vec<AlgorithmCandidate> {
    let (x, w, y, c) = of.raw();
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
pub(super) fn rank_by_time(
    h: sys::cudnnHandle_t,
    device: &CudaDevice,
    pass: ConvPass,
    of: &Descriptors,
    at: ConvOperands,
) -> Result<Vec<AlgorithmCandidate>> {
    let (x, w, y, c) = of.raw();
    let (_memory, space) = alloc_uninit(device, TIMING_WORKSPACE, DType::U8)?;
    let (space, size) = (space as *mut c_void, TIMING_WORKSPACE);
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
pub(super) fn workspace(h: sys::cudnnHandle_t, algorithm: Algorithm, of: &Descriptors) -> Result<usize> {
    let (x, w, y, c) = of.raw();
    let mut size = 0;
    // SAFETY: the descriptors are alive.
    unsafe {
        match algorithm {
            Algorithm::Y(a) => sys::cudnnGetConvolutionForwardWorkspaceSize(h, x, w, c, y, a, &raw mut size),
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
