//! A pass over a split that several processes share: each measures some of the batches, and all get what was found, in the
//! order of the batches. The results are those of one process, bit for bit.

use super::{Batch, error::DataError, loader::Loader, peers::Peers, worker::Fault};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// What a process has done since it last spoke.
#[derive(Serialize, Deserialize)]
struct Part<T> {
    /// Number of a batch, and what was found in it.
    found: Option<(u64, T)>,
    images: usize,
    faults: Vec<(usize, Fault)>,
    /// Number of its next batch; None at the end.
    next: Option<u64>,
}

impl Loader {
    /// Measures the batches from the loader's position to the end of the pass, those that the loader's peers do not, and gives
    /// what was found in all of them to `take`, in their order. `measure` gets the number of its batch within the pass.
    ///
    /// # Errors
    /// Unreadable pictures; those of `measure` and `take`; a peer that is gone.
    pub fn fold<T: Serialize + DeserializeOwned>(
        &mut self,
        mut measure: impl FnMut(&Batch, usize) -> Result<T>,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let Some(peers) = self.peers() else {
            while let Some((number, batch)) = self.next_numbered()? {
                take(measure(&batch, number as usize)?)?;
            }
            return Ok(());
        };
        self.take_share(peers.rank(), peers.size());
        let mut ready = BTreeMap::new();
        loop {
            let own = self.next_numbered()?;
            let images = own.as_ref().map_or(0, |(_, batch)| batch.indices.len());
            let measured = own.map(|(number, batch)| Ok((number, measure(&batch, number as usize)?)));
            let found = measured.transpose().map_err(|error: anyhow::Error| error)?;
            let next = found.as_ref().map(|_| self.position().batch);
            let part = Part { found, images, faults: self.take_new_faults(), next };
            let parts = exchanged(&*peers, &part)?;
            // Every batch before this one has come.
            let complete = parts.iter().filter_map(|part| part.next).min();
            for (rank, part) in parts.into_iter().enumerate() {
                ready.extend(part.found);
                if rank != peers.rank() {
                    self.learn(part.faults, part.images)?;
                }
            }
            let later = complete.map(|number| ready.split_off(&number)).unwrap_or_default();
            std::mem::replace(&mut ready, later).into_values().try_for_each(&mut take)?;
            if complete.is_none() {
                break;
            }
        }
        self.take_share(0, 1);
        Ok(())
    }

    /// Counts what a peer has read.
    fn learn(&mut self, faults: Vec<(usize, Fault)>, images: usize) -> Result<(), DataError> {
        self.learn_faults(faults)?;
        self.add_progress(images);
        Ok(())
    }
}

/// The parts of all processes, by rank.
fn exchanged<T: Serialize + DeserializeOwned>(peers: &dyn Peers, part: &Part<T>) -> Result<Vec<Part<T>>> {
    let all = peers.gather(postcard::to_stdvec(part)?)?;
    let read = |bytes: &Vec<u8>| {
        postcard::from_bytes(bytes)
            .context("another process sent what this build does not know: use one build on all nodes")
    };
    all.iter().map(read).collect()
}
