//! Sums over several GPUs by NCCL, on a stream of their own: they go on beside the compute stream, which waits for a sum where
//! it is used. The host waits for nothing.

use super::{buffers::device_ptr, lazy};
use candle_core::{
    CudaDevice, DType, Error, Result, Tensor, bail,
    cuda_backend::{
        WrapErr,
        cudarc::{
            driver::{CudaContext, CudaEvent, CudaStream},
            nccl::{
                result::{self as nccl, NcclError},
                sys,
            },
        },
    },
};
use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem, ptr,
    sync::Arc,
};

/// NCCL's library, if it cannot be loaded.
pub fn missing() -> Option<String> {
    lazy::missing_nccl()
}

/// What the first rank gives to the others, by which NCCL finds them.
///
/// # Errors
/// NCCL does not start: it finds no network interface, for example.
pub fn new_id() -> Result<Vec<u8>> {
    let id = nccl::get_uniqueid().map_err(failure)?;
    Ok(id.internal.iter().map(|byte| *byte as u8).collect())
}

/// The connection of one GPU with the others.
pub struct Communicator {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    /// Null once it is finished.
    handle: sys::ncclComm_t,
}

// SAFETY: any thread may use a communicator, one at a time, and nothing here changes it but through `&mut`.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Connects a GPU with those of the other ranks. Returns when all have come.
    ///
    /// # Errors
    /// Two ranks on one GPU; GPUs that do not reach one another; NCCL's other errors.
    pub fn new(device: &CudaDevice, id: &[u8], rank: usize, size: usize) -> Result<Self> {
        let context = device.cuda_stream().context().clone();
        context.bind_to_thread().w()?;
        let stream = context.new_stream().w()?;
        let Ok(id) = <[u8; 128]>::try_from(id) else {
            bail!("NCCL: an id of {} bytes came from rank 0: use one build on all nodes", id.len())
        };
        let id = sys::ncclUniqueId { internal: id.map(|byte| byte as c_char) };
        let mut handle = ptr::null_mut();
        // SAFETY: the handle is written where this succeeds.
        unsafe { nccl::comm_init_rank(&mut handle, size as c_int, id, rank as c_int) }.map_err(failure)?;
        Ok(Self { device: device.clone(), stream, handle })
    }

    /// Begins the sums of contiguous tensors in f32 or bf16 over all ranks, which give the same shapes in the same order. The
    /// tensors are not changed.
    ///
    /// # Errors
    /// Another dtype; out of memory; a failure of NCCL, also in an earlier sum.
    pub fn sum(&mut self, tensors: Vec<Tensor>) -> Result<PendingReduction> {
        self.check()?;
        // SAFETY: NCCL writes every value.
        let empty = |t: &Tensor| unsafe { Tensor::empty(t.shape(), t.dtype(), t.device()) };
        let sums = tensors.iter().map(empty).collect::<Result<Vec<_>>>()?;
        // From here on, tensors and sums are NCCL's until the event.
        let compute = self.device.cuda_stream();
        self.stream.join(&compute).w()?;
        let mut pending = PendingReduction { compute, tensors, sums, done: None };
        nccl::group_start().map_err(failure)?;
        let mut given = pending.tensors.iter().zip(&pending.sums);
        let sent = given.try_for_each(|(tensor, sum)| self.all_reduce(tensor, sum));
        nccl::group_end().map_err(failure)?;
        sent?;
        pending.done = Some(Arc::new(self.stream.record_event(None).w()?));
        Ok(pending)
    }

    fn all_reduce(&self, tensor: &Tensor, sum: &Tensor) -> Result<()> {
        let dtype = match tensor.dtype() {
            DType::F32 => sys::ncclDataType_t::ncclFloat32,
            DType::BF16 => sys::ncclDataType_t::ncclBfloat16,
            other => bail!("NCCL: sums are in f32 or bf16, not in {other:?}"),
        };
        let [from, to] = [device_ptr("NCCL", tensor)?, device_ptr("NCCL", sum)?];
        // SAFETY: both have these many elements of this type, and live until the stream has come here (`PendingReduction`).
        unsafe {
            nccl::all_reduce(
                from as *const c_void,
                to as *mut c_void,
                tensor.elem_count(),
                dtype,
                sys::ncclRedOp_t::ncclSum,
                self.handle,
                self.stream.cu_stream().cast(),
            )
        }
        .map(drop)
        .map_err(failure)
    }

    /// Whether an earlier sum has failed meanwhile.
    fn check(&self) -> Result<()> {
        let mut state = sys::ncclResult_t::ncclSuccess;
        // SAFETY: the communicator lives.
        unsafe { sys::ncclCommGetAsyncError(self.handle, &mut state) }.result().map_err(failure)?;
        state.result().map(drop).map_err(failure)
    }

    /// Waits for the sums of this GPU.
    ///
    /// # Errors
    /// A failure of one of them.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().w()?;
        self.check()
    }

    /// Frees the communicator after the last sum. All ranks of a machine call it at about the same time, each after its
    /// [`Communicator::synchronize`].
    ///
    /// # Errors
    /// NCCL's.
    pub fn finish(mut self) -> Result<()> {
        let handle = mem::replace(&mut self.handle, ptr::null_mut());
        // SAFETY: no sum is on its way, and the handle is not used again.
        unsafe { nccl::comm_destroy(handle) }.map(drop).map_err(failure)
    }
}

