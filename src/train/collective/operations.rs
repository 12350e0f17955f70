//! What the processes of a training do together.

use anyhow::Result;
use std::fmt;

/// What ranks do together. All call the same operations in the same order.
pub trait Collective: Send + Sync + fmt::Debug {
    /// The place of this process, from 0.
    fn rank(&self) -> usize;
    /// The number of processes.
    fn size(&self) -> usize;
    /// Begins the sum of the values of all ranks, added in the order of the ranks to `carry`, which is the same everywhere.
    /// All ranks give the same number of values and get the same bits.
    fn sum(&self, values: Vec<f32>, carry: Option<Vec<f32>>) -> PendingSum;
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

/// A sum on its way.
pub enum PendingSum {
    Done(Vec<f32>),
    Waiting(Box<dyn FnOnce() -> Result<Vec<f32>>>),
}

impl PendingSum {
    /// The sum, once it is there.
    ///
    /// # Errors
    /// As [`Collective::gather`].
    pub fn wait(self) -> Result<Vec<f32>> {
        match self {
            Self::Done(sum) => Ok(sum),
            Self::Waiting(sum) => sum(),
        }
    }
}
