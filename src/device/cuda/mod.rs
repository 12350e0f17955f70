//! NVIDIA GPUs: opening a device, device addresses of tensors, launches of this crate's kernels (`kernels/*.cu`), and
//! wrappers of cuBLAS, cuDNN and NCCL. The operations are in `crate::ops`.
//!
//! All work is enqueued on the device's single stream, and memory is freed in stream order, so no synchronization is
//! needed and candle's event tracking is disabled. Tensors of devices opened elsewhere are not supported.

mod buffers;
pub(crate) mod cudnn;
pub(crate) mod gemm;
mod launch;
mod lazy;
#[cfg(feature = "nccl")]
pub mod nccl;
pub(super) mod tables;
mod upload;

pub use upload::UploadQueue;

pub(crate) use buffers::{address, alloc_uninit, device_ptr, narrowed};
pub(crate) use launch::{Arg, Geometry, Grid, Part, Parts, launch, modules};

use super::Memory;
use candle_core::{
    CudaDevice, DType, Device, Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaContext, result as driver, sys},
    },
};

/// Opens the GPU `number` with its own stream and a memory pool that retains freed blocks.
///
/// # Errors
/// No driver, or no GPU with this index.
pub fn open(number: usize) -> Result<Device> {
    if let Some(library) = lazy::missing() {
        bail!(
            "{library} cannot be loaded: it comes with NVIDIA's driver, CUDA 13 or cuDNN 9 and is looked for where LD_LIBRARY_PATH says"
        )
    }
    let device = CudaDevice::new_with_stream(number)?;
    // SAFETY: all memory accesses are on the device's single stream, or ordered with it by an explicit event.
    unsafe { device.disable_event_tracking() };
    keep_memory(&device)?;
    Ok(Device::Cuda(device))
}

/// Number of GPUs; 0 without a driver.
pub fn count() -> usize {
    if lazy::missing().is_some() {
        return 0;
    }
    CudaContext::device_count().map_or(0, |n| n as usize)
}

/// Configures the memory pool to retain freed blocks for reuse.
fn keep_memory(device: &CudaDevice) -> Result<()> {
    let Some(pool) = pool(device)? else {
        return Ok(()); // without a memory pool there is nothing to configure
    };
    let mut all = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a 64-bit number of bytes.
    unsafe { driver::mem_pool::set_attribute(pool, attribute, (&raw mut all).cast()).w() }
}

/// The memory pool of tensors; None if the GPU has none.
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>> {
    let context = device.cuda_stream().context().clone();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    let number = driver::device::get(context.ordinal() as i32).w()?;
    // SAFETY: the device exists, since it has a context.
    unsafe { driver::device::get_default_mem_pool(number).w().map(Some) }
}

/// GPU memory of this process; None if the GPU does not report it.
///
/// # Errors
/// A driver that fails.
pub fn memory(device: &CudaDevice) -> Result<Option<Memory>> {
    use sys::CUmemPool_attribute::{
        CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, CU_MEMPOOL_ATTR_USED_MEM_HIGH,
    };
    let Some(pool) = pool(device)? else { return Ok(None) };
    let bytes = |attribute| -> Result<u64> {
        let mut bytes = 0u64;
        // SAFETY: these attributes are numbers of bytes, 64 bits wide.
        unsafe { driver::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()).w()? };
        Ok(bytes)
    };
    Ok(Some(Memory {
        used: bytes(CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?,
        peak: bytes(CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
        reserved: bytes(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?,
        total: device.cuda_stream().context().total_mem().w()? as u64,
    }))
}

/// Resets the high-water marks of [`memory`] to the current values.
///
/// # Errors
/// A driver that fails.
pub fn restart_peak(device: &CudaDevice) -> Result<()> {
    use sys::CUmemPool_attribute::{CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, CU_MEMPOOL_ATTR_USED_MEM_HIGH};
    let Some(pool) = pool(device)? else { return Ok(()) };
    for attribute in [CU_MEMPOOL_ATTR_USED_MEM_HIGH, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH] {
        let mut zero = 0u64; // the only value that the driver accepts
        // SAFETY: these attributes are numbers of bytes, 64 bits wide.
        unsafe { driver::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast()).w()? };
    }
    Ok(())
}

/// The GPU's model name.
///
/// # Errors
/// A driver that fails.
pub fn name(device: &CudaDevice) -> Result<String> {
    device.cuda_stream().context().name().w()
}

/// The kernel-name suffix of a dtype.
pub(crate) fn element(op: &str, dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F64 => Ok("f64"),
        DType::BF16 => Ok("bf16"),
        other => bail!("{op}: f32, f64 or bf16 wanted on a GPU, got {other:?}"),
    }
}
