//! Device addresses of tensors, and new buffers.

use super::launch::{Arg, Grid, launch, modules};
use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, Shape, Storage, Tensor,
    backend::{BackendDevice, BackendStorage},
    bail,
    cuda_backend::{
        CudaStorageSlice,
        cudarc::driver::{CudaSlice, CudaStream, DevicePtr},
    },
};

/// Device address of a contiguous argument.
pub(crate) fn address(op: &str, storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("{op}: the argument of shape {:?} is not contiguous", layout.shape())
    };
    Ok(base(storage)? + (start * storage.dtype().size_in_bytes()) as u64)
}

/// Device address of a tensor that an op holds besides its arguments; the tensor must outlive the launch.
pub(crate) fn device_ptr(op: &str, tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => address(op, storage, layout),
        _ => bail!("{op}: a kept tensor of shape {:?} is not on the GPU", layout.shape()),
    }
}

/// Allocates uninitialized device memory and returns it with its address.
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

/// A copy of `n` elements of f32 in bf16, and its address.
pub(crate) fn narrowed(device: &CudaDevice, from: u64, n: usize) -> Result<(CudaStorage, u64)> {
    let (narrow, at) = alloc_uninit(device, n, DType::BF16)?;
    let args = [Arg::Pointer(from), Arg::Pointer(at), Arg::count(n)];
    launch(device, modules::ELEMENTWISE, "narrow_f32_bf16", Grid::over(n.div_ceil(8)), &args)?;
    Ok((narrow, at))
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
