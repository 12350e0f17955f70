//! Ranks on GPUs: messages go over the host, by MPI or between threads, and gradients are summed by NCCL.

use super::{
    nccl_watch::Watch,
    operations::{Bucket, Collective, PendingSum, RankOptions, WireFormat},
    ranks::Ranks,
};
use crate::device::{
    self,
    cuda::nccl::{Communicator, new_id},
};
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

struct NcclRanks {
    /// The same ranks without GPUs.
    host: Ranks,
    device: Device,
    wire: WireFormat,
    patience: Duration,
    /// Between [`Collective::connect`] and [`Collective::disconnect`].
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    communicator: Communicator,
    watch: Watch,
    /// The number of sums so far.
    begun: u64,
}

/// Ranks that sum on this GPU, and send messages by `host`.
pub fn over(host: Ranks, device: &Device, options: RankOptions) -> Ranks {
    let (wire, patience) = (options.wire, options.patience());
    Ranks::new(NcclRanks { host, device: device.clone(), wire, patience, connection: Mutex::new(None) })
}

impl NcclRanks {
    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names rank and GPU.
    fn at(&self) -> String {
        format!("the sum over GPUs, at rank {} on {}", self.rank(), device::place(&self.device))
    }

    /// As it travels.
    fn sent(&self, gradient: &Tensor) -> candle_core::Result<Tensor> {
        match self.wire {
            WireFormat::F32 => gradient.contiguous(),
            WireFormat::Bf16 => gradient.to_dtype(DType::BF16)?.contiguous(),
        }
    }
}

impl Collective for NcclRanks {
    fn rank(&self) -> usize {
        self.host.rank()
    }
    fn size(&self) -> usize {
        self.host.size()
    }
    fn beside(&self) -> usize {
        self.host.beside()
    }
    fn wire(&self) -> WireFormat {
        self.wire
    }
    fn connect(&self) -> Result<()> {
        let Device::Cuda(gpu) = &self.device else { bail!("NCCL sums on GPUs") };
        let id = match self.host.leads() {
            true => {
                let id = new_id().with_context(|| self.at())?;
                self.host.give(id.clone()).map(|()| id)?
            }
            false => self.host.take()?,
        };
        let communicator =
            Communicator::new(gpu, &id, self.rank(), self.size()).with_context(|| self.at())?;
        let watch = Watch::start(self.host.clone(), self.patience)?;
        *self.lock() = Some(Connection { communicator, watch, begun: 0 });
        Ok(())
    }
    fn disconnect(&self) -> Result<()> {
        let Some(Connection { communicator, .. }) = self.lock().take() else { return Ok(()) };
        communicator.synchronize().with_context(|| self.at())?;
        self.host.gather_bytes(vec![])?;
        communicator.finish().with_context(|| self.at())
    }
    fn fail(&self, why: &str) {
        self.host.fail(why);
    }
    fn sum(&self, Bucket { gradients, carry }: Bucket) -> Result<PendingSum> {
        let mut connection = self.lock();
        let Connection { communicator, watch, begun } =
            connection.as_mut().context("the GPUs are not connected")?;
        let sent =
            gradients.iter().map(|gradient| self.sent(gradient)).collect::<candle_core::Result<_>>()?;
        let sums = communicator.sum(sent).with_context(|| self.at())?;
        *begun += 1;
        self.host.show_progress(*begun);
        watch.over(sums.completion());
        Ok(PendingSum::Waiting(Box::new(move || Ok(added(&sums.wait()?, &carry)?))))
    }
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.host.gather_bytes(bytes)
    }
    fn broadcast(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        match bytes {
            Some(bytes) => self.host.give(bytes.clone()).map(|()| bytes),
            None => self.host.take(),
        }
    }
}

/// Sums in f32, after those of earlier passes.
fn added(sums: &[Tensor], carry: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
    let add = |(place, sum): (usize, &Tensor)| {
        let sum = sum.to_dtype(DType::F32)?;
        carry.get(place).map_or(Ok(sum.clone()), |carry| carry + sum)
    };
    sums.iter().enumerate().map(add).collect()
}

impl fmt::Debug for NcclRanks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {}", self.host, device::place(&self.device))
    }
}
