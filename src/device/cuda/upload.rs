//! Bytes on their way to the GPU while it computes: through pinned memory, on a stream of their own. The host fills one
//! slot while the copies of those before it run; the device's stream waits for a copy only where the batch is used.
//!
//! A slot's memory on the GPU is the same for its whole life. The batch that a step gets is made from it in the order of
//! the device's stream, within microseconds, so that tensors belong to that stream alone, like all others.

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, result as driver},
    },
};
use std::sync::Arc;

/// One being filled, one being copied, one in use.
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
    /// The copy to the GPU is done: the host may fill it again.
    copied: CudaEvent,
    /// The device's stream has taken the bytes: they may be overwritten.
    taken: CudaEvent,
}

impl UploadQueue {
    /// Nothing is allocated before the first batch.
    ///
    /// # Errors
    /// A stream that cannot be made.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream().context().new_stream().w()?;
        Ok(Self { device: device.clone(), stream, slots: vec![], next: 0 })
    }

    pub(crate) fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// `fill` writes `len` bytes, which are then under way to the GPU; `take` puts into the device's stream what reads
    /// them there, at the address that it is given. Waits only where the device is [`SLOTS`] batches behind.
    ///
    /// # Errors
    /// Memory, on either side; what `take` answers.
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
        // SAFETY: the bytes stay as they are until `copied`, which is waited for above.
        unsafe { driver::memcpy_htod_async(staged, bytes, upload.cu_stream()).w()? };
        slot.copied.record(&upload).w()?;
        device.wait(&slot.copied).w()?;
        let taken = take(staged);
        slot.taken.record(&device).w()?;
        self.next = (self.next + 1) % SLOTS;
        taken
    }

    /// The slot whose turn it is, with room for `len` bytes.
    fn slot(&mut self, len: usize) -> Result<&mut UploadSlot> {
        if self.slots.get(self.next).is_none_or(|slot| slot.host.len() < len) {
            self.quiesce()?;
            let slot = self.fresh(len + len / 4)?; // the next ones may be a little larger
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
        // SAFETY: both are written before they are read.
        let (host, staged) = unsafe { (context.alloc_pinned(len).w()?, self.stream.alloc(len).w()?) };
        Ok(UploadSlot { host, staged, copied: event()?, taken: event()? })
    }

    /// Waits for all copies, so that memory may go.
    fn quiesce(&self) -> Result<()> {
        self.stream.synchronize().w()?;
        self.device.cuda_stream().synchronize().w()
    }
}

impl Drop for UploadQueue {
    fn drop(&mut self) {
        // A device that fails here has failed the step before it too, which says so.
        let _ = self.quiesce();
    }
}
