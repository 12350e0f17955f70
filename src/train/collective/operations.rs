//! What the ranks of a training do together.

use anyhow::Result;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What ranks do together. All call the same operations in the same order.
pub trait Collective: Send + Sync + fmt::Debug {
    /// The place of this process or thread, from 0.
    fn rank(&self) -> usize;
    /// The number of ranks.
    fn size(&self) -> usize;
    /// The number of ranks in this process.
    fn beside(&self) -> usize {
        1
    }
    /// The numbers in which gradients travel.
    fn wire(&self) -> WireFormat {
        WireFormat::F32
    }
    /// Connects what sums need beside messages. All call it once, before the first sum.
    ///
    /// # Errors
    /// Devices that cannot be connected.
    fn connect(&self) -> Result<()> {
        Ok(())
    }
    /// Ends what [`Collective::connect`] began. All call it once, after the last sum.
    ///
    /// # Errors
    /// A rank that is gone; a sum that has failed.
    fn disconnect(&self) -> Result<()> {
        Ok(())
    }
    /// Lets the others fail with this text instead of waiting for this rank; does nothing where they end otherwise.
    fn fail(&self, _why: &str) {}
    /// Lets the others see how far this rank is: a number that only grows.
    fn show_progress(&self, _progress: u64) {}
    /// What each rank has shown, as far as it is known here; by rank.
    fn progress(&self) -> Vec<u64> {
        vec![]
    }
    /// Begins the sum of a bucket over all ranks. All give the same shapes, and get the same bits.
    ///
    /// # Errors
    /// Values that this collective cannot sum.
    fn sum(&self, bucket: Bucket) -> Result<PendingSum>;
    /// The bytes of every rank, by rank.
    ///
    /// # Errors
    /// A rank that is gone or does not answer.
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
    /// The bytes of rank 0, which alone gives some.
    ///
    /// # Errors
    /// As [`Collective::gather`].
    fn broadcast(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>>;
}

/// The numbers in which gradients travel between ranks. MPI adds them in f32, NCCL in these numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum WireFormat {
    #[default]
    F32,
    /// Every gradient and every sum is rounded: half the bytes, other bits than those of one rank.
    Bf16,
}

/// How processes come together.
#[derive(Clone, Copy, Debug)]
pub struct RankOptions {
    /// The number that there must be; None: as many as there are.
    pub size: Option<usize>,
    /// A rank that is not heard of for so long is taken for dead.
    pub silence: Duration,
    /// Of gradients between processes.
    pub wire: WireFormat,
}

impl RankOptions {
    /// A rank that lives, and does not bring its part of a sum for so long, is taken to hang.
    pub fn patience(&self) -> Duration {
        10 * self.silence
    }
}

/// Gradients that travel together, f32.
#[derive(Default)]
pub struct Bucket {
    pub gradients: Vec<Tensor>,
    /// The sums of earlier passes, to which those of all ranks are added in the order of the ranks; the same everywhere. Empty
    /// in the first pass.
    pub carry: Vec<Tensor>,
}

/// A sum on its way.
pub enum PendingSum {
    Done(Vec<Tensor>),
    Waiting(Box<dyn FnOnce() -> Result<Vec<Tensor>>>),
}

impl PendingSum {
    /// The sums, once they are there, in the order and of the shapes of the bucket's gradients.
    ///
    /// # Errors
    /// As [`Collective::gather`].
    pub fn wait(self) -> Result<Vec<Tensor>> {
        match self {
            Self::Done(sum) => Ok(sum),
            Self::Waiting(sum) => sum(),
        }
    }
}

/// Says which rank lives and does not go on.
pub(super) fn stuck(rank: usize, waited: Duration) -> String {
    format!(
        "rank {rank} lives, but the others have waited {} s for its part: it hangs in a file or a device that does not answer, or is \
         far slower (--rank-timeout gives more time); the last checkpoint resumes",
        waited.as_secs()
    )
}
