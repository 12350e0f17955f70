//! The processes of a training, whatever connects them.

use super::{
    alone::Alone,
    command::Command,
    operations::{Bucket, Collective, PendingSum, WireFormat},
};
use crate::data::peers::Peers;
use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// The processes that train together, seen from one of them.
#[derive(Clone, Debug)]
pub struct Ranks(Arc<dyn Collective>);

impl Default for Ranks {
    /// One process.
    fn default() -> Self {
        Self(Arc::new(Alone))
    }
}

impl Ranks {
    pub fn new(collective: impl Collective + 'static) -> Self {
        Self(Arc::new(collective))
    }

    pub fn rank(&self) -> usize {
        self.0.rank()
    }

    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Whether there are several.
    pub fn are_many(&self) -> bool {
        self.size() > 1
    }

    /// Whether this process decides and writes.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// The number of ranks in this process, which share its cores.
    pub fn beside(&self) -> usize {
        self.0.beside()
    }

    /// The numbers in which gradients travel.
    pub fn wire(&self) -> WireFormat {
        self.0.wire()
    }

    /// See [`Collective::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(&self) -> Result<()> {
        self.0.connect()
    }

    /// See [`Collective::disconnect`].
    ///
    /// # Errors
    /// As there.
    pub fn disconnect(&self) -> Result<()> {
        self.0.disconnect()
    }

    /// See [`Collective::fail`].
    pub fn fail(&self, why: &str) {
        self.0.fail(why);
    }

    /// See [`Collective::show_progress`].
    pub fn show_progress(&self, progress: u64) {
        self.0.show_progress(progress);
    }

    /// See [`Collective::progress`].
    pub fn progress(&self) -> Vec<u64> {
        self.0.progress()
    }

    /// See [`Collective::sum`].
    ///
    /// # Errors
    /// As there.
    pub fn sum(&self, bucket: Bucket) -> Result<PendingSum> {
        self.0.sum(bucket)
    }

    /// See [`Collective::gather`].
    ///
    /// # Errors
    /// As there.
    pub fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.0.gather(bytes)
    }

    /// The value of every rank, by rank.
    ///
    /// # Errors
    /// A rank that is gone; one of another build, whose values cannot be read.
    pub fn gather<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<Vec<T>> {
        let all = self.0.gather(serde_json::to_vec(value)?)?;
        all.iter().map(|bytes| serde_json::from_slice(bytes).context(FOREIGN)).collect()
    }

    /// Gives bytes to the others; on rank 0.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn give(&self, bytes: Vec<u8>) -> Result<()> {
        self.0.broadcast(Some(bytes)).map(drop)
    }

    /// Receives what rank 0 gives; on the others.
    ///
    /// # Errors
    /// As [`Ranks::give`].
    pub fn take(&self) -> Result<Vec<u8>> {
        self.0.broadcast(None)
    }

    /// Tells the others what to do next; on rank 0.
    ///
    /// # Errors
    /// As [`Ranks::give`].
    pub fn tell(&self, command: &Command) -> Result<()> {
        if self.are_many() { self.give(serde_json::to_vec(command)?) } else { Ok(()) }
    }

    /// What rank 0 tells; on the others.
    ///
    /// # Errors
    /// As [`Ranks::give`]; a command of another build.
    pub fn hear(&self) -> Result<Command> {
        serde_json::from_slice(&self.take()?).context(FOREIGN)
    }
}

impl Peers for Ranks {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn size(&self) -> usize {
        self.0.size()
    }
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.0.gather(bytes)
    }
}

const FOREIGN: &str = "another process sent what this build does not know: use one build on all nodes";
