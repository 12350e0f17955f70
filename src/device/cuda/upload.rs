//! Asynchronous host-to-device copies through pinned memory on a separate stream. The host fills one slot while
//! earlier copies run; the compute stream waits for a copy only when the batch is used.
//!
//! A slot's staging buffer on the GPU is reused. The batch tensor is created from it on the compute stream, so that
//! all tensors belong to that stream.

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, result as driver},
    },
};
use std::sync::Arc;

/// One slot being filled, one being copied, one in use.
const SLOTS: usize = 3;

/// A host-to-device upload queue of one producer of batches.
pub struct UploadQueue {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    slots: Vec<UploadSlot>,
    next: usize,
}

struct UploadSlot {
    host: PinnedHostSlice<u8>,
    staged: CudaSlice<u8>,
    /// The copy has completed: the host may refill the slot.
    copied: CudaEvent,
    /// The compute stream has consumed the bytes: they may be overwritten.
    taken: CudaEvent,
}

impl UploadQueue {
    /// Creates the queue; slots are allocated with the first batch.
    ///
    /// # Errors
    /// The stream cannot be created.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream().context().new_stream().w()?;
        Ok(Self { device: device.clone(), stream, slots: vec![], next: 0 })
    }

    pub(crate) fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// `fill` writes `len` bytes, which are then copied asynchronously; `take` enqueues the work that reads them,
    /// given their device address. Blocks only if the device is [`SLOTS`] batches behind.
    ///
    /// # Errors
    /// Out of host or device memory; errors of `take`.
    pub(crate) fn send<T>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
        take: impl FnOnce(u64) -> Result<T>,
    ) -> Result<T> {
        let device = self.device.cuda_stream();
        let upload = self.stream.clone();
        let slot = self.slot(len)?;
        slot.copied.synchronize().w()?;
        let bytes = &mut slot.host.as_mut_slice().w()?[..len];
        fill(bytes);
        let staged = slot.staged.device_ptr(&upload).0;
        upload.wait(&slot.taken).w()?;
        // SAFETY: the bytes are not modified until `copied`, which is awaited above.
        unsafe { driver::memcpy_htod_async(staged, bytes, upload.cu_stream()).w()? };
        slot.copied.record(&upload).w()?;
        device.wait(&slot.copied).w()?;
        let taken = take(staged);
        slot.taken.record(&device).w()?;
        self.next = (self.next + 1) % SLOTS;
        taken
    }

    /// The next slot, with room for `len` bytes.
    fn slot(&mut self, len: usize) -> Result<&mut UploadSlot> {
        if self.slots.get(self.next).is_none_or(|slot| slot.host.len() < len) {
            self.quiesce()?;
            let slot = self.fresh(len + len / 4)?; // headroom for slightly larger batches
            match self.slots.get_mut(self.next) {
                Some(old) => *old = slot,
                None => self.slots.push(slot),
            }
        }
        Ok(&mut self.slots[self.next])
    }

    fn fresh(&self, len: usize) -> Result<UploadSlot> {
        let context = self.stream.context();
        let event = || context.new_event(None).w();
        // SAFETY: both buffers are written before they are read.
        let (host, staged) = unsafe { (context.alloc_pinned(len).w()?, self.stream.alloc(len).w()?) };
        Ok(UploadSlot { host, staged, copied: event()?, taken: event()? })
    }

    /// Waits for all copies, so that buffers can be freed.
    fn quiesce(&self) -> Result<()> {
        self.stream.synchronize().w()?;
        self.device.cuda_stream().synchronize().w()
    }
}

impl Drop for UploadQueue {
    fn drop(&mut self) {
        // An error here has already been reported by the preceding step.
        let _ = self.quiesce();
    }
}
