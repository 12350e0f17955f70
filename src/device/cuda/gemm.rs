//! cuBLAS matrix products on row-major matrices in device memory.

use crate::device::{Precision, gpu_precision};
use candle_core::{
    CudaDevice, DType, Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::cublas::{
            result::gemm_strided_batched_ex,
            sys::{cublasComputeType_t as Compute, cublasGemmAlgo_t, cublasOperation_t, cudaDataType},
        },
    },
};
use std::ffi::{c_int, c_longlong, c_void};

/// A row-major matrix, or a strided batch of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub address: u64,
    pub dtype: DType,
    /// Row pitch in elements.
    pub pitch: usize,
    /// Whether the matrix is transposed in the product.
    pub transposed: bool,
    /// Batch stride in elements.
    pub step: usize,
}

impl Matrix {
    /// A single matrix, not transposed.
    pub fn new(address: u64, dtype: DType, pitch: usize) -> Self {
        Self { address, dtype, pitch, transposed: false, step: 0 }
    }

    pub fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }

    pub fn every(self, step: usize) -> Self {
        Self { step, ..self }
    }
}

/// c `(m, n)` = a `(m, k)` · b `(k, n)` (+ c if `add`), for a batch of `count`. a and b have the same dtype;
/// accumulation is f32, or f64 for f64 matrices. The rounding depends only on the shapes.
///
/// # Errors
/// Unsupported dtype combinations, sizes beyond 2³¹, cuBLAS errors.
pub(crate) fn gemm(
    device: &CudaDevice,
    (m, n, k): (usize, usize, usize),
    count: usize,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    add: bool,
) -> Result<()> {
    let (wide, compute) = match (a.dtype, b.dtype, c.dtype) {
        (DType::F64, DType::F64, DType::F64) => (true, Compute::CUBLAS_COMPUTE_64F),
        (DType::F32, DType::F32, DType::F32) if gpu_precision() == Precision::Tf32 => {
            (false, Compute::CUBLAS_COMPUTE_32F_FAST_TF32)
        }
        (DType::F32, DType::F32, DType::F32) | (DType::BF16, DType::BF16, DType::BF16 | DType::F32) => {
            (false, Compute::CUBLAS_COMPUTE_32F)
        }
        other => bail!("gemm: no product of these element types: {other:?}"),
    };
    let factors = [1.0, f64::from(u8::from(add))];
    let narrow = factors.map(|f| f as f32);
    let factor = |i: usize| -> *const c_void {
        if wide { (&raw const factors[i]).cast() } else { (&raw const narrow[i]).cast() }
    };
    let size = |n: usize| c_int::try_from(n).map_err(candle_core::Error::wrap);
    let blas = device.cublas_handle();
    device.cuda_stream().context().bind_to_thread().w()?;
    // cuBLAS is column-major: row-major matrices are transposes there, so it computes cᵀ = bᵀ·aᵀ. SAFETY: the callers
    // allocated the matrices in device memory with the given sizes.
    unsafe {
        gemm_strided_batched_ex(
            *blas.handle(),
            operation(b),
            operation(a),
            size(n)?,
            size(m)?,
            size(k)?,
            factor(0),
            b.address as *const c_void,
            data_type(b.dtype),
            size(b.pitch)?,
            b.step as c_longlong,
            a.address as *const c_void,
            data_type(a.dtype),
            size(a.pitch)?,
            a.step as c_longlong,
            factor(1),
            c.address as *mut c_void,
            data_type(c.dtype),
            size(c.pitch)?,
            c.step as c_longlong,
            size(count)?,
            compute,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    }
    .w()
}

fn operation(matrix: Matrix) -> cublasOperation_t {
    if matrix.transposed { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N }
}

fn data_type(dtype: DType) -> cudaDataType {
    match dtype {
        DType::F64 => cudaDataType::CUDA_R_64F,
        DType::BF16 => cudaDataType::CUDA_R_16BF,
        _ => cudaDataType::CUDA_R_32F,
    }
}
