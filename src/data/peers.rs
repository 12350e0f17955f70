//! Processes that share the batches of a pass.

use anyhow::Result;
use std::fmt;

/// The processes that share a pass, seen from one of them. All call `gather` equally often.
pub trait Peers: Send + Sync + fmt::Debug {
    /// The place of this process, from 0.
    fn rank(&self) -> usize;
    /// The number of processes.
    fn size(&self) -> usize;
    /// The bytes of every process, by rank.
    ///
    /// # Errors
    /// A process that is gone.
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}