/// Gives up sums that the other ranks may never take part in.
impl Drop for Communicator {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is not used again.
            let _ = unsafe { nccl::comm_abort(self.handle) };
        }
    }
}

/// Sums on their way.
pub struct PendingReduction {
    compute: Arc<CudaStream>,
    tensors: Vec<Tensor>,
    sums: Vec<Tensor>,
    done: Option<Arc<CudaEvent>>,
}

/// The end of sums, seen from any thread.
pub struct Completion {
    context: Arc<CudaContext>,
    done: Option<Arc<CudaEvent>>,
}

impl Completion {
    /// Whether the sums have ended, well or not: the thread that uses them gets the error.
    pub fn is_reached(&self) -> bool {
        let Some(done) = &self.done else { return true };
        self.context.bind_to_thread().is_err() || done.try_is_complete() != Ok(false)
    }
}

impl PendingReduction {
    /// When these sums end.
    pub fn completion(&self) -> Completion {
        Completion { context: self.compute.context().clone(), done: self.done.clone() }
    }

    /// The sums. What the compute stream does from now on waits for them.
    ///
    /// # Errors
    /// A driver that fails.
    pub fn wait(mut self) -> Result<Vec<Tensor>> {
        if let Some(done) = self.done.as_deref() {
            self.compute.wait(done).w()?;
        }
        // Freed in the order of the compute stream.
        self.tensors.clear();
        Ok(mem::take(&mut self.sums))
    }
}

/// Memory of sums that nobody has waited for is never freed: NCCL may still use it.
impl Drop for PendingReduction {
    fn drop(&mut self) {
        mem::forget((mem::take(&mut self.tensors), mem::take(&mut self.sums)));
    }
}

fn failure(NcclError(code): NcclError) -> Error {
    if let Some(library) = missing() {
        return Error::Cuda(format!("NCCL: {library} cannot be loaded").into());
    }
    // SAFETY: both are texts that end with zero, or null; the communicator is not looked at.
    let [what, more] = unsafe { [sys::ncclGetErrorString(code), sys::ncclGetLastError(ptr::null_mut())] }
        .map(
            |text| if text.is_null() { "".into() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy() },
        );
    let more = more.trim();
    Error::Cuda(
        if more.is_empty() { format!("NCCL: {what}") } else { format!("NCCL: {what}: {more}") }.into(),
    )
}
