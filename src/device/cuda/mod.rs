//! NVIDIA GPUs: opening one, addresses of tensors in its memory, launches of the project's own kernels
//! (`kernels/*.cu`). Products are cuBLAS's and cuDNN's; the operations that use all this are in `crate::ops`.
//!
//! Everything runs on the one stream of the device, in the order of the calls, and no memory is freed but in that order;
//! so nothing here waits for anything, and candle's tracking of events is switched off. A tensor of a device that was
//! opened elsewhere is not for this code.

pub(crate) mod cudnn;
pub(crate) mod gemm;
mod launch;
mod lazy;
mod upload;

pub use upload::UploadQueue;

pub(crate) use launch::{Arg, Geometry, Grid, Part, Parts, Scaling, launch, modules};

use super::Memory;
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor,
    backend::{BackendDevice, BackendStorage},
    bail,
    cuda_backend::{
        CudaStorageSlice, WrapErr,
        cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result as driver, sys},
    },
};

/// The GPU of that number, with a stream of its own and memory that is kept for the next step once it was had.
///
/// # Errors
/// No driver, or no such GPU.
pub fn open(number: usize) -> Result<Device> {
    if let Some(library) = lazy::missing() {
        bail!(
            "{library} cannot be loaded: it comes with NVIDIA's driver, CUDA 13 or cuDNN 9 and is looked for where LD_LIBRARY_PATH says"
        )
    }
    let device = CudaDevice::new_with_stream(number)?;
    // SAFETY: every use of the device's memory is on its one stream, or ordered with it by an event of ours.
    unsafe { device.disable_event_tracking() };
    keep_memory(&device)?;
    Ok(Device::Cuda(device))
}

/// How many GPUs there are; none without a driver.
pub fn count() -> usize {
    if lazy::missing().is_some() {
        return 0;
    }
    CudaContext::device_count().map_or(0, |n| n as usize)
}

/// Blocks that are freed stay with the process, for the next step to take again.
fn keep_memory(device: &CudaDevice) -> Result<()> {
    let Some(pool) = pool(device)? else {
        return Ok(()); // cudaMalloc and its like keep nothing that could be told
    };
    let mut all = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a number of bytes, 64 bits wide.
    unsafe { driver::mem_pool::set_attribute(pool, attribute, (&raw mut all).cast()).w() }
}

/// What tensors are allocated from; None on a GPU without such a thing.
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>> {
    let context = device.cuda_stream().context().clone();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    let number = driver::device::get(context.ordinal() as i32).w()?;
    // SAFETY: the device is there, since it has a context.
    unsafe { driver::device::get_default_mem_pool(number).w().map(Some) }
}

/// What this process has of the GPU's memory; None on a GPU that cannot tell.
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

/// The high-water marks of [`memory`] start again from what is there now.
///
/// # Errors
/// A driver that fails.
pub fn restart_peak(device: &CudaDevice) -> Result<()> {
    use sys::CUmemPool_attribute::{CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, CU_MEMPOOL_ATTR_USED_MEM_HIGH};
    let Some(pool) = pool(device)? else { return Ok(()) };
    for attribute in [CU_MEMPOOL_ATTR_USED_MEM_HIGH, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH] {
        let mut zero = 0u64; // the only number that the driver takes
        // SAFETY: these attributes are numbers of bytes, 64 bits wide.
        unsafe { driver::mem_pool::set_attribute(pool, attribute, (&raw mut zero).cast()).w()? };
    }
    Ok(())
}

/// What the GPU's maker calls it.
///
/// # Errors
/// A driver that fails.
pub fn name(device: &CudaDevice) -> Result<String> {
    device.cuda_stream().context().name().w()
}

/// The address of the elements of an op's argument, which its public function has made contiguous.
pub(crate) fn address(op: &str, storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("{op}: the argument of shape {:?} is not contiguous", layout.shape())
    };
    Ok(base(storage)? + (start * storage.dtype().size_in_bytes()) as u64)
}

/// The address of the elements of a tensor that an op keeps beside its arguments; it must outlive the launch.
pub(crate) fn device_ptr(op: &str, tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => address(op, storage, layout),
        _ => bail!("{op}: a kept tensor of shape {:?} is not on the GPU", layout.shape()),
    }
}

/// New memory for a result, and its address. What it holds is whatever was there.
pub(crate) fn alloc_uninit(
    device: &CudaDevice,
    shape: impl Into<Shape>,
    dtype: DType,
) -> Result<(CudaStorage, u64)> {
    let shape = shape.into();
    // SAFETY: the kernel that is launched next writes every element.
    let storage = unsafe { device.alloc_uninit(&shape, dtype)? };
    if shape.elem_count() > u32::MAX as usize {
        bail!("{shape:?} has more elements than candle's kernels count, 2³²: take a smaller batch")
    }
    let address = base(&storage)?;
    Ok((storage, address))
}

/// What kernels call an element type: their names end in it.
pub(crate) fn element(op: &str, dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F64 => Ok("f64"),
        DType::BF16 => Ok("bf16"),
        other => bail!("{op}: f32, f64 or bf16 wanted on a GPU, got {other:?}"),
    }
}

fn base(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    fn of<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> u64 {
        slice.device_ptr(stream).0
    }
    Ok(match &storage.slice {
        CudaStorageSlice::U8(s) => of(s, &stream),
        CudaStorageSlice::U32(s) => of(s, &stream),
        CudaStorageSlice::I64(s) => of(s, &stream),
        CudaStorageSlice::BF16(s) => of(s, &stream),
        CudaStorageSlice::F32(s) => of(s, &stream),
        CudaStorageSlice::F64(s) => of(s, &stream),
        _ => bail!("no operation here takes {:?}", storage.dtype()),
    })
}
